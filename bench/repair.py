"""Measures how often a repair brings a faulty program back to what its healthy twin reaches, and what it costs.

    python bench/repair.py run --part development --only 'digits_mlp/*'
    python bench/repair.py run --part report --sample 12 --strategies viva,random,autotrainer,re-seeding
    python bench/repair.py run --part report --healthy --sample 6       are healthy scripts left alone?
    python bench/repair.py score --part report --write                  docs/repair.md, of what was run

Every repair is kept under bench/.cache/repair and not made again, so a run can be broken off and taken up. `--sample N`
takes N cells in an order that depends on their names alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from fnmatch import fnmatch
from pathlib import Path

import _repairs as repairs
from _collection import Variant, load, variants
from _repair_page import page
from _repairs import EFFECTS, STRATEGIES, Repaired

PAGE = Path(__file__).parents[1] / "docs" / "repair.md"


def main() -> int:
    """Runs the subcommand; returns the exit code."""
    arguments = _parser().parse_args()
    return arguments.command(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, function in (("list", list_cells), ("run", run), ("score", score)):
        command = commands.add_parser(name, help=function.__doc__)
        command.set_defaults(command=function)
        command.add_argument("--part", choices=("development", "report"), default="development")
        command.add_argument("--only", default="*", help="pattern of program/fault")
        command.add_argument("--sample", type=int, help="at most so many cells")
        command.add_argument("--strategies", default="viva", help=f"with commas, of {', '.join(STRATEGIES)}")
        command.add_argument("--healthy", action="store_true", help="the healthy programs instead of the faulty ones")
        command.add_argument("--workers", type=int, default=1, help="trials at the same time")
        if function is score:
            command.add_argument("--write", action="store_true", help="write docs/repair.md (needs --part report)")
    return parser


def list_cells(arguments: argparse.Namespace) -> int:
    """The cells in the order in which a sample takes them."""
    for variant in _cells(arguments):
        print(variant.key)
    return 0


def run(arguments: argparse.Namespace) -> int:
    """Repairs the cells by each strategy."""
    for result in repairs.run_all(_cells(arguments), arguments.strategies.split(","), arguments.workers):
        _show(result)
    return 0


def score(arguments: argparse.Namespace) -> int:
    """Scores what was run before."""
    sick = _known(arguments, False)
    healthy = _known(arguments, True)
    total = len(_all_cells(arguments.part, False))
    text = page(sick, healthy, total)
    if arguments.write:
        if arguments.part != "report":
            print("repair: --write needs --part report", file=sys.stderr)
            return 2
        PAGE.write_text(text, encoding="utf-8")
    print(text)
    return 0


def _known(arguments: argparse.Namespace, healthy: bool) -> list[Repaired]:
    cells = _all_cells(arguments.part, healthy)
    found = [repairs.read(variant, strategy) for variant in cells for strategy in STRATEGIES]
    return [result for result in found if result is not None]


def _cells(arguments: argparse.Namespace) -> list[Variant]:
    chosen = [v for v in _all_cells(arguments.part, arguments.healthy) if fnmatch(v.key, arguments.only)]
    if not chosen:
        raise SystemExit(f"repair: --only: {arguments.only!r} matches none of the cells that `list` names")
    return chosen[: arguments.sample]


def _all_cells(part: str, healthy: bool) -> list[Variant]:
    """The cells of a part, in an order that no result can have had a part in."""
    known = json.loads(EFFECTS.read_text())
    found = [
        variant
        for variant in variants(load(part))
        if (variant.fault is None) == healthy and (healthy or known.get(variant.key, {}).get("hurts"))
    ]
    return sorted(found, key=lambda variant: hashlib.sha256(variant.key.encode()).hexdigest())


def _show(result: Repaired) -> None:
    mark = "+" if result.reached else "-"
    treated = ", ".join(result.treated) or result.reason
    print(
        f"{mark} {result.key:55} {result.strategy:12} {result.verdict:12} lost {result.loss_of_range:+.3f} "
        f"(sick {result.sick_loss_of_range:+.3f})  {result.runs} runs, {result.multiple} x  {treated}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
