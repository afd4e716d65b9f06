"""What stops a repair before its end."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


class RepairError(Exception):
    """This script cannot be repaired here; the message is one plain sentence that says what was expected."""


class MissingPackageError(RepairError):
    """A package of an extra is not installed."""


def require(package: str, extra: str) -> ModuleType:
    """Import an optional package. Raises MissingPackageError, which names the extra to install."""
    try:
        return import_module(package)
    except ModuleNotFoundError:
        raise MissingPackageError(f"this needs {package}: pip install 'vivavoce[{extra}]'") from None
