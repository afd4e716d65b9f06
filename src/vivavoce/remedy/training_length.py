"""longer-training and early-stopping: another number of epochs or steps, where it is written."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import libcst as cst

from vivavoce.examine.finding import Finding
from vivavoce.examine.progress import Progress
from vivavoce.examine.validation import validation_of
from vivavoce.record.run import Run
from vivavoce.remedy.changes import CannotEditError, Changes, open_source, written
from vivavoce.remedy.constants import Constant, calls_of, follow, is_name
from vivavoce.remedy.optimizers import optimizers_of, place
from vivavoce.remedy.remedy import Edit, Prescription, Remedy, Words
from vivavoce.remedy.rewriting import rewrite
from vivavoce.remedy.source import Source, argument

LONGER = (3.0, 10.0, 30.0)  # times as long
LEAST_STOP = 0.02  # of the run: an earlier best step is that of a network that learned nothing


class TrainingLength(Remedy):
    """Multiplies the number that the training loop counts to. No wrapper could: the loop is the script's own."""

    late: ClassVar[bool] = False
    words: ClassVar[str]

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """One prescription a factor."""
        for optimizer in optimizers_of(run, finding)[:1]:
            if optimizer.step_site is not None:
                for factor in self.factors(run):
                    title = f"{self.words}: {max(1, round(run.steps * factor)):,} steps instead of {run.steps:,}"
                    where = place(optimizer.step_site, made=optimizer.site.line if optimizer.site else 0)
                    yield Prescription(self.name, finding.slug, title, {"factor": factor}, where)

    @abstractmethod
    def factors(self, run: Run) -> list[float]:
        """How many times as long the training is to be."""

    def apply(self, prescription: Prescription) -> None:
        """Let Python read the script with the other number."""
        rewrite(self, prescription)

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """Change the number where it is written."""
        where, factor = prescription.where, prescription.numbers["factor"]
        try:
            changes = Changes(source := open_source(sources, where.get("file")))
            constant = counted_to(source, where["line"], where.get("made", 0))
            changes.replace(constant.node, written(max(1, round(constant.value * factor)), whole=True))
            return changes.edit()
        except CannotEditError as error:
            text = f"train {factor:g} times as long"
            return Words(text, str(error), where.get("file"), where.get("line"))


class LongerTraining(TrainingLength):
    """Three, ten and thirty times the steps."""

    name = "longer-training"
    treats = ("capacity-too-small", "learning-rate-too-low", "batch-too-large", "underfitting", "stopped-too-early")
    rank = 60
    words = "train longer"

    def factors(self, run: Run) -> list[float]:
        """The usual ones."""
        return list(LONGER)


class EarlyStopping(TrainingLength):
    """Stop where the validation loss was lowest (Prechelt 1998)."""

    name = "early-stopping"
    treats = ("overfitting", "stopped-too-late")
    rank = 10
    words = "stop at the best validation loss"

    def factors(self, run: Run) -> list[float]:
        """The share of the run at which the validation loss was best."""
        progress = Progress.of(run)
        validation = validation_of(run, progress, 1) if progress else None
        if validation is None or run.steps <= 0:
            return []
        share = float(validation.steps[validation.best]) / run.steps
        return [round(share, 4)] if LEAST_STOP <= share < 1 else []


def counted_to(source: Source, line: int, made: int = 0) -> Constant:
    """The number that says how long the loop around a line runs: of epochs where there are any, else of steps.

    `made` is the line of the optimizer: of several calls of the training function, the first behind it counts.

    Raises:
        CannotEditError: it is computed, or not found.
    """
    inner = source.calls_at(line)
    if not inner:
        raise CannotEditError(f"no training step is seen at line {line}")
    node: cst.CSTNode = inner[0]
    found: list[Constant] = []
    seen: set[str] = set()
    while True:
        found += _counts(source, node, made)
        function = source.function(node)
        if function is None or function.name.value in seen:
            break
        seen.add(function.name.value)
        callers = _callers(source, function)
        if len(callers) != 1 or found:
            break
        node = callers[0]
    if not found:
        raise CannotEditError("how long the training runs is computed, or counted elsewhere")
    return found[-1]


def _callers(source: Source, function: cst.FunctionDef) -> list[cst.Call]:
    """Calls of a function; those of an optimizer's or scheduler's method of the same name left out."""
    calls = [call for call, _ in calls_of(source, function)]
    return [call for call in calls if not any(word in source.code(call.func).lower() for word in ("optim", "sched"))]


def _counts(source: Source, node: cst.CSTNode, made: int) -> list[Constant]:
    """What the loops around a node count to, the innermost first."""
    found = []
    for above in source.ancestors(node):
        if isinstance(above, cst.FunctionDef):
            break
        if isinstance(above, cst.For):
            constant = _range(source, above.iter, made)
        elif isinstance(above, cst.While) and isinstance(above.test, cst.Comparison):
            constant = follow(source, above.test.comparisons[-1].comparator)
        else:
            continue
        if constant is not None and constant.whole:
            found.append(constant)
    return found


def _range(source: Source, iterable: cst.BaseExpression, made: int) -> Constant | None:
    """The end of `range(…)`, also inside `tqdm(…)` or another wrapper."""
    for call in [iterable, *source.all(cst.Call, iterable)]:
        if isinstance(call, cst.Call) and is_name(call.func, "range") and call.args:
            stop = call.args[0 if len(call.args) == 1 else 1].value
            if isinstance(stop, cst.BinaryOperation) and isinstance(stop.operator, cst.Add):
                stop = stop.left
            return follow(source, stop) or _given_behind(source, stop, made)
    return None


def _given_behind(source: Source, stop: cst.BaseExpression, made: int) -> Constant | None:
    """What the first call of the function behind a line gives for one of its parameters."""
    function = source.function(stop)
    if function is None or not isinstance(stop, cst.Name):
        return None
    names = [param.name.value for param in function.params.params]
    for call, shift in calls_of(source, function):
        if stop.value in names and source.line(call) > made > 0:
            arg = argument(call, stop.value, names.index(stop.value) - shift)
            return None if arg is None else follow(source, arg.value)
    return None
