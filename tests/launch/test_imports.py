"""`on_import` acts on a module right after its import and leaves no trace."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

import vivavoce
from vivavoce.imports import on_import


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    for name in ("waited_for", "waited_for.part"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield tmp_path
    for name in ("waited_for", "waited_for.part"):
        sys.modules.pop(name, None)


def test_called_once_after_the_module_ran(place: Path) -> None:
    (place / "waited_for.py").write_text("x = 1\nx = 2\n")
    seen, before = [], list(sys.meta_path)
    on_import("waited_for", lambda module: seen.append((module.x, module.__spec__._initializing)))
    module = importlib.import_module("waited_for")
    importlib.import_module("waited_for")
    assert seen == [(2, False)]
    assert sys.meta_path == before
    assert type(module.__spec__) is ModuleSpec
    assert vars(module.__spec__).keys() == vars(sys.modules["json"].__spec__).keys()
    assert "exec_module" not in vars(module.__loader__)
    importlib.reload(module)
    assert len(seen) == 1


def test_at_once_where_it_is_loaded() -> None:
    seen = []
    on_import("sys", seen.append)
    assert seen == [sys]


def test_not_called_for_a_failed_import_but_for_the_next(place: Path) -> None:
    (place / "waited_for.py").write_text("raise OSError('first')\n")
    seen = []
    on_import("waited_for", lambda module: seen.append(module.x))
    with pytest.raises(OSError, match="first") as caught:
        importlib.import_module("waited_for")
    own = Path(vivavoce.__file__).parent
    assert not any(own in Path(str(entry.path)).parents for entry in caught.traceback)
    assert seen == []
    (place / "waited_for.py").write_text("x = 'second, longer than the first one'\n")
    importlib.invalidate_caches()
    assert importlib.import_module("waited_for").x == seen[0]


def test_a_search_is_not_an_import(place: Path) -> None:
    (place / "waited_for.py").write_text("x = 1\n")
    seen = []
    on_import("waited_for", lambda module: seen.append(module.x))
    assert importlib.util.find_spec("waited_for") is not None
    assert importlib.util.find_spec("waited_for") is not None
    assert seen == []
    importlib.import_module("waited_for")
    assert seen == [1]


def test_a_submodule_of_it_is_not_it(place: Path) -> None:
    (place / "waited_for").mkdir()
    (place / "waited_for" / "__init__.py").write_text("from . import part\n")
    (place / "waited_for" / "part.py").write_text("import waited_for\n")
    seen = []
    on_import("waited_for", lambda module: seen.append(module.__name__))
    importlib.import_module("waited_for.part")
    assert seen == ["waited_for"]


def test_a_module_that_is_nowhere(place: Path) -> None:
    on_import("waited_for", pytest.fail)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("waited_for")
