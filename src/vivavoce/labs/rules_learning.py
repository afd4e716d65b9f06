"""Training on a user's table with and without rules, on folds, at several amounts of data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vivavoce.labs.descent import encode_features
from vivavoce.labs.figures import Floats, Line, XYPlot
from vivavoce.labs.inputs import CsvFile
from vivavoce.labs.lab import Claim, Context, LabError, Result, Table, held
from vivavoce.labs.rules_file import REFUSAL, Columns, bind, parse, projected, read, save, split
from vivavoce.labs.rules_network import fit, outputs
from vivavoce.measure.rules import Places, Rule, check_rule
from vivavoce.measure.rules_text import WrittenRule
from vivavoce.report.words import number

MOST_ROWS = 4_000  # rows that are trained with; more are thinned evenly
FOLDS = (5, 3)  # full, quick
SHARES = (0.1, 0.3, 1.0)  # of the labelled rows outside a fold
FEWEST = 10  # labelled rows without which nothing is learned
WAYS = ("data alone", "penalty", "projection", "penalty and projection")
BARE, SOFT, PROJECTED, BOTH = range(len(WAYS))


@dataclass(frozen=True)
class _Table:
    """The rows that are used: their numbers in the file, features (n, d), targets (n, k), and the rules' columns."""

    rows: Places
    features: Floats
    targets: Floats
    columns: Columns
    notes: list[str]


def learn(source: str, context: Context) -> Result:
    """Out-of-fold errors and broken rules, with and without the rules."""
    file, names = CsvFile(source), context.options["target"]
    for name in names:
        file.column(name)
    rules = parse(file, context.options["rule"])
    columns = read(file, rules, names, context)
    table = _load(file, columns, names, context)
    rules, claims = split(rules, table.columns, names, table.targets, context.options["noise"])
    if not rules:
        answer = f"The labels of {source} contradict {'every rule' if len(claims) > 1 else 'the rule'}: nothing was trained with it."
        return Result(answer, claims, notes=[REFUSAL, *table.notes], data={"kept": []})
    labelled = np.flatnonzero(np.isfinite(table.targets).all(axis=1))
    shares = [share for share in SHARES if share * len(labelled) * (1 - 1 / FOLDS[context.quick]) >= FEWEST / 2] or [
        1.0
    ]
    found = [_out_of_fold(table, rules, names, labelled, share, context) for share in shares]
    if context.options["save"]:
        _save_all(context.options["save"], table, rules, names, context)
    return _result(source, table, rules, names, labelled, shares, found, claims)


def _load(file: CsvFile, columns: Columns, names: Sequence[str], context: Context) -> _Table:
    keep = np.unique(np.linspace(0, columns.rows - 1, MOST_ROWS).round().astype(int))
    others = [name for name in file.header if name not in names]
    cells: dict[str, list[str]] = {name: [] for name in others}
    first, wanted = 0, set(keep.tolist())
    for chunk in file.chunks(others, context, "reading features") if others else []:
        places = [place for place in range(len(chunk)) if first + place in wanted]
        for name in others:
            text = chunk.text(name)
            cells[name].extend(text[place] for place in places)
        first += len(chunk)
    features, dropped = encode_features(cells, np.arange(len(keep)))
    if not features:
        raise LabError(f"{file.path}: no column besides {', '.join(names)} can be used as a feature")
    targets = np.column_stack([columns.numbers[name][keep] for name in names])
    labelled = np.isfinite(targets).all(axis=1)
    if labelled.sum() < FEWEST:
        raise LabError(f"{file.path}: {int(labelled.sum())} rows have all targets, at least {FEWEST} are needed")
    for name, column in zip(names, targets[labelled].T, strict=True):
        if not np.ptp(column):
            raise LabError(f"{file.path}: {name} is the same in every row")
    notes = [f"{columns.rows:,} rows were thinned evenly to {MOST_ROWS:,}."] if len(keep) < columns.rows else []
    notes += [f"No feature: {', '.join(dropped)} (constant, or too many different words)."] if dropped else []
    kept = Columns(file.path, file.header, {n: c[keep] for n, c in columns.numbers.items()},
                   {n: c[keep] for n, c in columns.words.items()})  # fmt: skip
    return _Table(keep, np.column_stack(features), targets, kept, notes)


@dataclass(frozen=True)
class _Found:
    """Predictions of labelled rows by models that did not see them: squared errors (rows, ways), broken rules by way."""

    errors: Floats
    broken: Floats
    instances: int


def _out_of_fold(
    table: _Table, rules: Sequence[WrittenRule], names: Sequence[str], labelled: Places, share: float, context: Context
) -> _Found:
    folds = np.array_split(context.rng(11).permutation(labelled), FOLDS[context.quick])
    deviation = np.nanstd(table.targets, axis=0)
    errors, broken, instances = [], np.zeros(len(WAYS)), 0
    for number_, fold in enumerate(context.track(f"training on {share:.0%} of the labels", folds)):
        rest = context.rng(12 + number_).permutation(np.setdiff1d(labelled, fold))
        shown = np.full_like(table.targets, np.nan)
        train = rest[: max(2, round(share * len(rest)))]
        shown[train] = table.targets[train]
        everyone = np.setdiff1d(np.arange(len(table.targets)), fold)
        inside = _bound(table, rules, names, everyone)
        seed = context.seed + number_
        bare = outputs(fit(table.features[everyone], shown[everyone], seed), table.features[fold])
        soft = outputs(fit(table.features[everyone], shown[everyone], seed, inside), table.features[fold])
        outside = _bound(table, rules, names, fold)
        four = [bare, soft, projected(outside, bare).values, projected(outside, soft).values]
        errors.append(np.stack([np.mean(((p - table.targets[fold]) / deviation) ** 2, axis=1) for p in four], axis=1))
        broken += [sum(check_rule(rule, p).broken for rule in outside) for p in four]
        instances += sum(rule.size for rule in outside)
    return _Found(np.concatenate(errors), broken, instances)


def _bound(table: _Table, rules: Sequence[WrittenRule], names: Sequence[str], rows: Places) -> list[Rule]:
    part = Columns(
        table.columns.path,
        table.columns.header,
        {name: column[rows] for name, column in table.columns.numbers.items()},
        {name: column[rows] for name, column in table.columns.words.items()},
    )
    return bind(rules, part, names, float(np.nanmax(np.abs(table.targets))))


def _save_all(path: str, table: _Table, rules: Sequence[WrittenRule], names: Sequence[str], context: Context) -> None:
    """Predictions of all rows by a model of all labels, projected."""
    everyone = np.arange(len(table.targets))
    bound = _bound(table, rules, names, everyone)
    found = outputs(fit(table.features, table.targets, context.seed, bound), table.features)
    save(path, names, projected(bound, found).values, table.rows)


def _result(
    source: str,
    table: _Table,
    rules: Sequence[WrittenRule],
    names: Sequence[str],
    labelled: Places,
    shares: Sequence[float],
    found: Sequence[_Found],
    claims: list[Claim],
) -> Result:
    errors = np.array([part.errors.mean(axis=0) for part in found])
    broken = np.array([part.broken / max(1, part.instances) for part in found])
    fewest = int(shares[0] * len(labelled))
    claims = [*claims, *_claims(found, errors, broken, shares, len(labelled))]
    rows = [
        [f"{share:.0%}", *(f"{number(float(e))} ({b:.1%})" for e, b in zip(error, part, strict=True))]
        for share, error, part in zip(shares, errors, broken, strict=True)
    ]
    told = Table(
        "Squared error of rows not trained with, in variances of the target; in brackets broken rules",
        ["of the labels", *WAYS],
        rows,
    )
    x = np.array(shares) * len(labelled)
    lines = [Line(way, x, errors[:, i]) for i, way in enumerate(WAYS)]
    plot = XYPlot("learned", "Error by the number of labels", "Rows that were not trained with.", "labelled rows",
                  "squared error, variances", lines, log_x=True)  # fmt: skip
    what = "the rule" if len(rules) == 1 else "the rules"
    answer = (
        f"With {what} the squared error of {' and '.join(names)} goes from {number(float(errors[-1, BARE]))} to {number(float(errors[-1, BOTH]))} "
        f"variances on all labels of {source}, and from {number(float(errors[0, BARE]))} to {number(float(errors[0, BOTH]))} on {fewest:,}; "
        f"no projected prediction breaks {'it' if len(rules) == 1 else 'them'}."
    )
    refused = sum(claim.note == REFUSAL for claim in claims)
    notes = [*table.notes, *([f"{refused} of {refused + len(rules)} rules: {REFUSAL}"] if refused else [])]
    if not broken[:, BARE].any():
        answer = f"Without {what}, too, no prediction for {source} broke {'it' if len(rules) == 1 else 'them'}: nothing is left to gain."
    data = {
        "kept": [rule.text for rule in rules],
        "shares": list(shares),
        "ways": list(WAYS),
        "errors": errors,
        "broken": broken,
    }
    return Result(answer, claims, [told], [plot], notes, data)


def _claims(
    found: Sequence[_Found], errors: Floats, broken: Floats, shares: Sequence[float], labelled: int
) -> list[Claim]:
    gains = errors[:, BARE] - errors[:, BOTH]
    paired = found[-1].errors[:, PROJECTED] - found[-1].errors[:, BARE]
    half = 1.96 * paired.std() / np.sqrt(len(paired))
    claims = [
        held("with the projection no rule is broken", f"{broken[-1, BOTH]:.1%}, {broken[-1, BARE]:.1%} without", "none",
             broken[:, [PROJECTED, BOTH]].max() == 0),
        held("the projection does not raise the squared error", f"{paired.mean():+.2g} ± {half:.1g} variances", "at most 0",
             bool(paired.mean() <= 1e-9 * errors[-1, BARE] or paired.mean() - half <= 0), "Paired over rows not trained with."),
        held("a penalty in the loss makes new predictions obey", f"{broken[-1, SOFT]:.1%} broken, {broken[-1, BARE]:.1%} without it",
             "next to none", bool(broken[-1, SOFT] < 0.01)),
    ]  # fmt: skip
    if len(shares) > 1 and broken[0, BARE] > 0:  # else the rules had nothing to give
        claims.append(
            held(
                "the rules are worth more where data are scarce",
                f"gain {number(float(gains[0]))} on {shares[0]:.0%} of {labelled:,} labels, {number(float(gains[-1]))} on all",
                "larger on fewer",
                bool(gains[0] > gains[-1]),
                "Of the squared error, in variances of the target: penalty and projection against data alone.",
            )
        )
    return claims
