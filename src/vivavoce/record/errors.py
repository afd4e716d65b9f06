"""What can be wrong with a store, in plain sentences."""

from __future__ import annotations


class StoreError(Exception):
    """A store that cannot be read or found. The message is one sentence for the person at the terminal."""


class MissingStoreError(StoreError):
    """There is no such file."""


class NotAStoreError(StoreError):
    """The file is something else."""


class NewerStoreError(StoreError):
    """The file was written by a newer Vivavoce, with another schema."""


class DamagedStoreError(StoreError):
    """The file is a store, but parts of it cannot be read."""


class RunNotFoundError(StoreError):
    """The argument names no run of the folder, or more than one."""
