"""`on_import`: act on a module as soon as it has been imported, without importing it and without a trace.

No frame of ours is on the stack while the module runs, so that a failing import has its usual traceback. The finder
gives the module its real spec, of a subclass that notices the end of the import: the import system then sets
`spec._initializing` to False (`importlib._bootstrap._load_unlocked`), and the spec becomes an ordinary one again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def on_import(name: str, callback: Callable[[ModuleType], None]) -> None:
    """Call `callback(module)` once, right after the module `name` was imported; at once if it already is.

    It is not called for an import that fails. What it raises, the import raises.
    """
    module = sys.modules.get(name)
    if module is not None:
        callback(module)
    else:
        sys.meta_path.insert(0, _Finder(name, callback))


class _Finder(MetaPathFinder):
    """Finds one module, through the finders behind it."""

    def __init__(self, name: str, callback: Callable[[ModuleType], None]) -> None:
        self.name = name
        self.callback = callback

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        spec = self._real_spec(path, target)
        if spec is not None and type(spec) is ModuleSpec:
            spec.__class__ = _WatchedSpec
            vars(spec)["_vivavoce"] = self
        return spec

    def _real_spec(self, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
        for finder in list(sys.meta_path):
            find = getattr(finder, "find_spec", None)
            if finder is self or find is None:
                continue
            spec: ModuleSpec | None = find(self.name, path, target)
            if spec is not None:
                return spec
        return None

    def imported(self, module: ModuleType) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)
            self.callback(module)


class _WatchedSpec(ModuleSpec):
    """A module's spec until the module has been imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "_initializing" and not value:
            finder: _Finder = vars(self).pop("_vivavoce")
            object.__setattr__(self, "__class__", ModuleSpec)
            module = sys.modules.get(self.name)
            if module is not None and getattr(module, "__spec__", None) is self:
                finder.imported(module)


_WatchedSpec.__name__ = _WatchedSpec.__qualname__ = "ModuleSpec"  # its repr
