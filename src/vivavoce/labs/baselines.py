"""The lab of question 1: AI, machine learning or deep learning: what does this task need?"""

from __future__ import annotations

from vivavoce.labs import baselines_proof, baselines_words
from vivavoce.labs.baselines_ladder import MARGIN, Budget, Ladder, climb
from vivavoce.labs.lab import Claim, Context, Lab, Result, held, require
from vivavoce.labs.tables import OPTIONS, Examples, read_examples
from vivavoce.report.words import number

MOST_ROWS = (10_000, 2_000)  # that are used: full, quick
FEW_ROWS = 2_000  # up to which the folds are repeated: more rows vary less
SETTINGS = (6, 3)  # that each model may try: full, quick
FOLDS = 5
FEWEST_OF_CLASS = 2 * FOLDS  # rows of a class: at least one in every fold that settings are chosen by


class Baselines(Lab):
    """Climbs from a constant to a network on the same folds and says how high it is worth going."""

    name = "baselines"
    question = "AI, machine learning or deep learning: what does this task need?"
    textbook = (
        "AI is the aim, machine learning the way there by data, deep learning machine learning with networks of many layers. "
        "Take the simplest that does the job: a rule, then a classical model, and a network where there are many data and "
        "features that nobody can name."
    )
    input_help = "a CSV file with the column to predict; words, dates and gaps are allowed"
    options = OPTIONS
    examples = ("viva lab baselines", "viva lab baselines customers.csv --target churned")

    def prove(self, context: Context) -> Result:
        """Worlds that need a rule, a classical model and a network."""
        require("sklearn")
        found = baselines_proof.climbs(context)
        tests, rates = baselines_proof.false_positives(context)
        answer = (
            "The least that does the job, and a fair comparison tells what that is: the same folds, the same number of settings "
            "to try, and an interval that knows the folds overlap. A network is needed where it is significantly better than "
            "everything simpler, and not because the task sounds like one for a network."
        )
        claims = [*baselines_proof.right_rungs(found), *baselines_proof.folklore(found), *tests]
        data = {"worlds": {world.name: baselines_words.as_data(ladder) for world, ladder in found}, "false_positives": rates}  # fmt: skip
        return Result(answer, claims, [baselines_proof.table(found)], [baselines_proof.plot(found)], data=data)

    def apply(self, source: str, context: Context) -> Result:
        """The ladder on the user's own table."""
        require("sklearn")
        examples = read_examples(source, context, MOST_ROWS[context.quick], FEWEST_OF_CLASS)
        repeats = 2 if len(examples) <= FEW_ROWS and not context.quick else 1
        ladder = climb(examples, Budget(SETTINGS[context.quick], FOLDS, repeats), context)
        return Result(
            baselines_words.answer(ladder, examples),
            _claims(ladder, examples),
            [baselines_words.ladder_table(ladder, examples)],
            [baselines_words.ladder_plot(ladder, examples)],
            [note for note in _notes(ladder, examples) if note],
            baselines_words.as_data(ladder),
        )


def _notes(ladder: Ladder, examples: Examples) -> list[str]:
    said = [baselines_words.unproven(ladder), baselines_words.rule_in_words(examples), _about(ladder)]
    return [*said, *examples.notes]


def _about(ladder: Ladder) -> str:
    best = "" if ladder.best is ladder.rungs[-1] else " A tie goes to the simpler model."
    return (
        f"A model is worth climbing to where it saves more than {100 * MARGIN:g} % of the loss of every simpler one, by the "
        f"corrected t test, adjusted for {len(ladder.rungs) - 1} comparisons.{best}"
    )


def _claims(ladder: Ladder, examples: Examples) -> list[Claim]:
    constant, network = ladder.rungs[0], ladder.rungs[-1]
    simpler = min(ladder.rungs[:-1], key=lambda rung: float(rung.losses.mean()))
    loss = baselines_words.unit(examples)
    return [
        held(
            f"{examples.target} can be predicted at all",
            f"{loss} {number(float(ladder.best.losses.mean()))}",
            f"below {number(float(constant.losses.mean()))}, that of a constant",
            ladder.winner > 0,
        ),
        held(
            "machine learning is needed",
            f"{ladder.best.name} is worth climbing to",
            "more than a rule of two questions",
            ladder.best.kind != "rule",
        ),
        held(
            "deep learning is needed",
            f"network {number(float(network.losses.mean()))}, p {network.p:.2g}",
            f"significantly below {number(float(simpler.losses.mean()))}, that of {simpler.name}",
            ladder.best is network,
        ),
    ]
