"""mode-collapse, discriminator-dominates, generator-dominates: what the game between two networks looks like from outside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vivavoce.examine.detector import Detector
from vivavoce.examine.finding import Evidence, Finding, Remedy, RuledOut
from vivavoce.examine.progress import Progress
from vivavoce.examine.reading import stepped_optimizers, where
from vivavoce.measure.robust import median
from vivavoce.record.entities import Model
from vivavoce.record.run import Run

RIVALS = 2  # optimizers that take turns: of more, one may have another aim (adversarial autoencoders)
FEWEST_SAMPLES = 6  # sampled steps
FEWEST_LATE = 3  # of them in the second half of the run: what a generator makes at its beginning is all alike
COLLAPSED = 0.35  # spread of what is made over that of the data; measured: healthy 0.5 (early) … 1, collapsed below 0.2
GROWING = 1.2  # times, last over second quarter of the samples: variety that still grows has not collapsed
DOMINATED = 0.97  # area under the ROC curve between the scores of two calls; measured: healthy 0.74, dominated 1.00
BLIND = 0.53  # area: the critic cannot tell anything from anything


@dataclass(frozen=True)
class Game:
    """Later half of the run: spread of what is made over the spread of the data, and how well the scores separate the two."""

    critic: Model
    diversity: float
    growth: float  # of the diversity, last over second quarter
    separation: float
    samples: int


class ModeCollapse(Detector):
    """What the generator makes in one batch is much more alike than the data are."""

    slug = "mode-collapse"
    question = 3
    explains = ("generator-dominates",)

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """Losing some of many modes does not show in a batch's spread: that needs samples (viva lab gan)."""
        game = game_of(run)
        if game is None:
            return
        if game.diversity < COLLAPSED and game.growth < GROWING:
            yield _collapse(run, game)
        else:
            yield RuledOut(self.slug, f"batches made are {game.diversity:.2f} × as diverse as the data")


class DiscriminatorDominates(Detector):
    """The critic tells made from real without fail, and the generator does not catch up."""

    slug = "discriminator-dominates"
    question = 3
    explains = ("mode-collapse",)

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """Perfect scores at the start are normal; they must last."""
        game = game_of(run)
        if game is None or not np.isfinite(game.separation):
            return
        if game.separation > DOMINATED:
            yield _dominates(run, game)
        else:
            yield RuledOut(
                self.slug, f"the critic's scores separate real and made with an area of {game.separation:.2f}"
            )


class GeneratorDominates(Detector):
    """The critic gives the same score to everything although what is made differs from the data."""

    slug = "generator-dominates"
    question = 3

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """A critic that cannot tell good samples apart has lost honourably: the spread must differ, too."""
        game = game_of(run)
        if game is None or not np.isfinite(game.separation):
            return
        unlike = game.diversity < 0.8 or game.diversity > 1.25
        if game.separation < BLIND and unlike:
            yield _blind(run, game)
        else:
            yield RuledOut(
                self.slug, f"the critic's scores separate real and made with an area of {game.separation:.2f}"
            )


def game_of(run: Run) -> Game | None:
    """The game between two networks with optimizers of their own; None where there is none, or too little was seen."""
    progress = Progress.of(run)
    tracks = [t for t in run.tracks("adversary") if len(t) >= FEWEST_SAMPLES and t.owner and t.owner[1] in run.models]
    if not tracks or progress is None or progress.players < 2 or len(stepped_optimizers(run)) > RIVALS:
        return None
    track = max(tracks, key=len)
    made, low, high, separation = track.mean.T
    real = np.where(np.abs(np.log(low / made)) > np.abs(np.log(high / made)), low, high)  # the other one was made, too
    ratio = made / real
    late = track.steps >= run.steps / 2
    if late.sum() < FEWEST_LATE:  # of a very small network mostly the beginning is sampled
        return None
    owner = track.owner[1] if track.owner else 0
    before, after = median(ratio[len(ratio) // 4 : len(ratio) // 2]), median(ratio[3 * len(ratio) // 4 :])
    growth = after / before if before > 0 else 1.0
    return Game(run.models[owner], median(ratio[late]), growth, median(separation[late]), len(track))


def _collapse(run: Run, game: Game) -> Finding:
    return Finding(
        slug=ModeCollapse.slug,
        severity="critical",
        confidence=0.85 if game.diversity < COLLAPSED / 2 else 0.75,
        question=ModeCollapse.question,
        title="The generator produces too few kinds of samples",
        why=(
            f"In the second half of the run the samples of a batch lie {game.diversity:.2f} × as far apart as the data that "
            f"{game.critic.name} is shown: the generator makes nearly the same thing again and again."
        ),
        where=where(game.critic.site, layer=game.critic.name, first_step=run.steps // 2, last_step=run.steps),
        evidence=(Evidence("spread of samples / spread of data", game.diversity, "×", COLLAPSED, "measured: healthy 0.9 … 1"),),
        remedies=(
            Remedy("relativistic-loss", "a relativistic loss with R1 and R2 penalties", "R3GAN (Huang et al. 2024)"),
            Remedy("slower-generator", "a lower learning rate for the generator", "lr of the generator / 4"),
        ),
    )  # fmt: skip


def _dominates(run: Run, game: Game) -> Finding:
    return Finding(
        slug=DiscriminatorDominates.slug,
        severity="warning",
        confidence=0.75,
        question=DiscriminatorDominates.question,
        title="The discriminator wins, the generator learns nothing",
        why=(
            f"In the second half of the run {game.critic.name} tells made from real with an area under the curve of {game.separation:.3f}: the "
            f"generator is told that all it makes is wrong, and not what would be better."
        ),
        where=where(game.critic.site, layer=game.critic.name, first_step=run.steps // 2, last_step=run.steps),
        evidence=(Evidence("area under the ROC curve", game.separation, "", DOMINATED, "measured: healthy 0.74"),),
        remedies=(
            Remedy("slower-discriminator", "a lower learning rate for the discriminator", "lr of the discriminator / 10"),
            Remedy("gradient-penalty", "penalise its slope", "R1: (∇ D(real)²).sum() · γ/2"),
        ),
    )  # fmt: skip


def _blind(run: Run, game: Game) -> Finding:
    return Finding(
        slug=GeneratorDominates.slug,
        severity="warning",
        confidence=0.65,
        question=GeneratorDominates.question,
        title="The generator wins, the discriminator learns nothing",
        why=(
            f"{game.critic.name} scores real and made alike (area {game.separation:.2f}) although batches made are {game.diversity:.2f} × as "
            f"diverse as the data: it gives the generator nothing to go by."
        ),
        where=where(game.critic.site, layer=game.critic.name, first_step=run.steps // 2, last_step=run.steps),
        evidence=(Evidence("area under the ROC curve", game.separation, "", BLIND, "0.5: no better than chance"),),
        remedies=(
            Remedy("faster-discriminator", "a higher learning rate, or more steps, for the discriminator", "two of its steps for each of the generator's"),
        ),
    )  # fmt: skip
