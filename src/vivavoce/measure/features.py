"""Checks that the instruments on features share: two samples (n, d) and (m, d), arrays or tensors."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def is_tensor(value: Any) -> bool:
    """Whether a value is a tensor; torch is not imported for the question."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def as_array(value: Any) -> Any:
    """A tensor as an array on the host; anything else as it is."""
    return value.detach().cpu().numpy() if is_tensor(value) else value


def features(value: Any, name: str, fewest: int = 1) -> Floats:
    """Features (n, d) in float64; more axes are flattened into d.

    Raises ValueError for fewer than `fewest` rows, another shape, and values that are not finite.
    """
    rows = np.asarray(as_array(value))
    if rows.ndim < 2 or rows.dtype.kind not in "fiub":
        raise ValueError(f"{name}: features (n, d) are expected, got {rows.dtype} {rows.shape}")
    if len(rows) < fewest:
        raise ValueError(f"{name}: at least {fewest} rows are needed, not {len(rows)}")
    flat = rows.reshape(len(rows), -1).astype(np.float64)
    if not np.isfinite(flat).all():
        raise ValueError(f"{name}: {int((~np.isfinite(flat)).any(1).sum()):,} of {len(flat):,} rows are not finite")
    return flat


def two_samples(real: Any, made: Any, fewest: int = 1) -> tuple[Floats, Floats]:
    """Both samples as features of one width d. Raises ValueError as `features` does, and for widths that differ."""
    first, second = features(real, "real", fewest), features(made, "made", fewest)
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"real and made must have one width, got {first.shape} and {second.shape}")
    return first, second
