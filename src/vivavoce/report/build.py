"""From a run and its verdict to the report: plain data that every reporter reads."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np

from vivavoce.examine.catalogue import DETECTORS
from vivavoce.examine.finding import Finding, json_safe
from vivavoce.examine.verdict import Verdict
from vivavoce.record.entities import Loader, Loss, Model, Module, Optimizer, Site
from vivavoce.record.run import Run
from vivavoce.record.tracks import Series
from vivavoce.report.schema import (
    SCHEMA_VERSION,
    ActData,
    FindingData,
    GuardData,
    LoaderData,
    LossData,
    MetricData,
    ModelData,
    ModuleData,
    OptimizerData,
    PlaceData,
    Report,
    RunData,
)
from vivavoce.report.state import run_state


def build_report(run: Run, verdict: Verdict, path: Path | str | None = None) -> Report:
    """The report of a run: JSON-able data of schema version 1. `path` is the store's file, None for a run in memory."""
    report: dict[str, Any] = {
        "schema": SCHEMA_VERSION,
        "verdict": verdict.outcome,
        "reason": verdict.reason,
        "path": None if path is None else str(path),
        "run": run_data(run),
        "metrics": metrics(run),
        "findings": [_finding(finding, run.live_findings) for finding in verdict.findings],
        "examined": [detector.slug for detector in DETECTORS],
        "ruled_out": [asdict(item) for item in verdict.ruled_out],
        "faults": [asdict(fault) for fault in verdict.faults],
    }
    preflight = run.events("preflight")
    if preflight:
        report["preflight"] = preflight[-1].data
    if run.meta.get("guard") is not None:
        report["guard"] = _guard(run)
    return cast(Report, json_safe(report))


def _guard(run: Run) -> GuardData:
    """What the guard was allowed to do, and did."""
    acts = [cast(ActData, {"step": event.step, **event.data}) for event in run.events("guard")]
    last = acts[-1] if acts and acts[-1]["act"] == "gave-up" else None
    return {"allowed": list(run.meta["guard"]), "acts": acts, "gave_up": last["why"] if last else None}


def run_data(run: Run) -> RunData:
    """What is known about the run itself."""
    meta = run.meta
    return {
        "id": str(meta.get("run", "")),
        "command": _command(meta.get("command")),
        "script": meta.get("script"),
        "started": iso_time(meta.get("started")),
        "finished": iso_time(meta.get("finished")),
        "state": run_state(meta),
        "exit_code": meta.get("exit_code"),
        "stopped": meta.get("stopped"),
        "steps": run.steps,
        "viva": meta.get("viva"),
        "python": meta.get("python"),
        "torch": meta.get("torch"),
        "device": meta.get("device"),
        "overhead": meta.get("overhead"),
        "budget": meta.get("budget"),
        "allowed": meta.get("allowed"),
        "training_seconds": meta.get("training_seconds"),
        "models": [_model(run, model) for model in run.models.values()],
        "optimizers": [_optimizer(run, optimizer) for optimizer in run.optimizers.values()],
        "loaders": [_loader(loader) for loader in run.loaders.values()],
        "losses": [_loss(loss) for loss in run.losses.values() if loss.source == "function"],
    }


def iso_time(moment: Any) -> str | None:
    """A time as ISO 8601: seconds since 1970 are converted (UTC), a string is taken as it is."""
    if isinstance(moment, (int, float)) and not isinstance(moment, bool):
        return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
    return None if moment is None else str(moment)


def metrics(run: Run) -> dict[str, MetricData]:
    """Losses, and accuracies where there are any; a metric that was never recorded is left out."""
    found = {
        "train/loss": _metric(run.train_loss),
        "val/loss": _metric(longest_series(run, "val/loss", "loss")),
        "train/accuracy": _metric(longest_series(run, "train/accuracy", "accuracy"), highest=True),
        "val/accuracy": _metric(longest_series(run, "val/loss", "accuracy"), highest=True),
    }
    return {name: metric for name, metric in found.items() if metric is not None}


def longest_series(run: Run, signal: str, column: str) -> Series:
    """The column of the owner with the most recorded rows: the main one where a script has several losses."""
    rows: dict[tuple[str, int] | None, int] = {}
    for track in run.tracks(signal):
        if column in track.columns:
            rows[track.owner] = rows.get(track.owner, 0) + int(track.counts.sum())
    owner = max(rows, key=lambda key: rows[key]) if rows else None
    return run.series(signal, owner, column)


def _metric(series: Series, highest: bool = False) -> MetricData | None:
    """None for a series that is empty, or an accuracy that never was one (all NaN)."""
    if not len(series) or (highest and not len(series.finite)):
        return None
    best, step = _best(series, highest)
    return {"first": float(series.mean[0]), "last": float(series.mean[-1]), "best": best, "best_step": step}


def _best(series: Series, highest: bool) -> tuple[float, int | None]:
    values = series.maximum if highest else series.minimum
    rows = np.flatnonzero(np.isfinite(values))
    if not len(rows):
        return float("nan"), None
    row = rows[np.argmax(values[rows]) if highest else np.argmin(values[rows])]
    return float(values[row]), int(series.steps[row])


def _finding(finding: Finding, live: list[dict[str, Any]]) -> FindingData:
    data = finding.to_json()
    for seen in live:
        if seen.get("slug") == finding.slug:
            data.update({key: seen[key] for key in ("first_seen", "last_seen") if key in seen})
    return cast(FindingData, data)


def _command(command: Any) -> str:
    return " ".join(map(str, command)) if isinstance(command, (list, tuple)) else str(command or "")


def _place(site: Site | None) -> PlaceData | None:
    return None if site is None else {"file": site.file, "line": site.line}


def _model(run: Run, model: Model) -> ModelData:
    modules = [_module(module) for module in shown_modules(run, model)]
    return {
        "name": model.name,
        "class_name": model.class_name,
        "parameters": model.parameters,
        "trainable": model.trainable,
        "compiled": model.compiled,
        "site": _place(model.site),
        "modules": modules,
        "multiply_adds": sum(module["multiply_adds"] for module in modules),
    }


def shown_modules(run: Run, model: Model) -> list[Module]:
    """The modules of a model that have parameters of their own, cost something, or hold no others; in their order."""
    own = [module for module in run.modules.values() if module.model == model.id and not module.functional]
    parents = {module.name.rpartition(".")[0] for module in own if module.name} | ({""} if len(own) > 1 else set())
    return [m for m in own if m.parameters or m.multiply_adds or (m.name not in parents)]


def _module(module: Module) -> ModuleData:
    return {
        "name": module.name,
        "class_name": module.class_name,
        "input_shape": list(module.input_shape),
        "output_shape": list(module.output_shape),
        "parameters": module.parameters,
        "calls": module.calls,
        "multiply_adds": module.multiply_adds,
    }


def _optimizer(run: Run, optimizer: Optimizer) -> OptimizerData:
    settings = [{key: value for key, value in group.items() if key != "parameters"} for group in optimizer.groups]
    return {
        "class_name": optimizer.class_name,
        "learning_rate": _learning_rates(run, optimizer),
        "settings": settings,
        "parameters": sum(len(group.get("parameters", ())) for group in optimizer.groups),
        "site": _place(optimizer.site),
        "step_site": _place(optimizer.step_site),
    }


def _learning_rates(run: Run, optimizer: Optimizer) -> list[Any]:
    """The last recorded rates; the ones the optimizer was made with where none was recorded."""
    tracks = [
        track for track in run.tracks("learning_rate") if track.owner == ("optimizer", optimizer.id) and len(track)
    ]
    if tracks:
        return [float(rate) for rate in max(tracks, key=lambda track: track.steps[-1]).mean[-1]]
    return [group["learning_rate"] for group in optimizer.groups if "learning_rate" in group]


def _loader(loader: Loader) -> LoaderData:
    return {
        "role": loader.role,
        "batch_size": loader.batch_size,
        "shuffle": loader.shuffle,
        "sampler": loader.sampler,
        "dataset_size": loader.dataset_size,
        "batches": loader.batches,
        "workers": loader.workers,
        "site": _place(loader.site),
    }


def _loss(loss: Loss) -> LossData:
    return {
        "function": loss.function,
        "classes": loss.classes,
        "prediction_shape": list(loss.prediction_shape),
        "target_shape": list(loss.target_shape),
        "site": _place(loss.site),
    }
