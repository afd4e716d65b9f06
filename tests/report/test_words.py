import doctest

import pytest

from vivavoce.report import markup, words


@pytest.mark.parametrize("module", [words, markup])
def test_the_examples_in_the_docstrings(module):
    result = doctest.testmod(module)
    assert result.failed == 0
    assert result.attempted > 0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, "0"),
        (-3, "-3"),
        (999999, "999,999"),
        (12345.678, "12,346"),
        (0.001, "0.001"),
        (0.0999999, "0.1"),
        (9.999, "10"),
        (1e300, "1e300"),
        (-2.5e-9, "-2.5e-9"),
        (float("inf"), "infinite"),
        ("nan", "NaN"),
        ("RMSprop", "RMSprop"),
    ],
)
def test_numbers(value, expected):
    assert words.number(value) == expected


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0.25, "fraction", "25 %"),
        (0.25, "fraction of units", "25 % of units"),
        (3, "steps", "3 steps"),
        ("nan", "fraction", "NaN fraction"),
    ],
)
def test_units(value, unit, expected):
    assert words.with_unit(value, unit) == expected


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (None, None, ""),
        (3, 3, "step 3"),
        (3, None, "from step 3"),
        (None, 9, "up to step 9"),
        (1000, 2000, "steps 1,000–2,000"),
    ],
)
def test_step_ranges(first, last, expected):
    assert words.step_range(first, last) == expected


def test_paths_below_the_current_folder_are_short(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert words.short_path(str(tmp_path / "src" / "train.py")) == "src/train.py"
    assert words.short_path("/elsewhere/train.py") == "/elsewhere/train.py"


def test_paths_are_written_for_the_folder_in_which_the_reader_sits(tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    with words.read_in(tmp_path):
        assert words.short_path(str(tmp_path / "train.py")) == "train.py"
        assert words.name_of_run(tmp_path / ".viva" / "kiwi.db") == "kiwi"
    assert words.short_path(str(tmp_path / "train.py")) == str(tmp_path / "train.py")[1:]


@pytest.mark.parametrize(
    ("path", "argument"),
    [(".viva/kiwi.db", ""), ("runs/my kiwi.db", " 'runs/my kiwi.db'"), ("/else/where/kiwi.db", " /else/where/kiwi.db")],
)
def test_the_next_command_finds_the_run_wherever_it_was_recorded(tmp_path, monkeypatch, path, argument):
    monkeypatch.chdir(tmp_path)
    report = {"verdict": "healthy", "findings": [], "path": str(tmp_path / path)}
    assert words.next_commands(report)[0] == f"viva report{argument} --format html"


def test_a_run_without_a_file_is_not_to_be_reported():
    assert words.next_commands({"verdict": "healthy", "findings": [], "path": None}) == ["viva runs"]


@pytest.mark.parametrize(("code", "said"), [(0, False), (None, False), (1, True), (17, True)])
def test_the_tally_says_that_a_script_failed(code, said):
    run = {"steps": 5, "state": "finished", "started": "", "overhead": None, "stopped": None, "exit_code": code}
    assert words.tally({"run": run, "path": None}) == "5 steps" + (f", ended with exit code {code}" if said else "")


def test_only_our_own_html_passes_unescaped():
    assert markup.element("p", "<b>", markup.element("b", '"')) == "<p>&lt;b&gt;<b>&quot;</b></p>"
    assert markup.element("a", href='"><script>') == '<a href="&quot;&gt;&lt;script&gt;"></a>'
