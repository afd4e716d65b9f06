"""What a classifier decides in a call of a loss function, and what it should have: of classes, and of yes and no."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vivavoce.attach import numbers

CLASS_INDEX_LOSSES = ("cross_entropy", "nll_loss")
BINARY_LOSSES = ("binary_cross_entropy", "binary_cross_entropy_with_logits")
IGNORED = -100  # PyTorch's default for the target that a class-index loss leaves out


def classes_of(function: str, prediction: Any) -> int | None:
    """How many classes a loss function tells apart; None where it tells none."""
    shape = tuple(prediction.shape) if isinstance(prediction, Tensor) else ()
    if function in CLASS_INDEX_LOSSES and shape:
        return shape[1] if len(shape) > 1 else shape[0]
    return 2 if function in BINARY_LOSSES else None


def decided(function: str, prediction: Tensor, target: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Predicted and real class of each example, flat and equally long; None where they cannot be told."""
    prediction, target = prediction.detach(), target.detach()
    if function in BINARY_LOSSES:
        if prediction.shape != target.shape:
            return None, None
        threshold = 0.0 if function.endswith("logits") else 0.5
        return (prediction > threshold).long().flatten(), (target > 0.5).long().flatten()
    dim = 1 if prediction.ndim > 1 else 0
    predicted = prediction.argmax(dim)
    real = target.argmax(dim) if target.is_floating_point() else target
    if real.shape != predicted.shape:
        return predicted.flatten(), None
    return predicted.flatten(), real.flatten()


def judged(function: str, prediction: Any, target: Any, kwargs: dict[str, Any]) -> Tensor | None:
    """How many decisions are right, and how many were made, shape (2,), float32; ignored targets count in neither."""
    if not numbers.is_plain(prediction) or not numbers.is_plain(target):
        return None
    predicted, real = decided(function, prediction, target)
    if predicted is None or real is None:
        return None
    hits, kept = (predicted == real).float(), kept_of(function, real, kwargs)
    if kept is None:
        return torch.stack([hits.sum(), torch.full_like(hits.sum(), float(hits.numel()))])
    return torch.stack([(hits * kept).sum(), kept.sum()])


def kept_of(function: str, real: Tensor | None, kwargs: dict[str, Any]) -> Tensor | None:
    """1 for each target that counts, 0 for ignored ones; None where none can be ignored."""
    if function not in CLASS_INDEX_LOSSES or real is None:
        return None
    kept: Tensor = real != kwargs.get("ignore_index", IGNORED)
    return kept.float()


def count(labels: Tensor, classes: int, kept: Tensor | None) -> Tensor:
    """How often each class occurs, shape (classes,); labels outside 0 … classes-1 and ignored ones are not counted."""
    counted = ((labels >= 0) & (labels < classes)).to(torch.float32)
    if kept is not None:
        counted = counted * kept
    counts = torch.zeros(classes, dtype=torch.float32, device=labels.device)
    return counts.index_add_(0, labels.clamp(0, classes - 1).long(), counted)
