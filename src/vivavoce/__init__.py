"""Vivavoce: the oral exam for neural networks.

`viva run train.py` watches a PyTorch training script; `vivavoce.watch` does the same from inside a program.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vivavoce._version import __version__

if TYPE_CHECKING:
    from vivavoce.watch import watch

__all__ = ["__version__", "watch"]


def __getattr__(name: str) -> object:
    if name == "watch":
        from vivavoce.watch import watch

        globals()["watch"] = watch
        return watch
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
