"""A lab's result as JSON, schema version 1. Numbers that are not finite are the strings "nan", "inf", "-inf"."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

import numpy as np

from vivavoce._version import __version__
from vivavoce.labs.figures import Figure, XYPlot
from vivavoce.labs.lab import Lab, Result
from vivavoce.labs.page import Setting

SCHEMA = 1


def write(lab: type[Lab], result: Result, setting: Setting, stream: TextIO) -> None:
    """Write the result as indented JSON with a final newline."""
    json.dump(as_data(lab, result, setting), stream, indent=2, allow_nan=False)
    stream.write("\n")


def as_data(lab: type[Lab], result: Result, setting: Setting) -> dict[str, Any]:
    """The result as plain dictionaries and lists."""
    claims = [
        {
            "claim": claim.claim,
            "measured": claim.measured,
            "expected": claim.expected,
            "outcome": claim.outcome,
            "condition": claim.condition,
            "note": claim.note,
        }
        for claim in result.claims
    ]
    tables = [{"caption": t.caption, "heads": list(t.heads), "rows": [list(r) for r in t.rows]} for t in result.tables]
    document = {
        "schema": SCHEMA,
        "lab": lab.name,
        "question": lab.question,
        "viva": __version__,
        "command": setting.command,
        "source": setting.source,
        "seed": setting.seed,
        "quick": setting.quick,
        "seconds": setting.seconds,
        "answer": result.answer,
        "notes": list(result.notes),
        "claims": claims,
        "tables": tables,
        "figures": [_figure(figure) for figure in result.figures],
        "data": result.data,
    }
    plain: dict[str, Any] = _plain(document)
    return plain


def _figure(figure: Figure) -> dict[str, Any]:
    """A plot's lines; of matrices and pictures the title alone, their numbers are in `data`."""
    entry: dict[str, Any] = {"key": figure.key, "title": figure.title}
    if isinstance(figure, XYPlot):
        entry |= {"across": figure.across, "up": figure.up}
        entry["lines"] = [{"name": line.name, "x": line.x, "y": line.y} for line in figure.lines]
    return entry


def _plain(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value
