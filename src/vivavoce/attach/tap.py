"""The base of the taps: one small file each, two methods to write."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar

from vivavoce.attach.patches import Patches

if TYPE_CHECKING:
    from vivavoce.attach.session import Session


class Tap(ABC):
    """One place where Viva listens to PyTorch.

    A tap never raises into the training: whatever goes wrong inside it is handed to `fail`, which switches this tap
    off and warns once.
    """

    name: ClassVar[str]

    def __init__(self, session: Session) -> None:
        self.session = session
        self.patches = Patches()
        self.on = True

    @abstractmethod
    def install(self) -> None:
        """Put the wrappers and hooks in place."""

    def uninstall(self) -> None:
        """Take them out again."""
        self.patches.restore()

    def fail(self, error: Exception) -> None:
        """An internal error: this tap is off from here on; the training goes on."""
        if self.on:
            self.on = False
            self.session.light.barred = True
            with suppress(Exception):  # it may be the same error again
                self.session.look_closer()
            self.session.fault(self.name, error)
