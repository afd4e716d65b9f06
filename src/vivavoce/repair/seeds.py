"""Seeds of a trial: the generators are seeded before the script runs, and the script's own seeds are shifted.

The offset of a trial is 0 for the original seeds: then the script's own are left as they are. Shifted are `random.seed`,
`numpy.random.seed`, `numpy.random.default_rng`, `torch.manual_seed` and `torch.Generator.manual_seed`; a seed that
reaches a generator in another way (scikit-learn's `random_state`) is the same in every trial.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from types import ModuleType
from typing import Any

STRIDE = 1_000_003  # a prime: seeds 0, 1, 2 … of a script stay apart from those of its other trials
LEGACY_SEEDS = 2**32  # seeds of numpy.random.seed lie below
BEFORE = 0  # seed that every generator is given before the script runs


def shifted(seed: Any, offset: int) -> Any:
    """A seed for the trial with this offset; what is no whole number stays."""
    return seed + offset * STRIDE if isinstance(seed, int) and not isinstance(seed, bool) else seed


def seed_random(offset: int) -> None:
    """Seed and shift Python's own generator."""
    random.seed(shifted(BEFORE, offset))
    _shift(random, "seed", offset)


def seed_numpy(numpy: ModuleType, offset: int) -> None:
    """Seed and shift NumPy's generators."""
    numpy.random.seed(shifted(BEFORE, offset) % LEGACY_SEEDS)
    _shift(numpy.random, "seed", offset, LEGACY_SEEDS)
    _shift(numpy.random, "default_rng", offset)


def seed_torch(torch: ModuleType, offset: int) -> None:
    """Seed and shift PyTorch's generators."""
    torch.manual_seed(shifted(BEFORE, offset))
    if not offset:
        return
    _shift(torch, "manual_seed", offset)
    torch.random.manual_seed = torch.manual_seed
    plain: Any = torch.Generator

    class Generator(plain):  # type: ignore[misc]
        def manual_seed(self, seed: int) -> Any:
            return super().manual_seed(shifted(seed, offset))

    Generator.__module__ = plain.__module__
    vars(torch)["Generator"] = Generator


def _shift(module: ModuleType, name: str, offset: int, modulus: int | None = None) -> None:
    if not offset:
        return
    original: Callable[..., Any] = getattr(module, name)

    def seeded(*args: Any, **kwargs: Any) -> Any:
        new = {key: fit(value) if key in ("seed", "a") else value for key, value in kwargs.items()}
        return original(*(fit(value) if index == 0 else value for index, value in enumerate(args)), **new)

    def fit(seed: Any) -> Any:
        new = shifted(seed, offset)
        return new % modulus if modulus and isinstance(new, int) and not isinstance(new, bool) else new

    seeded.__name__ = seeded.__qualname__ = name
    setattr(module, name, seeded)
