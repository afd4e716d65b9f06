"""The lab of question 3: what is the idea behind GANs?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from vivavoce.labs.charts import png
from vivavoce.labs.figures import Figure, Floats, Pixels
from vivavoce.labs.gan_game import Match, Terms
from vivavoce.labs.gan_judge import Judge, Judgement, heads
from vivavoce.labs.gan_proof import divergence_claims
from vivavoce.labs.gan_recipes import RECIPES, Recipe
from vivavoce.labs.gan_views import course, samples
from vivavoce.labs.gan_worlds import DEVIATION, SIZES, World, digits, films, folder, grid, ring
from vivavoce.labs.lab import Claim, Context, Lab, LabError, Option, Result, Table, held
from vivavoce.labs.threads import one_thread
from vivavoce.measure.modes import ModeCoverage, mode_coverage
from vivavoce.measure.rivalry import energy_distance

DATA = ("ring", "grid", "digits", "video")
MODERN, PLAIN = "relativistic", "vanilla"
QUICK = 0.2  # of the steps
FEWEST_STEPS, MOST_STEPS = 20, 1_000_000
COUNTED = 2_500  # samples in which modes are counted
SHOWN = 1_500  # points that are kept as the samples grow; of pictures as many as the sheet shows
DIVERGENCE_BAR, QUALITY_BAR = 0.02, 0.85  # nats from even shares; share of the samples within 3 deviations of a mode
CLASS_BAR = 0.1  # nats of the classes' shares from those of the data
UNDECIDED = 0.6  # area under the curve: below it the critic hardly tells made from real
LAST = 10  # looks at the end, or about a step
TELLS = 0.8  # rank correlation from which one number stands for another


@dataclass(frozen=True)
class Outcome:
    """A game that is over: with known modes their coverage, else a judgement."""

    recipe: Recipe
    match: Match
    modes: ModeCoverage | None
    judged: Judgement | None

    @property
    def area(self) -> float:
        """The area under the curve of the critic's scores at the end."""
        return float(np.median(self.match.diary.column("area")[-LAST:]))


class Gan(Lab):
    """Lets a generator and a critic play, shows their costs and what is made, and counts what is missing."""

    name = "gan"
    question = "What is the idea behind GANs?"
    textbook = (
        "Two networks play against each other: the discriminator learns to tell real examples from made ones, the generator "
        "is paid for fooling it. When neither can improve, the made examples are distributed like the real ones."
    )
    input_help = "a folder of pictures, which the generator learns to make"
    options = (
        Option("data", "What to learn without INPUT. [default: ring]", choices=DATA),
        Option("recipe", "Losses and penalties. [default: relativistic, and vanilla beside it]", choices=tuple(RECIPES)),
        Option("steps", "Steps of the generator. [default: what suits the data]", int, metavar="N"),
        Option("size", "Pixels a side: digits 8 or 28; a folder's pictures 8, 16, 32 or 64. [default: 8; 32]", int, metavar="PIXELS"),
        Option("checkpoint", "Keep the state of the training in FILE, and go on from it where it exists.", metavar="FILE"),
        Option("pictures", "Write the pictures as PNG files, too, into this folder.", metavar="FOLDER"),
    )  # fmt: skip
    examples = (
        "viva lab gan",
        "viva lab gan --data digits",
        "viva lab gan photos/ --size 32 --checkpoint photos.pt",
    )

    @one_thread()
    def prove(self, context: Context) -> Result:
        """Ring, grid, digits or films; the modern recipe beside the vanilla one unless one is named."""
        _check(context)
        name = context.options["data"] or "ring"
        world = _known_world(name, context)
        if name == "video":
            recipes = [context.options["recipe"] or MODERN]
        else:
            recipes = [context.options["recipe"]] if context.options["recipe"] else [MODERN, PLAIN]
        theory, plot = divergence_claims(context) if context.options["data"] is None else ([], None)
        result = _played(world, recipes, context)
        figures = [*result.figures, *([plot] if plot else [])]
        return replace(result, claims=[*result.claims, *theory], figures=figures)

    @one_thread()
    def apply(self, source: str, context: Context) -> Result:
        """Pictures of the user's own."""
        _check(context)
        if context.options["data"]:
            raise LabError(
                f"--data {context.options['data']} is for the lab without INPUT; got the folder {source}, too"
            )
        world = folder(source, context.options["size"] or 32, context)
        return _played(world, [context.options["recipe"] or MODERN], context)


def _known_world(name: str, context: Context) -> World:
    size = context.options["size"]
    if size is not None and name != "digits":
        raise LabError(f"--size is for digits and for folders of pictures, not for {name}")
    if name == "digits":
        return digits(size or 8)
    return films(context) if name == "video" else {"ring": ring, "grid": grid}[name]()


def _check(context: Context) -> None:
    """Refuse before the work what would fail after it."""
    steps, size = context.options["steps"], context.options["size"]
    if steps is not None and not FEWEST_STEPS <= steps <= MOST_STEPS:
        raise LabError(f"--steps must lie between {FEWEST_STEPS} and {MOST_STEPS:,}, not {steps}")
    if size is not None and size not in (*SIZES, 28):
        raise LabError(f"--size must be one of {', '.join(map(str, sorted((*SIZES, 28))))}, not {size}")
    for option, place in (("checkpoint", "parent"), ("pictures", "itself")):
        value = context.options[option]
        if value is None:
            continue
        wanted = Path(value).absolute().parent if place == "parent" else Path(value)
        if not wanted.is_dir():
            raise LabError(f"--{option}: there is no folder {wanted}")
        if option == "checkpoint" and Path(value).is_dir():
            raise LabError(f"--checkpoint: {value} is a folder; name a file")


def _played(world: World, names: list[str], context: Context) -> Result:
    judge = None if world.examples is None else Judge(world.examples, world.labels, context.seed, context.quick)
    outcomes = [_play(world, RECIPES[name], judge, context, names) for name in names]
    claims = [claim for outcome in outcomes for claim in _claims(world, outcome, judge)]
    figures: list[Figure] = []
    for outcome in outcomes:
        figures += [
            *samples(outcome.match, world, outcome.recipe.name, outcome.recipe.name),
            *course(outcome.match.diary, outcome.recipe.name, outcome.recipe.name),
        ]
    _write(figures, context.options["pictures"])
    notes = [
        f"What the generator pays ({o.recipe.name}): {o.recipe.cost}. Source: {o.recipe.source}." for o in outcomes
    ]
    if judge is not None:
        about = f", which gets {judge.features.accuracy:.1%} of new examples right" if judge.features.classes else ""
        notes.append(
            f"Fréchet and kernel distances and neighbours: {judge.features.words}{about}; {judge.n:,} examples a side."
        )
    return Result(
        _answer(world, outcomes), claims, [_table(world, outcomes, judge)], figures, [*world.notes, *notes], _data(world, outcomes)
    )  # fmt: skip


def _play(world: World, recipe: Recipe, judge: Judge | None, context: Context, names: list[str]) -> Outcome:
    if recipe.name == MODERN:
        recipe = replace(recipe, gamma=world.gamma, lead=world.lead)
    steps = context.options["steps"] or max(FEWEST_STEPS, round(world.steps * (QUICK if context.quick else 1)))
    random = torch.Generator().manual_seed(context.seed)
    shown = SHOWN if world.centres is not None else 64
    terms = Terms(world.name, recipe.name, steps, world.batch, context.seed)
    match = Match(terms, recipe, world.players(random), world.draw, random, shown)
    checkpoint = _checkpoint(context, recipe.name, names)
    if checkpoint is not None and checkpoint.exists():
        match.load(checkpoint)
    with context.progress.task(f"{world.name}, {recipe.name}", steps) as advance:
        advance(match.step)
        match.play(advance, checkpoint)
    return _judged(world, recipe, match, judge, context.seed)


def _checkpoint(context: Context, recipe: str, names: list[str]) -> Path | None:
    """The file of a game: where two are played, the second one's has its recipe in its name."""
    if context.options["checkpoint"] is None:
        return None
    path = Path(context.options["checkpoint"])
    return path if recipe == names[0] else path.with_name(f"{path.stem}-{recipe}{path.suffix}")


def _judged(world: World, recipe: Recipe, match: Match, judge: Judge | None, seed: int) -> Outcome:
    match.random = torch.Generator().manual_seed(seed + 1)  # so that the counting is the same after a resumed game
    with torch.no_grad():
        if world.centres is not None:
            modes = mode_coverage(match.sample(COUNTED), world.centres, DEVIATION)
            return Outcome(recipe, match, modes, None)
        assert judge is not None
        made = torch.cat([match.sample(min(64, judge.n - at)) for at in range(0, judge.n, 64)])
    return Outcome(recipe, match, None, judge.judge(made))


def _claims(world: World, outcome: Outcome, judge: Judge | None) -> list[Claim]:
    name = outcome.recipe.name
    claims = []
    if outcome.modes is not None:
        claims += _mode_claims(name, outcome.modes)
    elif outcome.judged is not None and judge is not None and judge.features.classes:
        found = outcome.judged
        claims.append(
            held(
                f"the {name} GAN makes every class",
                f"{found.covered} of {len(found.classes)}, KL of the classes' shares {found.divergence:.3f}",
                f"all {len(found.classes)}, KL ≤ {CLASS_BAR:g}",
                found.covered == len(found.classes) and found.divergence <= CLASS_BAR,
            )
        )
    if name == MODERN:
        claims += [_equilibrium(outcome), _cost_tells(world, outcome)]
    return claims


def _mode_claims(name: str, modes: ModeCoverage) -> list[Claim]:
    n = len(modes.counts)
    reached = held(
        f"the {name} GAN reaches every mode",
        f"{modes.covered} of {n}",
        f"{n} with at least {modes.least} of {COUNTED:,} samples",
        modes.covered == n,
    )
    if name != MODERN:
        return [reached]
    true = held(
        "it fills them evenly, and little lies between them",
        f"KL {modes.divergence:.3f}, {modes.quality:.1%} on a mode",
        f"KL ≤ {DIVERGENCE_BAR:g}, ≥ {QUALITY_BAR:.0%} within 3 deviations",
        modes.divergence <= DIVERGENCE_BAR and modes.quality >= QUALITY_BAR,
        "Of the real points 98.9 % lie there.",
    )
    return [reached, true]


def _equilibrium(outcome: Outcome) -> Claim:
    return held(
        "in the end the critic cannot tell made from real",
        f"area under the curve {outcome.area:.2f}",
        f"0.5, at most {UNDECIDED:g}",
        outcome.area <= UNDECIDED,
        "The theory speaks of networks without limits, trained for ever.",
    )


def _cost_tells(world: World, outcome: Outcome) -> Claim:
    """Whether G's cost and the distance of its samples from the data rise and fall together."""
    diary = outcome.match.diary
    shots = diary.shots[1:]  # the first is from before the training
    real = world.draw(len(shots[0][1]), torch.Generator().manual_seed(5))
    distances = [energy_distance(real, made) for _, made in shots]
    steps, costs = diary.column("step"), diary.column("generator_loss")
    near = [float(np.median(costs[np.argsort(np.abs(steps - step))[:LAST]])) for step, _ in shots]
    correlation = rank_correlation(np.array(near), np.array(distances))
    return held(
        "a falling generator's cost means better samples",
        f"rank correlation {correlation:+.2f} of cost and energy distance, at {len(shots)} times; the cost went from "
        f"{near[0]:.2f} to {near[-1]:.2f}, the distance from {distances[0]:.3f} to {distances[-1]:.3f}",
        f"at least {TELLS:g}",
        correlation >= TELLS,
        "The cost is measured against a critic that improves, too.",
    )


def rank_correlation(a: Floats, b: Floats) -> float:
    """Spearman's rank correlation of a (n,) and b (n,), equal values ranked in their order."""
    first, second = (np.argsort(np.argsort(values)).astype(np.float64) for values in (a, b))
    return float(np.corrcoef(first, second)[0, 1])


def _table(world: World, outcomes: list[Outcome], judge: Judge | None) -> Table:
    if judge is None:
        names = ["recipe", "modes", "KL", "on a mode", "steps", "seconds"]
        rows = []
        for outcome in outcomes:
            modes = outcome.modes
            assert modes is not None
            rows.append(
                [
                    outcome.recipe.name,
                    f"{modes.covered} of {len(modes.counts)}",
                    f"{modes.divergence:.3f}",
                    f"{modes.quality:.1%}",
                    f"{outcome.match.step:,}",
                    f"{outcome.match.diary.seconds:.0f}",
                ]
            )
        return Table(f"{COUNTED:,} samples on the {world.name}", names, rows)
    rows = [["real, others", *judge.real().cells()]]
    rows += [[o.recipe.name, *o.judged.cells()] for o in outcomes if o.judged is not None]
    return Table("Made examples against real ones, and real ones against others", heads(judge.features.classes), rows)


def _answer(world: World, outcomes: list[Outcome]) -> str:
    idea = (
        "Two networks play: the critic is paid for telling real from made, and the generator's cost is built to trick it. What "
        "the generator learns is whatever the critic can still see."
    )
    told = []
    for outcome in outcomes:
        if outcome.modes is not None:
            modes = outcome.modes
            told.append(
                f"with the {outcome.recipe.name} recipe it makes {modes.covered} of {len(modes.counts)} kinds of points"
            )
        elif outcome.judged is not None:
            judged = outcome.judged
            classes = f"{judged.covered} of {len(judged.classes)} classes and " if len(judged.classes) > 1 else ""
            told.append(
                f"with the {outcome.recipe.name} recipe it reaches {classes}{judged.quality.coverage:.0%} of the real examples' neighbourhoods"
            )
    return f"{idea} Here, on {world.name}, {', and '.join(told)}."


def _data(world: World, outcomes: list[Outcome]) -> dict[str, object]:
    games = {}
    for outcome in outcomes:
        entry: dict[str, object] = {
            "steps": outcome.match.step,
            "seconds": outcome.match.diary.seconds,
            "area": outcome.area,
        }
        if outcome.modes is not None:
            modes = outcome.modes
            entry |= {"covered": modes.covered, "modes": len(modes.counts), "divergence": modes.divergence, "quality": modes.quality}  # fmt: skip
        if outcome.judged is not None:
            judged = outcome.judged
            entry |= {"frechet": judged.frechet, "kernel": judged.kernel, "classes": judged.classes, "divergence": judged.divergence, **vars(judged.quality)}  # fmt: skip
        games[outcome.recipe.name] = entry
    return {"world": world.name, "games": games}


def _write(figures: list[Figure], target: str | None) -> None:
    if target is None:
        return
    for figure in figures:
        if isinstance(figure, Pixels):
            path = Path(target) / f"{figure.key}.png"
            try:
                path.write_bytes(png(figure))
            except OSError as error:
                raise LabError(f"--pictures: {path}: {error.strerror or error}") from None
