"""non-finite: the loss, a gradient, a weight or an input became NaN or infinite."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vivavoce.examine.detector import Detector
from vivavoce.examine.finding import Evidence, Finding, Remedy, RuledOut, Where
from vivavoce.examine.reading import at
from vivavoce.record.entities import Event, Site
from vivavoce.record.run import Run

FEWEST_STEPS = 5  # steps before "all values are finite" excludes anything

#: What makes each operation break, and what to write instead. Keys: the start of the operation's name.
KNOWN_BREAKS: tuple[tuple[str, str, str], ...] = (
    ("Log", "the logarithm of zero or of a negative number", "torch.log(x.clamp_min(1e-8)), or log_softmax / logsigmoid on logits"),
    ("Sqrt", "the derivative of a square root is infinite at zero", "torch.sqrt(x + 1e-8)"),
    ("LinalgVectorNorm", "the derivative of a norm is 0/0 at the zero vector", "torch.sqrt((x * x).sum(-1) + 1e-8)"),
    ("Norm", "the derivative of a norm is 0/0 at the zero vector", "torch.sqrt((x * x).sum(-1) + 1e-8)"),
    ("Div", "a division by zero", "x / (y + 1e-8); guard the denominator before dividing, not the quotient after"),
    ("Where", "the branch that torch.where drops still has its gradient, NaN times zero is NaN",
     "safe = torch.where(y == 0, 1, y); torch.where(y == 0, 0, x / safe)"),
    ("Pow", "a power that is singular at zero", "x.clamp_min(1e-8).pow(p)"),
    ("Exp", "the exponential of a large number overflows", "torch.exp(x.clamp_max(80)), or work with logarithms"),
    ("Acos", "the derivative of acos is infinite at ±1", "torch.acos(x.clamp(-1 + 1e-6, 1 - 1e-6))"),
    ("Std", "the derivative of a standard deviation is 0/0 where all values are equal", "torch.sqrt(x.var() + 1e-8)"),
)  # fmt: skip


class NonFinite(Detector):
    """A NaN or infinity in a loss or gradient: where it began, and by which operation."""

    slug = "non-finite"
    question = 5

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """Find the first broken step, count the others."""
        broken, total = _broken_losses(run)
        gradient_step = _first_broken_gradient(run)
        events = [event for event in run.events("non-finite") if event.data.get("what") != "input"]
        steps = [step for step in (_first_broken_loss(run), gradient_step) if step is not None]
        steps += [event.step for event in events]
        if not steps:
            if total >= FEWEST_STEPS:
                yield _validation(run, total) or RuledOut(self.slug, f"all {total:,} losses are finite")
            return
        if not broken and _handled(run):
            yield RuledOut(self.slug, "GradScaler skipped the steps whose gradients overflowed, as it is meant to")
            return
        yield _finding(run, min(steps), min(events, key=lambda e: e.step, default=None), broken, total)


def _broken_losses(run: Run) -> tuple[int, int]:
    """Recorded losses that were NaN or infinite, of how many."""
    tracks = run.tracks("train/loss")
    return sum(int(track.nonfinite.sum()) for track in tracks), sum(int(track.counts.sum()) for track in tracks)


def _first_broken_loss(run: Run) -> int | None:
    return _first(run, "train/loss")


def _first_broken_gradient(run: Run) -> int | None:
    return _first(run, "gradient_norm")


def _first(run: Run, name: str) -> int | None:
    steps = [int(track.steps[track.nonfinite.any(axis=1)][0]) for track in run.tracks(name) if track.nonfinite.any()]
    return min(steps, default=None)


def _handled(run: Run) -> bool:
    """Every overflow was one that GradScaler caught: the losses and the recorded gradients stayed finite."""
    return bool(run.events("scaler-skip")) and _first_broken_gradient(run) is None


def _finding(run: Run, step: int, event: Event | None, broken: int, total: int) -> Finding:
    data = _with_replay(run, event.data) if event else {}
    operation = str(data.get("op") or "")
    module = run.modules.get(data.get("module", -1))
    site = Site(str(data["file"]), int(data.get("line") or 1)) if data.get("file") else None
    reason, edit = _explain(operation)
    names = [run.parameters[id].name for id in data.get("parameters", ()) if id in run.parameters]
    subject = f"the {data.get('what', 'loss or gradient')} first held a {_value(data)} at step {step:,}"
    by = f", made by {operation.removesuffix('Backward0')}" if operation else ""
    inside = f" in {module.name} ({module.class_name})" if module else ""
    line = f" at {at(site)}" if site else ""
    code = f" (`{str(data['code']).strip()}`)" if data.get("code") else ""
    share = f"; {broken:,} of {total:,} losses are not finite" if broken else ""
    return Finding(
        slug=NonFinite.slug,
        severity="critical",
        confidence=0.99,
        question=NonFinite.question,
        title="Values became NaN or infinite",
        why=f"{subject[0].upper()}{subject[1:]}{by}{inside}{line}{code}{share}."
        + (f" {reason[0].upper()}{reason[1:]}." if reason else ""),
        where=Where(
            layer=module.name if module else None,
            parameter=names[0] if names else None,
            first_step=step,
            last_step=max(step, run.steps),
            file=site.file if site else None,
            line=site.line if site else None,
        ),
        evidence=(
            Evidence("first non-finite step", float(step), "step"),
            Evidence(
                "non-finite losses",
                broken / total if total else float("nan"),
                "fraction",
                0.0,
                "raw value given to backward()",
            ),
        ),
        remedies=_remedies(operation, edit, site),
    )


def _validation(run: Run, total: int) -> Finding | None:
    """The validation loss is NaN or infinite to the end while the training's never was."""
    for track in run.tracks("val/loss"):
        broken = track.nonfinite[:, track.columns.index("loss")] > 0
        if not len(track) or not broken[-1]:
            continue
        site = run.losses[track.owner[1]].site if track.owner and track.owner[1] in run.losses else None
        first = int(track.steps[broken][0])
        return Finding(
            slug=NonFinite.slug,
            severity="warning",
            confidence=0.9,
            question=NonFinite.question,
            title="The validation loss is NaN or infinite",
            why=(
                f"The validation loss{f' at {at(site)}' if site else ''} is not finite in {int(broken.sum()):,} of {len(track):,} passes, "
                f"first after step {first:,}, while all {total:,} training losses are finite: a NaN in the validation data, or in what "
                f"the model does in evaluation mode alone."
            ),
            where=Where(None, None, first, run.steps, site.file if site else None, site.line if site else None),
            evidence=(Evidence("validation passes that are not finite", float(broken.mean()), "fraction", 0.0),),
            remedies=(
                Remedy(
                    "check-validation-data", "look for NaN in the validation data", "assert torch.isfinite(x).all()"
                ),
            ),
        )
    return None


def _with_replay(run: Run, data: dict[str, Any]) -> dict[str, Any]:
    """An event with what was learned by repeating the step on a copy, where the event itself names no line."""
    replay = next((e.data for e in run.events("replay") if e.data.get("reproduced")), None)
    if replay is None or data.get("file") or replay.get("what") != data.get("what"):
        return data
    place = {key: replay[key] for key in ("op", "layer", "module", "file", "line", "code") if key in replay}
    return {key: value for key, value in data.items() if key not in ("layer", "module")} | place


def _value(data: dict[str, object]) -> str:
    value = str(data.get("value") or "")
    return {"nan": "NaN", "inf": "infinity"}.get(value, "NaN or infinity")


def _explain(operation: str) -> tuple[str, str]:
    for name, reason, edit in KNOWN_BREAKS:
        if operation.startswith(name):
            return reason, edit
    return "", ""


def _remedies(operation: str, edit: str, site: Site | None) -> tuple[Remedy, ...]:
    place = at(site, "the place where it is made")
    specific = (
        (Remedy("guard-operation", f"guard {operation.removesuffix('Backward0')} at {place}", edit),) if edit else ()
    )
    return (
        *specific,
        Remedy(
            "detect-anomaly",
            "name the operation whose backward breaks",
            "with torch.autograd.detect_anomaly(): loss.backward()",
        ),
        Remedy(
            "full-precision",
            "rule out the range of half precision",
            "train a few hundred steps in float32, without autocast",
        ),
    )
