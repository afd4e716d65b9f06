"""mode-collapse, discriminator-dominates, generator-dominates: what the game between two networks looks like from outside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vivavoce.examine.detector import Detector
from vivavoce.examine.finding import Evidence, Finding, Remedy, RuledOut
from vivavoce.examine.progress import Progress
from vivavoce.examine.reading import critics, held, stepped_optimizers, where
from vivavoce.measure.robust import Floats, median
from vivavoce.record.entities import Model
from vivavoce.record.run import Run
from vivavoce.record.tracks import Track

RIVALS = 2  # optimizers that take turns: of more, one may have another aim (adversarial autoencoders)
FEWEST_SAMPLES = 6  # sampled steps
COLLAPSED = 0.35  # spread of what is made over that of the data; measured: healthy 0.5 (early) … 1, collapsed below 0.2
GROWING = 1.2  # times, last over second quarter of the samples: variety that still grows has not collapsed
DOMINATED = 0.97  # area under the ROC curve between the scores of two calls; measured: healthy 0.74, dominated 1.00
BLIND = 0.53  # area: the critic cannot tell anything from anything


@dataclass(frozen=True)
class Game:
    """Medians over the later half of the run, or of its latest phase.

    `diversity`: spread of what is made over that of the data; `growth` of it, last over second quarter. `separation`: how well
    the scores tell the two apart. `distance` of what is made from the data (0 equal … 1), and what is `left` of it, last over
    second quarter. `coverage` and `precision`: shares of the data's neighbourhoods that hold something made, and of what
    is made that lies in them. NaN where a number was not recorded.
    """

    critic: Model
    generator: Model | None
    diversity: float
    growth: float
    separation: float
    distance: float
    left: float
    coverage: float
    precision: float
    samples: int

    def numbers(self) -> dict[str, float]:
        """The numbers by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, float)}


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
    known = critics(run)
    tracks = [t for t in run.tracks("adversary") if t.owner and t.owner[1] in known]
    track = max(tracks, key=_seen, default=None)
    if (
        track is None
        or _seen(track) < FEWEST_SAMPLES
        or progress is None
        or progress.players < 2
        or len(stepped_optimizers(run)) > RIVALS
    ):
        return None
    critic = run.models[track.owner[1] if track.owner else 0]
    rows = track.mean[np.isfinite(track.column("made_spread").mean)]
    columns = dict(zip(track.columns, rows.T, strict=True))
    made = columns["made_spread"]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = made / _real_spread(columns, made)
    missing = np.full(len(rows), np.nan)
    distance = columns.get("distance", missing)
    return Game(
        critic,
        _generator(run, critic),
        _late(ratio),
        _change(ratio),
        _late(columns["separation"]),
        _late(distance),
        _change(distance),
        _late(columns.get("coverage", missing)),
        _late(columns.get("precision", missing)),
        len(rows),
    )


def _seen(track: Track) -> int:
    return len(track.column("made_spread").finite)


def _real_spread(columns: dict[str | int, Floats], made: Floats) -> Floats:
    """The spread of the data; of older stores the given batch least like what is made."""
    if "real_spread" in columns:
        return columns["real_spread"]
    low, high = columns["given_low"], columns["given_high"]
    return np.where(np.abs(np.log(low / made)) > np.abs(np.log(high / made)), low, high)


def _generator(run: Run, critic: Model) -> Model | None:
    """The largest other model that an optimizer moves which does not hold the critic alone."""
    others: dict[int, int] = {}
    for optimizer in stepped_optimizers(run):
        for parameter in (run.parameters[id] for id in held(optimizer) if id in run.parameters):
            if parameter.model is not None and parameter.model != critic.id:
                others[parameter.model] = others.get(parameter.model, 0) + parameter.numel
    best = max(others, key=lambda id: others[id], default=None)
    return None if best is None else run.models.get(best)


def _late(values: Floats) -> float:
    return median(values[len(values) // 2 :])


def _change(values: Floats) -> float:
    """The last over the second quarter; 1 where that means nothing."""
    n = len(values)
    before, after = median(values[n // 4 : n // 2]), median(values[3 * n // 4 :])
    return after / before if before > 0 and np.isfinite(after) else 1.0


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
