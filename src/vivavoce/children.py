"""`Lookout`: waits for torch to be imported, in the script's process and in those it starts, and has it watched there.

Processes that multiprocessing forks run the functions registered with `register_after_fork`. A spawned one starts from
nothing: the settings travel to it as a stowaway in the data that multiprocessing sends.
"""

from __future__ import annotations

import functools
import os
import pickle
import sys
from collections.abc import Sequence
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

from vivavoce.examine.finding import SEVERITIES
from vivavoce.imports import on_import
from vivavoce.settings import Settings

if TYPE_CHECKING:
    from vivavoce.attach.session import Outcome, Session

_AFTER_OTHERS = -100  # exit priority in multiprocessing: the program's own finalizers, 0 and above, run first


class Lookout:
    """Watches one process: `session` is None until torch was imported, and where watching it failed."""

    def __init__(self, settings: Settings, command: Sequence[str]) -> None:
        self.settings = settings
        self.command = list(command)
        self.session: Session | None = None
        self.fault: BaseException | None = None
        self.process = os.getpid()

    def start(self) -> None:
        """Wait for torch and multiprocessing; neither is imported here."""
        _lookouts.append(self)
        on_import("torch", self._attach)
        on_import("multiprocessing.util", self._follow_children)
        on_import("multiprocessing.spawn", self._follow_spawned)

    def finish(self, exit_code: int | None, error: BaseException | None) -> Outcome | None:
        """End the session. None where nothing was recorded.

        Where only processes that this one started have trained, the gravest of their outcomes is the outcome.
        """
        if self.session is None:
            return None
        outcome = self.session.finish(exit_code, error)
        if outcome is not None or os.getpid() != self.process:
            return outcome
        children = sorted(self.session.children(), key=_gravity)
        return replace(children[0], children=children[1:]) if children else None

    def _attach(self, torch: ModuleType) -> None:
        try:
            from vivavoce.attach.session import Session

            session = Session(self.settings, command=self.command)
            session.install()
            self.session = session
        except Exception as fault:
            self.fault = fault
            warn(f"this run is not watched: {describe(fault)}")

    def _follow_children(self, util: ModuleType) -> None:
        util.register_after_fork(self, functools.partial(Lookout.enter_child, util=util))

    def enter_child(self, util: ModuleType) -> None:
        """First thing in a process of multiprocessing: see to it that its session is ended before it is."""
        util.Finalize(None, self._leave_child, exitpriority=_AFTER_OTHERS)

    def _leave_child(self) -> None:
        if self.session is None or self.session.pid != os.getpid():
            return  # a fork that did not train: what it holds is its parent's
        try:
            self.finish(None, sys.exc_info()[1])
        except Exception as fault:
            warn(f"a child process was not recorded to its end: {describe(fault)}")

    def _follow_spawned(self, spawn: ModuleType) -> None:
        """Send a stowaway along with what a spawned process is told about its parent.

        multiprocessing collects that with `dict(...)`, so the name `dict` in its module does the work: a function
        wrapped around it would show in the traceback of a script that starts processes while it is imported.
        """
        vars(spawn)["dict"] = functools.partial(dict, vivavoce=_Stowaway(self))


_lookouts: list[Lookout] = []  # keeps them alive: multiprocessing's registry holds only weak references


def _gravity(outcome: Outcome) -> int:
    """0 for a critical finding first, 3 for none."""
    return min((SEVERITIES.index(finding.severity) for finding in outcome.verdict.findings), default=len(SEVERITIES))


class _Stowaway:
    """Pickled into nothing but a call of `attach_child`, which must not fail where Vivavoce cannot be imported."""

    def __init__(self, lookout: Lookout) -> None:
        self.lookout = lookout

    def __reduce__(self) -> tuple[Any, ...]:
        cargo = pickle.dumps((self.lookout.settings.in_child(os.getpid()), self.lookout.command))
        lines = (
            "try:",
            "    from vivavoce.children import attach_child",
            f"    attach_child({cargo!r})",
            "except Exception:",
            "    pass",
        )
        return exec, ("\n".join(lines), {})


def attach_child(cargo: bytes) -> None:
    """In a spawned process: watch it with the settings and command its parent sent."""
    settings, command = pickle.loads(cargo)
    lookout = Lookout(settings, command)
    lookout.start()
    lookout.enter_child(sys.modules["multiprocessing.util"])


def warn(message: str) -> None:
    """One line of ours on standard error, where there is one."""
    try:
        sys.__stderr__.write(f"viva ▸ {message}\n")  # type: ignore[union-attr]
    except Exception:
        pass


def describe(fault: BaseException) -> str:
    """An exception as one line."""
    return " ".join(f"{type(fault).__name__}: {fault}".split())
