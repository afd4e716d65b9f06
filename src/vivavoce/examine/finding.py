"""What an examination finds. Plain data; `to_json` gives the finding of the report's schema, version 1."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

Severity = Literal["critical", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "note")  # most severe first


@dataclass(frozen=True)
class Evidence:
    """A number that was measured, and what it was held against.

    `threshold` is the value it was compared with (None for plain facts); `source` says where the threshold comes
    from: a formula, a paper, or "measured on …".
    """

    name: str
    value: float | str
    unit: str = ""
    threshold: float | None = None
    source: str = ""


@dataclass(frozen=True)
class Where:
    """The place of a finding: any part may be unknown."""

    layer: str | None = None
    parameter: str | None = None
    first_step: int | None = None
    last_step: int | None = None
    file: str | None = None
    line: int | None = None


@dataclass(frozen=True)
class RuledOut:
    """A cause that was considered and is not it."""

    slug: str
    because: str


@dataclass(frozen=True)
class Remedy:
    """What to try: a stable slug, a title for people, and the edit as code."""

    slug: str
    title: str
    edit: str


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, with its evidence. `why` is one or two plain sentences with the numbers in them."""

    slug: str
    severity: Severity
    confidence: float  # 0 … 1
    question: int  # 1 … 9; 0 for data and machines
    title: str
    why: str
    where: Where = Where()
    evidence: tuple[Evidence, ...] = ()
    remedies: tuple[Remedy, ...] = ()
    symptoms: tuple[str, ...] = ()
    ruled_out: tuple[RuledOut, ...] = ()
    primary: bool = False

    def __post_init__(self) -> None:
        if self.severity not in SEVERITIES:
            raise ValueError(f"severity must be one of {SEVERITIES}, not {self.severity!r}")
        if not 0 <= self.confidence <= 1:
            raise ValueError(f"confidence must lie in [0, 1], not {self.confidence!r}")

    def with_(self, **changes: Any) -> Finding:
        """A copy with some fields replaced."""
        return replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        """The finding as the report's schema has it; NaN and infinities become strings."""
        data: dict[str, Any] = json_safe(asdict(self))
        return data


def json_safe(value: Any) -> Any:
    """`value` with non-finite floats written as "nan", "inf", "-inf", tuples as lists."""
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if isinstance(value, dict):
        return {key: json_safe(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_safe(item) for item in value]
    return value
