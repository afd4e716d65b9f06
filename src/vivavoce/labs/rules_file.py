"""Rules on a user's table: its rows held against them, and its predictions projected onto them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vivavoce.labs.figures import Floats, Line, XYPlot
from vivavoce.labs.inputs import CsvFile
from vivavoce.labs.lab import Claim, Context, LabError, Result, Table, held
from vivavoce.measure.confusion_scores import wilson
from vivavoce.measure.rules import Places, Rule
from vivavoce.measure.rules_evidence import REFUSED, contradiction
from vivavoce.measure.rules_projection import Projection, dykstra
from vivavoce.measure.rules_text import RuleError, Standing, Words, WrittenRule, parse_rule
from vivavoce.report.words import number

SHOWN = 12  # rows that break a rule and are listed
REFUSAL = "Refused: the labels contradict it. --noise SD says how far labels may be off the truth."
HEADER_ROWS = 2  # the number in the file of the first row of data


@dataclass
class Columns:
    """The columns that the rules speak of, all rows: `numbers` (n,) with NaN for gaps, `words` (n,)."""

    path: Path
    header: Sequence[str]
    numbers: dict[str, Floats] = field(default_factory=dict)
    words: dict[str, Words] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows of data."""
        return max((len(column) for column in [*self.numbers.values(), *self.words.values()]), default=0)


def parse(file: CsvFile, texts: Iterable[str]) -> list[WrittenRule]:
    """The rules. Raises LabError for what is none, or speaks of columns that do not exist."""
    try:
        return [parse_rule(text, file.header) for text in texts]
    except RuleError as error:
        raise LabError(f"--rule {error}") from None


def read(file: CsvFile, rules: Sequence[WrittenRule], more: Sequence[str], context: Context) -> Columns:
    """The columns that the rules and `more` need. Raises LabError for words where numbers are needed, and no rows."""
    numeric = dict.fromkeys([name for rule in rules for name in rule.numbers] + list(more))
    wordy = dict.fromkeys(name for rule in rules for name in rule.words)
    parts: dict[str, list[Floats]] = {name: [] for name in numeric}
    words: dict[str, list[Words]] = {name: [] for name in wordy}
    for chunk in file.chunks(list(dict.fromkeys([*numeric, *wordy])), context):
        for name in numeric:
            parts[name].append(chunk.numbers(name, missing=True))
        for name in wordy:
            words[name].append(np.array([cell.strip() for cell in chunk.text(name)]))
    columns = Columns(
        file.path,
        file.header,
        {name: np.concatenate(part) for name, part in parts.items() if part},
        {name: np.concatenate(part) for name, part in words.items() if part},
    )
    if not columns.rows:
        raise LabError(f"{file.path} has a header but no rows")
    return columns


def check(source: str, context: Context) -> Result:
    """How many rows break each rule, and which."""
    file = CsvFile(source)
    rules = parse(file, context.options["rule"])
    columns = read(file, rules, (), context)
    standings = [rule.stand(columns.numbers, columns.words) for rule in rules]
    for rule, standing in zip(rules, standings, strict=True):
        if not len(standing.rows):
            raise LabError(f"{source}: no row has all that --rule {rule.text!r} needs")
    claims = [_claim(rule, standing) for rule, standing in zip(rules, standings, strict=True)]
    broken = np.unique(np.concatenate([standing.broken for standing in standings]))
    kept = sum(not len(standing.broken) for standing in standings)
    answer = (
        f"All {len(rules)} rules hold in all {columns.rows:,} rows."
        if kept == len(rules)
        else f"{kept} of {len(rules)} rules hold; {len(broken):,} of {columns.rows:,} rows break one."
    )
    tables = [_listed(columns, rule, s) for rule, s in zip(rules, standings, strict=True) if len(s.broken)]
    plots = [p for i, (r, s) in enumerate(zip(rules, standings, strict=True)) if (p := _sizes(r, s, i))]
    return Result(answer.replace("All 1 rules hold", "The rule holds"), claims, tables, plots, _skipped(columns, rules, standings),
                  {"rows": columns.rows, "rules": [_data(r, s) for r, s in zip(rules, standings, strict=True)]})  # fmt: skip


def _claim(rule: WrittenRule, standing: Standing) -> Claim:
    broken, of = len(standing.broken), len(np.unique(standing.rows))
    rate = wilson(broken, of)
    told = f"{broken:,} of {of:,} rows break it"
    if broken:
        told += f" ({float(rate.value):.2%}, 95 % interval {float(rate.low):.2%} to {float(rate.high):.2%}), by up to {number(float(standing.amounts.max()))}"
    return held(rule.text, told, "none", not broken)


def _listed(columns: Columns, rule: WrittenRule, standing: Standing) -> Table:
    """The rows that break a rule by most, as the file numbers them, with what it speaks of."""
    order = np.argsort(-standing.amounts, kind="stable")
    order = order[standing.amounts[order] > 0]
    names = list(dict.fromkeys([*rule.numbers, *rule.words]))
    rows = []
    for place in order[: 10 * SHOWN].tolist():
        row = int(standing.rows[place])
        cells = [
            number(float(columns.numbers[n][row])) if n in columns.numbers else str(columns.words[n][row])
            for n in names
        ]
        rows.append([f"{row + HEADER_ROWS:,}", number(float(standing.amounts[place])), *cells])
    return Table(f"Rows of the file that break {rule.text}, the worst first", ["row", "by", *names], rows, most=SHOWN)


def _sizes(rule: WrittenRule, standing: Standing, index: int) -> XYPlot | None:
    """The violations in falling order; None where there are fewer than two."""
    amounts = np.sort(standing.amounts[standing.amounts > 0])[::-1]
    if len(amounts) < 2:
        return None
    places = np.unique(np.linspace(0, len(amounts) - 1, 500).round().astype(int))
    line = Line("violation", places + 1.0, amounts[places])
    return XYPlot(
        f"violations-{index + 1}", f"How badly {rule.text} is broken", "In falling order.", "row", "by", [line]
    )


def _skipped(columns: Columns, rules: Sequence[WrittenRule], standings: Sequence[Standing]) -> list[str]:
    return [
        f"{columns.rows - len(np.unique(s.rows)):,} rows were not held against {rule.text}: a cell is empty, or its condition is not met."
        for rule, s in zip(rules, standings, strict=True)
        if rule.text and len(np.unique(s.rows)) < columns.rows and "creasing(" not in rule.text
    ]


def _data(rule: WrittenRule, standing: Standing) -> dict[str, object]:
    return {
        "rule": rule.text,
        "checked": len(np.unique(standing.rows)),
        "broken": len(standing.broken),
        "worst": float(np.max(standing.amounts, initial=0.0)),
        "first_broken_rows": (standing.broken[:100] + HEADER_ROWS).tolist(),
    }


# predictions --------------------------------------------------------------------------------------------------------------


def bind(rules: Sequence[WrittenRule], columns: Columns, predicted: Sequence[str], scale: float) -> list[Rule]:
    """The rules on values (n, k) of the predicted columns. Raises LabError where they cannot be projected onto."""
    try:
        return [
            part.rule
            for rule in rules
            for part in rule.bind(columns.numbers, columns.words, predicted, scale)
            if part.rule.size
        ]
    except RuleError as error:
        raise LabError(f"--rule {error}") from None


def projected(rules: Sequence[Rule], values: Floats) -> Projection:
    """`dykstra`. Raises LabError for rules that contradict each other or cannot be combined."""
    try:
        return dykstra(rules, values)
    except ValueError as error:
        raise LabError(f"--rule: {error}") from None


def split(
    rules: Sequence[WrittenRule], columns: Columns, names: Sequence[str], truth: Floats, noise: float
) -> tuple[list[WrittenRule], list[Claim]]:
    """The rules that the labels (n, k) of the columns `names` do not contradict, and a claim for each rule."""
    kept, claims = [], []
    labelled = np.isfinite(truth).all(axis=1)
    part = Columns(
        columns.path,
        columns.header,
        {name: column[labelled] for name, column in columns.numbers.items()},
        {name: column[labelled] for name, column in columns.words.items()},
    )
    values = {name: truth[labelled, index] for index, name in enumerate(names)}
    for rule in rules:
        standing = rule.stand({**part.numbers, **values}, part.words)
        believed = not len(standing.broken) or (noise > 0 and _explained(rule, part, names, truth[labelled], noise))
        told = f"{len(standing.broken):,} of {len(np.unique(standing.rows)):,} labelled rows break it"
        expected = "none" if noise == 0 else f"no more than noise of {number(noise)} explains"
        note = "" if believed else REFUSAL
        claims.append(held(f"the labels obey {rule.text}", told, expected, believed, note))
        kept += [rule] if believed else []
    return kept, claims


def _explained(rule: WrittenRule, columns: Columns, names: Sequence[str], truth: Floats, noise: float) -> bool:
    bound = bind([rule], columns, names, 0.0)
    try:
        return all(contradiction(part, truth, noise) >= REFUSED for part in bound)
    except ValueError as error:
        raise LabError(f"--noise with {rule.text!r}: {error}") from None


def correct(source: str, context: Context) -> Result:
    """Project predictions onto the rules; with targets, what that does to the squared error."""
    file, names, targets = CsvFile(source), context.options["predicted"], context.options["target"]
    for name in (*names, *targets):
        file.column(name)
    if targets and len(targets) != len(names):
        raise LabError(f"give one --target for each --predicted: {len(targets)} for {len(names)}")
    rules = parse(file, context.options["rule"])
    columns = read(file, rules, [*names, *targets], context)
    values = np.column_stack([columns.numbers[name] for name in names])
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0]) + HEADER_ROWS
        raise LabError(f"{source}, row {row}: a prediction is missing")
    truth = np.column_stack([columns.numbers[name] for name in targets]) if targets else None
    claims: list[Claim] = []
    if truth is not None:
        rules, claims = split(rules, columns, names, truth, context.options["noise"])
        if not rules:
            return Result(
                "The targets contradict every rule: nothing was projected.", claims, notes=[REFUSAL], data={"kept": []}
            )
    scale = float(np.abs(values).max()) or 1.0
    found = projected(bind(rules, columns, names, scale), values)
    claims += _corrected_claims(rules, columns, names, values, found)
    if truth is not None:
        claims.append(_error_claim(values, found.values, truth))
    if context.options["save"]:
        save(context.options["save"], names, found.values)
    return _corrected(source, rules, names, values, found, claims)


def _corrected_claims(
    rules: Sequence[WrittenRule], columns: Columns, names: Sequence[str], values: Floats, found: Projection
) -> list[Claim]:
    claims = []
    for rule in rules:
        before, after = (_with(rule, columns, names, part) for part in (values, found.values))
        told = f"{len(before.broken):,} rows broken before, {len(after.broken):,} after"
        claims.append(held(f"the projected predictions obey {rule.text}", told, "0 after", not len(after.broken)))
    return claims


def _with(rule: WrittenRule, columns: Columns, names: Sequence[str], values: Floats) -> Standing:
    replaced = {name: values[:, index] for index, name in enumerate(names)}
    return rule.stand({**columns.numbers, **replaced}, columns.words)


def _error_claim(before: Floats, after: Floats, truth: Floats) -> Claim:
    known = np.isfinite(truth)
    if not known.any():
        raise LabError("no row has a target")
    first, then = (float(np.mean((part - truth)[known] ** 2)) for part in (before, after))
    return held(
        "the squared error does not grow",
        f"{number(first)} to {number(then)}",
        f"at most {number(first)}",
        then <= first * (1 + 1e-9),
        "It cannot, where the targets obey the rules themselves.",
    )


def _corrected(
    source: str,
    rules: Sequence[WrittenRule],
    names: Sequence[str],
    values: Floats,
    found: Projection,
    claims: list[Claim],
) -> Result:
    moves = np.sqrt(np.sum((found.values - values) ** 2, axis=1))
    moved = moves > 1e-9 * (float(np.abs(values).max()) or 1.0)
    answer = (
        f"{int(moved.sum()):,} of {len(values):,} rows of {source} had to move to obey {'the rule' if len(rules) == 1 else 'all rules'}"
        + (
            f", by {number(float(moves[moved].mean()))} on average."
            if moved.any()
            else ": the predictions obey already."
        )
    )
    order = np.argsort(-moves, kind="stable")[: 10 * SHOWN]
    rows = [
        [f"{row + HEADER_ROWS:,}", *(f"{number(a)} → {number(b)}" for a, b in zip(values[row].tolist(), found.values[row].tolist(), strict=True))]
        for row in order.tolist()
        if moved[row]
    ]  # fmt: skip
    tables = [Table("The rows that moved most", ["row", *names], rows, most=SHOWN)] if rows else []
    note = f"Dykstra's algorithm; sweeps: {found.sweeps:,}, residual: {found.residual:.1g}. No nearer predictions obey."
    data = {"moved": int(moved.sum()), "rows": len(values), "kept": [rule.text for rule in rules], "residual": found.residual,
            "sweeps": found.sweeps, "rms_move": float(np.sqrt(np.mean(moves**2)))}  # fmt: skip
    return Result(answer, claims, tables, _move_plot(names, values, found.values), [note], data)


def _move_plot(names: Sequence[str], before: Floats, after: Floats) -> list[XYPlot]:
    lines = []
    for index, name in enumerate(names[:3]):
        order = np.argsort(before[:, index], kind="stable")
        order = order[np.unique(np.linspace(0, len(order) - 1, 500).round().astype(int))]
        lines.append(Line(name, before[order, index], after[order, index], dots=True))
    return [XYPlot("moves", "Predictions before and after", "On the diagonal nothing moved.", "before", "after", lines)]


def save(path: str, names: Sequence[str], values: Floats, rows: Places | None = None) -> None:
    """Write predictions as CSV, with the number of each row in the user's file. Raises LabError."""
    numbers = np.arange(len(values)) if rows is None else rows
    try:
        with Path(path).open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["row", *names])
            writer.writerows(
                [int(row) + HEADER_ROWS, *map(repr, line)] for row, line in zip(numbers, values.tolist(), strict=True)
            )
    except OSError as error:
        raise LabError(f"--save {path}: {error.strerror or error}") from None
