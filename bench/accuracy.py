"""Measures how often Viva's verdict is right, on programs with known faults and on healthy ones.

    python bench/accuracy.py list
    python bench/accuracy.py check --seeds 3 --processes 1      does each fault measurably hurt?
    python bench/accuracy.py run --part development --seeds 3   what does Viva say?
    python bench/accuracy.py examine --part development         and what, after its detectors were changed?
    python bench/accuracy.py score --part development           is it right?
    python bench/accuracy.py rules --part report                what do published rule sets say of the same runs?
    python bench/accuracy.py peers --part report --seeds 1 --python peers-env/bin/python     and other people's packages?
    python bench/accuracy.py times --part report                how early does it say so?
    python bench/accuracy.py page                               writes docs/accuracy.md

`check` writes bench/programs/effects.json. `run` keeps each run's store and JSON report under bench/.cache; `examine`
reads the stores again without training. `score --part report --keep now` keeps verdicts under bench/verdicts, from which the page
is made.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict
from fnmatch import fnmatch
from pathlib import Path

import _page
import _plain as plain
import _scoring as scoring
import _times
import _verdicts
import _watched as watched
from _collection import PROGRAMS, CollectionError, Program, Variant, load, split, variants

EFFECTS = PROGRAMS / "effects.json"
PAGE = Path(__file__).parents[1] / "docs" / "accuracy.md"
TIMES = _verdicts.FOLDER / "times.json"
FIRST_DEVELOPMENT = 26  # development programs when the report programs were first run
VIVA = ("first", "now")  # names that Viva's own verdicts are kept under


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
    verbs = {"list": list_programs, "check": check, "run": run, "examine": examine, "score": score, "rules": rules,
             "peers": peers, "times": times, "page": page}  # fmt: skip
    for name, function in verbs.items():
        command = commands.add_parser(name, help=function.__doc__)
        command.set_defaults(command=function)
        command.add_argument("--part", choices=("development", "report"), help="only this part of the split")
        command.add_argument("--only", default="*", help="pattern of program names, or of program/fault")
        command.add_argument("--seeds", type=int, default=3, help="runs of each variant")
        command.add_argument("--processes", type=int, default=1, help="runs at the same time")
        if function in (check, peers):
            command.add_argument("--cached", action="store_true", help="only what was run before")
        if function is run:
            command.add_argument("--resume", action="store_true", help="keep the reports of earlier runs")
            command.add_argument("--warm", action="store_true", help="fork the runs from a process that has PyTorch")
        if function is peers:
            command.add_argument(
                "--python", type=Path, required=True, help="interpreter of an environment with bench/peers.txt"
            )
        if function is score:
            command.add_argument("--first", action="store_true", help="the reports made when the runs were made")
            command.add_argument("--keep", choices=VIVA, help="keep the verdicts for the page (needs --part report)")
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


def run(arguments: argparse.Namespace) -> int:
    """Runs healthy twins and hurting faults under Viva, and keeps stores and reports."""
    if arguments.warm:
        return _show(watched.run_warm(_jobs(arguments), resume=arguments.resume))
    return _show(watched.run_all(_jobs(arguments), arguments.processes, resume=arguments.resume))


def examine(arguments: argparse.Namespace) -> int:
    """Examines the stores of earlier runs again with the detectors as they are now."""
    return _show(watched.examine_all(_jobs(arguments)))


def score(arguments: argparse.Namespace) -> int:
    """Scores the reports of earlier runs."""
    if arguments.keep and arguments.part != "report":
        raise CollectionError("--keep needs --part report: development programs are not what is reported")
    jobs = _jobs(arguments)
    reports = [(job, watched.report_of(*job, first=arguments.first)) for job in jobs]
    verdicts = [_verdicts.of_report(*job, report) for job, report in reports if report]
    if arguments.keep:
        print(f"wrote {_verdicts.write(arguments.keep, verdicts)}")
    _print_scores(verdicts)
    if len(verdicts) < len(jobs):
        print(f"{len(jobs) - len(verdicts)} of {len(jobs)} runs have no report", file=sys.stderr)
    return 0


def rules(arguments: argparse.Namespace) -> int:
    """Applies the published rule sets to the stores of earlier runs, and keeps what they say."""
    from _rulesets import LOUD, RULESETS, alarms
    from _signals import Signals

    said: dict[str, list[_verdicts.Verdict]] = {name: [] for name in RULESETS}
    for variant, seed in _jobs(arguments):
        run = watched.run_of(variant, seed)
        signals = Signals(run) if run else None
        for name, ruleset in RULESETS.items() if signals else ():
            raised = tuple(_verdicts.Alarm(rule.slugs, LOUD) for rule in alarms(ruleset, signals))
            said[name].append(_verdicts.Verdict(variant, seed, raised))
    for name, verdicts in said.items():
        print(f"{name} ({len(verdicts)} runs)")
        _print_scores(verdicts)
        if arguments.part == "report":
            _verdicts.write(f"rules {name}", verdicts)
    return 0


def peers(arguments: argparse.Namespace) -> int:
    """Runs other people's packages in the programs, and keeps what they say."""
    import _packages

    said: dict[str, list[_verdicts.Verdict]] = defaultdict(list)
    for variant, seed, row in _packages.run_all(_jobs(arguments), arguments.python, cached_only=arguments.cached):
        for name, verdict in _packages.verdicts(variant, seed, row).items() if row else ():
            said[name].append(verdict)
        words = row and "; ".join(f"{name}: {', '.join(dict.fromkeys(words))}" for name, words in row["said"].items())
        print(f"{variant.key:60} {seed} {words}", flush=True)
    for name, verdicts in said.items():
        print(f"{name} ({len(verdicts)} runs)")
        _print_scores(verdicts)
        if arguments.part == "report":
            _verdicts.write(f"package {name}", verdicts)
    return 0


def times(arguments: argparse.Namespace) -> int:
    """Examines the stores of earlier runs at many steps, and keeps when each verdict first appeared."""
    known = json.loads(TIMES.read_text()) if TIMES.exists() else {}
    for variant, seed in _jobs(arguments):
        run = watched.run_of(variant, seed)
        if run is not None:
            found = _times.times(variant, seed, run)
            known[f"{variant.key} {seed}"] = asdict(found)
            print(f"{variant.key:60} {seed} {found}", flush=True)
    if arguments.part == "report":
        rows = [f"{json.dumps(key)}: {json.dumps(row)}" for key, row in sorted(known.items())]
        TIMES.write_text("{\n" + ",\n".join(rows) + "\n}\n")
    return 0


def page(arguments: argparse.Namespace) -> int:
    """Writes docs/accuracy.md from the kept verdicts."""
    PAGE.write_text(make_page())
    print(f"wrote {PAGE}")
    return 0


def make_page() -> str:
    """The page that the kept verdicts give."""
    rows = json.loads(TIMES.read_text()) if TIMES.exists() else {}
    return _page.page(
        _verdicts.read("first"),
        _verdicts.read("now"),
        {name: _verdicts.read(name) for name in _verdicts.names() if name.startswith(("rules ", "package "))},
        {key: _times.Times(**row) for key, row in rows.items()},
        len(load("development")) - FIRST_DEVELOPMENT,
    )


def _print_scores(verdicts: list[_verdicts.Verdict]) -> None:
    result = scoring.score(verdicts)
    for name, share in asdict(result).items():
        value = "–" if share["value"] is None else f"{share['value']:.3f} [{share['low']:.3f}, {share['high']:.3f}]"
        print(f"  {name:14} {value} of {share['runs']} runs, {share['programs']} programs")


def _show(results: Iterable[watched.Watched]) -> int:
    failures = 0
    for item in results:
        failures += item.report is None
        verdict = _verdicts.of_report(item.variant, item.seed, item.report) if item.report else None
        said = ", ".join(a.slugs[0] for a in verdict.alarms) or _verdicts.NOTHING if verdict else item.error
        mark = "?" if verdict is None else "+" if _correct(verdict) else "-"
        print(f"{mark} {item.variant.key:60} {item.seed} {said}", flush=True)
    return 1 if failures else 0


def _correct(verdict: _verdicts.Verdict) -> bool:
    return verdict.right if verdict.variant.fault else not verdict.alarms


def _jobs(arguments: argparse.Namespace) -> list[tuple[Variant, int]]:
    """Healthy twins, and the faults known to hurt (or not checked yet), in a drawn order and seed by seed: one can stop anywhere."""
    chosen = [variant for variant in _variants(arguments) if _hurts(variant)]
    chosen.sort(key=lambda variant: (variant.fault is not None, variant.digest))  # digests are as good as random
    return [(variant, seed) for seed in range(arguments.seeds) for variant in chosen]


def _variants(arguments: argparse.Namespace) -> list[Variant]:
    """The selected variants; a pattern with a slash selects faults, without their healthy twin."""
    found = variants(_selected(arguments))
    return [variant for variant in found if "/" not in arguments.only or fnmatch(variant.key, arguments.only)]


def _hurts(variant: Variant) -> bool:
    known = json.loads(EFFECTS.read_text()) if EFFECTS.exists() else {}
    return variant.fault is None or known.get(variant.key, {}).get("hurts") is not False


def _print_effects(program: Program, found: dict[str, plain.Effect]) -> int:
    problems = 0
    for key, effect in found.items():
        if effect.hurts is None:
            fine = plain.is_healthy(program, effect) and not effect.error
            verdict = "healthy" if fine else f"NOT HEALTHY (needs {program.metric.healthy})"
        else:
            fine = effect.hurts and (not effect.error or effect.steps > 0)  # a crash in training is a symptom
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
    found = [program for program in load(arguments.part) if fnmatch(program.name, pattern)]
    if not any(_matches(program, arguments.only) for program in found):
        where = f"{arguments.part} programs" if arguments.part else "programs"
        raise CollectionError(f"--only: {arguments.only!r} matches none of the {where} and faults that `list` names")
    return found


def _matches(program: Program, pattern: str) -> bool:
    return "/" not in pattern or any(fnmatch(variant.key, pattern) for variant in variants([program]))


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
