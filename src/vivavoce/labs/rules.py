"""The lab of rules, of question 2: what predictions must obey, and what it is worth to make them."""

from __future__ import annotations

from vivavoce.labs.lab import Context, Lab, LabError, Option, Result
from vivavoce.labs.rules_proof import families, kinds, refusals


class Rules(Lab):
    """Holds rules against data and predictions, projects predictions onto them, and trains with them."""

    name = "rules"
    question = "What is a neural network, what has it learned?"
    textbook = (
        "Layers of weighted sums and simple non-linear functions, whose weights were fitted to examples. It knows what the "
        "examples say of a rule, and no more: a rule that must hold is taught by a penalty for breaking it."
    )
    input_help = "a CSV file: its rows are held against rules such as 'grandparent_age > father_age'"
    options = (
        Option("rule", "What must hold; repeatable. A comparison of columns, 'A implies B', increasing(y, x), "
               "decreasing(y, x), symmetric(y, a, b), antisymmetric(y, a, b).", metavar="RULE", multiple=True),
        Option("predicted", "Column of a model's predictions, which are projected onto the rules; repeatable.",
               metavar="COLUMN", multiple=True),
        Option("target", "Column to learn with and without the rules; with --predicted, the truth of those columns in the "
               "same order. Repeatable.", metavar="COLUMN", multiple=True),
        Option("noise", "Standard deviation of the noise in the targets; 0 lets no target break a rule.", float, 0.0, "SD"),
        Option("save", "Write the predictions that obey there.", metavar="FILE.csv"),
    )  # fmt: skip
    examples = (
        "viva lab rules",
        "viva lab rules people.csv --rule 'grandparent_age > father_age'",
        "viva lab rules people.csv --rule 'p_grandparent > p_father' --predicted p_grandparent --predicted p_father --save obeying.csv",
        "viva lab rules houses.csv --rule 'increasing(price, area)' --target price",
    )

    def prove(self, context: Context) -> Result:
        """Family trees, false rules, and rules of other kinds."""
        parts = [part(context) for part in (families, refusals, kinds)]
        answer = (
            "A function fitted to examples: it obeys a rule no better than they make it. A penalty in the loss helps where labels "
            "are few, yet leaves most of the violations on new examples. Projecting the answers onto the rules leaves none, and "
            "where the rules are true the squared error cannot grow; it falls most where data are scarce."
        )
        return Result.of_parts(answer, parts)

    def apply(self, source: str, context: Context) -> Result:
        """Check the rows of a table; project its predictions, or learn its targets with the rules, where it says so."""
        from vivavoce.labs.rules_file import check, correct
        from vivavoce.labs.rules_learning import learn

        options = context.options
        if not options["rule"]:
            raise LabError("name what must hold with --rule, such as --rule 'grandparent_age > father_age'")
        if not options["noise"] >= 0:
            raise LabError(f"--noise must be 0 or more, not {options['noise']:g}")
        if options["predicted"]:
            return correct(source, context)
        if options["target"]:
            return learn(source, context)
        if options["save"]:
            raise LabError("--save needs --predicted or --target: without predictions there is nothing to write")
        return check(source, context)
