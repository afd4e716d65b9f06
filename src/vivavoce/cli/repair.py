"""`viva repair`: try the remedies of what was found side by side, and hand back a patch that was proved to work."""

from __future__ import annotations

import io
import os
import re
import shlex
import stat
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vivavoce.cli.report import is_earlier_report
from vivavoce.cli.stores import directory_option, find, runs_folder
from vivavoce.report.words import short_path
from vivavoce.targets import TargetError, find_target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vivavoce.repair.engine import Engine
    from vivavoce.repair.options import Listener, Options
    from vivavoce.repair.result import Result
    from vivavoce.repair.specification import Program

EXIT_FAILED = 1  # the script cannot be tried
EXIT_SICK = 3  # something is wrong, and no patch was proved
EXIT_INTERRUPTED = 130  # 128 + SIGINT
FOLDER = "repairs"  # below the folder of the runs: where patch, page and JSON are kept
UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
TORCHRUN = ("TORCHELASTIC_RUN_ID", "LOCAL_RANK")
JSON_MARK, PATCH_MARK = '"repair":', "--- a/"  # how files of ours begin


@click.command(name="repair", context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False})
@click.option("-m", "module", is_flag=True, help="SCRIPT is the name of a module, as in python -m.")
@click.option(
    "--metric", metavar="NAME", help="Compare by the last number printed as `NAME value`, `NAME: value`, `NAME=value`."
)
@click.option(
    "--better",
    type=click.Choice(["lower", "higher"]),
    default="lower",
    show_default=True,
    help="Which way that number is better.",
)
@click.option(
    "--trials", type=click.IntRange(min=1), default=8, show_default=True, help="Try at most so many remedies."
)
@click.option(
    "--seeds", type=click.IntRange(min=3), default=3, show_default=True, help="Seeds of the control and of the proof."
)
@click.option("--steps", type=click.IntRange(min=1), help="End each run after so many training steps.")
@click.option("--time", "seconds", metavar="TIME", help="End the repair after this time: 90s, 10m, 2h.")
@click.option("--prove", is_flag=True, help="Run every arm with every seed, and random search at the same cost.")
@click.option("--apply", "write", is_flag=True, help="Write the proved patch into the source.")
@click.option("--patch", metavar="FILE", help="Also write the patch to FILE.")
@click.option("--json", "json_file", metavar="FILE", help="Write the result to FILE as JSON.")
@click.option("-o", "--output", metavar="FILE.html", help="Write a page with the patch and all trials to FILE.html.")
@click.option("--force", is_flag=True, help="Overwrite a FILE that is not an earlier result.")
@click.option(
    "--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True, help="Where the trials run."
)
@click.option("--address", metavar="ADDRESS", help="Address of a Ray cluster. [default: start one here]")
@click.option("--workers", type=click.IntRange(min=1), help="Trials at a time. [default: as many as fit]")
@directory_option
@click.argument("words", metavar="SCRIPT|RUN [ARGUMENTS]...", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def command(context: click.Context, /, words: tuple[str, ...], module: bool, **given: Any) -> int:
    """Find out what is wrong with a training script, try the remedies, and print a patch that was proved to work.

    The script is run watched; each remedy of what is found is tried on it without touching the source; the best is written as
    an edit, and the edited script is run plainly, with several seeds, against the script as it is. Nothing is written to your files
    unless --apply is given. The patch goes to standard output, everything else to standard error. Options after SCRIPT are its own.

    RUN is a recorded run (viva runs), which saves the first run of the script.

    \b
    viva repair train.py --epochs 3
    viva repair --apply train.py
    viva repair train.py | git apply
    """
    if not words:
        raise click.UsageError("name a script to repair", context)
    if any(name in os.environ for name in TORCHRUN):
        raise click.UsageError(
            "repairs are not for torchrun: start viva repair itself, with a script for one process", context
        )
    _check_files(given, context)
    limit = _seconds(given["seconds"], context)
    folder = runs_folder(given["directory"])
    with _standard_input() as replayed:
        program, recorded = _program(words, module, folder, replayed, context)
        return _repair(program, recorded, folder, limit, given)


def _repair(program: Program, recorded: Path | None, folder: Path, limit: float | None, given: dict[str, Any]) -> int:
    from vivavoce.record.errors import StoreError
    from vivavoce.repair.errors import RepairError
    from vivavoce.repair.options import Options
    from vivavoce.repair.repair import Repair

    options: Options = Options(
        given["trials"], given["seeds"], given["steps"], limit, given["metric"], given["better"], given["prove"]
    )
    try:
        with _bars() as listener:
            engine = _engine(given)
            result = Repair(program, engine, options, folder, listener).run(recorded)
        return _deliver(result, given, folder)
    except (RepairError, StoreError) as error:
        click.echo(f"viva ▸ {error}", err=True)
        return EXIT_FAILED


def _engine(given: dict[str, Any]) -> Engine:
    if given["engine"] == "ray":
        from vivavoce.repair.cluster import RayEngine

        return RayEngine(given["address"], given["workers"])
    from vivavoce.repair.local import LocalEngine

    return LocalEngine(given["workers"])


# what is asked for -----------------------------------------------------------------------------------------------------


def _program(
    words: tuple[str, ...], module: bool, folder: Path, replayed: Path | None, context: click.Context
) -> tuple[Program, Path | None]:
    """The program to repair, and the recorded run to start from, if that was named."""
    first = words[0]
    if first == "-":
        raise click.UsageError("a script from standard input has no source to repair; name a file", context)
    if module or (os.path.exists(first) and not first.endswith(".db")):
        try:
            find_target(first, module)
        except TargetError as error:
            raise click.UsageError(str(error), context) from None
        return _described(list(words), module, replayed, context), None
    if first.endswith(".py"):
        raise click.UsageError(f"there is no file {first!r}", context)
    if len(words) > 1:
        raise click.UsageError(
            f"{first!r} is no file, and a recorded run takes no arguments: it has those it was run with", context
        )
    return _of_run(find(first, folder), replayed, context)


def _described(words: list[str], module: bool, replayed: Path | None, context: click.Context) -> Program:
    from vivavoce.repair.specification import Program
    from vivavoce.repair.workspace import roots_of

    here = Path.cwd().resolve()
    script = None if module else Path(os.path.abspath(words[0])).resolve()
    if script is not None and script.suffix != ".py":
        raise click.UsageError(
            f"{words[0]!r} is no Python source file: there is nothing to write a patch into", context
        )
    target = words[0] if script is None else os.path.relpath(script, here)
    if script is not None and target.startswith(os.pardir):
        target = str(script)
    roots = roots_of(here, script)
    return Program(roots, str(here), target, module, tuple(words[1:]), None if replayed is None else str(replayed))


def _of_run(path: Path, replayed: Path | None, context: click.Context) -> tuple[Program, Path]:
    from vivavoce.cli.stores import load
    from vivavoce.repair.patch import sources_of

    run, _ = load(path)
    meta = run.meta
    words = list(meta.get("command") or [])
    if meta.get("rank") is not None:
        raise click.UsageError(
            f"{path.stem} was started by torchrun: only scripts for one process can be repaired", context
        )
    module = words[:1] == ["-m"]
    words = words[1:] if module else words
    if not words or not (module or os.path.isfile(words[0])):
        name = words[0] if words else "its script"
        raise click.UsageError(
            f"{path.stem} ran {name}, which is not here: go to the folder it was started in", context
        )
    program = _described(words, module, replayed, context)
    sources = sources_of(program, run)
    changed = [file.name for file in sources if file.stat().st_mtime > float(meta.get("started", 0))]
    if changed:
        raise click.UsageError(
            f"{', '.join(changed)} has changed since {path.stem} was recorded: viva repair {words[0]}", context
        )
    return program, path


def _seconds(text: str | None, context: click.Context) -> float | None:
    if text is None:
        return None
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh]?)\s*", text)
    if match is None or float(match[1]) <= 0:
        raise click.UsageError(f"--time: {text!r} is no time; write it as 90s, 10m or 2h", context)
    return float(match[1]) * UNITS[match[2]]


@contextmanager
def _standard_input() -> Iterator[Path | None]:
    """A copy of standard input where that is a file: every trial reads it from its beginning."""
    try:
        is_file = stat.S_ISREG(os.fstat(sys.stdin.fileno()).st_mode)
    except (OSError, ValueError, AttributeError):
        is_file = False
    if not is_file:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="viva-input-") as folder:
        copy = Path(folder) / "standard-input"
        copy.write_bytes(sys.stdin.buffer.read())
        yield copy


def _check_files(given: dict[str, Any], context: click.Context) -> None:
    """Refuse before the work, not after it."""
    for option, name, mark in (
        ("--patch", given["patch"], PATCH_MARK),
        ("--json", given["json_file"], JSON_MARK),
        ("--output", given["output"], None),
    ):
        if name is None:
            continue
        file = Path(name)
        if file.is_dir() or not file.absolute().parent.is_dir():
            raise click.UsageError(f"{option}: {name!r} is no file that can be written", context)
        ours = is_earlier_report(file, "html") if mark is None else _begins_with(file, mark)
        if file.exists() and not given["force"] and not ours:
            raise click.UsageError(f"{name} exists and is no result of Viva's; --force overwrites it", context)


def _begins_with(file: Path, mark: str) -> bool:
    try:
        with file.open(encoding="utf-8") as stream:
            beginning = stream.read(1000)
    except (OSError, UnicodeDecodeError):
        return False
    return not beginning or mark in beginning


# what is handed back ---------------------------------------------------------------------------------------------------


def _deliver(result: Result, given: dict[str, Any], folder: Path) -> int:
    """Print and write the result; the exit code."""
    from vivavoce.repair import document, page, patch, text

    kept = _keep(result, folder)
    commands = _next(result, given, kept)
    text.write(result, sys.stderr, commands)
    sys.stderr.flush()
    if result.patch:
        click.echo(result.patch, nl=False)
    for name, write in (
        (given["patch"], lambda stream: stream.write(result.patch)),
        (given["json_file"], lambda stream: document.write(result, stream)),
        (given["output"], lambda stream: page.write(result, stream, tuple(commands))),
    ):
        if name is not None and not (name == given["patch"] and not result.patch):
            _write(Path(name), write)
    if given["write"] and result.verdict == "repaired":
        for file in patch.apply(result.before, result.texts):
            click.echo(f"viva ▸ wrote {file}", err=True)
    return _exit_code(result)


def _exit_code(result: Result) -> int:
    if result.verdict in ("healthy", "repaired"):
        return 0
    return EXIT_INTERRUPTED if result.verdict == "interrupted" else EXIT_SICK


def _keep(result: Result, folder: Path) -> Path | None:
    """Keep patch, page and JSON beside the runs, so that nothing has to be run again; the patch's file, if there is one."""
    from vivavoce.repair import document, page

    name = Path(result.store).stem if result.store else "repair"
    files = folder / FOLDER
    try:
        files.mkdir(parents=True, exist_ok=True)
        for suffix, write in ((".json", document.write), (".html", page.write)):
            with (files / f"{name}{suffix}").open("w", encoding="utf-8") as stream:
                write(result, stream)
        if result.patch:
            (files / f"{name}.patch").write_text(result.patch, encoding="utf-8", newline="")
            return files / f"{name}.patch"
    except OSError as error:
        click.echo(f"viva ▸ not kept: {error.filename}: {error.strerror or error}", err=True)
    return None


def _next(result: Result, given: dict[str, Any], kept: Path | None) -> list[str]:
    """What to type next."""
    commands = []
    file = Path(given["patch"]) if given["patch"] else kept
    if result.verdict == "repaired" and not given["write"] and file is not None:
        if Path.cwd().resolve() == result.base.resolve():
            commands.append(f"git apply {shlex.quote(short_path(str(file)))}")
        else:
            commands.append(f"git -C {shlex.quote(str(result.base))} apply {shlex.quote(str(file.absolute()))}")
    if result.store:
        commands.append(f"viva report {Path(result.store).stem}")
    return commands


def _write(file: Path, write: Any) -> None:
    content = io.StringIO()
    write(content)
    try:
        with file.open("w", encoding="utf-8", newline="") as stream:
            stream.write(content.getvalue())
    except OSError as error:
        click.echo(f"viva ▸ not written: {file}: {error.strerror or error}", err=True)
        return
    click.echo(f"viva ▸ wrote {file}", err=True)


@contextmanager
def _bars() -> Iterator[Listener]:
    """Bars on standard error where that is a terminal, else a line a run."""
    from vivavoce.repair.options import Listener
    from vivavoce.repair.outcome import Outcome

    class Lines(Listener):
        def ended(self, outcome: Outcome) -> None:
            said = ", ".join(found.slug for found in outcome.grave) or outcome.verdict
            click.echo(
                f"viva ▸ {outcome.arm}, seed {outcome.seed}: {outcome.ended}, {outcome.steps:,} steps, {said}", err=True
            )

    if not sys.stderr.isatty():
        yield Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:

        class Bars(Listener):
            task: Any = None

            def phase(self, title: str, jobs: int) -> None:
                if self.task is not None:
                    bar.update(self.task, total=bar.tasks[self.task].completed)
                self.task = bar.add_task(title, total=jobs)

            def ended(self, outcome: Outcome) -> None:
                bar.update(self.task, advance=1)

        yield Bars()
