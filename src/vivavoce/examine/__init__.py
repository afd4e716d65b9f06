"""Detectors: a run in, findings out. No torch.

`Verdict` and `examine` are loaded on first use: the names of findings and severities must be at hand without NumPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vivavoce.examine.verdict import Verdict, examine

__all__ = ["Verdict", "examine"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from vivavoce.examine import verdict

        return getattr(verdict, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
