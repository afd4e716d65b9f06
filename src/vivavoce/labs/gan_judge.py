"""How good samples are: modes where they are known, else distances and neighbourhoods among features of a network of ours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from vivavoce.labs.figures import Floats
from vivavoce.measure.frechet import frechet_distance, kernel_distance
from vivavoce.measure.modes import divergence_from
from vivavoce.measure.neighbours import SampleQuality, sample_quality

EXAMPLES = (1_500, 300)  # examples that are compared on either side, at most half of the data: full, quick
TRAINING = (600, 150)  # steps of the classifier: full, quick
BATCH = 64
PASS = 256  # examples that go through the network at once
FEATURES = 64
QUARTERS = 4  # of a turn
CLASS_SHARE = 0.02  # of the samples that a class needs to count as made: a fifth of its fair share of ten


class Features:
    """Features of examples (n, channels, …): the last hidden layer of a small classifier trained on the labelled data.

    Without labels it learns by how many quarters a picture was turned (Gidaris et al. 2018). `words` says which; `accuracy`
    is that on the fifth of the data that it was not shown.
    """

    def __init__(self, examples: Tensor, labels: NDArray[np.int64] | None, seed: int, quick: bool = False) -> None:
        random = torch.Generator().manual_seed(seed)
        self.accuracy = float("nan")
        self.classes = 0 if labels is None else int(labels.max()) + 1
        channels, films = examples.shape[1], examples.ndim == 5
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._body = nn.Sequential(
                nn.Conv2d(channels, 16, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, 1, 1), nn.ReLU(),
                nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(512, FEATURES), nn.ReLU(),
            )  # fmt: skip
            self._head = nn.Linear(2 * FEATURES if films else FEATURES, self.classes or QUARTERS)
        if labels is None:
            self.words = "features of a small network that learned by how many quarters a picture was turned"
        else:
            self.words = "features of a small classifier trained on the data"
        self._train(examples, None if labels is None else torch.from_numpy(labels), random, TRAINING[quick])

    def _train(self, examples: Tensor, labels: Tensor | None, random: torch.Generator, steps: int) -> None:
        order = torch.randperm(len(examples), generator=random)
        kept, held = order[len(order) // 5 :], order[: len(order) // 5]
        parameters = [*self._body.parameters(), *self._head.parameters()]
        optimizer = torch.optim.Adam(parameters, 2e-3)
        for _ in range(steps):
            pick = kept[torch.randint(0, len(kept), (BATCH,), generator=random)]
            shown, wanted = (examples[pick], labels[pick]) if labels is not None else _turned(examples[pick], random)
            optimizer.zero_grad()
            torch.autograd.backward(F.cross_entropy(self._head(self._seen(shown)), wanted))
            optimizer.step()
        shown, wanted = (examples[held], labels[held]) if labels is not None else _turned(examples[held], random)
        _, found = self(shown)
        self.accuracy = float((torch.from_numpy(found) == wanted).float().mean())

    def __call__(self, examples: Tensor) -> tuple[Floats, NDArray[np.int64]]:
        """Features (n, FEATURES), of films (n, 2 · FEATURES), and the classes that they are taken for (n,)."""
        with torch.no_grad():
            parts = [self._seen(part) for part in torch.split(examples, PASS)]
            features = torch.cat(parts)
            classes = self._head(features).argmax(1)
        return features.double().numpy(), classes.numpy()

    def _seen(self, examples: Tensor) -> Tensor:
        """Of a film the mean of its frames' features, and how much they change from one frame to the next."""
        if examples.ndim == 4:
            return self._body(examples)  # type: ignore[no-any-return]
        frames = self._body(examples.transpose(1, 2).flatten(0, 1)).unflatten(0, (len(examples), -1))
        return torch.cat([frames.mean(1), frames.diff(dim=1).abs().mean(1)], dim=1)


def _turned(pictures: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Each picture (n, channels, side, side) turned by a random number of quarters, and these numbers (n,)."""
    quarters = torch.randint(0, QUARTERS, (len(pictures),), generator=random)
    turned = [torch.rot90(picture, int(times), (1, 2)) for picture, times in zip(pictures, quarters, strict=True)]
    return torch.stack(turned), quarters


@dataclass(frozen=True)
class Judgement:
    """Samples against real examples, n of either. `classes` (c,) counts what the classifier takes the samples for."""

    frechet: float
    kernel: float
    quality: SampleQuality
    classes: NDArray[np.int64]
    divergence: float
    n: int

    @property
    def covered(self) -> int:
        """Classes that at least `CLASS_SHARE` of the samples are taken for."""
        return int((self.classes >= CLASS_SHARE * self.n).sum())

    def cells(self) -> list[str]:
        """As a row of a table."""
        quality = self.quality
        classes = [f"{self.covered} of {len(self.classes)}", f"{self.divergence:.3f}"] if len(self.classes) > 1 else []
        return [
            *classes,
            f"{self.frechet:.3g}",
            f"{self.kernel:.3g}",
            *(f"{value:.2f}" for value in (quality.precision, quality.recall, quality.density, quality.coverage)),
        ]


def heads(classes: int) -> list[str]:
    """The heads of a table of judgements."""
    first = ["classes", "KL of classes"] if classes > 1 else []
    return ["samples", *first, "Fréchet", "kernel", "precision", "recall", "density", "coverage"]


class Judge:
    """Holds half of the real examples against samples, and the other half beside them as what could be reached."""

    def __init__(self, examples: Tensor, labels: NDArray[np.int64] | None, seed: int, quick: bool = False) -> None:
        self.features = Features(examples, labels, seed, quick)
        order = np.random.default_rng([seed, 11]).permutation(len(examples))
        self.n = min(EXAMPLES[quick], len(examples) // 2)
        self._real, _ = self.features(examples[order[: self.n]])
        self._other = examples[order[self.n : 2 * self.n]]
        self._expected = None if labels is None else np.bincount(labels, minlength=self.features.classes)

    def real(self) -> Judgement:
        """Real examples against others: the best that samples can reach."""
        return self.judge(self._other)

    def judge(self, made: Tensor) -> Judgement:
        """Samples (n, channels, …), as many as `n`, against the real ones."""
        features, found = self.features(made)
        labelled = self.features.classes
        classes = np.bincount(found, minlength=labelled) if labelled else np.array([len(found)])
        divergence = float("nan") if self._expected is None else divergence_from(classes, self._expected)
        return Judgement(
            frechet_distance(self._real, features),
            kernel_distance(self._real, features),
            sample_quality(self._real, features),
            classes,
            divergence,
            len(made),
        )
