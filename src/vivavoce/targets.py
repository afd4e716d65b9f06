"""What python can run: a file, standard input, a module, a folder or archive. Each says how it starts and runs itself."""

from __future__ import annotations

import io
import os
import sys
from abc import ABC, abstractmethod
from importlib.machinery import SourceFileLoader, SourcelessFileLoader
from types import CodeType, ModuleType

_APPLICATION_FILES = ("__main__.py", "__main__.pyc")


class TargetError(ValueError):
    """What cannot be run; the message is one plain sentence."""


class Target(ABC):
    """Something to run: the words that name it on python's command line, `sys.argv[0]` and `sys.path[0]` at its start."""

    def __init__(self, words: list[str], first_argument: str, import_path: str) -> None:
        self.words = words
        self.first_argument = first_argument
        self.import_path = import_path

    @abstractmethod
    def execute(self, main: ModuleType) -> None:
        """Run it in the module `__main__`. Raises whatever the program raises."""

    @abstractmethod
    def close(self, main: ModuleType) -> None:
        """Do to `__main__` what python does when the program returned, or after its exception was printed."""


class Script(Target):
    """A Python source file, or a compiled one (.pyc)."""

    def __init__(self, path: str) -> None:
        super().__init__([path], path, os.path.dirname(os.path.realpath(path)))
        self.path = _absolute(path)

    def execute(self, main: ModuleType) -> None:
        """Compile and run the file."""
        compiled = self.path.endswith(".pyc")
        loader = (SourcelessFileLoader if compiled else SourceFileLoader)("__main__", self.path)
        vars(main).update(__file__=self.path, __cached__=None, __loader__=loader)
        code = loader.get_code("__main__") if compiled else _compiled_source(self.path)
        exec(code, vars(main))  # type: ignore[arg-type]

    def close(self, main: ModuleType) -> None:
        """Forget `__file__`."""
        _forget_file(main)


class StandardInput(Target):
    """A program read from standard input (`-`)."""

    def __init__(self) -> None:
        super().__init__(["-"], "-", "")

    def execute(self, main: ModuleType) -> None:
        """Compile and run all of standard input."""
        vars(main).update(__file__="<stdin>", __cached__=None)
        code = compile(sys.stdin.buffer.read(), "<stdin>", "exec", dont_inherit=True)
        exec(code, vars(main))

    def close(self, main: ModuleType) -> None:
        """Forget `__file__`."""
        _forget_file(main)


class Module(Target):
    """A module or package, as `python -m` runs it. Its parents see `-m` as `sys.argv[0]` while they are imported."""

    def __init__(self, name: str) -> None:
        super().__init__(["-m", name], "-m", os.getcwd())
        self.name = name

    def execute(self, main: ModuleType) -> None:
        """Find and run the module."""
        _run_module_as_main(self.name, True)

    def close(self, main: ModuleType) -> None:
        """Leave `__main__` as it is."""


class Application(Target):
    """A folder or zip archive with a `__main__.py`."""

    def __init__(self, path: str) -> None:
        super().__init__([path], path, _absolute(path))

    def execute(self, main: ModuleType) -> None:
        """Run its `__main__.py`; `sys.path[0]` leads there."""
        _run_module_as_main("__main__", False)

    def close(self, main: ModuleType) -> None:
        """Leave `__main__` as it is."""


def find_target(typed: str, module: bool = False) -> Target:
    """What `typed` names: a module if `module`, else `-`, a file, or a folder or archive with `__main__.py`.

    Raises `TargetError` for what python could not run as a program.
    """
    if module:
        return Module(typed)
    if typed == "-":
        return StandardInput()
    if not os.path.exists(typed):
        raise TargetError(f"there is no file {typed!r}")
    if os.path.isdir(typed):
        return _application(typed)
    return _file(typed)


def _application(folder: str) -> Target:
    if any(os.path.isfile(os.path.join(folder, name)) for name in _APPLICATION_FILES):
        return Application(folder)
    raise TargetError(f"{folder!r} is a directory without a __main__.py")


def _file(path: str) -> Target:
    try:
        with open(path, "rb") as file:
            file.read(1)
    except OSError as error:
        raise TargetError(f"{path!r} cannot be read: {error.strerror}") from None
    if path.endswith((".py", ".pyc")):
        return Script(path)
    if _is_archive(path):
        return Application(path)
    if not _is_source(path):
        raise TargetError(f"{path!r} is not Python source")
    return Script(path)


def _is_archive(path: str) -> bool:
    import zipfile

    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        if not set(_APPLICATION_FILES) & set(archive.namelist()):
            raise TargetError(f"{path!r} is an archive without a __main__.py")
    return True


def _is_source(path: str) -> bool:
    """Whether a file could be source: decodable, and without the null bytes that no source may contain."""
    import tokenize

    try:
        with open(path, "rb") as file:
            encoding, _ = tokenize.detect_encoding(file.readline)
            file.seek(0)
            return "\0" not in file.read().decode(encoding)
    except (SyntaxError, UnicodeDecodeError):
        return False


def _compiled_source(path: str) -> CodeType:
    with io.open_code(path) as file:
        source = file.read()
    return compile(source, path, "exec", dont_inherit=True)


def _absolute(path: str) -> str:
    """As python names a script: absolute, but neither symlinks nor `..` resolved."""
    return path if os.path.isabs(path) else os.getcwd() + os.sep + path


def _forget_file(main: ModuleType) -> None:
    """Python deletes these when a file has run or its exception is printed, and keeps them after sys.exit."""
    for name in ("__file__", "__cached__"):
        vars(main).pop(name, None)


def _run_module_as_main(name: str, alter_argv: bool) -> None:
    """Call what the interpreter itself calls, so that the frames in a traceback are the same too."""
    import runpy

    runpy._run_module_as_main(name, alter_argv)  # type: ignore[attr-defined]
