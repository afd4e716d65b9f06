"""Rules as people write them: what they mean on a table, and that nothing but arithmetic is read."""

from __future__ import annotations

import numpy as np
import pytest

from vivavoce.measure import ImplicationRule, project_onto_rules
from vivavoce.measure.rules_text import RuleError, parse_rule

COLUMNS = ("a", "b", "p", "q", "kind", "person", "age of x")
NUMBERS = {
    "a": np.array([1.0, 2, 3, np.nan]),
    "b": np.array([2.0, 2, 1, 0]),
    "p": np.array([1.0, 2, 3, 4]),
    "q": np.array([1.0, 1, 1, 1]),
    "age of x": np.array([5.0, 1, 3, 3]),
}
WORDS = {"kind": np.array(["h", "g", "h", "h"]), "person": np.array(["g", "h", "v", "v"])}


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("a > b", [0, 1]),
        ("a >= b", [0]),
        ("a<b", [1, 2]),
        ("a == b", [0, 2]),
        ("a + 1 >= 2 * b - q", [0]),
        ("0 <= b <= 1", [0, 1]),
        ("a <= 2 and b < 2", [0, 1, 2]),
        ('kind == "h" implies b < 2', [0]),
        ("kind != 'h' and a > 1 implies p > 2", [1]),
        ("p > 2 implies q >= 2", [2, 3]),
        ("`age of x` > a", [1, 2]),
        ("increasing(b, p)", [2, 3]),
        ("decreasing(b, p)", []),
        ("increasing(b, p, kind)", [2, 3]),
        ("increasing(b, p, person)", [3]),
        ("symmetric(p, kind, person)", [0, 1]),
        ("antisymmetric(q, kind, person)", [0, 1]),
        ("p * p > 1", [0]),
        ("p + q == 2", [1, 2, 3]),
    ],
)
def test_rows_that_break_a_rule(text: str, broken: list[int]) -> None:
    words = WORDS | ({"kind": np.array(["h", "g", "h", "v"])} if "symmetric" in text else {})
    rule = parse_rule(text, COLUMNS)
    if "symmetric" in text:  # rows 0 and 1: (h, g) and (g, h)
        words["person"], words["kind"] = np.array(["g", "h", "v", "v"]), np.array(["h", "g", "a", "c"])
    assert rule.stand(NUMBERS, words).broken.tolist() == broken


def test_slack_forgives_and_missing_cells_are_not_checked() -> None:
    rule = parse_rule("a > b", COLUMNS)
    assert rule.stand(NUMBERS, WORDS).rows.tolist() == [0, 1, 2]
    assert rule.stand(NUMBERS, WORDS, slack=0.5).broken.tolist() == [0]
    assert rule.stand(NUMBERS, WORDS, slack=1.0).broken.tolist() == []
    decimals = {"a": np.array([0.1 + 0.2]), "b": np.array([0.3])}
    assert not len(parse_rule("a == b", ["a", "b"]).stand(decimals, {}).broken)


@pytest.mark.parametrize(
    "text",
    [
        "p > a",
        "p - q <= b / 2 - (q + 1)",
        "0 <= p <= b * 2",
        "p + q == a",
        "kind == 'h' implies p > 2 * q",
        "increasing(p, b)",
        "decreasing(q, b, kind)",
        "symmetric(p, kind, person)",
        "p > 2 implies q >= p",
    ],
)
def test_projected_columns_obey_the_written_rule(text: str) -> None:
    for seed in range(5):
        values = np.random.default_rng(seed).normal(1, 3, (4, 2))
        rule = parse_rule(text, COLUMNS)
        bound = rule.bind(NUMBERS, WORDS, ["p", "q"], scale=10.0)
        if isinstance(bound[0].rule, ImplicationRule):
            values = project_onto_rules(bound[0].rule, values)
        else:
            values = project_onto_rules([part.rule for part in bound], values)
        found = {**NUMBERS, "p": values[:, 0], "q": values[:, 1]}
        assert not len(rule.stand(found, WORDS).broken)


def test_a_rule_about_predictions_alone_covers_every_row() -> None:
    values = {"p": np.array([1.0, 5.0, 3.0]), "q": np.array([2.0, 4.0, 3.0])}
    (part,) = parse_rule("p >= q + 1", ["p", "q"]).bind(values, {}, ["p", "q"])
    assert part.rows.tolist() == [0, 1, 2]
    moved = project_onto_rules(part.rule, np.column_stack([values["p"], values["q"]]))
    np.testing.assert_allclose(moved, [[2, 1], [5, 4], [3.5, 2.5]])


def test_rows_of_instances_are_those_of_the_table() -> None:
    rule = parse_rule("kind == 'h' implies p > 2.5", COLUMNS)
    (part,) = rule.bind(NUMBERS, WORDS, ["q", "p"])
    assert part.rows.tolist() == [0, 2, 3]
    broken = part.rule.broken_by(np.column_stack([NUMBERS["q"], NUMBERS["p"]]).ravel())
    assert part.rows[broken > 0].tolist() == [0]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "1 to 1,000 characters"),
        ("a > b" * 300, "1 to 1,000 characters"),
        ("a", "is no rule"),
        ("a > b or b > a", "is no rule"),
        ("a >", "invalid syntax"),
        ("a > c", "unknown name 'c'"),
        ("aa > b", "did you mean 'a'"),
        ("age > 2", "stand in backquotes, as `age of x`"),
        ("`age` > 2", "no column 'age'"),
        ("a != b", "only < <= > >= and =="),
        ("a > 'x'", "not a real number"),
        ("1 > 0", "no column of numbers"),
        ("kind < 'h' implies a > 1", "only be compared by == and !="),
        ("a > 1 implies b > 1 implies p > 1", "may stand once"),
        ("a > 1 implies increasing(a, b)", "cannot be a conclusion"),
        ("increasing(a)", r"write increasing\(value, along\[, group\]\)"),
        ("increasing(a, 3)", "name of a column is expected, not '3'"),
        ("symmetric(a, b)", r"write symmetric\(value, a, b\)"),
        ("rising(a, b)", "is no rule"),
        ("__import__('os').system('id') > 1", "only calls such as"),
        ("a.real > 1", "are allowed"),
        ("(lambda: 0)() > a", "only calls such as"),
        ("[a for a in b] > 1", "are allowed"),
        ("(" * 400 + "a" + ")" * 400 + " > 1", "cannot be read"),
    ],
)
def test_what_is_no_rule_is_refused(text: str, why: str) -> None:
    with pytest.raises(RuleError, match=why):
        parse_rule(text, COLUMNS)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a > b", "says nothing about p or q"),
        ("p * q > 1", "not linear in p and q"),
        ("sin(p) > 0", "not linear in p"),
        ("increasing(a, p)", "predictions of a alone"),
        ("p > 1 and q > 1 implies p > q", "one condition on predictions"),
        ("p == 1 implies q > 1", "an inequality"),
        ("p > 1 and a > 1", "a part of it says nothing"),
    ],
)
def test_rules_that_cannot_be_projected_onto_say_so(text: str, why: str) -> None:
    with pytest.raises(RuleError, match=why):
        parse_rule(text, COLUMNS).bind(NUMBERS, WORDS, ["p", "q"])
