"""Plots: what is drawn lies where it should, and nothing of the reader's becomes markup."""

from __future__ import annotations

import base64
import json
import re
import xml.etree.ElementTree as ElementTree
from html import unescape

import numpy as np
import pytest

from vivavoce.labs.charts import chart
from vivavoce.labs.figures import ImagePlot, Line, MatrixPlot, Pixels, XYPlot
from vivavoce.labs.svg import svg

RAMP = np.arange(1.0, 11.0)


def plot(**changes: object) -> XYPlot:
    settings = {
        "key": "k",
        "title": "A <title>",
        "note": "",
        "across": "x",
        "up": "y",
        "lines": [Line("<l>", RAMP, RAMP)],
    }
    return XYPlot(**{**settings, **changes})  # type: ignore[arg-type]


def points(html: str, kind: str) -> list[tuple[float, float]]:
    (path,) = re.findall(rf'<path class="{kind} c0" d="(M[^"]+)"', html)[-1:]
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", path)]


@pytest.mark.parametrize("log", [False, True])
def test_a_line_lies_where_its_values_are(log: bool) -> None:
    drawn = points(chart(plot(log_x=log, log_y=log)), "line")
    assert len(drawn) == 10
    x, y = np.array(drawn).T
    values = np.log(RAMP) if log else RAMP
    expected = (values - values[0]) / (values[-1] - values[0])
    np.testing.assert_allclose((x - x[0]) / (x[-1] - x[0]), expected, atol=1e-3)
    np.testing.assert_allclose((y - y[0]) / (y[-1] - y[0]), expected, atol=2e-3)


def test_dots_gaps_and_what_a_logarithm_cannot_show() -> None:
    y = RAMP.copy()
    y[3] = np.nan
    assert len(points(chart(plot(lines=[Line("d", RAMP, y, dots=True)])), "dots")) == 9
    assert chart(plot(lines=[Line("l", RAMP - 1, RAMP - 1)], log_x=True, log_y=True))
    assert chart(plot(lines=[Line("l", RAMP, np.full(10, np.nan))]))
    assert chart(plot(lines=[Line("none", np.zeros(0), np.zeros(0))]))


def test_text_is_escaped_and_the_tooltip_has_the_values() -> None:
    html = chart(plot())
    assert "<title>" not in html
    assert "<l>" not in html
    data = json.loads(unescape(re.findall(r'data-curves="([^"]*)"', html)[0]))
    assert data["across"] == "x"
    assert data["curves"][0]["steps"] == RAMP.tolist()
    assert data["curves"][0]["values"][-1] == "10"


def test_many_lines_turn_grey() -> None:
    html = chart(plot(lines=[Line(str(n), RAMP, RAMP + n) for n in range(8)]))
    assert html.count('class="line rest"') == 4  # two lines, each with its entry in the legend


@pytest.mark.parametrize("size", [2, 60])
def test_matrices_are_tables_when_small_and_pictures_when_large(size: int) -> None:
    names = [f"<{n}>" for n in range(size)]
    figure = MatrixPlot("m", "M", "", "real", "guess", names, names, np.eye(size), [["1"] * size] * size)
    html = chart(figure)
    assert ("<table" in html) == (size == 2)
    assert ("data:image/png" in html) == (size == 60)
    assert "<0>" not in html
    ElementTree.fromstring(svg(figure))


def test_a_picture_has_both_axes() -> None:
    values = np.array([[0.0, 1.0], [np.nan, 2.0]])
    html = chart(ImagePlot("i", "I", "", "time", "frequency", "dB", values, (0, 10), (0, 5)))
    assert "time" in html
    assert "frequency" in html
    assert chart(ImagePlot("i", "I", "", "t", "f", "", np.full((2, 2), 3.0), (0, 1), (0, 1)))


def test_svg_is_well_formed() -> None:
    lines = [Line("<a>", RAMP, RAMP, RAMP - 1, RAMP + 1), Line("b & c", RAMP, RAMP, dots=True)]
    root = ElementTree.fromstring(svg(plot(lines=lines, marks=[(5.0, "<five>")])))
    assert "<five>" in [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]


def test_pictures_and_films_are_shown_in_their_own_colours() -> None:
    picture = Pixels("p", "A <title>", "A note.", 'two "dots"', np.zeros((2, 3, 3), np.uint8), across="steps")
    shown = str(chart(picture))
    assert 'alt="two &quot;dots&quot;"' in shown
    assert "A &lt;title&gt;" in shown
    assert "steps →" in shown
    film = Pixels("p", "", "", "a film", np.zeros((4, 2, 3, 1), np.uint8))
    sources = [re.search(r'src="data:image/png;base64,([^"]+)"', text) for text in (shown, str(chart(film)))]
    still, moving = (base64.b64decode(source[1]) for source in sources if source)
    assert b"acTL" not in still
    assert b"acTL" in moving
