"""vanishing-gradients: the first layers receive next to nothing of the gradient."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from vivavoce.examine.detector import Detector
from vivavoce.examine.finding import Evidence, Finding, Remedy, RuledOut
from vivavoce.examine.progress import Progress
from vivavoce.examine.reading import Weights, column_median, layer_of, main_optimizer, weights_of, where
from vivavoce.examine.underfitting import is_flat
from vivavoce.measure.trend import robust_trend
from vivavoce.record.entities import Optimizer
from vivavoce.record.run import Run

RATIO = 1e-3  # first over last layer, of ‖g‖/‖w‖ (AUTOTRAINER: ratio below 1e-3)
DECAY_Z = 2.0  # Mann–Kendall statistic of the growth with depth: one layer out of line is not vanishing
MUCH_LEFT = 0.5  # fraction of chance level: a loss that came to rest there learned what the last layers alone could
NOTHING = 0.95  # fraction of chance level
WAITED = 0.5  # of the run there: the last layers learn once the others have moved
FEWEST_LAYERS = 4  # weight matrices: with fewer there is no depth to vanish over
EARLY = 10  # samples from the start


class VanishingGradients(Detector):
    """‖g‖/‖w‖ shrinks layer by layer towards the input, by a factor of 1,000 or more, and the network does not learn."""

    slug = "vanishing-gradients"
    question = 5
    explains = ("guessing", "learning-rate-too-low", "underfitting", "stopped-too-early", "class-ignored",
                "label-noise", "capacity-too-small", "batch-too-large")  # fmt: skip

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """Compare the layers with one another, never with an absolute size."""
        optimizer = main_optimizer(run)
        weights = weights_of(run, optimizer) if optimizer else None
        if optimizer is None or weights is None:
            return
        profile, kept = depth_profile(weights)
        if len(kept) < FEWEST_LAYERS:
            return
        ratio = float(profile[0] / profile[-1])
        z = robust_trend(np.arange(len(profile), dtype=np.float64), np.log(profile)).z
        progress = Progress.of(run)
        if ratio > RATIO or z < DECAY_Z:
            yield RuledOut(self.slug, f"‖g‖/‖w‖ of the first layer is {ratio:.2g} × that of the last")
        elif progress is not None and progress.learned and not _held_up(progress):
            yield RuledOut(self.slug, f"the loss fell to {progress.end:.3g} although the first layers receive little")
        elif progress is not None and progress.bounded and progress.had_room:
            yield _finding(run, optimizer, weights, profile, kept)


def _held_up(progress: Progress) -> bool:
    """Much is left of a loss that came to rest, or that did not move for half of the run."""
    return progress.remaining > MUCH_LEFT and (is_flat(progress) or _waited(progress) > WAITED)


def _waited(progress: Progress) -> float:
    """The fraction of the run that the loss stayed at chance level; 0 where that is not known."""
    chance = progress.chance
    return float((progress.levels > NOTHING * chance).mean()) if chance is not None and progress.learned else 0.0


def depth_profile(weights: Weights) -> tuple[NDArray[np.float64], list[int]]:
    """Median ‖g‖/‖w‖ of each weight over the first samples, in order of depth, and the indices of those above zero."""
    relative = column_median(weights.relative[:EARLY])
    kept = [i for i, value in enumerate(relative) if np.isfinite(value) and value > 0]
    return relative[kept], kept


def _finding(
    run: Run, optimizer: Optimizer, weights: Weights, profile: NDArray[np.float64], kept: list[int]
) -> Finding:
    first, last = weights.parameters[kept[0]], weights.parameters[kept[-1]]
    per_layer = float((profile[0] / profile[-1]) ** (1 / (len(profile) - 1)))
    activation = _activations(run)
    progress = Progress.of(run)
    rests = progress is not None and progress.learned
    course = "does not fall"
    if progress is not None and rests:
        waited = _waited(progress)
        came = f"came to rest at {progress.end:.3g}"
        course = f"stayed at chance level for {waited:.0%} of the run" if waited > WAITED else came
    why = (
        f"Of the gradient that {last.name} receives, relative to its size, {first.name} receives {profile[0] / profile[-1]:.1e}: "
        f"each of {len(profile)} layers passes on {per_layer:.2g} of it{activation}, and the loss {course}."
    )
    return Finding(
        slug=VanishingGradients.slug,
        severity="warning" if rests else "critical",
        confidence=0.75 if rests else 0.92,
        question=VanishingGradients.question,
        title="The gradients vanish on the way to the first layers",
        why=why,
        where=where(
            None,
            layer=layer_of(first),
            parameter=first.name,
            first_step=int(weights.steps[0]),
            last_step=run.steps,
        ),
        evidence=(
            Evidence(
                "‖g‖/‖w‖, first over last layer",
                float(profile[0] / profile[-1]),
                "",
                RATIO,
                "AUTOTRAINER (ICSE 2021): 1e-3",
            ),
            Evidence("passed on by each layer", per_layer, "fraction"),
        ),
        remedies=(
            Remedy(
                "relu",
                "an activation that does not saturate, with matching initialisation",
                "nn.ReLU() with nn.init.kaiming_normal_(layer.weight)",
            ),
            Remedy(
                "normalisation", "normalise between the layers", "nn.LayerNorm(width) after each nn.Linear(…, width)"
            ),
            Remedy("residual", "add the input of each block to its output", "x = x + block(x)"),
        ),
    )


def _activations(run: Run) -> str:
    """The saturating activations of the network, in words."""
    names = {module.class_name for module in run.modules.values()}
    found = sorted(name for name in names if name.lower() in {"sigmoid", "tanh", "softsign", "hardtanh", "hardsigmoid"})
    return f" ({', '.join(found)})" if found else ""
