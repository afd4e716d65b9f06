"""symmetric-weights: layers that start at zero, so that all their units compute the same."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vivavoce.examine.detector import Detector
from vivavoce.examine.finding import Evidence, Finding, Remedy, RuledOut
from vivavoce.examine.progress import Progress
from vivavoce.examine.reading import Weights, layer_of, main_optimizer, some, weights_of, where
from vivavoce.record.run import Run

EARLIEST = 5  # step of the first sample: weights that are still zero then have not moved at all
FEWEST = 2  # weight matrices that start at zero: a single one (the last of a residual block, say) is a known trick


class SymmetricWeights(Detector):
    """Two or more weight matrices are zero at the first step, and the network does not learn."""

    slug = "symmetric-weights"
    question = 2
    explains = ("guessing", "dead-units", "vanishing-gradients", "no-gradient", "underfitting", "learning-rate-too-low",
                "learning-rate-too-high", "class-ignored", "stopped-too-early")  # fmt: skip

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """Only zero weights can be told from norms; equal but non-zero ones need the weights themselves."""
        optimizer = main_optimizer(run)
        weights = weights_of(run, optimizer) if optimizer else None
        if weights is None or int(weights.steps[0]) > EARLIEST:
            return
        zero = [p for p, norm in zip(weights.parameters, weights.weight[0], strict=True) if norm == 0]
        progress = Progress.of(run)
        if len(zero) < FEWEST or progress is None:
            if not zero:
                yield RuledOut(self.slug, f"the weights start with norms from {np.min(weights.weight[0]):.2g}")
        elif not progress.learned and progress.had_room:
            yield _finding(run, weights, [layer_of(p) for p in zero])


def _finding(run: Run, weights: Weights, layers: list[str]) -> Finding:
    return Finding(
        slug=SymmetricWeights.slug,
        severity="critical",
        confidence=0.93,
        question=SymmetricWeights.question,
        title="Units start identical and stay identical",
        why=(
            f"{len(layers)} of {len(weights.parameters)} weight matrices are all zero at the first step ({some(layers)}): their units "
            f"compute the same and receive the same gradient, or none, so they never become different."
        ),
        where=where(None, layer=layers[0], first_step=int(weights.steps[0]), last_step=run.steps),
        evidence=(
            Evidence(
                "weight matrices that start at zero", float(len(layers)), "count", float(FEWEST), "one may be meant"
            ),
        ),
        remedies=(
            Remedy("he-initialisation", "start from small random weights", "nn.init.kaiming_normal_(layer.weight)"),
        ),
    )
