"""The command line: one verb a file. It owns paths, overwrite checks and exit codes.

A verb's module is imported when the verb is called, and holds a click command named `command`. A command may return
a function: it is called after click is done, so that a script that is run sees nothing of click.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

import click

from vivavoce._version import __version__

VERBS: dict[str, tuple[str, str]] = {  # verb: its module, and what it does in a line
    "run": ("vivavoce.cli.run", "Run a training script and say what is wrong with the training."),
    "repair": (
        "vivavoce.cli.repair",
        "Try the remedies and hand back a patch that was proved to work.",
    ),
    "report": ("vivavoce.cli.report", "Print the report of a recorded run."),
    "runs": ("vivavoce.cli.runs", "List the recorded runs."),
    "compare": ("vivavoce.cli.compare", "Compare two recorded runs."),
    "lab": ("vivavoce.cli.lab", "Prove the textbook answer to a question with numbers."),
    "explain": ("vivavoce.cli.explain", "Explain a finding: what it means, how it is measured, what to try."),
}


class Verbs(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All verbs, in the order in which one needs them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a verb, None where there is no such verb."""
        if cmd_name not in VERBS:
            return None
        command: click.Command = import_module(VERBS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(verb, line) for verb, (_, line) in VERBS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb; an unknown one is an error with the nearest that exists."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            from vivavoce.settings import did_you_mean

            hint = f"; did you mean 'run {args[0]}'?" if args[0].endswith(".py") else did_you_mean(args[0], VERBS)
            raise click.UsageError(f"there is no command {args[0]!r}{hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Begin with: viva run train.py",
)
@click.version_option(__version__, prog_name="viva")
def command() -> None:
    """The oral exam for neural networks: watches any PyTorch training and says what is wrong with it and why."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command `viva`."""
    afterwards = _call(arguments)
    if callable(afterwards):
        afterwards()
    elif isinstance(afterwards, int):
        sys.exit(afterwards)


def _call(arguments: Sequence[str] | None) -> object:
    try:
        return command.main(args=arguments, prog_name="viva", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        click.echo("Aborted!", err=True)
        sys.exit(1)
