"""`Settings` of a watched run: the command line over the environment over `[tool.vivavoce]` over the defaults.

`resolve` reads all four and says of a bad value where it came from. Nothing here imports torch or opens a store.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from vivavoce.examine.finding import SEVERITIES, Severity
from vivavoce.examine.slugs import SLUGS

Mode = Literal["on", "off"]

DEFAULT_BUDGET = 0.02  # fraction of step time that watching may cost
LARGEST_BUDGET = 0.5  # above it, watching would cost more than half of the training itself
DEFAULT_DIRECTORY = ".viva"
ACTS = ("clip", "rewind", "lower-learning-rate", "skip-batch")  # what the guard may do

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"", "0", "false", "no", "off"})
_TABLE = "vivavoce"  # [tool.vivavoce]


class SettingError(ValueError):
    """A value that cannot be used; the message says where it came from."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a run is watched. Paths are absolute, so that a script may change its directory.

    `budget` is a fraction of step time. `rank` is the process's rank under torchrun, None elsewhere; `parent` the
    process id of the watched run that started this process, None for the first. `preflight` ends the script after its first
    steps; `fail_on` is then critical, if nothing else is said. `guard` lets Viva act on the training, within what `allow` lists.
    `rules` are what predictions must obey, as text.
    """

    budget: float = DEFAULT_BUDGET
    directory: Path = Path(DEFAULT_DIRECTORY)
    mode: Mode = "on"
    fail_on: Severity | None = None
    stop_on: tuple[str, ...] = ()
    json: Path | None = None
    rules: tuple[str, ...] = ()
    preflight: bool = False
    guard: bool = False
    allow: tuple[str, ...] = ACTS
    live: bool = True
    quiet: bool = False
    ci: bool = False
    rank: int | None = None
    parent: int | None = None

    @property
    def speaks(self) -> bool:
        """Whether this process prints the verdict: not when asked to be quiet, and of many ranks only the first."""
        return not self.quiet and not self.rank

    def in_child(self, parent: int) -> Settings:
        """The settings of a process that the watched process `parent` started: it records and prints nothing."""
        return replace(self, parent=parent, quiet=True, live=False, json=None, fail_on=None)


def resolve(
    command_line: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> Settings:
    """The settings in force in `directory` (the current one by default).

    `command_line` maps names of fields to values as typed, None for options not given. Raises `SettingError`.
    """
    here = Path.cwd() if directory is None else directory
    environment = os.environ if environment is None else environment
    values = _from_file(here)
    values.update(_from_environment(environment, here))
    given = {name: value for name, value in (command_line or {}).items() if value is not None}
    values.update({name: _parsed(name, value, _option(name), here) for name, value in given.items()})
    values.setdefault("directory", here / DEFAULT_DIRECTORY)
    _check_guard(values, given)
    if values.get("preflight"):
        values.setdefault("fail_on", SEVERITIES[0])
    return Settings(**values, ci=_is_ci(environment), rank=_rank(environment))


def _check_guard(values: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """The guard and what it may do must go together; in a preflight there is nothing to guard."""
    if "allow" in given and not values.get("guard"):
        raise SettingError("--allow: nothing acts on the training without --guard")
    if values.get("guard") and values.get("preflight"):
        raise SettingError("--guard: a preflight ends before there is anything to guard; leave out one of the two")


def parse_budget(value: str | float) -> float:
    """A fraction from `2%`, `2 %`, `0.02` or a number. Raises ValueError outside (0, 50 %]."""
    text = str(value).strip()
    try:
        budget = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a share of step time; write it as 2% or 0.02") from None
    if not 0 < budget <= LARGEST_BUDGET:
        raise ValueError(f"{text!r} lies outside 0% to {LARGEST_BUDGET:.0%}")
    return budget


def parse_stop(value: str | Iterable[str]) -> tuple[str, ...]:
    """Slugs of findings, or `critical`: a list, or one string with commas. Raises ValueError for an unknown one."""
    parts = value.split(",") if isinstance(value, str) else value
    slugs = tuple(slug.strip() for slug in parts if slug.strip())
    for slug in slugs:
        if slug != "critical" and slug not in SLUGS:
            raise ValueError(f"there is no finding {slug!r}{did_you_mean(slug, [*SLUGS, 'critical'])}")
    return slugs


def parse_allow(value: str | Iterable[str]) -> tuple[str, ...]:
    """What the guard may do: a list, or one string with commas. Raises ValueError for an unknown act, and for none."""
    parts = value.split(",") if isinstance(value, str) else value
    acts = tuple(act.strip() for act in parts if act.strip())
    for act in acts:
        if act not in ACTS:
            raise ValueError(f"{act!r} is none of {', '.join(ACTS)}{did_you_mean(act, ACTS)}")
    if not acts:
        raise ValueError(f"name at least one of {', '.join(ACTS)}")
    return acts


def parse_rules(value: str | Iterable[str]) -> tuple[str, ...]:
    """Rules for predictions: a list, or one string with semicolons. Raises ValueError for what is no rule."""
    parts = value.split(";") if isinstance(value, str) else list(value)
    for part in parts:
        if not isinstance(part, str):
            raise ValueError(f"a rule is a text, not {part!r}")
    texts = tuple(text.strip() for text in parts if text.strip())
    if texts:
        from vivavoce.measure.rules_run import parse_run_rule

        for text in texts:
            parse_run_rule(text)
    return texts


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or nothing where no word is near."""
    near = get_close_matches(word, list(words), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _severity(value: str) -> Severity:
    for severity in SEVERITIES:
        if value == severity:
            return severity
    raise ValueError(f"{value!r} is none of {', '.join(SEVERITIES)}{did_you_mean(str(value), SEVERITIES)}")


def _mode(value: str) -> Mode:
    if value in ("on", "off"):
        return "on" if value == "on" else "off"
    raise ValueError(f"{value!r} is neither on nor off")


def _boolean(value: str | bool) -> bool:
    word = str(value).strip().lower()
    if word not in _TRUE | _FALSE:
        raise ValueError(f"{value!r} is neither true nor false")
    return word in _TRUE


_PARSERS: dict[str, Callable[[Any], Any]] = {
    "budget": parse_budget,
    "mode": _mode,
    "fail_on": _severity,
    "stop_on": parse_stop,
    "rules": parse_rules,
    "preflight": _boolean,
    "guard": _boolean,
    "allow": parse_allow,
    "live": _boolean,
    "quiet": _boolean,
}
_PATHS = frozenset({"directory", "json"})
_KEYS = {"dir": "directory", **{name.replace("_", "-"): name for name in _PARSERS}}  # as users write them


def _parsed(name: str, value: Any, source: str, base: Path) -> Any:
    if name in _PATHS:
        if not isinstance(value, str | os.PathLike) or not str(value):
            raise SettingError(f"{source}: {value!r} is not a path")
        return Path(os.path.abspath(base / Path(value).expanduser()))
    try:
        return _PARSERS[name](value)
    except (ValueError, TypeError) as error:
        raise SettingError(f"{source}: {error}") from None


def _option(name: str) -> str:
    if name == "rules":  # given one by one
        return "--rule"
    return next((f"--{key}" for key, field in _KEYS.items() if field == name), f"--{name}")


def _from_environment(environment: Mapping[str, str], here: Path) -> dict[str, Any]:
    values = {}
    for key, name in _KEYS.items():
        variable = "VIVA_" + key.replace("-", "_").upper()
        if environment.get(variable):
            values[name] = _parsed(name, environment[variable], variable, here)
    return values


def _is_ci(environment: Mapping[str, str]) -> bool:
    return environment.get("CI", "").strip().lower() not in _FALSE


def _rank(environment: Mapping[str, str]) -> int | None:
    for variable in ("RANK", "LOCAL_RANK"):
        if environment.get(variable, "").isdecimal():
            return int(environment[variable])
    return None


def _from_file(here: Path) -> dict[str, Any]:
    found = _nearest_table(here)
    if found is None:
        return {}
    path, table = found
    values = {}
    for key, value in table.items():
        if key not in _KEYS:
            raise SettingError(f"{path}: [tool.{_TABLE}] has no setting {key!r}{did_you_mean(key, _KEYS)}")
        values[_KEYS[key]] = _parsed(_KEYS[key], value, f"{path}: [tool.{_TABLE}] {key}", path.parent)
    return values


def _nearest_table(here: Path) -> tuple[Path, dict[str, Any]] | None:
    """The first pyproject.toml from `here` upwards that has our table; others are none of our business."""
    for folder in (here, *here.parents):
        path = folder / "pyproject.toml"
        try:
            content = path.read_bytes()
        except OSError:
            continue
        if b"vivavoce" in content:
            table = _table(path, content)
            if table is not None:
                return path, table
    return None


def _table(path: Path, content: bytes) -> dict[str, Any] | None:
    import tomllib

    try:
        table = tomllib.loads(content.decode()).get("tool", {}).get(_TABLE)
    except (ValueError, AttributeError) as error:
        if f"[tool.{_TABLE}".encode() in content:
            raise SettingError(f"{path}: {error}") from None
        return None
    if table is not None and not isinstance(table, dict):
        raise SettingError(f"{path}: tool.{_TABLE} is not a table")
    return table


def field_names() -> tuple[str, ...]:
    """Names of all settings, for the test that each is documented."""
    return tuple(field.name for field in fields(Settings))
