"""How a recorded run fits: the gap between validation and training loss, since when, and what its own course says would help."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vivavoce.examine.progress import Progress
from vivavoce.examine.underfitting import limit_of
from vivavoce.examine.validation import Validation, validation_of
from vivavoce.examine.verdict import examine
from vivavoce.labs.baselines_words import interval
from vivavoce.labs.figures import Line, XYPlot
from vivavoce.labs.lab import Claim, LabError, Result, Table, held
from vivavoce.measure.paired import Difference
from vivavoce.measure.student import two_sided_p
from vivavoce.measure.trend import robust_trend
from vivavoce.record.run import Run
from vivavoce.report.words import number

Z95 = 1.96
QUESTION = 9
FEWEST_PASSES = 3  # validation passes
FALLING_Z = -2.3  # Mann–Kendall statistic, one-sided 1 %
LARGE_GAP = 0.1  # of the validation loss: below it there is little that regularisation or data could save
WORTH = 0.02  # of the best validation loss: a smaller rise is not worth stopping for
LEFT = 0.5  # of chance level: above it the network fits not even the training data (examine/underfitting.py)
FREEDOM = 1e6  # of the normal distribution, as Student's


@dataclass(frozen=True)
class State:
    """The end of a run: the gap and the rise of the validation loss since its best, each with a 95 % interval."""

    progress: Progress
    validation: Validation
    gap: Difference | None  # None where the two losses are not of one kind
    gap_since: int | None  # step from which on the gap is significant
    rise: Difference


def state_of(run: Run, name: str) -> State:
    """Raises LabError where the run has no course of a training loss, or no validation passes with the same loss."""
    progress = Progress.of(run)
    if progress is None:
        raise LabError(f"{name}: {run.steps} steps with a loss are too few to judge the fit")
    validation = validation_of(run, progress, FEWEST_PASSES)
    if validation is None:
        raise LabError(
            f"{name} has fewer than {FEWEST_PASSES} validation passes with the loss of the training"
            f" ({progress.function or 'computed by hand'}): compute the same loss under torch.no_grad() after each epoch"
        )
    if progress.players > 1:
        raise LabError(f"{name} has {progress.players} networks with losses of their own, which do not measure a fit")
    error = validation.noise * math.sqrt(math.pi / 2 / validation.end_passes)
    gap = None
    if validation.comparable:
        gap = _normal(validation.end - progress.end, math.hypot(error, progress.error))
    rise = _normal(validation.end - validation.lowest, validation.rise_error)
    return State(progress, validation, gap, _gap_since(progress, validation), rise)


def _normal(mean: float, error: float) -> Difference:
    p = two_sided_p(mean / error, FREEDOM) if error > 0 else float(mean == 0)
    return Difference(mean, mean - Z95 * error, mean + Z95 * error, p)


def _gap_since(progress: Progress, validation: Validation) -> int | None:
    if not validation.comparable:
        return None
    training = np.interp(validation.steps, progress.steps, progress.levels)
    error = math.hypot(validation.noise, progress.noise / math.sqrt(max(1, progress.rows // len(progress.levels))))
    above = validation.losses - training > Z95 * error
    first = len(above)
    while first and above[first - 1]:
        first -= 1
    return int(validation.steps[first]) if first < len(above) else None


def report(run: Run, name: str) -> Result:
    """What a run says of its fit."""
    state = state_of(run, name)
    advice = _advice(run, state)
    mine = [finding for finding in examine(run).findings if finding.question == QUESTION]
    slugs = ", ".join(finding.slug for finding in mine)
    answer = f"{name}: {_verdict(state)}. {_gap_sentence(state)} {_rise_sentence(state)}"
    rows = [[what, says, why] for what, says, why in advice]
    tables = [
        Table("What would help, by the run's own course", ["change", "would help", "because"], rows, numeric=False)
    ]
    notes = [f"The examination finds: {slugs}." if slugs else "The examination finds nothing on question 9."]
    notes.append(
        "More data cannot be judged from one run: `viva lab fit table.csv --target …` measures a learning curve."
    )
    return Result(
        answer.strip(), _claims(state), tables, [_plot(run, state)], notes, _data(state, [f.slug for f in mine])
    )


def _verdict(state: State) -> str:
    if _significant_rise(state):
        return "it overfits"
    if _still_falling(state):
        return "it is not trained to the end"
    if _stuck(state):
        return "it underfits"
    return "it neither overfits nor was stopped too early"


def _significant_rise(state: State) -> bool:
    """It rose, by enough to count, and the best pass is not one of those that the end level is made of."""
    validation = state.validation
    lasting = validation.best < len(validation.losses) - validation.end_passes
    return lasting and state.rise.low > 0 and state.rise.mean > WORTH * abs(validation.lowest)


def _still_falling(state: State) -> bool:
    losses = state.validation.losses
    half = losses[len(losses) // 2 :]
    trend = robust_trend(np.arange(len(half), dtype=np.float64), half)
    return trend.z < FALLING_Z and state.validation.best >= len(losses) - state.validation.end_passes


def _stuck(state: State) -> bool:
    chance = state.progress.chance
    return chance is not None and state.progress.bounded and state.progress.end > LEFT * chance


def _gap_sentence(state: State) -> str:
    if state.gap is None:
        return "Training and validation loss are not of one kind, so that their gap says nothing."
    since = f", since step {state.gap_since:,}" if state.gap_since is not None and state.gap.significant else ""
    return f"The gap is {interval(state.gap)} (validation {number(state.validation.end)}, training {number(state.progress.end)}){since}."


def _rise_sentence(state: State) -> str:
    best = int(state.validation.steps[state.validation.best])
    if _significant_rise(state):
        return f"Since its best at step {best:,} the validation loss rose by {interval(state.rise)}."
    return "The validation loss has not risen significantly from its best."


def _advice(run: Run, state: State) -> list[tuple[str, str, str]]:
    """Change, whether it would help, and what in the run says so."""
    best = int(state.validation.steps[state.validation.best])
    stop = f"{interval(state.rise)} above its best at step {best:,}"
    falling, stuck, limit = _still_falling(state), _stuck(state), limit_of(run)
    gap = state.gap
    large = gap is not None and gap.low > LARGE_GAP * state.validation.end
    shown = (
        "the gap is not known"
        if gap is None
        else f"the gap is {interval(gap)} of a validation loss of {number(state.validation.end)}"
    )
    left = "chance level is not known" if state.progress.chance is None else f"the training loss is {state.progress.end / state.progress.chance:.0%} of chance level"  # fmt: skip
    return [
        ("stopping earlier", "yes" if _significant_rise(state) else "no", f"the validation loss ends {stop}"),
        ("training longer", "yes" if falling else "no", f"the validation loss is {'still' if falling else 'no longer'} falling"),
        ("regularisation, or more data", "likely" if large else "hardly", shown),
        ("less regularisation", "likely" if limit else "no sign of it", limit or "nothing in the set-up holds the loss up"),
        ("more capacity", "likely" if stuck and not falling and not limit else "no sign of it", left),
    ]  # fmt: skip


def _claims(state: State) -> list[Claim]:
    claims = []
    if state.gap is not None:
        claims.append(held("validation loss and training loss are alike", f"gap {interval(state.gap)}", "no gap", not state.gap.low > 0))  # fmt: skip
    claims.append(held("the last weights are as good as the best ones", f"rise since the best {interval(state.rise)}", "none", not _significant_rise(state)))  # fmt: skip
    if state.gap is not None and state.gap.low > 0:
        rose = _significant_rise(state)
        claims.append(
            held("a gap means that it should have been stopped earlier", f"gap {number(state.gap.mean)}, rise {number(state.rise.mean)}", "both above zero", rose, "A gap shows that the training data are known better; only a rise shows that the validation data suffer.")
        )  # fmt: skip
    return claims


def _plot(run: Run, state: State) -> XYPlot:
    progress, validation = state.progress, state.validation
    lines = [
        Line("training, level", progress.steps, progress.levels),
        Line("validation", validation.steps.astype(np.float64), validation.losses),
    ]
    marks = [(float(validation.steps[validation.best]), "best")]
    if state.gap_since is not None and state.gap is not None and state.gap.significant:
        marks.append((float(state.gap_since), "gap"))
    note = "Medians of the training loss, and each validation pass."
    return XYPlot("course", "Training and validation", note, "step", progress.function or "loss", lines, marks=marks)


def _data(state: State, findings: list[str]) -> dict[str, object]:
    gap = state.gap
    return {
        "verdict": _verdict(state),
        "gap": [gap.mean, gap.low, gap.high] if gap else None,
        "gap_since": state.gap_since,
        "rise": [state.rise.mean, state.rise.low, state.rise.high],
        "best_step": int(state.validation.steps[state.validation.best]),
        "findings": findings,
    }
