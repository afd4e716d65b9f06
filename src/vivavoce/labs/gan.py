"""The lab of question 3: what is the idea behind GANs?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from vivavoce.labs.charts import png
from vivavoce.labs.figures import Figure, Pixels
from vivavoce.labs.gan_claims import COUNTED, MODERN, Outcome, claims_of
from vivavoce.labs.gan_game import Match, Terms
from vivavoce.labs.gan_judge import Judge, heads
from vivavoce.labs.gan_proof import divergence_claims
from vivavoce.labs.gan_recipes import RECIPES, Recipe
from vivavoce.labs.gan_views import course, samples
from vivavoce.labs.gan_worlds import DEVIATION, SIZES, World, digits, films, folder, grid, ring
from vivavoce.labs.lab import Context, Lab, LabError, Option, Result, Table
from vivavoce.labs.threads import one_thread
from vivavoce.measure.modes import mode_coverage

DATA = ("ring", "grid", "digits", "video")
PLAIN = "vanilla"
REAL = "real, others"  # examples: what samples can reach at best
QUICK = 0.2  # of the steps
FEWEST_STEPS, MOST_STEPS = 20, 1_000_000
SHOWN = 1_500  # points that are kept as the samples grow; of pictures as many as the sheet shows


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
    claims = [claim for outcome in outcomes for claim in claims_of(world, outcome, judge)]
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
        notes.append(
            f"Fréchet and kernel distances and neighbours: {judge.features.words}, which gets {judge.features.accuracy:.1%} "
            f"of new examples right; {judge.n:,} examples a side."
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
    samples = [(REAL, judge.real())]
    samples += [(o.recipe.name, o.judged) for o in outcomes if o.judged is not None]
    columns = [heads(judge.features.classes)[1:], *(judged.cells() for _, judged in samples)]
    rows = [list(row) for row in zip(*columns, strict=True)]  # eight measures beside each other are too wide
    names = ["measure", *(name for name, _ in samples)]
    return Table("Made examples against real ones, and real ones against others", names, rows)


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
