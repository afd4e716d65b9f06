"""`viva lab`: prove the textbook answer with numbers, on known truth or on one's own file."""

from __future__ import annotations

import io
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from vivavoce.cli.report import is_earlier_report
from vivavoce.cli.stores import runs_folder
from vivavoce.labs import LABS, load
from vivavoce.settings import did_you_mean

if TYPE_CHECKING:
    from vivavoce.labs.lab import Lab, Option, Progress, Result
    from vivavoce.labs.page import Setting

STANDARD_OUTPUT = "-"
FOLDER = "labs"  # below the folder of the runs: where page and JSON go that were not given a place


class Labs(click.Group):
    """A group whose labs are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All labs, by question."""
        return sorted(LABS, key=lambda name: (LABS[name].question, name))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a lab, None where there is no such lab."""
        return _command(load(cmd_name)) if cmd_name in LABS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the labs without importing them."""
        with formatter.section("Labs"):
            formatter.write_dl(_lines(self.list_commands(ctx)))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the lab; an unknown one is an error with the nearest that exists."""
        if args and args[0] not in LABS:
            raise click.UsageError(f"there is no lab {args[0]!r}{did_you_mean(args[0], LABS)}", ctx)
        return super().resolve_command(ctx, args)


def _lines(names: list[str]) -> list[tuple[str, str]]:
    return [
        (
            f"{name} [{LABS[name].input}]" if LABS[name].input else name,
            f"{LABS[name].line} (question {LABS[name].question})",
        )
        for name in names
    ]


@click.group(name="lab", cls=Labs, invoke_without_command=True, subcommand_metavar="NAME [INPUT] [OPTIONS]")
@click.pass_context
def command(context: click.Context) -> None:
    """Prove the textbook answer to a question with numbers, or do the same job on a file of yours.

    Without NAME, list the labs. Each prints a table of claims, what was measured and what was expected, and writes a
    page with its plots.

    \b
    viva lab fourier
    viva lab fourier sound.wav -o sound.html
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def _command(lab: type[Lab]) -> click.Command:
    """The command of a lab: its own options and those that all labs share."""
    parameters: list[click.Parameter] = []
    if lab.input_help:
        parameters.append(click.Argument(["source"], required=False, metavar="[INPUT]"))
    parameters += [_option(option) for option in lab.options]
    parameters += [
        click.Option(["--quick"], is_flag=True, help="A smaller proof, in seconds."),
        click.Option(
            ["--seed"], type=click.IntRange(min=0), default=0, show_default=True, help="Seed of all randomness."
        ),
        click.Option(["--json", "json_file"], metavar="FILE", help="Write the result as JSON; - is standard output."),
        *_places(lab),
        click.Option(["--force"], is_flag=True, help="Overwrite a FILE that is not an earlier result."),
    ]
    return click.Command(lab.name, params=parameters, callback=_callback(lab), help=_help(lab), short_help=lab.question)


def _places(lab: type[Lab]) -> list[click.Parameter]:
    """Options for where the page goes, and what the lab itself makes, if it makes something."""
    page = "Write the page there. [default: .viva/labs]"
    if not lab.product:
        return [click.Option(["-o", "--output"], metavar="FILE.html", help=page)]
    return [
        click.Option(["-o", "--output", "product"], metavar="PATH", help=lab.product),
        click.Option(["--page", "output"], metavar="FILE.html", help=page),
    ]


def _help(lab: type[Lab]) -> str:
    parts = [lab.question, lab.textbook]
    if lab.input_help:
        parts.append(f"INPUT: {lab.input_help}. Without it the lab works on data whose truth is known.")
    if lab.examples:
        parts.append("\b\n" + "\n".join(lab.examples))
    return "\n\n".join(parts)


def _option(option: Option) -> click.Option:
    shown = option.default is not None and option.kind is not bool
    if option.kind is bool:
        return click.Option(
            [f"--{option.name}", option.name], is_flag=True, default=option.default or False, help=option.help
        )
    kind = click.Choice(list(option.choices)) if option.choices else option.kind
    return click.Option(
        [f"--{option.name}", _python_name(option.name)],
        type=kind,
        default=option.default,
        metavar=option.metavar,
        help=option.help,
        show_default=shown,
        multiple=option.multiple,
    )


def _python_name(name: str) -> str:
    return name.replace("-", "_")


def _callback(lab: type[Lab]) -> Callable[..., None]:
    def call(**given: Any) -> None:
        own = {option.name: given.pop(_python_name(option.name)) for option in lab.options}
        _run(lab, own, **given)

    return call


def _run(
    lab: type[Lab],
    options: dict[str, Any],
    quick: bool,
    seed: int,
    json_file: str | None,
    output: str | None,
    force: bool,
    source: str | None = None,
    product: str | None = None,
) -> None:
    _check_targets(json_file, output, force)
    if product == json_file == STANDARD_OUTPUT:
        raise click.UsageError("only one of -o and --json can go to standard output", click.get_current_context())
    from vivavoce.labs.lab import Context, LabError
    from vivavoce.labs.page import Setting

    began = time.perf_counter()
    try:
        result = lab().run(source, Context(quick, seed, options, _progress(), product, force))
    except LabError as error:
        raise click.UsageError(str(error), click.get_current_context()) from None
    setting = Setting(_typed(), source, seed, quick, time.perf_counter() - began)
    own = product or (STANDARD_OUTPUT if lab.product and source == STANDARD_OUTPUT else None)
    _print(lab, result, setting, json_file, sys.stderr if own == STANDARD_OUTPUT else sys.stdout)
    _write_files(lab, result, setting, json_file, output)


def _typed() -> str:
    """The command as it was typed."""
    return shlex.join(["viva", *sys.argv[1:]])


def _print(lab: type[Lab], result: Result, setting: Setting, json_file: str | None, stream: TextIO) -> None:
    """The table for people, to `stream`; nothing but the JSON where that goes to standard output."""
    from vivavoce.labs import document, text

    if json_file == STANDARD_OUTPUT:
        document.write(lab, result, setting, sys.stdout)
    else:
        text.write(lab, result, stream)


def _write_files(lab: type[Lab], result: Result, setting: Setting, json_file: str | None, output: str | None) -> None:
    from vivavoce.labs import document, page

    html, data = io.StringIO(), io.StringIO()
    page.write(lab, result, setting, html)
    document.write(lab, result, setting, data)
    folder = runs_folder(None) / FOLDER
    if json_file != STANDARD_OUTPUT:
        _deliver(data.getvalue(), Path(json_file) if json_file else folder / f"{lab.name}.json", json_file is None)
    _deliver(html.getvalue(), Path(output) if output else folder / f"{lab.name}.html", output is None)


def _deliver(content: str, target: Path, own_place: bool) -> None:
    """Write a file; a place that we chose may refuse it without an error."""
    try:
        if own_place:
            target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")
    except OSError as error:
        message = f"{target}: {error.strerror or error}"
        if own_place:
            click.echo(f"viva ▸ not written: {message}", err=True)
            return
        raise click.UsageError(message, click.get_current_context()) from None
    if target.suffix != ".json" or not own_place:
        click.echo(f"viva ▸ wrote {target}", err=True)


def _check_targets(json_file: str | None, output: str | None, force: bool) -> None:
    """Refuse before the work, not after it."""
    for name, mark in ((json_file, '"lab"'), (output, None)):
        if name is None or name == STANDARD_OUTPUT:
            continue
        target = Path(name)
        if target.is_dir():
            raise click.UsageError(f"{target} is a folder; name a file", click.get_current_context())
        if not target.absolute().parent.is_dir():
            raise click.UsageError(f"{target}: there is no folder {target.parent}", click.get_current_context())
        ours = is_earlier_report(target, "html") if mark is None else _has_mark(target, mark)
        if target.exists() and not force and not ours:
            raise click.UsageError(
                f"{target} exists and is no result of Viva's; --force overwrites it", click.get_current_context()
            )
    if output == STANDARD_OUTPUT:
        raise click.UsageError("the page cannot go to standard output; name a file", click.get_current_context())


def _has_mark(target: Path, mark: str) -> bool:
    try:
        with target.open(encoding="utf-8") as stream:
            beginning = stream.read(1000)
    except (OSError, UnicodeDecodeError):
        return False
    return not beginning or mark in beginning


def _progress() -> Progress:
    """Bars on standard error where that is a terminal."""
    from vivavoce.labs.lab import Progress

    class Bars(Progress):
        @contextmanager
        def task(self, label: str, total: float) -> Iterator[Callable[[float], None]]:
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
            with Bar(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
                number = bar.add_task(label, total=total)
                yield lambda advance: bar.update(number, advance=advance)

    return Bars() if sys.stderr.isatty() else Progress()
