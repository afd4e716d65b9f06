"""clip-norm: no gradient longer than those of the healthy part of the run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import libcst as cst
import numpy as np

from vivavoce.examine.finding import Finding
from vivavoce.examine.reading import first_nonfinite, unclipped_norms
from vivavoce.record.entities import Optimizer
from vivavoce.record.run import Run
from vivavoce.remedy import live, steps
from vivavoce.remedy.changes import CannotEditError, Changes, open_source, written
from vivavoce.remedy.optimizers import models_in, optimizer_call, optimizers_of, parameters_argument, place, rounded
from vivavoce.remedy.remedy import Edit, Prescription, Remedy, Words
from vivavoce.remedy.source import Source, method_of

QUANTILE = 0.9  # of the norms before the explosion: Pascanu et al. 2013 take half to ten times the average
USUAL = 1.0  # the threshold in common use
FEWEST = 8  # norms before the explosion


class ClipNorm(Remedy):
    """`clip_grad_norm_` before the step, with a threshold from the run's own norms."""

    name = "clip-norm"
    treats = ("exploding-gradients", "gradient-spikes", "non-finite", "learning-rate-too-high")
    rank = 10
    late = True

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """The run's quantile, then the usual threshold."""
        for optimizer in optimizers_of(run, finding)[:1]:
            if optimizer.step_site is None:
                continue
            for threshold in thresholds(run, optimizer):
                where = place(optimizer.step_site, made=place(optimizer.site), optimizer=optimizer.class_name)
                title = f"clip the gradient's norm at {threshold:g}"
                yield Prescription(self.name, finding.slug, title, {"max_norm": threshold}, where)

    def apply(self, prescription: Prescription) -> None:
        """Clip in a hook of the step, ahead of Viva's own, which then reads what the step finds."""
        import torch

        held, threshold = steps.Stepped(prescription.where), prescription.numbers["max_norm"]

        def clip(optimizer: Any) -> None:
            torch.nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], threshold)

        def act(optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if optimizer not in held:
                return None
            closure = args[1] if len(args) > 1 else kwargs.get("closure")
            if closure is None:
                clip(optimizer)
                return None

            def clipped() -> Any:
                loss = closure()
                clip(optimizer)
                return loss

            return (args[0], clipped), {}

        live.before_step(act)

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """One line before the step, two with a GradScaler."""
        where, threshold = prescription.where, written(prescription.numbers["max_norm"])
        try:
            changes = Changes(source := open_source(sources, where.get("file")))
            step = steps.step_call(source, where["line"])
            statement = source.statement(step)
            if not isinstance(statement, cst.BaseSmallStatement):
                raise CannotEditError("the step is part of a larger statement")
            if step.args and steps.scaler_expression(source, step) is None:
                raise CannotEditError("the step is given a closure; clip inside it, behind backward()")
            parameters = _parameters(source, step, where)
            lines = [f"torch.nn.utils.clip_grad_norm_({parameters}, {threshold})"]
            if scaler := steps.scaler_expression(source, step):
                lines.insert(0, f"{scaler}.unscale_({steps.optimizer_expression(source, step)})")
            changes.before(statement, lines)
            changes.need("torch", "import torch")
            return changes.edit()
        except CannotEditError as error:
            text = f"torch.nn.utils.clip_grad_norm_(model.parameters(), {threshold}) before the step"
            return Words(text, str(error), where.get("file"), where.get("line"))


def thresholds(run: Run, optimizer: Optimizer) -> list[float]:
    """Norms to clip at, the likeliest first."""
    norms = unclipped_norms(run, optimizer)
    broken = first_nonfinite(run)
    healthy = norms.typical[np.isfinite(norms.typical) & (norms.typical > 0)]
    if broken is not None or len(healthy) > 2 * FEWEST:
        healthy = healthy[: max(FEWEST, len(healthy) // 2)]
    if not len(healthy):
        return [USUAL]
    own = rounded(float(np.quantile(healthy, QUANTILE)))
    median = rounded(float(np.median(healthy)) / 2)
    values = [own, USUAL, median]
    return list(dict.fromkeys(value for value in values if value > 0 and math.isfinite(value)))


def _parameters(source: Source, step: cst.Call, where: Mapping[str, Any]) -> str:
    """The parameters to clip: the model's where the optimizer holds just those and the name holds here, too."""
    optimizer = steps.optimizer_expression(source, step)
    everything = f'[p for group in {optimizer}.param_groups for p in group["params"]]'
    made = where.get("made", {})
    try:
        call = optimizer_call(source, made.get("line", -1), where.get("optimizer", ""))
        given = parameters_argument(call)
    except CannotEditError:
        return everything
    models = models_in(source, given)
    plain = isinstance(given, cst.Call) and method_of(given) == "parameters" and not given.args
    if not plain or source.code(given) != f"{models[0] if models else ''}.parameters()":
        return everything
    same_scope = source.function(call) is source.function(step)
    attribute = models[0].startswith("self.") and source.around(call, cst.ClassDef) is source.around(step, cst.ClassDef)
    return source.code(given) if same_scope or attribute else everything
