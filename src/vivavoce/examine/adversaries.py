"""mode-collapse, discriminator-dominates, generator-dominates: what the game between two networks looks like from outside."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vivavoce.examine.detector import Detector
from vivavoce.examine.finding import Evidence, Finding, Remedy, RuledOut, Where
from vivavoce.examine.game import STILL, Game, game_of, optimizer_of, stands_still
from vivavoce.examine.reading import learning_rate, where, with_rate
from vivavoce.record.entities import Model
from vivavoce.record.run import Run

COLLAPSED = 0.35  # spread of what is made over that of the data; measured: healthy 0.5 (early) … 1, collapsed below 0.2
NOTHING = 0.02  # of the data's spread: no variety at all; generators that have hardly moved show 0.05 and more
GROWING = 1.2  # times, last over second quarter of the samples: variety that still grows has not collapsed,
PATIENCE = 4  # where it would be there after so many halves of the run at that pace
DOMINATED = 0.97  # area under the ROC curve between the scores of two calls; measured: healthy 0.74, dominated 1.00
CATCHING_UP = 0.7  # distance from the data, last over second quarter: a generator that comes so much nearer is no loser
STRAYING = 1.1  # the same: what is made goes away from the data although the critic tells the two apart
AMONG = 0.4  # share of what is made that lies among the data: less, and neighbourhoods say nothing of lost modes
LOST = 0.45  # of that share: data with something made near them; expected 0.88 for equal distributions
LEAST_ALIKE = 0.8  # spread of what is made over that of the data, or the other way round
APART = 0.05  # energy distance of what is made from the data; measured: healthy 0.00 … 0.02, by chance 0.01
SEEN = "measured: healthy 0.9 … 1.1"
SEEN_LOST = "measured: healthy 0.6 … 1"
WILD = 2.0  # spread of what is made over that of the data: a generator that ran away; measured: dominated 0.05 … 0.6
STANDS = "the critic's weights hardly move: nobody plays against the generator"
BLIND = 0.53  # area: the critic cannot tell anything from anything


class ModeCollapse(Detector):
    """What the generator makes in one batch is much more alike than the data are."""

    slug = "mode-collapse"
    question = 3
    passing = True
    explains = ("generator-dominates",)

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """Losing some of many modes does not show in a batch's spread, but in the neighbourhoods of its examples."""
        game = game_of(run)
        if game is None:
            return
        if stands_still(run, game):
            yield RuledOut(self.slug, STANDS)
            return
        nearer = not game.left >= CATCHING_UP  # NaN where the distance was not recorded
        hope = nearer and game.growth >= GROWING and game.diversity * game.growth**PATIENCE >= COLLAPSED
        if game.diversity < COLLAPSED and not hope:
            yield _collapse(run, game)
        elif _leaves_out(game):
            yield _lost_modes(run, game)
        else:
            yield RuledOut(self.slug, f"batches made are {game.diversity:.2f} × as diverse as the data")


class DiscriminatorDominates(Detector):
    """The critic tells made from real without fail, and the generator does not catch up."""

    slug = "discriminator-dominates"
    question = 3
    passing = True
    explains = ("mode-collapse",)

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """Perfect scores at the start are normal; they must last."""
        game = game_of(run)
        if game is None or not np.isfinite(game.separation):
            return
        if stands_still(run, game):
            yield RuledOut(self.slug, STANDS)
        elif game.diversity < NOTHING:
            yield RuledOut(self.slug, "all that is made is the same: any critic would tell it from the data")
        elif _away(game):
            yield RuledOut(self.slug, "what is made moves away from the data: the critic does not hold it back")
        elif game.separation > DOMINATED and not (game.left < CATCHING_UP):
            yield _dominates(run, game)
        elif game.separation > DOMINATED:
            yield RuledOut(
                self.slug, f"what is made still comes nearer to the data: {game.left:.2f} × as far away as earlier on"
            )
        else:
            yield RuledOut(
                self.slug, f"the critic's scores separate real and made with an area of {game.separation:.2f}"
            )


class GeneratorDominates(Detector):
    """The critic gives the same score to everything although what is made differs from the data."""

    slug = "generator-dominates"
    question = 3
    passing = True

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """A critic that cannot tell good samples apart has lost honourably: the spread must differ, too."""
        game = game_of(run)
        if game is not None and stands_still(run, game) and game.distance > APART:
            yield _still(run, game)
            return
        if game is None or not np.isfinite(game.separation):
            return
        if _away(game) and (game.steady or game.diversity > WILD):
            yield _strays(run, game)
            return
        if not game.steady:
            return
        unlike = game.diversity < LEAST_ALIKE or game.diversity > 1 / LEAST_ALIKE or game.distance > APART
        if game.separation < BLIND and unlike:
            yield _blind(run, game)
        else:
            yield RuledOut(
                self.slug, f"the critic's scores separate real and made with an area of {game.separation:.2f}"
            )


def _collapse(run: Run, game: Game) -> Finding:
    maker = game.generator.name if game.generator else "the generator"
    return Finding(
        slug=ModeCollapse.slug,
        severity="critical",
        confidence=0.85 if game.diversity < COLLAPSED / 2 else 0.75,
        question=ModeCollapse.question,
        title="The generator produces too few kinds of samples",
        why=(
            f"{game.since} the samples of a batch lie {game.diversity:.2f} × as far apart as the data that "
            f"{game.critic.name} is shown: {maker} makes nearly the same thing again and again."
        ),
        where=_place(run, game),
        evidence=(Evidence("spread of samples / spread of data", game.diversity, "×", COLLAPSED, SEEN), *_distance(game)),
        remedies=(_slope_penalty(game.critic), _relativistic(game.critic), *_rate(run, game, generator=True, factor=0.25)),
    )  # fmt: skip


def _leaves_out(game: Game) -> bool:
    """What is made lies among the data, leaves part of them out, and neither comes nearer nor will soon reach more of them."""
    enough = LOST * game.precision
    hope = game.gain >= GROWING and game.coverage * game.gain**PATIENCE >= enough
    nearer = game.distance > APART and game.left < CATCHING_UP
    return game.precision > AMONG and game.coverage < enough and not hope and not nearer


def _lost_modes(run: Run, game: Game) -> Finding:
    maker = game.generator.name if game.generator else "the generator"
    return Finding(
        slug=ModeCollapse.slug,
        severity="warning",
        confidence=0.7,
        question=ModeCollapse.question,
        title="The generator leaves out kinds of data",
        why=(
            f"{game.since} {game.precision:.0%} of what {maker} makes lies among the data, but only "
            f"{game.coverage:.0%} of the data have something made near them: some kinds are not made at all."
        ),
        where=_place(run, game),
        evidence=(
            Evidence("data with a sample among their nearest / samples among the data", game.coverage / game.precision, "×", LOST, SEEN_LOST),
            *_distance(game),
        ),
        remedies=(_slope_penalty(game.critic), _relativistic(game.critic), *_rate(run, game, generator=True, factor=0.25)),
    )  # fmt: skip


def _dominates(run: Run, game: Game) -> Finding:
    return Finding(
        slug=DiscriminatorDominates.slug,
        severity="warning",
        confidence=0.75,
        question=DiscriminatorDominates.question,
        title="The discriminator wins, the generator learns nothing",
        why=(
            f"{game.since} {game.critic.name} tells made from real with an area under the curve of {game.separation:.3f}: the "
            f"generator is told that all it makes is wrong, and not what would be better."
        ),
        where=_place(run, game),
        evidence=(Evidence("area under the ROC curve", game.separation, "", DOMINATED, "measured: healthy 0.6 … 0.9"), *_distance(game)),
        remedies=(
            *_rate(run, game, generator=False, factor=0.1),
            _slope_penalty(game.critic),
            Remedy(
                "spectral-norm",
                f"hold the slopes of {game.critic.name}'s layers at 1",
                "torch.nn.utils.parametrizations.spectral_norm(layer)  # around each of its Linear and Conv layers",
            ),
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
        where=_place(run, game),
        evidence=(Evidence("area under the ROC curve", game.separation, "", BLIND, "0.5: no better than chance"), *_distance(game)),
        remedies=(
            *_rate(run, game, generator=False, factor=10.0),
            Remedy("more-critic-steps", "more steps for the discriminator", f"for _ in range(3): …  # {game.critic.name}'s own update"),
        ),
    )  # fmt: skip


def _still(run: Run, game: Game) -> Finding:
    return Finding(
        slug=GeneratorDominates.slug,
        severity="warning",
        confidence=0.8,
        question=GeneratorDominates.question,
        title="The generator wins, the discriminator learns nothing",
        why=(
            f"The weights of {game.critic.name} hardly move: over the whole run by less than {STILL:.0%} of their size. The generator "
            f"learns what a fixed critic likes, at an energy distance of {game.distance:.2f} of 1 from the data."
        ),
        where=_place(run, game),
        evidence=_distance(game),
        remedies=_rate(run, game, generator=False, factor=100.0),
    )


def _away(game: Game) -> bool:
    """What is made goes away from the data, or lies all around them, and the critic's scores show it."""
    return game.separation > DOMINATED and (game.left > STRAYING or game.diversity > WILD)


def _strays(run: Run, game: Game) -> Finding:
    maker = game.generator.name if game.generator else "the generator"
    course = f"is {game.diversity:.1f} × as spread as the data"
    if game.left > STRAYING:
        course = f"lies {game.left:.1f} × as far from the data at the end as earlier on"
    return Finding(
        slug=GeneratorDominates.slug,
        severity="warning",
        confidence=0.65,
        question=GeneratorDominates.question,
        title="The generator runs away, the discriminator does not follow",
        why=(
            f"What {maker} makes {course}, at an energy distance of {game.distance:.2f} of 1: {game.critic.name} leads it away "
            f"instead of back."
        ),
        where=_place(run, game),
        evidence=(
            Evidence("energy distance from the data, last over second quarter", game.left, "×", STRAYING, "measured: dominated 0.85 … 1.0, healthy 0.02 … 0.4"),
            Evidence("spread of samples / spread of data", game.diversity, "×", WILD, "measured: dominated 0.05 … 0.6"),
            *_distance(game),
        ),
        remedies=(
            *_rate(run, game, generator=False, factor=10.0),
            *_rate(run, game, generator=True, factor=0.1),
            Remedy("more-critic-steps", "more steps for the discriminator", f"for _ in range(3): …  # {game.critic.name}'s own update"),
        ),
    )  # fmt: skip


def _place(run: Run, game: Game) -> Where:
    return where(
        game.critic.site, layer=game.critic.name, first_step=run.steps // (2 if game.steady else 8), last_step=run.steps
    )


def _distance(game: Game) -> tuple[Evidence, ...]:
    """How far what is made lies from the data, where that was recorded."""
    if not np.isfinite(game.distance):
        return ()
    return (Evidence("energy distance of samples from data", game.distance, "of 1", None, "0: equal distributions"),)


def _slope_penalty(critic: Model) -> Remedy:
    name = _variable(critic)
    return Remedy(
        "gradient-penalty",
        "penalise the discriminator's slopes at real and made examples (R1 and R2)",
        "x = torch.cat([real, fake]).detach().requires_grad_(); "
        f"slopes, = torch.autograd.grad({name}(x).sum(), x, create_graph=True); "
        "d_loss = d_loss + 0.5 * slopes.flatten(1).square().sum(1).mean()",
    )


def _relativistic(critic: Model) -> Remedy:
    name = _variable(critic)
    return Remedy(
        "relativistic-loss",
        "a relativistic pairing loss, with both penalties (R3GAN, Huang et al. 2024)",
        f"d_loss = F.softplus({name}(fake.detach()) - {name}(real)).mean(); "
        f"g_loss = F.softplus({name}(real) - {name}(fake)).mean()",
    )


def _rate(run: Run, game: Game, *, generator: bool, factor: float) -> tuple[Remedy, ...]:
    """Another learning rate for the optimizer of one of the players; nothing where it is not known."""
    optimizer = optimizer_of(run, game.generator if generator else game.critic)
    rate = learning_rate(optimizer) if optimizer else None
    if optimizer is None or not rate:
        return ()
    player = "generator" if generator else "discriminator"
    pace = "slower" if factor < 1 else "faster"
    title = f"a {'lower' if factor < 1 else 'higher'} learning rate for the {player}"
    return (Remedy(f"{pace}-{player}", title, with_rate(optimizer, factor * rate)),)


def _variable(model: Model) -> str:
    """A model's name as it may stand in code."""
    return model.name if model.name.replace(".", "").isidentifier() else "discriminator"
