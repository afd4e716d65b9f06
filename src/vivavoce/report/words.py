"""How numbers, places and verdicts are put into words: the same in every reporter."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vivavoce.report.schema import EvidenceData, FindingData, MetricData, PlaceData, Report, RunData, WhereData

QUESTIONS: dict[int, str] = {
    0: "data and machines",
    1: "what does this task need?",
    2: "what has the network learned?",
    3: "do generator and discriminator balance?",
    4: "can the network express the function?",
    5: "do gradients explode or vanish?",
    6: "do batch size and learning rate fit?",
    7: "which classes are confused?",
    8: "which frequencies are in the data and the loss?",
    9: "overfitting or underfitting?",
}

OUTCOMES: dict[str, str] = {
    "healthy": "healthy",
    "findings": "findings",
    "unknown": "unknown",
    "no-training": "no training seen",
}

METRIC_TITLES: dict[str, str] = {
    "train/loss": "training loss",
    "val/loss": "validation loss",
    "train/accuracy": "training accuracy",
    "val/accuracy": "validation accuracy",
}

ORDERS: dict[bool | None, str] = {True: "shuffled", False: "in order", None: "unknown"}

RUNS_FOLDER = ".viva"  # in which `viva report` looks for a run, unless it is told otherwise

_WORDS_FOR_STRINGS = {"nan": "NaN", "inf": "infinite", "-inf": "−infinite"}
_FRACTION = "fraction"
_SIGNIFICANT_DIGITS = 3
_LARGEST_PLAIN = 1e6  # from here on, and below the next, numbers are written with an exponent
_SMALLEST_PLAIN = 1e-3


def plain(text: Any) -> str:
    """Text without control characters: a layer's name must not move the cursor or colour the terminal."""
    return "".join(char if char.isprintable() or char in "\n\t" else "�" for char in str(text))


def shape(sizes: list[int]) -> str:
    """The shape of a tensor for people: 64 × 10; a dash where it is unknown."""
    return " × ".join(map(str, sizes)) or "–"


def number(value: Any) -> str:
    """A number for people: whole numbers with thousands separated, others to three significant digits.

    >>> number(13780), number(0.123456), number(2e-05), number("inf"), number(None)
    ('13,780', '0.123', '2e-5', 'infinite', '–')
    """
    if value is None:
        return "–"
    if isinstance(value, str):
        return _WORDS_FOR_STRINGS.get(value, plain(value))
    if not math.isfinite(value):
        return _WORDS_FOR_STRINGS[str(float(value))]
    if value == int(value) and abs(value) < _LARGEST_PLAIN:
        return f"{int(value):,}"
    return _rounded(value)


def _rounded(value: float) -> str:
    if _SMALLEST_PLAIN <= abs(value) < _LARGEST_PLAIN:
        decimals = max(_SIGNIFICANT_DIGITS - 1 - math.floor(math.log10(abs(value))), 0)
        return _without_zeros(f"{value:,.{decimals}f}")
    mantissa, exponent = f"{value:.{_SIGNIFICANT_DIGITS - 1}e}".split("e")
    return f"{_without_zeros(mantissa)}e{int(exponent)}"


def _without_zeros(digits: str) -> str:
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def percent(fraction: Any) -> str:
    """A fraction as a percentage: 0.014 as "1.4 %"."""
    if not isinstance(fraction, (int, float)):
        return number(fraction)
    return f"{number(float(f'{100 * fraction:.2g}'))} %"


def steps(count: int) -> str:
    """A number of steps: "1 step", "1,000 steps"."""
    return f"{count:,} step" + ("" if count == 1 else "s")


_reader: Path | None = None  # the folder in which the reader types; None for the current one


@contextmanager
def read_in(folder: Path | None) -> Iterator[None]:
    """Paths are written for a reader in `folder`: a script that was watched may have changed the current one."""
    global _reader
    before, _reader = _reader, folder
    try:
        yield
    finally:
        _reader = before


def _below(file: str) -> Path | None:
    """A path relative to the reader's folder; None where it does not lie below it."""
    try:
        return Path(file).relative_to(_reader or Path.cwd())
    except (ValueError, OSError):
        return None


def name_of_run(path: Path | str) -> str:
    """How the reader names a recorded run: by its file, where that is not in the folder that `viva report` looks in."""
    here = _below(str(path)) == Path(RUNS_FOLDER, Path(path).name)
    return Path(path).stem if here else short_path(str(path))


def short_path(file: str) -> str:
    """A file as the reader would type it: relative to the current folder where it lies below it."""
    return plain(_below(file) or file)


def sentence(text: str) -> str:
    """Text that begins with a capital, unless it begins with code.

    >>> sentence("lower the learning rate"), sentence("nn.LSTM for nn.RNN")
    ('Lower the learning rate', 'nn.LSTM for nn.RNN')
    """
    first = text.split(" ", 1)[0]
    return text[:1].upper() + text[1:] if first.isalpha() else text


def moment(time: str | None) -> str:
    """An ISO 8601 time for people: "2026-11-22 14:13:20 UTC"; "" where there is none."""
    return plain(time or "").replace("T", " ").replace("+00:00", " UTC")


def state(run: RunData) -> str:
    """The state of a run in words."""
    if run["state"] == "running":
        return "still running: this report covers the steps so far"
    if run["state"] == "killed":
        return "ended without a word: its process is gone"
    return "finished" if run["exit_code"] in (None, 0) else f"finished with exit code {run['exit_code']}"


def place(site: PlaceData | None) -> str:
    """A line of source as "train.py:57"; "" where it is unknown."""
    return "" if site is None else f"{short_path(site['file'])}:{site['line']}"


def step_range(first: int | None, last: int | None) -> str:
    """A range of steps: "steps 210–274", "step 3", "from step 210", or "" where both are unknown."""
    if first is None and last is None:
        return ""
    if first is None:
        return f"up to step {last:,}"
    if last is None:
        return f"from step {first:,}"
    return f"step {first:,}" if first == last else f"steps {first:,}–{last:,}"


def where(place_: WhereData) -> str:
    """The place of a finding on one line; "" where nothing is known."""
    name = place_["parameter"] or place_["layer"]
    source = ""
    if place_["file"] is not None:
        source = short_path(place_["file"]) + (f":{place_['line']}" if place_["line"] is not None else "")
    parts = [plain(name) if name else "", step_range(place_["first_step"], place_["last_step"]), source]
    return ", ".join(part for part in parts if part)


def measured(evidence: EvidenceData) -> str:
    """A measured value with its unit."""
    return with_unit(evidence["value"], evidence["unit"])


def with_unit(value: Any, unit: str) -> str:
    """A number and its unit, as in "1.1 per step"; fractions become percentages: "9 % of units"."""
    if unit.startswith(_FRACTION) and not isinstance(value, str):
        return f"{percent(value)} {plain(unit.removeprefix(_FRACTION)).strip()}".strip()
    return f"{number(value)} {plain(unit)}".strip()


def confidence(finding: FindingData) -> str:
    """The confidence of a finding with two decimals."""
    return f"{finding['confidence']:.2f}"


def metric_line(metric: MetricData) -> str:
    """First, last and best value of a metric: "2.31 → 0.12 (best 0.11 at step 960)"."""
    best = "" if metric["best_step"] is None else f" (best {number(metric['best'])} at step {metric['best_step']:,})"
    return f"{number(metric['first'])} → {number(metric['last'])}{best}"


def primary(report: Report) -> FindingData | None:
    """The finding to look at first; None where nothing worse than a note was found."""
    return next((finding for finding in report["findings"] if finding["primary"]), None)


def headline(report: Report) -> str:
    """The verdict in a few words: the primary finding's title, or what was concluded instead."""
    finding = primary(report)
    return plain(finding["title"]) if finding else OUTCOMES[report["verdict"]].capitalize()


def next_commands(report: Report, run: str | None = None) -> list[str]:
    """What to type next; `run` names the run where it is not the latest one. A run without a file has no report."""
    finding = primary(report)
    if report["verdict"] == "no-training":
        return ["viva run --help"]
    path = report["path"]
    if path is not None and name_of_run(path) != Path(path).stem:
        run = name_of_run(path)
    argument = f" {shlex.quote(plain(run))}" if run else ""
    commands = [f"viva repair {plain(report['run']['command'])}"] if finding and report["run"]["script"] else []
    if path is not None:
        commands.append(f"viva report{argument} --format html")
    commands.append(f"viva explain {plain(finding['slug'])}" if finding else "viva runs")
    return commands


def cost(run: RunData) -> str:
    """What watching cost, against what it may: the budget, and in short runs the seconds granted once."""
    overhead, budget, allowed = run["overhead"], run["budget"], run["allowed"]
    if not isinstance(overhead, float) or not isinstance(budget, float):
        return percent(overhead)
    if overhead > budget and isinstance(allowed, float) and run["training_seconds"]:
        training = float(run["training_seconds"]) / (1 + overhead)  # without what watching took
        once = (allowed - budget) * training
        return f"{percent(overhead)} (allowed: {percent(budget)}, and {once:.2f} s once)"
    return f"{percent(overhead)} of {percent(budget)} allowed"


def tally(report: Report) -> str:
    """The last line of a card: steps, overhead, and where the run was recorded."""
    run = report["run"]
    parts = [steps(run["steps"]) + (" so far" if run["state"] == "running" and run["started"] else "")]
    if run["overhead"] is not None:
        parts.append(f"overhead {cost(run)}")
    if run["stopped"]:
        parts.append(f"stopped early because of {plain(run['stopped'])}")
    elif run["exit_code"]:
        parts.append(f"ended with exit code {run['exit_code']}")
    if report["path"]:
        parts.append(f"recorded in {short_path(report['path'])}")
    return ", ".join(parts)
