"""`viva run`: its options and errors, and what it adds at the end of a script."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from vivavoce.cli import VERBS, command

FAKE = Path(__file__).with_name("fake_viva.py")


def call(*words: str) -> Result:
    return CliRunner().invoke(command, words, prog_name="viva")


def fake(folder: Path, behaviour: str, *words: str, script: str = "import torch", **more: str):
    (folder / "torch.py").write_text("def train(): pass\n")
    (folder / "script.py").write_text(script)
    environment = {**os.environ, "FAKE": behaviour, **more}
    return subprocess.run(
        [sys.executable, str(FAKE), "run", *words, "script.py"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "script.py").write_text("print('ran')")
    (tmp_path / "binary").write_bytes(b"\x7fELF\0\0\xff")
    (tmp_path / "notes").write_bytes("caf\xe9".encode("latin-1"))
    (tmp_path / "empty").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "name a script to run"),
        (("missing.py",), "there is no file 'missing.py'"),
        (("empty",), "'empty' is a directory without a __main__.py"),
        (("binary",), "'binary' is not Python source"),
        (("notes",), "'notes' is not Python source"),
        (("--bugdet", "1%", "script.py"), "Did you mean"),
        (("--budget", "200%", "script.py"), "--budget: '200%' lies outside 0% to 50%"),
        (("--budget", "0", "script.py"), "--budget: '0' lies outside"),
        (("--budget", "nan", "script.py"), "--budget: 'nan' lies outside"),
        (("--budget", "much", "script.py"), "'much' is not a share of step time"),
        (("--fail-on", "critcal", "script.py"), "did you mean 'critical'?"),
        (("--stop-on", "gessing", "script.py"), "did you mean 'guessing'?"),
        (("--json", "empty", "script.py"), "is a directory"),
        (("--json", "-", "script.py"), "standard output belongs to the script"),
        (("--json", "no/where.json", "script.py"), "there is no directory"),
        (("--dir", "", "script.py"), "--dir: '' is not a path"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_input_is_one_line_and_exit_2(folder: Path, words: tuple[str, ...], says: str) -> None:
    result = call("run", *words)
    assert result.exit_code == 2
    assert says in result.stderr
    assert result.stdout == ""
    usage, hint, blank, *error = result.stderr.splitlines()
    assert usage.startswith("Usage: viva run")
    assert hint == "Try 'viva run --help' for help."
    assert blank == ""
    assert len(error) == 1
    assert error[0].startswith("Error: ")


def test_unknown_command_names_the_nearest() -> None:
    result = call("rnu", "x.py")
    assert result.exit_code == 2
    assert "there is no command 'rnu'; did you mean 'run'?" in result.stderr


def test_script_in_place_of_a_command() -> None:
    assert "did you mean 'run train.py'?" in call("train.py").stderr


def test_help_lists_every_verb() -> None:
    text = call("--help").stdout
    assert all(f"  {verb} " in text and line in text for verb, (_, line) in VERBS.items())


@pytest.mark.parametrize("words", [("--help",), ("run", "--help"), ("--version",)])
def test_no_heavy_module_is_loaded(words: tuple[str, ...]) -> None:
    program = (
        "import sys; from vivavoce.cli import main\n"
        f"try: main({list(words)!r})\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'numpy', 'rich', 'sqlite3') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"


def test_options_after_the_script_are_its_own(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("import sys; print(sys.argv[1:])")
    done = subprocess.run(
        [sys.executable, "-m", "vivavoce", "run", "--quiet", "script.py", "--budget", "900%", "--nonsense"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("['--budget', '900%', '--nonsense']\n", "", 0)


def test_card_comes_last(tmp_path: Path) -> None:
    script = "import atexit, torch, sys; atexit.register(print, 'handler', file=sys.stderr); 1/0"
    done = fake(tmp_path, "finding", "--budget", "5%", script=script)
    assert done.stdout == "session ['script.py'] 0.05\nfinish 1 ZeroDivisionError('division by zero')\n"
    places = [done.stderr.index(word) for word in ("Traceback", "Error: division", "\nhandler", "viva ▸ guessing")]
    assert places == sorted(places)
    assert done.returncode == 1


def test_interrupted_run_dies_of_the_signal_after_its_card(tmp_path: Path) -> None:
    done = fake(tmp_path, "finding", script="import torch; raise KeyboardInterrupt")
    assert "finish 130 KeyboardInterrupt()" in done.stdout
    assert "viva ▸ guessing" in done.stderr
    assert done.returncode == -2


@pytest.mark.parametrize(
    ("level", "script", "exit_code"),
    [
        ("critical", "import torch", 0),
        ("warning", "import torch", 3),
        ("note", "import torch", 3),
        ("note", "import torch, sys; sys.exit(9)", 9),
        ("note", "import torch; 1/0", 1),
        ("note", "import torch, sys; sys.exit(0)", 3),
    ],
)
def test_fail_on(tmp_path: Path, level: str, script: str, exit_code: int) -> None:
    done = fake(tmp_path, "finding", "--fail-on", level, script=script + "\n")
    assert done.returncode == exit_code
    assert done.stdout.startswith("session")


def test_fail_on_loses_no_output(tmp_path: Path) -> None:
    done = fake(tmp_path, "finding", "--fail-on", "note", script="import torch; print('buffered')")
    assert "buffered" in done.stdout
    assert done.returncode == 3


def test_stop_on_says_so(tmp_path: Path) -> None:
    done = fake(tmp_path, "stop", "--stop-on", "guessing", script="import torch; torch.train(); print('never')")
    assert done.returncode == 3
    assert "never" not in done.stdout
    assert "viva ▸ stopped by --stop-on: guessing\n" in done.stderr


@pytest.mark.parametrize("behaviour", ["broken install", "broken finish"])
def test_a_fault_of_ours_is_one_line_and_keeps_the_exit_code(tmp_path: Path, behaviour: str) -> None:
    done = fake(tmp_path, behaviour, "--fail-on", "note", script="import torch, sys; print('ran'); sys.exit(5)")
    assert done.returncode == 5
    assert "ran\n" in done.stdout
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("viva ▸ ")
    assert "RuntimeError: " in done.stderr


def test_json(tmp_path: Path) -> None:
    done = fake(tmp_path, "finding", "--json", "report.json", "--quiet", script="import os, torch; os.chdir('/')")
    assert done.stderr == ""
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["verdict"] == "findings"
    assert [finding["slug"] for finding in report["findings"]] == ["guessing"]


@pytest.mark.parametrize("script", ["import torch", "print('no torch')"])
def test_json_without_training(tmp_path: Path, script: str) -> None:
    done = fake(tmp_path, "nothing", "--json", "report.json", script=script)
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["schema"], report["verdict"], report["findings"]) == (1, "no-training", [])
    assert report["run"]["exit_code"] == 0
    assert done.stderr == f"viva ▸ {report['reason']}\n"


@pytest.mark.parametrize(("seconds", "said"), [(1.2, True), (0, False)])
def test_programs_that_a_launcher_starts_are_named(tmp_path: Path, seconds: float, said: bool) -> None:
    child = f"import time\nwhile time.process_time() < {seconds}: pass"
    done = fake(
        tmp_path, "nothing", script=f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    )
    assert "the script never imported torch" in done.stderr
    assert ("put `viva run` before them" in done.stderr) == said


def test_json_that_cannot_be_written_costs_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    script = "import torch, shutil; shutil.rmtree('out')"
    done = fake(tmp_path, "finding", "--json", "out/report.json", script=script)
    assert done.returncode == 0
    assert "viva ▸ the report was not written" in done.stderr
    assert "viva ▸ guessing" in done.stderr


def test_only_the_first_rank_speaks(tmp_path: Path) -> None:
    assert "guessing" in fake(tmp_path, "finding", RANK="0").stderr
    assert fake(tmp_path, "finding", RANK="1").stderr == ""


@pytest.mark.parametrize("way", ["--off", "VIVA_MODE"])
def test_off_means_no_session(tmp_path: Path, way: str) -> None:
    words, environment = (("--off",), {}) if way == "--off" else ((), {"VIVA_MODE": "off"})
    done = fake(tmp_path, "finding", *words, script="import torch; print('ran')", **environment)
    assert (done.stdout, done.stderr) == ("ran\n", "")


def test_a_module_of_the_users_own_does_not_stand_in_for_ours(tmp_path: Path) -> None:
    (tmp_path / "rich.py").write_text("x = 'mine'\n")
    assert "viva ▸ guessing" in fake(tmp_path, "finding").stderr
    assert fake(tmp_path, "finding", script="import rich; print(rich.x)").stdout.startswith("mine\n")


def test_closed_stderr_is_survived(tmp_path: Path) -> None:
    done = fake(tmp_path, "finding", script="import torch, sys; sys.stderr.close(); print('ran')")
    assert done.returncode == 0
    assert "ran" in done.stdout
