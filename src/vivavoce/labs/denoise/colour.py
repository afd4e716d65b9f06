"""Red, green, blue to luma and chroma and back, so that grey pictures are the case of no chroma.

The three rows are orthogonal and of equal length 1/√3: independent noise of standard deviation σ in red, green and blue
is independent noise of σ/√3 in luma and both chromas. The luma of a grey picture is the picture itself.
"""

from __future__ import annotations

import torch
from torch import Tensor

LEVEL_FACTOR = 3**-0.5  # noise in luma and chroma per noise in red, green and blue
_FORWARD = torch.tensor(
    [[1 / 3, 1 / 3, 1 / 3], [6**-0.5, 0.0, -(6**-0.5)], [18**-0.5, -2 * 18**-0.5, 18**-0.5]], dtype=torch.float64
)


def to_luma(rgb: Tensor) -> Tensor:
    """(…, 3, H, W) red, green, blue to luma and chromas of the same shape."""
    return _mix(rgb, _FORWARD)


def to_rgb(luma: Tensor) -> Tensor:
    """The inverse of `to_luma`."""
    return _mix(luma, torch.linalg.inv(_FORWARD))


def _mix(image: Tensor, matrix: Tensor) -> Tensor:
    return torch.einsum("ij,...jhw->...ihw", matrix.to(image), image)
