"""Distances between features on the device where they lie."""

from __future__ import annotations

import torch


def ready(real: torch.Tensor, made: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both as (n, d) in float64 (float32 on devices that have no other), on the first one's device."""
    wide = torch.float32 if real.device.type == "mps" else torch.float64
    flat = [value.detach().to(real.device, wide).reshape(len(value), -1) for value in (real, made)]
    return flat[0], flat[1]


def distances(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Euclidean distances, shape (n, m), of rows (n, d) and (m, d)."""
    return torch.cdist(a, b, compute_mode="use_mm_for_euclid_dist")
