"""A lab of a few lines, to try the framework with."""

from __future__ import annotations

import numpy as np

from vivavoce.labs.figures import ImagePlot, Line, MatrixPlot, XYPlot
from vivavoce.labs.lab import Claim, Context, Lab, LabError, Option, Result, Table, held


class Coin(Lab):
    """Throws a coin."""

    name = "coin"
    question = "Is a coin fair?"
    textbook = "Half of the throws are heads."
    input_help = "the share of heads, a number from 0 to 1"
    options = (
        Option("most-throws", "How often it is thrown.", int, 1000, "N"),
        Option("both", "Throw two coins.", bool),
        Option("side", "Which side counts.", choices=("heads", "tails"), default="heads"),
    )
    examples = ("viva lab coin 0.4",)

    def prove(self, context: Context) -> Result:
        return self._thrown(0.5, context)

    def apply(self, source: str, context: Context) -> Result:
        try:
            return self._thrown(float(source), context)
        except ValueError:
            raise LabError(f"a share of heads is expected, not {source!r}") from None

    def _thrown(self, share: float, context: Context) -> Result:
        throws = context.rng().random(context.options["most-throws"]) < share
        means = np.array([throws[: n + 1].mean() for n in context.track("throwing", range(len(throws)))])
        x = np.arange(1.0, len(means) + 1)
        plot = XYPlot("heads", "Share of <heads>", "It settles.", "throws", "share", [Line("share", x, means, means - 0.1, means + 0.1)], log_x=True, marks=[(10.0, "ten")])  # fmt: skip
        dots = XYPlot("dots", "Dots", "", "a", "b", [Line("d", x[:9], means[:9], dots=True)])
        matrix = MatrixPlot("m", "Matrix", "", "real", "predicted", ["a", "b"], ["a", "b"], np.eye(2), [["1", "0"]] * 2)
        image = ImagePlot("i", "Image", "", "time", "frequency", "dB", np.arange(6.0).reshape(2, 3), (0, 1), (0, 5))
        claims = [
            held("half are heads", f"{means[-1]:.3f}", "0.5", abs(means[-1] - 0.5) < 0.1, "A coin has two sides."),
            Claim("every second one", "no", "yes", "does not hold"),
            Claim("in the long run", "yes", "yes", "holds only when", "it is thrown often"),
        ]
        table = Table("Throws", ["throw", "side"], [[str(n), "<b>"] for n in range(40)])
        return Result(
            "It is.", claims, [table], [plot, dots, matrix, image], ["A note."], {"share": float("nan"), "all": means}
        )
