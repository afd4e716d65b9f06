"""Writes the labs' own tables and plots into the pages of the questions: python docs/generate_questions.py [LAB …].

A page names its lab between two comments, `<!-- lab NAME -->` and `<!-- end of lab -->`, and the plots that it shows
by `<!-- plot KEY -->` lines before that; what stands between is replaced. Plots go to docs/questions/figures.
"""

from __future__ import annotations

import re
import sys
from functools import partial
from pathlib import Path

from vivavoce.labs import LABS, load
from vivavoce.labs.charts import png
from vivavoce.labs.figures import ImagePlot, Pixels
from vivavoce.labs.lab import Context, Result
from vivavoce.labs.svg import svg

PAGES = Path(__file__).with_name("questions")
FIGURES = PAGES / "figures"
BLOCK = re.compile(r"(<!-- lab ([a-z]+) -->\n).*?(<!-- end of lab -->)", re.DOTALL)
PLOT = re.compile(r"<!-- plot ([\w-]+) -->")


def main() -> None:
    """Run the labs that pages name, all or those given, and rewrite their blocks."""
    wanted = set(sys.argv[1:]) or set(LABS)
    for page in sorted(PAGES.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        filled = BLOCK.sub(partial(_filled, PLOT.findall(text), wanted), text)
        if filled != text:
            page.write_text(filled, encoding="utf-8")


def _filled(keys: list[str], wanted: set[str], match: re.Match[str]) -> str:
    name = match[2]
    if name not in wanted:
        return match[0]
    result = load(name)().run(None, Context())
    return f"{match[1]}\n{_claims(result)}\n{_plots(name, result, keys)}{match[3]}"


def _claims(result: Result) -> str:
    rows = [
        " | ".join(cell.replace("|", "\\|") for cell in (claim.claim, claim.measured, claim.expected, claim.verdict))
        for claim in result.claims
    ]
    return "\n".join(
        ["| claim | measured | expected | outcome |", "|---|---|---|---|", *(f"| {row} |" for row in rows), ""]
    )


def _plots(name: str, result: Result, keys: list[str]) -> str:
    FIGURES.mkdir(exist_ok=True)
    lines = []
    for figure in result.figures:
        if figure.key in keys and not isinstance(figure, ImagePlot):
            ending = "png" if isinstance(figure, Pixels) else "svg"
            file = FIGURES / f"{name}-{figure.key}.{ending}"
            file.write_bytes(png(figure) if isinstance(figure, Pixels) else svg(figure).encode())
            lines.append(f"![{figure.title}. {figure.note}](figures/{file.name})\n")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
