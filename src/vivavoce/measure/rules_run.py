"""Rules about what a loss function is given: `prediction >= 0`, `prediction[0] > prediction[1]`, `sum(probability) == 1`.

Names are `prediction`, `target`, `probability` (the softmax or sigmoid of the prediction, for losses that apply one) and `input` (the model's
first floating-point input); `[i]` is column i of dimension 1, `sum(…)`, `mean(…)`, `min(…)` and `max(…)` of a name go
over its columns, and a bare name means each of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from vivavoce.measure.rules import Floats
from vivavoce.measure.rules_text import RuleError, Standing, WrittenRule, parse_rule

SOURCES = ("prediction", "target", "probability", "input")
REDUCTIONS = ("sum", "mean", "min", "max")
_NAME = "|".join(SOURCES)
_TERM = re.compile(rf"\b(?:({'|'.join(REDUCTIONS)})\(\s*({_NAME})\s*\)|({_NAME})\b(?:\s*\[\s*(\d+)\s*\])?)")


@dataclass(frozen=True)
class Term:
    """A part of a rule: `source`, its column `index` (None for each), or its `reduction` over the columns ("" for none)."""

    name: str
    source: str
    index: int | None = None
    reduction: str = ""


@dataclass(frozen=True)
class RunRule:
    """A rule about a loss: its text, the terms it speaks of, and the rule on columns of their names."""

    text: str
    terms: tuple[Term, ...]
    rule: WrittenRule

    def stand(self, values: Mapping[str, Floats], slack: float) -> Standing:
        """Hold it against values (n,) by the terms' names; differences up to `slack` are rounding."""
        return self.rule.stand(values, {}, slack)

    def about_targets(self) -> bool:
        """Whether it can be asked of the targets in place of the predictions."""
        return {term.source for term in self.terms} <= {"prediction", "input"} and any(
            term.source == "prediction" for term in self.terms
        )


def parse_run_rule(text: str) -> RunRule:
    """Read a rule. Raises RuleError where it is none, or speaks of something else than a loss is given."""
    terms: dict[str, Term] = {}

    def note(match: re.Match[str]) -> str:
        reduction, reduced, source, index = match.groups()
        name = f"{reduction}({reduced})" if reduction else source if index is None else f"{source}[{int(index)}]"
        terms[name] = Term(name, reduced or source, None if index is None else int(index), reduction or "")
        return f"`{name}`"

    quoted = _TERM.sub(note, text)
    if not terms:
        raise RuleError(f"{text[:80]!r} speaks of none of {', '.join(SOURCES)}")
    try:
        rule = parse_rule(quoted, list(terms))
    except RuleError as error:
        raise RuleError(str(error).replace("`", "")) from None
    if rule.words:
        raise RuleError(f"{text[:80]!r}: a loss is given numbers alone, no words or groups")
    return RunRule(" ".join(text.split()), tuple(terms.values()), rule)
