"""What is undocumented fails: commands, options, findings, settings; and what the documentation says exists."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

from vivavoce import settings
from vivavoce.cli import VERBS, command
from vivavoce.examine.catalogue import DETECTORS
from vivavoce.examine.slugs import SLUGS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "examples").glob("*.md")])
MADE_BY_TOOLS = {"CHANGELOG.md"}


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def fenced(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def find(*words: str) -> click.Command:
    """The command that these words name: `run`, `lab gradients` …"""
    found: click.Command = command
    for word in words:
        if isinstance(found, click.Group):
            below = found.get_command(click.Context(found), word)
            assert below is not None, f"there is no command {word!r}"
            found = below
    return found


def options_of(*words: str) -> set[str]:
    below = find(*words)
    return {option for parameter in below.params for option in parameter.opts if isinstance(parameter, click.Option)}


def test_the_page_of_the_command_line_is_up_to_date() -> None:
    script = [sys.executable, DOCS / "generate_cli.py", "--check"]
    result = subprocess.run(script, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_every_command_and_option_is_documented(verb: str) -> None:
    found = find(verb)
    names = found.list_commands(click.Context(found)) if isinstance(found, click.Group) else None
    if names == []:
        pytest.skip(f"`viva {verb}` has no commands")
    for words in [(verb,), *((verb, name) for name in names or ())]:
        title = re.escape("viva " + " ".join(words))
        documented = re.search(rf"## `{title}`\n\n```text\n(.*?)```", page("docs/cli.md"), flags=re.DOTALL)
        assert documented is not None, title
        for option in options_of(*words):
            assert option in documented[1]


def test_commands_in_the_documentation_exist() -> None:
    pages = [path for path in PAGES if path.name != "cli.md"]  # that one is made from the commands themselves
    lines = [
        line for path in pages for block in fenced(path.read_text(), "(?:bash|text)") for line in block.splitlines()
    ]
    commands = [
        shlex.split(line.removeprefix("$ "), comments=True) for line in lines if re.match(r"(\$ )?viva [^▸]", line)
    ]
    assert len(commands) > 5
    for words in commands:
        assert words[1] in VERBS, shlex.join(words)
        known = options_of(*words[1:3]) | options_of(words[1])
        for word in words[2 : _script(words)]:
            assert not word.startswith("-") or word in known, shlex.join(words)


def _script(words: list[str]) -> int:
    """Index of the script in a `viva run` line, whose own options follow it."""
    return next((i for i, word in enumerate(words) if word.endswith(".py")), len(words))


def test_targets_of_make_in_the_documentation_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", page("Makefile"), flags=re.MULTILINE))
    named = {
        name for path in PAGES for name in re.findall(r"(?:`|^)make ([a-z-]+)", path.read_text(), flags=re.MULTILINE)
    }
    assert named
    assert named <= targets


@pytest.mark.parametrize("slug", SLUGS)
def test_every_finding_has_a_page_and_is_listed(slug: str) -> None:
    text = page(f"docs/findings/{slug}.md")
    assert text.startswith(f"# `{slug}`\n")
    assert f"({slug}.md)" in page("docs/findings/README.md")


def test_every_detector_finds_a_documented_finding() -> None:
    assert {detector.slug for detector in DETECTORS} <= set(SLUGS)


def test_pages_of_findings_are_of_findings_that_exist() -> None:
    assert {path.stem for path in (DOCS / "findings").glob("*.md")} - {"README"} == set(SLUGS)


def test_every_setting_is_documented() -> None:
    rows = re.findall(
        r"^\| `([a-z-]+)` \| `--[a-z-]+` \| `(VIVA_[A-Z_]+)`", page("docs/settings.md"), flags=re.MULTILINE
    )
    assert rows == [(key, "VIVA_" + key.upper().replace("-", "_")) for key, _ in rows]
    assert {key for key, _ in rows} == set(settings._KEYS)


def test_options_of_settings_exist() -> None:
    options = re.findall(r"^\| `[a-z-]+` \| `(--[a-z-]+)` \|", page("docs/settings.md"), flags=re.MULTILINE)
    assert len(options) == len(settings._KEYS)
    known = {option for parameter in _run_options() for option in (*parameter.opts, *parameter.secondary_opts)}
    assert set(options) <= known


def _run_options() -> list[click.Parameter]:
    return find("run").params


def test_documented_defaults_are_the_defaults() -> None:
    documented = {
        key: default.strip('"')
        for key, default in re.findall(
            r"^\| `([a-z-]+)` \| .*?\| `VIVA_\w+` \| `?([^|`]+)`? \|", page("docs/settings.md"), re.M
        )
    }
    given = settings.Settings()
    assert settings.parse_budget(documented["budget"]) == given.budget
    assert Path(documented["dir"]) == given.directory
    assert documented["mode"] == given.mode
    assert settings._boolean(documented["live"]) is given.live
    assert settings._boolean(documented["quiet"]) is given.quiet
    assert settings._boolean(documented["preflight"]) is given.preflight
    assert settings._boolean(documented["guard"]) is given.guard
    assert settings.parse_allow(documented["allow"]) == given.allow
    assert (documented["fail-on"], given.fail_on) == ("none", None)
    assert (documented["stop-on"], given.stop_on) == ("none", ())
    assert (documented["rules"], given.rules) == ("none", ())


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_settings_in_examples_are_accepted(path: Path, tmp_path: Path) -> None:
    for block in fenced(path.read_text(), "toml"):
        table = tomllib.loads(block).get("tool", {}).get("vivavoce")
        if table is not None:
            (tmp_path / "pyproject.toml").write_text(block)
            assert settings.resolve(environment={}, directory=tmp_path) != settings.resolve(
                environment={}, directory=ROOT
            )


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_resolve(path: Path) -> None:
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith(("http://", "https://", "#", "mailto:")):
            assert (path.parent / target.partition("#")[0]).exists(), target


def test_every_page_can_be_reached() -> None:
    reached = {(DOCS / "index.md").resolve(), (ROOT / "README.md").resolve()}
    todo = list(reached)
    while todo:
        current = todo.pop()
        for target in re.findall(r"\]\(([^)\s#]+\.md)", current.read_text(encoding="utf-8")):
            path = (current.parent / target).resolve()
            if path.exists() and path not in reached:
                reached.add(path)
                todo.append(path)
    missing = {path.relative_to(ROOT).as_posix() for path in PAGES if path.resolve() not in reached}
    assert missing <= MADE_BY_TOOLS


def test_every_example_is_in_the_table() -> None:
    listed = re.findall(r"^\| \[([a-z0-9_]+\.py)\]", page("examples/README.md"), flags=re.MULTILINE)
    assert sorted(listed) == sorted(path.name for path in (ROOT / "examples").glob("*.py"))
