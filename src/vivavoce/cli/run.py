"""`viva run`: runs a script, module or folder as python would, watches its training, and prints the verdict."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import click

from vivavoce.settings import LARGEST_BUDGET, SettingError, Settings, resolve
from vivavoce.targets import Target, TargetError, find_target


@click.command(
    name="run",
    context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False},
    options_metavar="[OPTIONS]",
)
@click.option("-m", "module", is_flag=True, help="SCRIPT is the name of a module, as in python -m.")
@click.option(
    "--budget",
    metavar="SHARE",
    help=f"Share of step time that watching may cost, up to {LARGEST_BUDGET:.0%}. [default: 2%]",
)
@click.option("--dir", "directory", metavar="DIR", help="Folder to record the run in. [default: .viva]")
@click.option("--json", metavar="FILE", help="Also write the report to FILE as JSON.")
@click.option("--fail-on", metavar="LEVEL", help="Exit 3 if a finding is this severe: critical, warning or note.")
@click.option(
    "--stop-on",
    metavar="SLUG",
    multiple=True,
    help="End the run, exit 3, as soon as this is found: a finding, or critical. Repeatable.",
)
@click.option(
    "--rule",
    "rules",
    metavar="RULE",
    multiple=True,
    help="What predictions must obey, such as 'prediction >= 0' or 'prediction[0] > prediction[1]'. Repeatable.",
)
@click.option(
    "--preflight", is_flag=True, default=None, help="Check the first 20 steps, end the run; exit 3 if critical."
)
@click.option(
    "--guard", is_flag=True, default=None, help="Act on the training: clip what explodes, undo what is not finite."
)
@click.option(
    "--allow",
    metavar="ACTS",
    help="What --guard may do, with commas: clip, rewind, lower-learning-rate, skip-batch. [default: all]",
)
@click.option("--quiet", is_flag=True, default=None, help="Print nothing of ours.")
@click.option("--no-live", "live", flag_value="off", default=None, help="No status line in the terminal while it runs.")
@click.option("--off", "mode", flag_value="off", default=None, help="Run the script without watching it.")
@click.argument("words", metavar="SCRIPT [ARGUMENTS]...", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def command(context: click.Context, /, module: bool, words: tuple[str, ...], **options: Any) -> Callable[[], None]:
    """Run a Python script, watch its training, and say what is wrong with it and why.

    The script runs as under python: same output, same exit code, same weights (but for --guard). Options after SCRIPT
    are its own.

    \b
    viva run train.py --epochs 3
    viva run --stop-on critical -m package.train
    torchrun --nproc-per-node 2 -m vivavoce run train.py
    """
    if not words:
        raise click.UsageError("name a script to run", context)
    options["stop_on"] = options["stop_on"] or None
    options["rules"] = options["rules"] or None
    try:
        settings = resolve(options)
        target = find_target(words[0], module)
        _check_json(settings)
    except (SettingError, TargetError) as error:
        raise click.UsageError(str(error), context) from None
    return partial(_run, target, list(words[1:]), settings)


def _check_json(settings: Settings) -> None:
    """Say before a long run, not after it, that its report cannot be written."""
    file = settings.json
    if file is None:
        return
    if file.is_dir():
        raise SettingError(f"--json: {str(file)!r} is a directory")
    if file.name == "-":
        raise SettingError("--json: standard output belongs to the script; name a file")
    if not file.parent.is_dir():
        raise SettingError(f"--json: there is no directory {str(file.parent)!r}")


def _run(target: Target, arguments: list[str], settings: Settings) -> None:
    from vivavoce import launch

    if settings.mode == "off":
        launch.run(target, arguments)
        return
    from vivavoce.cli.ending import Watched

    watched = Watched(settings, [*target.words, *arguments])
    watched.start()
    launch.run(target, arguments, watched.end)
