"""Measures how often Viva's verdict is right, on programs with known faults and on healthy ones.

    python bench/accuracy.py list
    python bench/accuracy.py check --seeds 3 --processes 1      does each fault measurably hurt?
    python bench/accuracy.py run --part development --seeds 3   what does Viva say?
    python bench/accuracy.py score --part development           and is it right?

`check` writes bench/programs/effects.json; `run` stores a JSON report for each run under bench/.cache.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import defaultdict
from dataclasses import asdict
from fnmatch import fnmatch

import _plain as plain
from _collection import PROGRAMS, CollectionError, Program, load, split, variants

EFFECTS = PROGRAMS / "effects.json"


def main() -> int:
    """Runs the subcommand; returns the exit code."""
    arguments = _parser().parse_args()
    try:
        return arguments.command(arguments)
    except CollectionError as error:
        print(f"accuracy: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, function in (("list", list_programs), ("check", check)):
        command = commands.add_parser(name, help=function.__doc__)
        command.set_defaults(command=function)
        command.add_argument("--part", choices=("development", "report"), help="only this part of the split")
        command.add_argument("--only", default="*", help="pattern of program names, or of program/fault")
        command.add_argument("--seeds", type=int, default=3, help="runs of each variant")
        command.add_argument("--processes", type=int, default=1, help="runs at the same time")
        if function is check:
            command.add_argument("--cached", action="store_true", help="only what was run before")
    return parser


def list_programs(arguments: argparse.Namespace) -> int:
    """The programs, their metric and their faults; fails where an edit does not match."""
    programs = _selected(arguments)
    for program in programs:
        metric = program.metric
        print(f"{program.name}  [{program.part}] {program.kind}; {metric.name}, {metric.better} is better")
        for variant in variants([program])[1:]:
            print(f"    {variant.fault.name:32} {', '.join(variant.fault.accept)}  {variant.digest}")
    missing = sorted(set(split()) - {program.name for program in load()})
    print(f"{len(programs)} programs, {sum(len(program.faults) for program in programs)} faults")
    if missing:
        print(f"in split.toml but not written: {', '.join(missing)}")
    return 0


def check(arguments: argparse.Namespace) -> int:
    """Runs healthy twins and faults plainly and says which faults measurably hurt."""
    programs = _selected(arguments)
    known = json.loads(EFFECTS.read_text()) if EFFECTS.exists() else {}
    problems = 0
    for program in programs:
        jobs = [
            (variant, seed)
            for variant in variants([program])
            if variant.fault is None or fnmatch(variant.key, arguments.only) or "/" not in arguments.only
            for seed in range(arguments.seeds)
        ]
        runs = defaultdict(list)
        for variant, _, result in plain.run_all(jobs, arguments.processes, cached_only=arguments.cached):
            runs[variant.key].append(result)
        if program.name not in runs:
            continue
        found = plain.effects(program, runs)
        problems += _print_effects(program, found)
        known.update({key: _json_safe(asdict(effect)) for key, effect in found.items()})
        keys = {variant.key for variant in variants(load())}
        EFFECTS.write_text(json.dumps({key: known[key] for key in sorted(keys & set(known))}, indent=1) + "\n")
    return 1 if problems else 0


def _print_effects(program: Program, found: dict[str, plain.Effect]) -> int:
    problems = 0
    for key, effect in found.items():
        if effect.hurts is None:
            fine = plain.is_healthy(program, effect) and not effect.error
            verdict = "healthy" if fine else f"NOT HEALTHY (needs {program.metric.healthy})"
        else:
            fine = effect.hurts and not (effect.error and math.isnan(effect.median))
            verdict = "hurts" if effect.hurts else "does not hurt"
        problems += not fine
        values = " ".join(f"{value:.4g}" for value in effect.metrics)
        print(
            f"{key:50} {verdict:14} {effect.median:.4g} ({values}) {effect.steps} steps {effect.seconds} s {effect.error}"
        )
        sys.stdout.flush()
    return problems


def _selected(arguments: argparse.Namespace) -> list[Program]:
    pattern = arguments.only.partition("/")[0]
    return [program for program in load(arguments.part) if fnmatch(program.name, pattern)]


def _json_safe(data: dict) -> dict:
    """NaN and infinities as strings, as in Viva's own reports; floats rounded to six digits."""
    return {key: _safe(value) for key, value in data.items()}


def _safe(value: object) -> object:
    if isinstance(value, list):
        return [_safe(item) for item in value]
    if not isinstance(value, float):
        return value
    return float(f"{value:.6g}") if math.isfinite(value) else str(value)


if __name__ == "__main__":
    sys.exit(main())
