"""What every lab must do."""

from __future__ import annotations

import io
import json
import re

import pytest
from click.testing import CliRunner

from vivavoce.cli import command
from vivavoce.labs import LABS, document, load, page, text
from vivavoce.labs.figures import ImagePlot, Pixels
from vivavoce.labs.lab import OUTCOMES, Context
from vivavoce.labs.svg import svg

SETTING = page.Setting("viva lab x", None, 0, True, 1.0)


@pytest.mark.parametrize("name", LABS)
def test_a_lab_says_what_it_is(name: str) -> None:
    lab = load(name)
    assert lab.name == name
    assert lab.question.endswith("?")
    assert lab.textbook
    assert bool(lab.input_help) == bool(LABS[name].input)
    assert all(example.startswith(f"viva lab {name}") for example in lab.examples)
    for option in lab.options:
        assert option.help.endswith((".", "]")), option
        assert re.fullmatch(r"[a-z]([a-z-]*[a-z])?", option.name), option


@pytest.mark.parametrize("name", LABS)
def test_help_names_every_option(name: str) -> None:
    shown = CliRunner().invoke(command, ["lab", name, "--help"], prog_name="viva")
    assert shown.exit_code == 0
    for option in (*(option.name for option in load(name).options), "quick", "seed", "json", "output"):
        assert f"--{option}" in shown.output


@pytest.mark.parametrize("name", LABS)
def test_an_input_that_is_none_is_one_line_and_exit_2(name: str) -> None:
    if not LABS[name].input:
        pytest.skip("takes no input")
    result = CliRunner().invoke(command, ["lab", name, "no such file.csv", "--json", "-"], prog_name="viva")
    assert result.exit_code == 2
    assert len(result.stderr.split("Error:")[1].strip().splitlines()) == 1


@pytest.mark.parametrize("name", LABS)
def test_a_quick_proof_can_be_written_in_every_form(name: str) -> None:
    lab = load(name)
    result = lab().run(None, Context(quick=True))
    assert result.claims
    assert result.answer.endswith((".", "!"))
    assert {claim.outcome for claim in result.claims} <= set(OUTCOMES)
    keys = [figure.key for figure in result.figures]
    assert len(set(keys)) == len(keys)
    assert all(re.fullmatch(r"[a-zA-Z0-9-]+", key) for key in keys)
    html, data, words = io.StringIO(), io.StringIO(), io.StringIO()
    page.write(lab, result, SETTING, html)
    document.write(lab, result, SETTING, data)
    text.write(lab, result, words, 100)
    assert json.loads(data.getvalue())["lab"] == name
    assert all(f'id="{key}"' in html.getvalue() for key in keys)
    assert "http" not in html.getvalue().replace("http-equiv", "")
    assert max(map(len, words.getvalue().splitlines())) <= 100
    for figure in result.figures:
        assert isinstance(figure, (ImagePlot, Pixels)) or svg(figure).startswith("<svg")
