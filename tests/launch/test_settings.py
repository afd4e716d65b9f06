"""Settings: the command line over the environment over pyproject.toml over the defaults."""

from __future__ import annotations

from pathlib import Path

import pytest

from vivavoce.settings import SettingError, Settings, parse_budget, resolve


@pytest.mark.parametrize(
    ("text", "fraction"), [("2%", 0.02), ("2 %", 0.02), ("0.02", 0.02), ("50%", 0.5), ("0.5", 0.5), (0.1, 0.1)]
)
def test_budget(text: str | float, fraction: float) -> None:
    assert parse_budget(text) == pytest.approx(fraction)


@pytest.mark.parametrize("text", ["0", "0%", "-1%", "51%", "2", "nan", "inf", "", "%", "2%%"])
def test_budget_out_of_range(text: str) -> None:
    with pytest.raises(ValueError, match=r"0%|share of step time"):
        parse_budget(text)


def test_defaults(tmp_path: Path) -> None:
    assert resolve({}, {}, tmp_path) == Settings(directory=tmp_path / ".viva")


def write(folder: Path, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "pyproject.toml").write_text(text)


def test_each_source_gives_way_to_the_next(tmp_path: Path) -> None:
    write(tmp_path, '[tool.vivavoce]\nbudget = "5%"\ndir = "runs"\nfail-on = "note"\nstop-on = ["guessing"]\n')
    inside = tmp_path / "inside"
    write(inside, "[project]\n")
    file = resolve({}, {}, inside)
    assert (file.budget, file.directory, file.fail_on) == (0.05, tmp_path / "runs", "note")
    assert file.stop_on == ("guessing",)
    variables = {"VIVA_BUDGET": "6%", "VIVA_DIR": "elsewhere", "VIVA_STOP_ON": "critical,guessing"}
    environment = resolve({}, variables, inside)
    assert (environment.budget, environment.directory) == (0.06, inside / "elsewhere")
    assert environment.stop_on == ("critical", "guessing")
    rules = {"VIVA_RULES": "prediction > 0; sum(probability) <= 1"}
    assert resolve({}, rules, inside).rules == ("prediction > 0", "sum(probability) <= 1")
    assert resolve({"rules": ("target < 3",)}, rules, inside).rules == ("target < 3",)
    line = resolve({"budget": "7%", "directory": None}, variables, inside)
    assert (line.budget, line.directory, line.fail_on) == (0.07, inside / "elsewhere", "note")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[tool.vivavoce]\nbudget = "200%"', "pyproject.toml: [tool.vivavoce] budget: '200%'"),
        ("[tool.vivavoce]\nbugdet = 1", "has no setting 'bugdet'; did you mean 'budget'?"),
        ("[tool.vivavoce\n", "pyproject.toml: "),
        ("[tool]\nvivavoce = 3", "tool.vivavoce is not a table"),
        ("[tool.vivavoce]\ndir = 3", "dir: 3 is not a path"),
        ("[tool.vivavoce]\nstop-on = 3", "stop-on: "),
        ('[tool.vivavoce]\nrules = ["age > 3"]', "rules: 'age > 3' speaks of none of prediction, target"),
        ("[tool.vivavoce]\nrules = [3]", "rules: a rule is a text, not 3"),
        ('[tool.vivavoce]\nlive = "perhaps"', "'perhaps' is neither true nor false"),
    ],
)
def test_bad_values_name_the_file(tmp_path: Path, text: str, says: str) -> None:
    write(tmp_path, text)
    with pytest.raises(SettingError) as caught:
        resolve({}, {}, tmp_path)
    assert says in str(caught.value)
    assert str(tmp_path / "pyproject.toml") in str(caught.value)


@pytest.mark.parametrize("variable", ["VIVA_BUDGET", "VIVA_MODE", "VIVA_FAIL_ON", "VIVA_STOP_ON", "VIVA_QUIET"])
def test_bad_values_name_the_variable(tmp_path: Path, variable: str) -> None:
    with pytest.raises(SettingError, match=variable):
        resolve({}, {variable: "nonsense"}, tmp_path)


def test_a_broken_pyproject_of_others_is_none_of_our_business(tmp_path: Path) -> None:
    write(tmp_path, "[project\nname = 'vivavoce-user'\n")
    assert resolve({}, {}, tmp_path).budget == 0.02


@pytest.mark.parametrize(
    ("environment", "ci", "speaks"),
    [
        ({}, False, True),
        ({"CI": "true"}, True, True),
        ({"CI": "false"}, False, True),
        ({"RANK": "0"}, False, True),
        ({"RANK": "2", "LOCAL_RANK": "0"}, False, False),
        ({"LOCAL_RANK": "1"}, False, False),
        ({"RANK": "none"}, False, True),
    ],
)
def test_surroundings(tmp_path: Path, environment: dict[str, str], ci: bool, speaks: bool) -> None:
    settings = resolve({}, environment, tmp_path)
    assert (settings.ci, settings.speaks) == (ci, speaks)


def test_a_child_records_and_is_silent(tmp_path: Path) -> None:
    settings = resolve({"fail_on": "note", "json": "x.json", "stop_on": ("critical",)}, {}, tmp_path).in_child(42)
    assert (settings.parent, settings.speaks, settings.json, settings.fail_on) == (42, False, None, None)
    assert settings.stop_on == ("critical",)


def test_what_the_guard_may_do(tmp_path: Path) -> None:
    everything = ("clip", "rewind", "lower-learning-rate", "skip-batch")
    assert resolve({"guard": True}, {}, tmp_path).allow == everything
    assert not resolve({}, {}, tmp_path).guard
    assert resolve({"guard": True, "allow": "clip, rewind"}, {}, tmp_path).allow == ("clip", "rewind")
    write(tmp_path, '[tool.vivavoce]\nguard = true\nallow = ["skip-batch"]\n')
    assert resolve({}, {}, tmp_path).allow == ("skip-batch",)
    assert resolve({}, {"VIVA_ALLOW": "clip", "VIVA_GUARD": "0"}, tmp_path).allow == ("clip",)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"guard": True, "allow": "clip,rewnd"}, "'rewnd' is none of clip, rewind.*did you mean 'rewind'?"),
        ({"guard": True, "allow": ","}, "name at least one of clip"),
        ({"allow": "clip"}, "nothing acts on the training without --guard"),
        ({"guard": True, "preflight": True}, "leave out one of the two"),
    ],
)
def test_what_the_guard_cannot_do(tmp_path: Path, given: dict[str, object], says: str) -> None:
    with pytest.raises(SettingError, match=says):
        resolve(given, {}, tmp_path)
