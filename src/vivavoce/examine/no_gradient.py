"""no-gradient: parameters in an optimizer that never receive a gradient."""

from __future__ import annotations

from collections.abc import Iterator

from vivavoce.examine.detector import Detector
from vivavoce.examine.finding import Evidence, Finding, Remedy, RuledOut, Severity
from vivavoce.examine.progress import Progress
from vivavoce.examine.reading import NO_GRADIENT, at, held, layer_of, optimizer_track, scalars, some, where
from vivavoce.examine.sensitivity import as_drawn
from vivavoce.examine.units import shares
from vivavoce.record.entities import Optimizer, Parameter
from vivavoce.record.run import Run
from vivavoce.record.tracks import Track

FEWEST_ROWS = 5  # recorded steps without a gradient
MOST = 0.5  # fraction of the optimizer's scalars
SLIGHT = 0.02  # fraction: a bias that cannot matter (before a derivative, or a normalisation) explains no failure
BLOCKED = 0.99  # fraction of dead or saturated units that lets no gradient through


class NoGradient(Detector):
    """The gradient is None at every step: detached from the loss, cleared before the step, or frozen."""

    slug = "no-gradient"
    question = 2
    explains = ("guessing", "underfitting", "vanishing-gradients", "learning-rate-too-low", "stopped-too-early",
                "class-ignored", "label-noise", "capacity-too-small", "batch-too-large", "learning-rate-too-high",
                "exploding-gradients", "mode-collapse", "discriminator-dominates", "generator-dominates")  # fmt: skip

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """Judge each optimizer's parameters; frozen ones count only where nothing else explains a useless run."""
        looked, quiet = False, False
        for optimizer, tracks in _with_tracks(run):
            rows, present, silent = _silent(run, tracks)
            quiet = quiet or bool(silent)
            if rows < FEWEST_ROWS:
                continue
            looked = True
            detached = [p for p in silent if p.trainable]
            frozen = [p for p in silent if not p.trainable]
            if detached:
                yield _detached(run, optimizer, detached, present)
            elif scalars(frozen) >= MOST * max(1, scalars(present)) and _stuck(run):
                yield _frozen(run, optimizer, frozen, present, "and the loss does not fall")
            elif scalars(frozen) >= MOST * max(1, scalars(present)) and _random(run, optimizer, frozen):
                yield _frozen(
                    run,
                    optimizer,
                    frozen,
                    present,
                    "their weights are as PyTorch draws them, and much of the loss is left",
                )
            elif _all_zero(run, tracks):
                yield _zeroed(run, optimizer, present)
        unreached = _unreached(run)
        if unreached is not None:
            yield _unused(run, *unreached)
        elif looked and not quiet:
            yield RuledOut(self.slug, "every parameter in an optimizer received gradients")


def _with_tracks(run: Run) -> list[tuple[Optimizer, list[Track]]]:
    """Each optimizer with the tracks of its gradients. Scripts that make one for each task have thousands."""
    tracks: dict[int, list[Track]] = {}
    for track in run.tracks("gradient_norm"):
        if track.owner is not None and len(track):
            tracks.setdefault(track.owner[1], []).append(track)
    return [(optimizer, tracks.get(optimizer.id, [])) for optimizer in run.optimizers.values()]


def _silent(run: Run, tracks: list[Track]) -> tuple[int, list[Parameter], list[Parameter]]:
    """Rows looked at, the optimizer's parameters, and those among them that had no gradient at any step."""
    rows = 0
    has: dict[int, bool] = {}
    for track in tracks:
        rows += int(track.counts.sum())
        for label in track.columns:
            column = track.column(label)
            seen = bool(((column.maximum != NO_GRADIENT) | (column.nonfinite > 0)).any())
            has[int(label)] = has.get(int(label), False) or seen
    present = [run.parameters[id] for id in has if id in run.parameters]
    return rows, present, [p for p in present if not has[p.id]]


def _all_zero(run: Run, tracks: list[Track]) -> bool:
    """Every gradient is exactly zero at every step, and no unit is at fault: they were zeroed before the step saw them."""
    zero = all(
        not track.nonfinite.any() and (track.maximum <= 0).all() and (track.maximum == 0).any() for track in tracks
    )
    if not tracks or not zero or run.events("scaler-skip") or not _stuck(run):
        return False
    both = [share for name in ("activation_dead", "activation_saturated") for share in shares(run, name)]
    return all(share.late < BLOCKED for share in both)


def _zeroed(run: Run, optimizer: Optimizer, present: list[Parameter]) -> Finding:
    why = (
        f"Every gradient is exactly zero whenever the optimizer made at {at(optimizer.site)} steps, although the loss depends on the "
        f"parameters: they are cleared between backward() and step()."
    )
    found = _finding(run, optimizer, present, why, "critical", 1.0, 0.93)
    edit = f"optimizer.zero_grad()  # before backward(), or after {at(optimizer.step_site, 'step()')}"
    return found.with_(
        remedies=(Remedy("clear-before-backward", "clear the gradients before backward(), or after the step", edit),)
    )


def _unreached(run: Run) -> tuple[Optimizer, list[Parameter], list[Parameter]] | None:
    """An optimizer that never stepped, with parameters that no loss reaches, beside parameters of the same model that one does."""
    stepped = {track.owner[1] for track in run.tracks("gradient_norm") if track.owner and len(track)}
    for optimizer in run.optimizers.values():
        if optimizer.id in stepped:
            continue
        own = [p for p in run.parameters.values() if optimizer.id in p.optimizers or p.id in held(optimizer)]
        lost = [p for p in own if p.trainable and p.reached is False]
        beside = [p for p in run.parameters.values() if p.reached and p.model in {q.model for q in lost}]
        if lost and beside:
            return optimizer, lost, [*lost, *beside]
    orphans = [
        p
        for p in run.parameters.values()
        if p.trainable and p.reached is False and not p.optimizers and p.model is not None
    ]
    return _of_part(run, orphans, stepped)


def _of_part(
    run: Run, orphans: list[Parameter], stepped: set[int]
) -> tuple[Optimizer, list[Parameter], list[Parameter]] | None:
    """Parameters that no loss reaches and no optimizer holds: grave where they are most of a model that learns nothing."""
    models = {p.model for p in orphans}
    beside = [p for p in run.parameters.values() if p.reached and p.optimizers and p.model in models]
    progress = Progress.of(run)
    slow = progress is not None and progress.bounded and progress.had_room and progress.remaining > MOST
    optimizer = next((run.optimizers[id] for id in sorted(stepped) if id in run.optimizers), None)
    if not beside or not slow or optimizer is None or scalars(orphans) < MOST * scalars([*orphans, *beside]):
        return None
    return optimizer, orphans, [*orphans, *beside]


def _unused(run: Run, optimizer: Optimizer, lost: list[Parameter], model: list[Parameter]) -> Finding:
    fraction = scalars(lost) / max(1, scalars(model))
    layers = list(dict.fromkeys(layer_of(p) for p in lost))
    why = (
        f"No loss reaches {some(layers)} ({fraction:.0%} of the scalars), although they are trainable: what they make is detached, "
        f"or computed under no_grad, before it enters the loss."
    )
    severity: Severity = "critical" if fraction >= MOST or _stuck(run) else "warning"
    return _finding(run, optimizer, lost, why, severity, fraction, 0.85)


def _stuck(run: Run) -> bool:
    progress = Progress.of(run)
    return progress is not None and progress.bounded and not progress.learned and progress.had_room


def _is_prefix(silent: list[Parameter], present: list[Parameter]) -> bool:
    """The silent parameters are the first ones of the model: the graph was cut behind them."""
    return {p.id for p in silent} == {p.id for p in sorted(present, key=lambda p: p.id)[: len(silent)]}


def _detached(run: Run, optimizer: Optimizer, silent: list[Parameter], present: list[Parameter]) -> Finding:
    fraction = scalars(silent) / max(1, scalars(present))
    layers = list(dict.fromkeys(layer_of(p) for p in silent))
    everything = len(silent) == len(present)
    severity: Severity = (
        "critical"
        if fraction >= MOST
        else "warning"
        if _is_prefix(silent, present) or (fraction >= SLIGHT and _stuck(run))
        else "note"
    )
    if everything and all(p.reached for p in silent):
        reason = "the loss reaches them, so the gradients are cleared between backward() and step()"
    elif everything:
        reason = "the loss does not depend on them: it is detached, or made by another model"
    elif _is_prefix(silent, present):
        last = layer_of(sorted(silent, key=lambda p: p.id)[-1])
        reason = f"the graph is cut behind {last} (detach(), no_grad, .data, a conversion to NumPy)"
    else:
        reason = "the forward pass does not use them, or detaches what they make"
    subject = "No parameter" if everything else f"{len(silent)} of {len(present)} parameters"
    verb = (
        "ever received a gradient"
        if everything
        else f"({some(layers)}; {fraction:.0%} of the scalars) never received a gradient"
    )
    why = f"{subject} in the optimizer made at {at(optimizer.site)} {verb}: {reason}."
    return _finding(run, optimizer, silent, why, severity, fraction, 0.95 if severity == "critical" else 0.8)


def _random(run: Run, optimizer: Optimizer, frozen: list[Parameter]) -> bool:
    """Most of the frozen weights are random ones, not learned before, and the rest does not learn the task alone."""
    progress, track = Progress.of(run), optimizer_track(run, "weight_norm", optimizer)
    if progress is None or not progress.bounded or not progress.remaining > MOST or track is None or not len(track):
        return False
    norms = {int(id): float(norm) for id, norm in zip(track.columns, track.mean[0], strict=True)}
    return as_drawn(frozen, norms)


def _frozen(run: Run, optimizer: Optimizer, frozen: list[Parameter], present: list[Parameter], harm: str) -> Finding:
    fraction = scalars(frozen) / max(1, scalars(present))
    why = f"{fraction:.0%} of the scalars in the optimizer have requires_grad False, {harm}."
    return _finding(run, optimizer, frozen, why, "warning", fraction, 0.6)


def _finding(
    run: Run,
    optimizer: Optimizer,
    silent: list[Parameter],
    why: str,
    severity: Severity,
    fraction: float,
    confidence: float,
) -> Finding:
    return Finding(
        slug=NoGradient.slug,
        severity=severity,
        confidence=confidence,
        question=NoGradient.question,
        title="Parameters in the optimizer never receive a gradient",
        why=why,
        where=where(
            optimizer.site,
            layer=layer_of(silent[0]),
            parameter=silent[0].name,
            first_step=silent[0].first_step,
            last_step=run.steps,
        ),
        evidence=(
            Evidence(
                "scalars that never had a gradient",
                fraction,
                "fraction of the optimizer",
                MOST,
                "above it the finding is critical",
            ),
        ),
        remedies=(
            Remedy(
                "reattach",
                "keep the graph whole between these parameters and the loss",
                f"# no .detach(), .data, .item(), torch.no_grad() after {layer_of(silent[-1])}",
            ),
            Remedy(
                "unfreeze",
                "let them receive gradients",
                f"model.get_parameter({silent[0].name!r}).requires_grad_(True)",
            ),
            Remedy(
                "drop",
                "or leave them out of the optimizer, if they are meant to stay",
                "[p for p in model.parameters() if p.requires_grad]",
            ),
        ),
    )
