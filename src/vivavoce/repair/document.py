"""The end of a repair as JSON, in a versioned schema."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, TextIO

from vivavoce.examine.finding import json_safe
from vivavoce.repair.arm import Arm
from vivavoce.repair.comparison import Effect
from vivavoce.repair.result import TITLES, Result
from vivavoce.repair.rows import middle

SCHEMA_VERSION = 1


def write(result: Result, stream: TextIO) -> None:
    """Write the document; numbers that are not finite are the strings "nan", "inf", "-inf"."""
    json.dump(document(result), stream, indent=2, allow_nan=False, ensure_ascii=False)
    stream.write("\n")


def document(result: Result) -> dict[str, Any]:
    """The result as JSON-able data. Keys may be added within a version, never removed or renamed."""
    measure = result.yardstick
    data = {
        "schema": SCHEMA_VERSION,
        "repair": result.verdict,
        "title": TITLES[result.verdict],
        "reason": result.reason,
        "command": result.command,
        "yardstick": None if measure is None else asdict(measure),
        "winner": None if result.winner is None else result.winner.name,
        "proof": None if result.proof is None else _effect(result.proof),
        "patch": result.patch,
        "base": str(result.base),
        "arms": [_arm(result, arm) for arm in result.arms],
        "cost": asdict(result.cost),
        "prescribed": result.prescribed,
        "seeds": result.seeds,
        "engine": result.engine,
        "run": result.store,
        "notes": result.notes,
    }
    safe: dict[str, Any] = json_safe(data)
    return safe


def _effect(effect: Effect) -> dict[str, Any]:
    return {**asdict(effect), "proved": effect.proved}


def _arm(result: Result, arm: Arm) -> dict[str, Any]:
    effect = result.effects.get(arm.name)
    return {
        "name": arm.name,
        "kind": arm.kind,
        "remedies": [{**asdict(p), "where": _plain(p.where), "numbers": _plain(p.numbers)} for p in arm.prescriptions],
        "level": None if result.yardstick is None else middle(arm, result.yardstick.name),
        "effect": None if effect is None else _effect(effect),
        "words": None if arm.words is None else asdict(arm.words),
        "trials": [arm.outcomes[seed].to_json() for seed in sorted(arm.outcomes)],
    }


def _plain(values: Any) -> Any:
    """Data of a remedy's own as JSON-able values."""
    return json.loads(json.dumps(values, default=str))
