"""Many small networks trained side by side, as one stack of matrices: folds, settings and widths cost one training.

Each has inputs of its own scale, rows of its own, and its own width, learning rate, weight decay and dropout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vivavoce.labs.figures import Floats

MOMENTS = (0.9, 0.999)  # of Adam (Kingma & Ba 2015)
EPSILON = 1e-8
FURTHEST = 5.0  # standard deviations at which an input is cut off: one wild cell must not decide
CELLS = 20_000_000  # numbers of a stack of inputs held at a time


@dataclass(frozen=True)
class Recipe:
    """How a network of two hidden layers is made and trained; `decay` is AdamW's, in units of the learning rate."""

    width: int = 64
    rate: float = 3e-3
    decay: float = 0.0
    dropout: float = 0.0


class Networks:
    """A stack of m networks. `inputs` (n, d) may have gaps; network k trains on the `rows` of its own.

    `targets` (n,) are class numbers where `classes` > 0, else numbers. Inputs and numeric targets are standardised by the
    mean and deviation of the network's own rows, gaps become the mean. The learning rate falls linearly to zero over
    `epochs`, one of which draws as many examples as the network has rows, `batch` at a time, with replacement.
    """

    def __init__(
        self,
        inputs: Floats,
        targets: Floats | NDArray[np.int64],
        classes: int,
        rows: Sequence[NDArray[np.int64]],
        recipes: Sequence[Recipe],
        *,
        epochs: int,
        batch: int = 128,
        seed: int = 0,
    ) -> None:
        self.classes, self.epochs, self.recipes = classes, epochs, list(recipes)
        self._random = torch.Generator().manual_seed(seed)
        self._x = torch.from_numpy(np.asarray(inputs, np.float32))
        self._rows = [torch.from_numpy(np.asarray(part, np.int64)) for part in rows]
        self._scales(np.asarray(inputs, np.float64), np.asarray(targets), rows)
        self._sizes = torch.tensor([len(part) for part in rows])
        longest = int(self._sizes.max())
        self._table = torch.stack([torch.nn.functional.pad(part, (0, longest - len(part))) for part in self._rows])
        self.batch = min(batch, longest)
        self.steps_per_epoch = max(1, round(float(self._sizes.double().mean()) / self.batch))
        self._weights = self._initial(self._x.shape[1])
        self._moments = [[torch.zeros_like(weight) for weight in self._weights] for _ in range(2)]
        self._settings()

    def _scales(self, inputs: Floats, targets: Floats, rows: Sequence[NDArray[np.int64]]) -> None:
        means, deviations = zip(*(_moments(inputs[part]) for part in rows), strict=True)
        self._mean, self._deviation = (torch.from_numpy(np.stack(p).astype(np.float32))[:, None] for p in (means, deviations))  # fmt: skip
        if self.classes:
            self._y = torch.from_numpy(targets.astype(np.int64)).expand(len(rows), -1)
            return
        centre = np.array([[targets[part].mean()] for part in rows])
        scale = np.array([[targets[part].std() or 1.0] for part in rows])
        self._centre, self._scale = centre[:, :, None], scale[:, :, None]
        self._y = torch.from_numpy(((targets[None] - centre) / scale).astype(np.float32))

    def _initial(self, features: int) -> list[Tensor]:
        """He's normal initialisation (2015) for the widths at hand, zeros beyond them."""
        m, widest, outputs = len(self.recipes), max(recipe.width for recipe in self.recipes), max(self.classes, 1)
        widths = torch.tensor([recipe.width for recipe in self.recipes])
        self._mask = (torch.arange(widest)[None] < widths[:, None]).float()[:, None]
        weights = []
        for fan_in, fan_out, gain in ((features, widest, 2.0), (widest, widest, 2.0), (widest, outputs, 1.0)):
            inward = widths.float() if fan_in is widest else torch.full((m,), float(fan_in))
            scale = (gain / inward).sqrt()[:, None, None]
            weights.append(torch.randn(m, fan_in, fan_out, generator=self._random) * scale)
            weights.append(torch.zeros(m, 1, fan_out))
        return [weight.requires_grad_() for weight in weights]

    def _settings(self) -> None:
        rate, decay, dropout = (
            torch.tensor([getattr(recipe, name) for recipe in self.recipes])[:, None, None]
            for name in ("rate", "decay", "dropout")
        )
        self._rate, self._decay, self._dropout, self._step = rate, decay, dropout, 0

    def course(self, looks: Sequence[int], examples: NDArray[np.int64] | None = None) -> Iterator[tuple[int, Floats]]:
        """Train, and at each epoch of `looks`, which rises, give the epoch and the predictions.

        Predictions are probabilities (m, n, classes) or numbers (m, n, 1), of the `examples` or of all of them.
        """
        done = 0
        for look in looks:
            for _ in range((look - done) * self.steps_per_epoch):
                self._train()
            done = look
            yield look, self.predict(examples)

    def _train(self) -> None:
        m = len(self.recipes)
        places = (torch.rand(m, self.batch, generator=self._random) * self._sizes[:, None]).long()
        rows = self._table.gather(1, places)
        outputs = self._forward(self._scaled(self._x[rows]), drop=True)
        wanted = self._y.gather(1, rows)
        if self.classes:
            losses = torch.nn.functional.cross_entropy(outputs.flatten(0, 1), wanted.flatten(), reduction="none")
        else:
            losses = (outputs[..., 0] - wanted) ** 2 / 2
        gradients = torch.autograd.grad(losses.sum() / self.batch, self._weights)
        self._adam(gradients)

    def _scaled(self, inputs: Tensor) -> Tensor:
        return torch.nan_to_num((inputs - self._mean) / self._deviation).clamp(-FURTHEST, FURTHEST)

    def _forward(self, hidden: Tensor, drop: bool = False) -> Tensor:
        for layer in range(2):
            weight, bias = self._weights[2 * layer : 2 * layer + 2]
            hidden = torch.relu(torch.baddbmm(bias, hidden, weight)) * self._mask
            if drop and bool(self._dropout.any()):
                kept = torch.rand(hidden.shape, generator=self._random) >= self._dropout
                hidden = hidden * kept / (1 - self._dropout)
        return torch.baddbmm(self._weights[5], hidden, self._weights[4])

    @torch.no_grad()
    def _adam(self, gradients: Sequence[Tensor]) -> None:
        """AdamW (Loshchilov & Hutter 2019), each network with its own learning rate and weight decay."""
        rate = self._rate * max(0.0, 1 - self._step / (self.epochs * self.steps_per_epoch))
        self._step += 1
        for number, (weight, gradient) in enumerate(zip(self._weights, gradients, strict=True)):
            first, second = self._moments[0][number], self._moments[1][number]
            first.lerp_(gradient, 1 - MOMENTS[0])
            second.mul_(MOMENTS[1]).addcmul_(gradient, gradient, value=1 - MOMENTS[1])
            size = (second / (1 - MOMENTS[1] ** self._step)).sqrt_().add_(EPSILON)
            if number % 2 == 0:
                weight.mul_(1 - rate * self._decay)
            weight.sub_(rate / (1 - MOMENTS[0] ** self._step) * first / size)

    @torch.no_grad()
    def predict(self, examples: NDArray[np.int64] | None = None) -> Floats:
        """Probabilities (m, n, classes), or numbers (m, n, 1) in the unit of the targets; of `examples` or of all."""
        x = self._x if examples is None else self._x[torch.from_numpy(examples)]
        m = len(self.recipes)
        step = max(1, CELLS // (m * max(x.shape[1], self._mask.shape[2])))
        parts = [self._forward(self._scaled(part.expand(m, -1, -1))) for part in torch.split(x, step)]
        outputs = torch.cat(parts, dim=1)
        if self.classes:
            return np.asarray(torch.softmax(outputs.double(), dim=2).numpy())
        found: Floats = outputs.double().numpy() * self._scale + self._centre
        return found


def _moments(values: Floats) -> tuple[Floats, Floats]:
    """Mean and deviation of each column, gaps left out; 0 and 1 where there is nothing or no difference."""
    known = np.isfinite(values)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, values, 0).sum(axis=0) / count
    deviation = np.sqrt((np.where(known, values - mean, 0) ** 2).sum(axis=0) / count)
    return mean, np.where(deviation > 1e-12 * np.maximum(1, np.abs(mean)), deviation, 1.0)


def standardised(values: Floats) -> Callable[[Floats], Floats]:
    """A function that scales features as the networks do, by the mean and deviation of `values` (n, d)."""
    mean, deviation = _moments(values)

    def scale(new: Floats) -> Floats:
        return np.clip(np.nan_to_num((new - mean) / deviation), -FURTHEST, FURTHEST)

    return scale
