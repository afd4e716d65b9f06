"""Runs a script watched, live with a remedy, and patched, all in this process."""

from __future__ import annotations

import runpy
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import vivavoce
from vivavoce.examine.finding import Finding, Where
from vivavoce.record.run import Run
from vivavoce.remedy import live
from vivavoce.remedy.catalogue import by_name
from vivavoce.remedy.remedy import Edit, Prescription


@dataclass
class Result:
    """What a script ended with."""

    final: torch.Tensor
    score: float


def write(folder: Path, text: str) -> Path:
    path = folder / "train.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def run_plainly(path: Path) -> Result:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a script may warn; PyTorch does of half precision on the CPU
        names = runpy.run_path(str(path), run_name="__main__")
    return Result(names["final"], float(names["score"]))


def record(path: Path, folder: Path) -> Run:
    with vivavoce.watch(directory=folder, budget=0.5) as watch:
        run_plainly(path)
    assert watch.run is not None
    return watch.run


def line_of(text: str, part: str) -> int:
    lines = [number for number, line in enumerate(text.splitlines(), 1) if part in line]
    assert lines, part
    return lines[0]


def finding(slug: str, path: Path, line: int | None = None, layer: str | None = None) -> Finding:
    return Finding(slug, "critical", 0.9, 0, "", "", Where(file=str(path), line=line, layer=layer))


def prescriptions(
    name: str, run: Run, slug: str, path: Path, line: int | None, layer: str | None = None
) -> list[Prescription]:
    return list(by_name(name).prescribe(run, finding(slug, path, line, layer)))


def run_live(path: Path, prescription: Prescription) -> Result:
    try:
        by_name(prescription.remedy).apply(prescription)
        return run_plainly(path)
    finally:
        live.undo()


def patched(path: Path, prescription: Prescription, folder: Path) -> Path:
    result = by_name(prescription.remedy).edit(prescription, {path: path.read_text(encoding="utf-8")})
    assert isinstance(result, Edit), result
    return write(folder, result.files[path])


def same(left: Any, right: Any) -> bool:
    """Bit for bit, NaN equal to NaN."""
    return left.shape == right.shape and torch.equal(left.nan_to_num(12345.0), right.nan_to_num(12345.0))
