"""Two runs side by side: verdicts, findings, metrics, the first difference of the losses, and differing settings."""

from __future__ import annotations

from typing import Any, TypedDict

import numpy as np

from vivavoce.record.run import Run
from vivavoce.record.tracks import Series
from vivavoce.report.schema import MetricData, Number, Report, RunData

SCHEMA_VERSION = 1


class LossDifference(TypedDict):
    """Where the training losses part. `step` is None where they agree in all `compared` rows that both runs have.

    Rows of long runs stand for many steps: then `step` is the last step of the first row that differs.
    """

    step: int | None
    compared: int
    a: Number | None
    b: Number | None


class SettingDifference(TypedDict):
    """A setting that is not the same in both runs; None where a run has no such setting."""

    name: str
    a: Any
    b: Any


class Comparison(TypedDict):
    """What two runs have in common and what not. `a` and `b` stand for the first and the second run."""

    schema: int
    runs: dict[str, str]
    verdicts: dict[str, str]
    steps: dict[str, int]
    appeared: list[str]
    disappeared: list[str]
    in_both: list[str]
    metrics: dict[str, dict[str, MetricData | None]]
    first_difference: LossDifference
    settings: list[SettingDifference]


def compare(a: tuple[Run, Report], b: tuple[Run, Report]) -> Comparison:
    """Compare two runs, each given with its report. Findings "appeared" are those of `b` that `a` does not have."""
    (run_a, report_a), (run_b, report_b) = a, b
    found_a, found_b = _slugs(report_a), _slugs(report_b)
    names = dict.fromkeys([*report_a["metrics"], *report_b["metrics"]])
    return {
        "schema": SCHEMA_VERSION,
        "runs": {"a": report_a["run"]["id"], "b": report_b["run"]["id"]},
        "verdicts": {"a": report_a["verdict"], "b": report_b["verdict"]},
        "steps": {"a": report_a["run"]["steps"], "b": report_b["run"]["steps"]},
        "appeared": [slug for slug in found_b if slug not in found_a],
        "disappeared": [slug for slug in found_a if slug not in found_b],
        "in_both": [slug for slug in found_a if slug in found_b],
        "metrics": {name: {"a": report_a["metrics"].get(name), "b": report_b["metrics"].get(name)} for name in names},
        "first_difference": first_difference(run_a.train_loss, run_b.train_loss),
        "settings": _differing(_settings(report_a["run"]), _settings(report_b["run"])),
    }


def _slugs(report: Report) -> list[str]:
    """All that was found, symptoms included, without repetitions."""
    found = [slug for finding in report["findings"] for slug in (finding["slug"], *finding["symptoms"])]
    return list(dict.fromkeys(found))


def first_difference(a: Series, b: Series) -> LossDifference:
    """The first step at which two losses are not bit for bit the same (two NaN are), over rows that both runs have."""
    rows = min(len(a), len(b))
    comparable = (a.steps[:rows] == b.steps[:rows]) & (a.counts[:rows] == b.counts[:rows])
    same = np.ones(rows, dtype=np.bool_)
    for name in ("mean", "minimum", "maximum"):
        left, right = getattr(a, name)[:rows], getattr(b, name)[:rows]
        same &= (left == right) | (np.isnan(left) & np.isnan(right))
    differing = np.flatnonzero(comparable & ~same)
    if not len(differing):
        return {"step": None, "compared": int(comparable.sum()), "a": None, "b": None}
    row = int(differing[0])
    return {
        "step": int(a.steps[row]),
        "compared": int(comparable.sum()),
        "a": _number(float(a.mean[row])),
        "b": _number(float(b.mean[row])),
    }


def _number(value: float) -> Number:
    from vivavoce.examine.finding import json_safe

    number: Number = json_safe(value)
    return number


def _settings(run: RunData) -> dict[str, Any]:
    """Everything about a run that someone chose, by name."""
    flat: dict[str, Any] = {key: run[key] for key in ("command", "device", "torch", "python")}
    for index, model in enumerate(run["models"]):
        flat[f"model {index}"] = model["name"]
        flat[f"model {index} parameters"] = model["parameters"]
    for index, optimizer in enumerate(run["optimizers"]):
        flat[f"optimizer {index}"] = optimizer["class_name"]
        for group, settings in enumerate(optimizer["settings"]):
            prefix = f"optimizer {index}" + (f" group {group}" if len(optimizer["settings"]) > 1 else "")
            flat.update({f"{prefix} {key}": value for key, value in settings.items()})
    for index, loader in enumerate(run["loaders"]):
        for key in ("batch_size", "shuffle", "sampler", "dataset_size", "drop_last"):
            flat[f"loader {index} {key}"] = loader.get(key)
    for index, loss in enumerate(run["losses"]):
        flat[f"loss {index}"] = loss["function"]
    return flat


def _differing(a: dict[str, Any], b: dict[str, Any]) -> list[SettingDifference]:
    names = dict.fromkeys([*a, *b])
    return [{"name": name, "a": a.get(name), "b": b.get(name)} for name in names if a.get(name) != b.get(name)]
