"""The ladder in words, tables and a plot."""

from __future__ import annotations

from typing import Any

import numpy as np

from vivavoce.labs.baselines_ladder import Ladder, Rung
from vivavoce.labs.figures import Line, XYPlot
from vivavoce.labs.lab import Table, require
from vivavoce.labs.tables import Examples
from vivavoce.measure.paired import Difference, corrected_t
from vivavoce.report.words import number

LEAST_LEAF = 5  # examples of a leaf of the rule that is printed


def answer(ladder: Ladder, examples: Examples) -> str:
    """The verdict in two sentences."""
    best, network = ladder.best, ladder.rungs[-1]
    loss = unit(examples)
    if best is network:
        rival = min(ladder.rungs[:-1], key=lambda rung: float(rung.losses.mean()))
        saved = ladder.saved(len(ladder.rungs) - 1)
        return (
            f"Deep learning is worth it here: the network's {loss} is {number(float(best.losses.mean()))}, that of {rival.name} "
            f"{number(float(rival.losses.mean()))}; it saves {interval(saved)}."
        )
    found = f"{best.name} reaches a {loss} of {number(float(best.losses.mean()))}"
    against = (
        f"the network {number(float(network.losses.mean()))}, which is no significant gain over all that is simpler"
    )
    if best.name == "constant":
        return f"You do not need deep learning here: nothing predicts {examples.target} better than a constant. Its {loss} is {number(float(best.losses.mean()))}, that of the network {number(float(network.losses.mean()))}."  # fmt: skip
    if best.kind == "rule":
        return f"You do not need deep learning here, nor much machine learning: a {found}, {against}."
    return f"You do not need deep learning here: {found}, {against}."


def unproven(ladder: Ladder) -> str:
    """What these rows leave open: a model above the winner whose loss is lower, but not significantly."""
    best = ladder.best
    above = [rung for rung in ladder.rungs[ladder.winner + 1 :] if rung.losses.mean() < best.losses.mean()]
    if not above:
        return ""
    rival = min(above, key=lambda rung: float(rung.losses.mean()))
    saved = corrected_t(best.losses - rival.losses, 1 / (ladder.budget.folds - 1))
    return f"Not proved on these rows: {rival.name} may save {interval(saved)} over {best.name}; more rows would tell."


def unit(examples: Examples) -> str:
    """The name of the loss."""
    return "log loss" if examples.is_classes else "mean squared error"


def interval(difference: Difference) -> str:
    """A difference with its interval."""
    return f"{number(difference.mean)} [{number(difference.low)}, {number(difference.high)}]"


def ladder_table(ladder: Ladder, examples: Examples) -> Table:
    """A row for each rung."""
    rows = []
    for place, rung in enumerate(ladder.rungs):
        shown = rung.interval(ladder.budget)
        rows.append(
            [
                f"{rung.name}{' ←' if place == ladder.winner else ''}",
                f"{number(shown.mean)} [{number(max(shown.low, 0.0))}, {number(shown.high)}]",
                score(rung, examples),
                interval(ladder.saved(place)) if place else "–",
                f"{rung.p:.2g}" if place else "–",
                f"{rung.seconds:.1f}",
                typical(rung),
            ]
        )
    heads = [
        "model",
        unit(examples),
        "accuracy" if examples.is_classes else "R²",
        "saved over the best below",
        "p",
        "seconds",
        "chosen, most often",
    ]
    about = f"{ladder.budget.folds} folds × {ladder.budget.repeats}, {ladder.budget.settings} settings each, 95 % intervals; ← is worth climbing to"
    return Table(f"The ladder on {len(examples):,} rows, {examples.x.shape[1]} features ({about})", heads, rows)


def score(rung: Rung, examples: Examples) -> str:
    """Accuracy or R², on average over the splits."""
    mean = float(np.mean(rung.score))
    return f"{100 * mean:.1f} %" if examples.is_classes else f"{mean:.3f}"


def typical(rung: Rung) -> str:
    """The setting that was chosen most often."""
    kinds, counts = np.unique(np.array(rung.choices), return_counts=True)
    return str(kinds[int(np.argmax(counts))])


def ladder_plot(ladder: Ladder, examples: Examples) -> XYPlot:
    """Loss over the rungs, with its interval."""
    shown = [rung.interval(ladder.budget) for rung in ladder.rungs]
    mean, low, high = (np.array([getattr(part, name) for part in shown]) for name in ("mean", "low", "high"))
    names = ", ".join(f"{place} {rung.name}" for place, rung in enumerate(ladder.rungs, 1))
    line = Line("test loss, 95 % interval", np.arange(1.0, len(shown) + 1), mean, np.maximum(low, 0.0), high)
    note = "The same test folds for every model. Neighbours with overlapping bands may still differ: they are compared in pairs."
    return XYPlot("ladder", "The ladder", note, f"rung: {names}", unit(examples), [line])


def rule_in_words(examples: Examples) -> str:
    """The best rule of one question on all rows: what it asks, and what it then says."""
    tree = require("sklearn.tree")
    kind = tree.DecisionTreeClassifier if examples.is_classes else tree.DecisionTreeRegressor
    found = kind(max_depth=1, min_samples_leaf=LEAST_LEAF, random_state=0).fit(examples.x, examples.y).tree_
    if found.node_count < 3:
        return ""
    name = examples.names[int(found.feature[0])]
    yes, no = (_leaf(found.value[int(side[0])][0], examples) for side in (found.children_right, found.children_left))
    asked = name if " = " in name else f"{name} above {number(float(found.threshold[0]))}"
    return f"The best single question: {asked}? If so {yes}, else {no}."


def _leaf(value: Any, examples: Examples) -> str:
    if not examples.is_classes:
        return number(float(value[0]))
    share = value / value.sum()
    best = int(np.argmax(share))
    return f"{examples.classes[best]} ({100 * share[best]:.0f} %)"


def as_data(ladder: Ladder) -> dict[str, Any]:
    """The ladder as numbers."""
    return {
        "winner": ladder.best.name,
        "needs": ladder.best.kind,
        "models": [
            {
                "name": rung.name,
                "kind": rung.kind,
                "loss": float(rung.losses.mean()),
                "interval": [rung.interval(ladder.budget).low, rung.interval(ladder.budget).high],
                "score": float(np.mean(rung.score)),
                "p": rung.p,
                "seconds": rung.seconds,
                "losses": rung.losses,
            }
            for rung in ladder.rungs
        ],
    }
