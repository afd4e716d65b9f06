"""Runs a script, module, folder or archive so that it cannot tell it from plain python.

What python does at its start and end is in CPython's Modules/main.c, Python/pythonrun.c and Modules/getpath.c; this
module repeats the part of it that a program can see. Its end is left to the interpreter itself: exceptions travel on
through our frames, which are cut from the traceback at the moment the interpreter prints it.
"""

from __future__ import annotations

import atexit
import builtins
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.machinery import BuiltinImporter
from types import ModuleType, TracebackType
from typing import Any

from vivavoce import targets
from vivavoce.targets import Application, Target

INTERRUPTED = 130  # 128 + SIGINT: what a shell reports of a process that died of Control-C

# In sys.modules of any python that has just started: a user's file of that name is never imported.
_ALWAYS_LOADED = frozenset(
    {"abc", "codecs", "encodings", "genericpath", "io", "ntpath", "os", "posixpath", "site", "stat", "zipimport"}
)
_OUR_FILES = frozenset({__file__, targets.__file__})
_KEPT = frozenset({"__main__", "vivavoce", "atexit", "importlib", "threading"})


@dataclass
class Ending:
    """How the program ended: its exit status (None while it goes on) and the exception it died of."""

    exit_code: int | None = None
    error: BaseException | None = None

    def note(self, error: BaseException) -> None:
        """Take over the exit status that python gives a program that ends with `error`."""
        if isinstance(error, SystemExit):
            self.exit_code = _exit_code(error.code)
        else:
            self.exit_code = INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1
            self.error = error


def _exit_code(code: object) -> int:
    if code is None:
        return 0
    return code if isinstance(code, int) else 1


def run(target: Target, arguments: Sequence[str], at_end: Callable[[Ending], None] | None = None) -> None:
    """Run `target` with `arguments` and end as it ends: return, or raise what it raised.

    `at_end` is called once in this process, after the program's threads were joined and its own atexit functions
    ran; what it raises is python's to report. Call `run` with as few frames below it as possible, once a process.
    """
    ending = Ending()
    if at_end is not None:
        atexit.register(_at_end_here, at_end, ending, os.getpid())
    main = _prepare(target, arguments)
    try:
        target.execute(main)
    except SystemExit as error:
        ending.note(error)
        raise
    except BaseException as error:
        ending.note(error)
        sys.excepthook = _Printer(error, lambda: target.close(main))
        raise
    ending.exit_code = 0
    target.close(main)


def _at_end_here(at_end: Callable[[Ending], None], ending: Ending, process: int) -> None:
    """Call `at_end` in the process that was launched, not in a copy of it that the program forked."""
    if os.getpid() != process:
        return
    try:
        at_end(ending)
    finally:
        if type(ending.error) is KeyboardInterrupt:
            _remember_interrupt()


def _remember_interrupt() -> None:
    """Have python die of SIGINT, as it does after an unhandled KeyboardInterrupt.

    It keeps that in a flag that any `exec` of a string clears (Python/pythonrun.c, `run_eval_code_obj`), and every
    dataclass defined in a module that `at_end` imports is such an `exec`. This one sets it again.
    """
    try:
        exec("raise KeyboardInterrupt")
    except KeyboardInterrupt:
        pass


def _prepare(target: Target, arguments: Sequence[str]) -> ModuleType:
    _replace_command_line([*target.words, *arguments])
    sys.argv[:] = [target.first_argument, *arguments]
    if not sys.flags.safe_path:
        sys.path[0] = target.import_path
    elif isinstance(target, Application):
        sys.path.insert(0, target.import_path)
    if not sys.flags.safe_path and target.import_path:
        _give_way(target.import_path)
    main = _main_module()
    sys.modules["__main__"] = main
    return main


def _replace_command_line(words: list[str]) -> None:
    """Make `sys.orig_argv` what it would be had python been called: its own options, then the target."""
    ours = len(sys.argv) - 1
    before = sys.orig_argv[: len(sys.orig_argv) - ours]
    if before[-2:] == ["-m", __package__]:
        del before[-2:]
    elif len(before) > 1:  # the file of the command `viva`
        del before[-1]
    sys.orig_argv[:] = [*before, *words]


def _main_module() -> ModuleType:
    """A fresh `__main__` with the names, in the order, that python gives it."""
    main = ModuleType("__main__")
    vars(main)["__loader__"] = BuiltinImporter
    if sys.version_info < (3, 14):
        vars(main)["__annotations__"] = {}
    vars(main)["__builtins__"] = builtins
    return main


def _give_way(folder: str) -> None:
    """Forget modules that viva has imported under the name of a module of the user's own in `folder`.

    Plain python would import the user's `uuid.py`; without this the program would get the library's.
    """
    tops = {name.partition(".")[0] for name in sys.modules}
    tops -= _ALWAYS_LOADED | _KEPT | set(sys.builtin_module_names)
    hidden = {top for top in tops & _modules_in(folder) if not _is_in(folder, sys.modules.get(top))}
    for name in list(sys.modules):
        if name.partition(".")[0] in hidden:
            del sys.modules[name]


def _modules_in(folder: str) -> set[str]:
    """Names of the modules and packages in a folder; empty where it cannot be listed."""
    try:
        entries = os.listdir(folder)
    except OSError:
        return set()
    files = {entry.removesuffix(".py") for entry in entries if entry.endswith(".py")}
    packages = {entry for entry in entries if os.path.isfile(os.path.join(folder, entry, "__init__.py"))}
    return files | packages


def _is_in(folder: str, module: ModuleType | None) -> bool:
    file = getattr(module, "__file__", None) or ""
    place = os.path.dirname(file)
    return os.path.realpath(os.path.dirname(place) if file.endswith("__init__.py") else place) == folder


class _Printer:
    """Stands in for `sys.excepthook` while the interpreter prints the exception that ended the program.

    The interpreter calls it once; it puts the program's own hook back, cuts our frames, and calls that hook.
    """

    def __init__(self, error: BaseException, afterwards: Callable[[], None]) -> None:
        self.hook = getattr(sys, "excepthook", None)
        self.afterwards = afterwards
        self.traceback = _without_our_frames(error.__traceback__)

    def __call__(self, kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        error.__traceback__ = sys.last_traceback = self.traceback
        if self.hook is None:
            del sys.excepthook
            sys.stderr.write("sys.excepthook is missing\n")
            sys.__excepthook__(kind, error, self.traceback)
        else:
            sys.excepthook = self.hook
            self._call(self.hook, error)
        self.afterwards()

    def _call(self, hook: Callable[..., Any], error: BaseException) -> None:
        try:
            hook(type(error), error, self.traceback)
        except SystemExit:
            raise
        except BaseException as fault:
            self._report(fault, error)

    def _report(self, fault: BaseException, error: BaseException) -> None:
        """A hook that fails is reported as python reports it: its own exception, then the first one."""
        fault.__traceback__ = _without_our_frames(fault.__traceback__)
        fault.__context__ = None if fault.__context__ is error else fault.__context__
        sys.stderr.write("Error in sys.excepthook:\n")
        sys.__excepthook__(type(fault), fault, fault.__traceback__)
        sys.stderr.write("\nOriginal exception was:\n")
        sys.__excepthook__(type(error), error, self.traceback)


def _without_our_frames(traceback: TracebackType | None) -> TracebackType | None:
    while traceback is not None and traceback.tb_frame.f_code.co_filename in _OUR_FILES:
        traceback = traceback.tb_next
    return traceback
