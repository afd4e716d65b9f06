"""The denoiser's network: a U-Net without biases on pixels unshuffled 2×, told the noise level by a map.

Without biases the network is homogeneous: a picture and a noise level that are twice as large give a result that is
twice as large, so one set of weights serves all noise levels (Mohan et al., ICLR 2020).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHANNELS = 3  # luma and two chromas; the chromas of a grey picture are zero
FACTOR = 2  # pixels are unshuffled by it: a quarter of the cost at the same receptive field
WIDTHS = (64, 80)
OUTER_BLOCKS = 3  # residual blocks at the first width, on the way down and again on the way up
INNER_BLOCKS = 4
MULTIPLE = 2 * FACTOR  # height and width must be multiples of it


class Block(nn.Module):
    """x + conv(relu(conv(x))), 3×3, without biases."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _conv(width, width)
        self.second = _conv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) to the same shape."""
        change: Tensor = self.second(F.relu(self.first(x)))
        return x + change


class Denoiser(nn.Module):
    """Predicts the noise in pictures. 0.95 million parameters."""

    def __init__(self, widths: tuple[int, int] = WIDTHS, outer: int = OUTER_BLOCKS, inner: int = INNER_BLOCKS) -> None:
        super().__init__()
        inputs, outputs = (CHANNELS + 1) * FACTOR**2, CHANNELS * FACTOR**2
        self.head = _conv(inputs, widths[0])
        self.before = nn.Sequential(*(Block(widths[0]) for _ in range(outer)))
        self.down = nn.Conv2d(widths[0], widths[1], 2, stride=2, bias=False)
        self.middle = nn.Sequential(*(Block(widths[1]) for _ in range(inner)))
        self.up = nn.ConvTranspose2d(widths[1], widths[0], 2, stride=2, bias=False)
        self.after = nn.Sequential(*(Block(widths[0]) for _ in range(outer)))
        self.tail = _conv(widths[0], outputs)

    def forward(self, noisy: Tensor, level: Tensor) -> Tensor:
        """The picture without its noise.

        `noisy` is (N, 3, H, W), luma and chromas in [0, 1] and their differences; `level`, of a shape that broadcasts
        to (N, 1, H, W), is the standard deviation of the noise in each of them. H and W are multiples of 4.
        """
        level = level.expand(noisy.shape[0], 1, *noisy.shape[2:])
        x = self.head(F.pixel_unshuffle(torch.cat([noisy, level.to(noisy.dtype)], 1), FACTOR))
        before = self.before(x)
        after = self.after(before + self.up(self.middle(self.down(before))))
        return noisy - F.pixel_shuffle(self.tail(after + x), FACTOR)


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
