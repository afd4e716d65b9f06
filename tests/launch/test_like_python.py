"""A script must not be able to tell `viva run` from plain python: same output, same errors, same exit status."""

from __future__ import annotations

import shutil
import signal
import sys
import zipfile
from pathlib import Path

import pytest

from tests.launch.like_python import Case, execute, without_our_lines, write

VIVA = shutil.which("viva", path=str(Path(sys.executable).parent))

CASES = (
    Case(
        "arguments",
        {"script.py": "import sys; print(sys.argv, sys.orig_argv[1:], len(sys.flags))"},
        ("script.py", "--budget", "3", "-m", "--", "--help", "", "ünï"),
        shows="'--budget', '3', '-m', '--', '--help', ''",
    ),
    Case(
        "main module",
        {
            "script.py": """
            import sys, atexit
            print(list(globals()), __name__, __file__, __spec__, __package__, __builtins__, __annotations__, __doc__)
            print(type(__loader__), __loader__.name, __loader__.path, __loader__.get_source("__main__")[:10])
            print(sys.modules["__main__"].__dict__ is globals(), sys.path[0])
            atexit.register(lambda: print(sorted(name for name in globals())))
            """
        },
        shows="SourceFileLoader",
    ),
    Case(
        "main module, exit by sys.exit",
        {"script.py": "import atexit, sys; atexit.register(lambda: print('__file__' in globals())); sys.exit()"},
        shows="True",
    ),
    Case(
        "annotations in main",
        {"script.py": "x: int = 3\nprint(__annotations__)"},
        shows="'x'",
    ),
    Case(
        "sys.path through a symlink",
        {"real/script.py": "import sys, near; print(sys.path, sys.argv, __file__)", "real/near.py": "print('near')"},
        ("links/script.py",),
        shows="near",
        links={"links": "links-of", "links-of": "real"},
    ),
    Case(
        "symlinked script",
        {"real/script.py": "import sys, near; print(sys.path, __file__)", "real/near.py": "print('near')"},
        ("here.py",),
        shows="near",
        links={"here.py": "real/script.py"},
    ),
    Case("path with dots", {"a/script.py": "print(__file__); 1/0"}, ("./a/../a/script.py",), "/./a/../a/", 1),
    Case(
        "-m module",
        {"tool.py": "import sys; print(sys.argv, sys.path[0], __spec__.name, __package__, list(globals())); 1/0"},
        ("-m", "tool", "-x", "--off"),
        "<frozen runpy>",
        1,
    ),
    Case(
        "-m package with __main__ and relative import",
        {
            "package/__init__.py": "import sys; print('package', sys.argv)",
            "package/__main__.py": "from . import part; import sys; print(part.x, sys.argv, __package__, __spec__)",
            "package/part.py": "x = 3",
        },
        ("-m", "package", "a"),
        "package.__main__",
    ),
    Case("-m nothing", {}, ("-m", "nothing_of_that_name"), "No module named nothing_of_that_name", 1),
    Case("-m package without main", {"package/__init__.py": ""}, ("-m", "package"), "cannot be directly executed", 1),
    Case(
        "folder with __main__",
        {"folder/__main__.py": "import sys, near; print(sys.argv, sys.path[0], __spec__); 1/0", "folder/near.py": ""},
        ("folder", "-v"),
        "ZeroDivisionError",
        1,
    ),
    Case("exit 0", {"script.py": "import sys; print('x'); sys.exit(0)"}, shows="x"),
    Case("exit 17", {"script.py": "import sys; sys.exit(17)"}, exit_code=17),
    Case("exit None", {"script.py": "raise SystemExit(None)"}),
    Case("exit with a string", {"script.py": "import sys; sys.exit('that was it')"}, shows="that was it", exit_code=1),
    Case("exit with an object", {"script.py": "raise SystemExit([1, 2])"}, shows="[1, 2]", exit_code=1),
    Case("exit 256", {"script.py": "raise SystemExit(256)"}),
    Case(
        "uncaught exception",
        {
            "script.py": """
            import near
            def outer():
                try:
                    near.inner()
                except KeyError as error:
                    raise RuntimeError("outer") from error
            outer()
            """,
            "near.py": "def inner(): return {}['x']",
        },
        shows="The above exception was the direct cause",
        exit_code=1,
    ),
    Case(
        "exception group with notes",
        {"script.py": "e = ValueError('a'); e.add_note('a note')\nraise ExceptionGroup('many', [e, TypeError('b')])"},
        shows="a note",
        exit_code=1,
    ),
    Case("SyntaxError", {"script.py": "x = 1\nprint(x\ny = 2\n"}, shows="was never closed", exit_code=1),
    Case("IndentationError", {"script.py": "if True:\nx = 1\n"}, shows="expected an indented block", exit_code=1),
    Case(
        "SyntaxError in an imported module",
        {"script.py": "import near", "near.py": "def f(:\n  pass"},
        shows="near.py",
        exit_code=1,
    ),
    Case(
        "KeyboardInterrupt by signal",
        {"script.py": "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(30)"},
        shows="KeyboardInterrupt",
        exit_code=-signal.SIGINT,
    ),
    Case(
        "KeyboardInterrupt raised",
        {"script.py": "import atexit; atexit.register(print, 'bye')\ndef f(): raise KeyboardInterrupt\nf()"},
        shows="bye",
        exit_code=-signal.SIGINT,
    ),
    Case("KeyboardInterrupt under -m", {"tool.py": "raise KeyboardInterrupt"}, ("-m", "tool"), "Keyb", -signal.SIGINT),
    Case(
        "killed by SIGTERM",
        {"script.py": "import os, signal; print('x', flush=True); os.kill(os.getpid(), signal.SIGTERM)"},
        shows="x",
        exit_code=-signal.SIGTERM,
    ),
    Case(
        "signal handlers",
        {"script.py": "import signal; print([signal.getsignal(s) for s in signal.valid_signals()])"},
        shows="default_int_handler",
    ),
    Case(
        "excepthook",
        {
            "script.py": """
            import sys, traceback
            def hook(kind, error, trace):
                print("hook", kind, error, traceback.extract_tb(trace), error.__traceback__ is trace, sys.excepthook is hook)
                print(sys.last_type, sys.last_value is error, sys.last_traceback is trace, __file__)
            sys.excepthook = hook
            1/0
            """
        },
        shows="hook",
        exit_code=1,
    ),
    Case(
        "excepthook that fails",
        {"script.py": "import sys\ndef hook(*a):\n    {}['hook']\nsys.excepthook = hook\n1/0"},
        shows="Original exception was:",
        exit_code=1,
    ),
    Case(
        "excepthook that exits",
        {"script.py": "import sys\nsys.excepthook = lambda *a: sys.exit(5)\n1/0"},
        exit_code=5,
    ),
    Case(
        "no excepthook",
        {"script.py": "import sys\ndel sys.excepthook\n1/0"},
        shows="sys.excepthook is miss",
        exit_code=1,
    ),
    Case(
        "atexit",
        {
            "script.py": """
            import atexit, sys
            atexit.register(print, "last")
            def fail(): raise ValueError("in atexit")
            atexit.register(fail)
            atexit.register(lambda: print(sys.excepthook is sys.__excepthook__, hasattr(sys, "last_value")))
            1/0
            """
        },
        shows="in atexit",
        exit_code=1,
    ),
    Case(
        "threads outlive the main one",
        {
            "script.py": """
            import threading, time
            print(threading.active_count(), threading.enumerate(), threading.current_thread())
            def late(): time.sleep(0.2); print("late", flush=True); raise ValueError("in a thread")
            thread = threading.Thread(target=late); thread.start()
            print("main ends", flush=True)
            """
        },
        shows="in a thread",
    ),
    Case(
        "os.chdir",
        {"script.py": "import os, sys; os.chdir('/'); import near; print(sys.path[0], __file__); 1/0", "near.py": ""},
        shows="1/0",
        exit_code=1,
    ),
    Case(
        "pickling of a class in __main__ at exit",
        {
            "script.py": """
            import atexit, pickle
            from dataclasses import dataclass
            @dataclass
            class Point:
                x: int
            atexit.register(lambda: print(pickle.loads(pickle.dumps(Point(3))), pickle.dumps(Point)))
            """
        },
        shows="Point(x=3)",
    ),
    Case(
        "multiprocessing, fork",
        {
            "script.py": """
            import multiprocessing as mp, sys
            def work(x): return x * x, __name__, sys.argv
            if __name__ == "__main__":
                mp.set_start_method("fork")
                with mp.Pool(2) as pool: print(pool.map(work, range(4)))
                process = mp.Process(target=sys.exit, args=(9,)); process.start(); process.join(); print(process.exitcode)
                process = mp.Process(target=divmod, args=(1, 0), name="p"); process.start(); process.join()
                print(mp.active_children())
            """
        },
        ("script.py", "arg"),
        shows="(9, '__main__'",
    ),
    Case(
        "multiprocessing, spawn",
        {
            "script.py": """
            import multiprocessing as mp, sys
            print("imported as", __name__)
            class Box:
                def __init__(self, x): self.x = x
            def work(box): print("in child", box.x, sys.argv, sys.path[0], __name__, flush=True); 1 / box.x
            if __name__ == "__main__":
                mp.set_start_method("spawn")
                for x in (1, 0):
                    process = mp.Process(target=work, args=(Box(x),)); process.start(); process.join(); print(process.exitcode)
            """
        },
        ("script.py", "arg"),
        shows="__mp_main__",
    ),
    Case(
        "multiprocessing, spawn without a guard",
        {
            "script.py": """
            import multiprocessing as mp
            mp.set_start_method("spawn", force=True)
            process = mp.Process(target=print); process.start(); process.join(); print(process.exitcode)
            """
        },
        shows="freeze_support",
    ),
    Case(
        "multiprocessing, forkserver, under -m",
        {
            "tool.py": """
            import multiprocessing as mp, sys
            def work(x): return x * x, __name__
            if __name__ == "__main__":
                with mp.get_context("forkserver").Pool(1) as pool: print(pool.map(work, range(3)))
            """
        },
        ("-m", "tool"),
        shows="__mp_main__",
    ),
    Case(
        "os.fork",
        {
            "script.py": """
            import atexit, os, sys
            atexit.register(lambda: print("exit", os.getpid() == first, flush=True))
            first = os.getpid()
            if os.fork() == 0: sys.exit(4)
            print(os.waitstatus_to_exitcode(os.wait()[1]))
            """
        },
        shows="exit False",
    ),
    Case(
        "DataLoader with workers",
        {
            "script.py": """
            import torch
            from torch.utils.data import DataLoader, TensorDataset, get_worker_info
            print(torch.__spec__, torch.__loader__, type(torch.__spec__), vars(torch.__spec__).keys())
            class Squares(torch.utils.data.Dataset):
                def __len__(self): return 8
                def __getitem__(self, i): return i * i + 100 * get_worker_info().id
            if __name__ == "__main__":
                torch.set_num_threads(1)
                for context in ("fork", "spawn"):
                    loader = DataLoader(Squares(), batch_size=2, num_workers=2, multiprocessing_context=context)
                    print([batch.tolist() for batch in loader])
            """
        },
        shows="[104, 109]",
    ),
    Case(
        "stdin",
        {"script.py": "import sys; print(input(), sys.stdin.readline(), sys.stdin.buffer.read(), input())\ninput()"},
        shows="EOFError",
        exit_code=1,
        stdin=b"one\ntwo\nthree",
    ),
    Case(
        "program from stdin",
        {},
        ("-", "a"),
        shows="'-', 'a'",
        exit_code=1,
        stdin=b"import sys; print(sys.argv, repr(sys.path[0]), __file__, __loader__)\n1/0\n",
    ),
    Case(
        "warnings with the right line",
        {
            "script.py": """
            import warnings, near
            warnings.warn("here")
            warnings.warn("old", DeprecationWarning)
            def f(): warnings.warn("caller", stacklevel=2)
            f()
            near.old()
            """,
            "near.py": "import warnings\ndef old(): warnings.warn('x', DeprecationWarning); warnings.warn('user')",
        },
        shows="script.py:5: UserWarning: caller",
    ),
    Case(
        "warnings as errors",
        {"script.py": "import warnings, sys; print(sys.warnoptions, warnings.filters[0]); warnings.warn('x')"},
        flags=("-W", "error"),
        shows="UserWarning: x",
        exit_code=1,
    ),
    Case(
        "while True ended by os._exit",
        {"script.py": "import os\nn = 0\nwhile True:\n    n += 1\n    if n > 9: print(n, flush=True); os._exit(7)"},
        shows="10",
        exit_code=7,
    ),
    Case(
        "patched sys.argv",
        {"script.py": "import sys; sys.argv[0] = 'other'; sys.argv = sys.argv + ['x']; print(sys.argv); sys.exit(3)"},
        exit_code=3,
    ),
    Case(
        "runpy inside",
        {"script.py": "import runpy; print(sorted(runpy.run_path('near.py'))); 1/0", "near.py": "x = __name__"},
        shows="ZeroDivision",
        exit_code=1,
    ),
    Case("relative import fails alike", {"script.py": "from . import x"}, shows="no known parent package", exit_code=1),
    Case(
        "safe path",
        {"script.py": "import sys; print(sys.path, sys.flags.safe_path)\nimport near", "near.py": ""},
        flags=("-P",),
        shows="No module named 'near'",
        exit_code=1,
    ),
    Case(
        "encoding cookie",
        {"script.py": b"# -*- coding: latin-1 -*-\nprint(ascii('\xe9'))\nraise ValueError('\xe9')\n"},
        shows="\\xe9",
        exit_code=1,
    ),
    Case(
        "no utf-8 on the streams",
        {"script.py": "import sys; print(sys.stdout.encoding, sys.stderr.encoding)"},
        shows="ascii",
        environment={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"},
    ),
    Case(
        "future import does not leak in", {"script.py": "def f(x: int): pass\nprint(f.__annotations__)"}, shows="<class"
    ),
    Case("a file without suffix", {"script": "#!/usr/bin/env python\nprint(__file__)"}, ("script",), shows="script"),
    Case("byte order mark", {"script.py": b"\xef\xbb\xbfprint('bom')"}, shows="bom"),
    Case("empty", {"script.py": ""}),
    Case(
        "modules of the user's own with names that viva uses",
        {
            "script.py": "import click, uuid, typing, settings, launch; print(click.x, uuid.x, settings.x, launch.x)",
            **{f"{name}.py": "x = __file__" for name in ("click", "uuid", "settings", "launch")},
        },
        shows="click.py",
    ),
    Case(
        "failing import of torch",
        {
            "script.py": "import traceback\ntry:\n    import torch\nexcept OSError: traceback.print_exc()\nimport torch",
            "torch/__init__.py": "from . import part",
            "torch/part.py": "raise OSError('libtorch.so')",
        },
        shows="libtorch.so",
        exit_code=1,
    ),
    Case(
        "looking for torch without importing it",
        {
            "script.py": "import importlib.util as u, sys; print(u.find_spec('torch'), 'torch' in sys.modules)\n"
            "import torch; print(torch.__spec__, type(torch.__spec__), torch.__spec__ is u.find_spec('torch'))",
            "torch.py": "print(__spec__, __loader__)",
        },
        shows="ModuleSpec(name='torch'",
    ),
    Case(
        "environment set before numpy and torch",
        {
            "script.py": "import sys; print([m for m in ('numpy', 'torch', 'rich', 'multiprocessing') if m in sys.modules])"
        },
        shows="[]",
    ),
    Case("unwritable stdout", {"script.py": "import sys; sys.stdout.close()"}),
    Case("stderr closed", {"script.py": "import sys; sys.stderr.close(); print('x')"}, shows="x"),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_like_python(case: Case, tmp_path: Path) -> None:
    write(case, tmp_path)
    plain = execute(case, tmp_path, ())
    assert plain.exit_code == case.exit_code
    assert case.shows.encode() in plain.stdout + plain.stderr
    watched = execute(case, tmp_path, ("-m", "vivavoce", "run"))
    assert watched.stdout.decode() == plain.stdout.decode()
    assert without_our_lines(watched.stderr).decode() == plain.stderr.decode()
    assert watched.exit_code == plain.exit_code


@pytest.mark.parametrize("name", ["arguments", "main module", "safe path", "uncaught exception", "excepthook"])
def test_like_python_through_the_command(name: str, tmp_path: Path) -> None:
    case = next(case for case in CASES if case.name == name)
    assert VIVA is not None
    write(case, tmp_path)
    plain = execute(case, tmp_path, ())
    watched = execute(case, tmp_path, (VIVA, "run"))
    assert watched.stdout.decode() == plain.stdout.decode()
    assert without_our_lines(watched.stderr).decode() == plain.stderr.decode()
    assert watched.exit_code == plain.exit_code


@pytest.mark.parametrize("options", [("--off",), ("--quiet",)], ids=lambda options: options[0])
def test_silent_modes_add_no_byte(options: tuple[str, ...], tmp_path: Path) -> None:
    case = next(case for case in CASES if case.name == "uncaught exception")
    write(case, tmp_path)
    plain = execute(case, tmp_path, ())
    assert execute(case, tmp_path, ("-m", "vivavoce", "run", *options)) == plain


def test_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "program.zip", "w") as archive:
        archive.writestr("__main__.py", "import sys, near; print(sys.argv, sys.path[0], __spec__.name, near.x); 1/0")
        archive.writestr("near.py", "x = 3")
    case = Case("archive", {}, ("program.zip", "a"))
    plain = execute(case, tmp_path, ())
    assert b"ZeroDivisionError" in plain.stderr
    watched = execute(case, tmp_path, ("-m", "vivavoce", "run"))
    assert (watched.stdout, without_our_lines(watched.stderr)) == (plain.stdout, plain.stderr)
    assert watched.exit_code == plain.exit_code == 1


def test_compiled_file(tmp_path: Path) -> None:
    import py_compile

    (tmp_path / "script.py").write_text("print(__file__, __loader__.name)")
    py_compile.compile(str(tmp_path / "script.py"), cfile=str(tmp_path / "script.pyc"), doraise=True)
    case = Case("compiled", {}, ("script.pyc",))
    plain = execute(case, tmp_path, ())
    assert b"script.pyc" in plain.stdout
    assert execute(case, tmp_path, ("-m", "vivavoce", "run", "--quiet")) == plain
