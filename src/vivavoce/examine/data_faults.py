"""bad-input and unnormalised-input: what the data bring with them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from vivavoce.examine.activation_scale import scale_of
from vivavoce.examine.detector import Detector
from vivavoce.examine.finding import Evidence, Finding, Remedy, RuledOut, Where
from vivavoce.examine.progress import Progress
from vivavoce.examine.reading import LAYERS, at, first_nonfinite, last_phase, where
from vivavoce.examine.symmetric_weights import zero_at_start
from vivavoce.examine.units import Share, shares
from vivavoce.measure.robust import median
from vivavoce.record.entities import Loader
from vivavoce.record.run import Run

LARGE_BIAS = 2.0  # root of the mean square of a layer's biases: tanh and sigmoid are nearly flat there
LARGE = 10.0  # largest of |mean| and deviation of the inputs; UMLAUT asks for values in [−1, 1], which sound and tables exceed
COPED = 0.15  # fraction of the reference loss: a network that came below it has coped with its inputs
USUAL_SCALE = (0.2, 3.0)  # times PyTorch's default norm: initialisations in use (activation_scale.py)
SATURATED = 0.8  # fraction of a module's outputs, from the first step on
EARLY = 2  # samples: what one network hands to another grows with the training, data do not
MOST_CONSTANT = 0.999  # fraction of features that do not vary over the batch: the examples are all alike


class BadInput(Detector):
    """Inputs that are NaN or infinite, or the same for every example."""

    slug = "bad-input"
    question = 0
    explains = ("non-finite", "guessing", "underfitting", "exploding-gradients", "learning-rate-too-high",
                "dead-units", "label-noise", "capacity-too-small")  # fmt: skip

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """Look at the sampled inputs, and at events that name one."""
        events = [event for event in run.events("non-finite") if event.data.get("what") == "input"]
        broken = run.series("input", None, "nonfinite").finite
        lost = first_nonfinite(run)
        bad = (broken.maximum > 0) & (
            broken.steps <= (run.steps if lost is None else lost)
        )  # later ones follow from it
        if events or bad.any():
            steps = [event.step for event in events] + ([int(broken.steps[bad][0])] if bad.any() else [])
            yield _broken(run, min(steps), float(broken.maximum.max()) if bad.any() else 1.0)
            return
        constant = run.series("input", None, "constant_features").finite
        if len(constant) >= 3 and median(constant.mean) >= MOST_CONSTANT and _stuck(run) and not zero_at_start(run):
            yield _constant(run, median(constant.mean))
        elif len(broken):
            yield RuledOut(self.slug, f"finite, standard deviation {median(run.series('input', None, 'std').mean):.2g}")


class UnnormalisedInput(Detector):
    """Inputs far from mean 0 and deviation 1, and a network that cannot cope."""

    slug = "unnormalised-input"
    question = 0
    explains = ("discriminator-dominates", "mode-collapse", "generator-dominates",
                "exploding-gradients", "learning-rate-too-high", "gradient-spikes", "dead-units",
                "saturated-units", "guessing", "activation-scale", "oscillating-loss", "underfitting",
                "non-finite", "vanishing-gradients", "stopped-too-early", "class-ignored", "learning-rate-too-low",
                "label-noise", "capacity-too-small")  # fmt: skip

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """Large inputs that the network copes with (a normalisation layer comes first, say) are no fault."""
        large_inside = _saturated_from_the_start(run)
        sizes = [size for track in run.tracks("input") if track.owner and (size := _size(run, track.owner)) is not None]
        if large_inside and all(max(abs(mean), deviation) < LARGE for _, mean, deviation in sizes):
            yield _inside(run, large_inside)
            return
        if not sizes:
            return
        owner, mean, deviation = max(sizes, key=lambda item: max(abs(item[1]), item[2]))
        if max(abs(mean), deviation) < LARGE:
            yield RuledOut(self.slug, f"inputs have mean {mean:.2g} and deviation {deviation:.2g}")
        elif _stuck(run) or _passed_on(run, owner):
            yield _large(run, mean, deviation, stuck=_stuck(run))


def _size(run: Run, owner: tuple[str, int]) -> tuple[tuple[str, int], float, float] | None:
    """A model, and mean and deviation of its input in the last phase, or at its beginning where that was smaller."""
    mean, deviation = (run.series("input", owner, column).finite for column in ("mean", "std"))
    begun = last_phase(run)
    late = (mean.steps > begun) & (deviation.mean >= 0) if len(mean) == len(deviation) else np.zeros(0, dtype=np.bool_)
    if not late.any():  # the last phase was not sampled: the others had the same data, probably
        late = np.ones(len(mean), dtype=np.bool_) if len(mean) == len(deviation) else late
    if not late.any():
        return None
    means, deviations = mean.mean[late], deviation.mean[late]
    pairs = [(median(means[:EARLY]), median(deviations[:EARLY])), (median(means), median(deviations))]
    return owner, *min(pairs, key=lambda pair: max(abs(pair[0]), pair[1]))


def _saturated_from_the_start(run: Run) -> Share | None:
    """The first squashing layer is saturated before any step, although its weights are of usual size: what comes in is large."""
    progress, scale = Progress.of(run), scale_of(run)
    found = shares(run, "activation_saturated")
    if not found or progress is None or not progress.bounded or not progress.remaining > COPED:
        return None
    first = min(found, key=lambda share: share.module.id)
    before = [
        m for m in run.modules.values() if m.id < first.module.id and m.model == first.module.model and not m.functional
    ]
    if sum(m.class_name in LAYERS for m in before) > 1 or any(m.class_name.startswith("Embedding") for m in before):
        return None  # what comes in was made by other layers
    usual = scale is not None and USUAL_SCALE[0] < scale.ratios[0] < USUAL_SCALE[1] and not _large_biases(run)
    return first if usual and first.initial >= SATURATED and first.late >= SATURATED else None


def _large_biases(run: Run) -> bool:
    """Some layer's biases began at sizes that saturate a unit by themselves."""
    for track in run.tracks("weight_norm"):
        for id, norm in zip(track.columns, track.mean[0] if len(track) else (), strict=False):
            parameter = run.parameters.get(int(id))
            if (
                parameter is not None
                and parameter.name.endswith("bias")
                and norm > LARGE_BIAS * math.sqrt(math.prod(parameter.shape))
            ):
                return True
    return False


def _passed_on(run: Run, owner: tuple[str, int]) -> bool:
    """Nothing normalises the inputs: the first layer's outputs are large, too, or saturate what follows."""
    progress = Progress.of(run)
    if progress is None or (progress.players < 2 and not progress.bounded):
        return False
    if any(share.initial >= SATURATED and share.late >= SATURATED for share in shares(run, "activation_saturated")):
        return True
    first = [track.mean[:, 0] for track in run.tracks("activation_std") if track.owner == owner and len(track)]
    coped = progress.players < 2 and not progress.remaining > COPED
    return bool(first) and median(first[0]) >= LARGE and not coped


def _stuck(run: Run) -> bool:
    progress = Progress.of(run)
    return progress is None or (progress.bounded and not progress.learned and progress.had_room)


def train_loader(run: Run) -> Loader | None:
    """The loader that is iterated in training."""
    return next((loader for loader in run.loaders.values() if loader.role == "train"), None)


def _where(run: Run, step: int) -> Where:
    loader = train_loader(run)
    return where(loader.site if loader else None, first_step=step, last_step=max(step, run.steps))


def _broken(run: Run, step: int, count: float) -> Finding:
    return Finding(
        slug=BadInput.slug,
        severity="critical",
        confidence=0.98,
        question=BadInput.question,
        title="The inputs are broken",
        why=f"The inputs of the model held {count:,.0f} NaN or infinite values at step {step:,}: all that is computed from them is lost.",
        where=_where(run, step),
        evidence=(Evidence("NaN or infinite input values in a batch", count, "count", 0.0, "none is allowed"),),
        remedies=(
            Remedy(
                "clean-input",
                "find and mend them before the first batch",
                "assert torch.isfinite(x).all(); x = torch.nan_to_num(x)",
            ),
        ),
    )


def _constant(run: Run, share: float) -> Finding:
    return Finding(
        slug=BadInput.slug,
        severity="critical",
        confidence=0.85,
        question=BadInput.question,
        title="The inputs are the same for every example",
        why=f"{share:.0%} of the input features do not vary over a batch, and the loss does not fall.",
        where=_where(run, 0),
        evidence=(Evidence("constant features", share, "fraction", MOST_CONSTANT, "all"),),
        remedies=(
            Remedy("check-loading", "look at what the loader delivers", "x, y = next(iter(loader)); print(x.std(0))"),
        ),
    )


def _inside(run: Run, share: Share) -> Finding:
    return Finding(
        slug=UnnormalisedInput.slug,
        severity="warning",
        confidence=0.75,
        question=UnnormalisedInput.question,
        title="The inputs are not normalised",
        why=(
            f"{share.initial:.0%} of the outputs of {share.module.name} ({share.module.class_name}) are saturated before the first step, although "
            f"the weights before it are of the usual size: what it is given must be large, by the data or by a factor in forward()."
        ),
        where=where(share.module.site, layer=share.module.name, first_step=1, last_step=run.steps),
        evidence=(Evidence(f"saturated outputs of {share.module.name}", share.initial, "fraction", SATURATED, "before the first step"),),
        remedies=(
            Remedy("normalise-input", "mean 0 and deviation 1, with the numbers of the training set", "x = (x - x.mean(0)) / x.std(0)"),
        ),
    )  # fmt: skip


def _large(run: Run, mean: float, deviation: float, stuck: bool) -> Finding:
    loader = train_loader(run)
    harm = (
        "the network cannot cope: the loss does not fall"
        if stuck
        else "nothing normalises them: the first layer passes them on as large"
    )
    return Finding(
        slug=UnnormalisedInput.slug,
        severity="critical" if stuck else "warning",
        confidence=0.85 if stuck else 0.7,
        question=UnnormalisedInput.question,
        title="The inputs are not normalised",
        why=f"The inputs have mean {mean:.3g} and deviation {deviation:.3g} (usual: 0 and 1), and {harm}.",
        where=_where(run, 0),
        evidence=(
            Evidence(
                "deviation of the inputs", deviation, "", LARGE, "UMLAUT: values in [−1, 1]; ten times that is allowed"
            ),
            Evidence("mean of the inputs", mean, "", LARGE, "SageMaker Debugger: 0.2"),
        ),
        remedies=(
            Remedy(
                "normalise-input",
                "mean 0 and deviation 1, with the numbers of the training set",
                f"x = (x - {mean:.3g}) / {deviation:.3g}  # behind {at(loader.site if loader else None, 'the loader')}",
            ),
        ),
    )
