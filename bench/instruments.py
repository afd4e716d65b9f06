"""Whether the instruments reach their bars: python bench/instruments.py [--quick] [LAB …] [--json FILE] [--markdown FILE].

Each lab's instruments are measured in a file of their own, `_instruments_LAB.py`, which has one function,
`bars(quick)`. Exits 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from bench._instruments import Bar  # noqa: E402

PREFIX = "_instruments_"
LABS = sorted(file.stem.removeprefix(PREFIX) for file in HERE.glob(f"{PREFIX}*.py"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labs", nargs="*", choices=[*LABS, []], help=f"of {', '.join(LABS)}; all without")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    bars: list[Bar] = []
    for lab in given.labs or LABS:
        began = time.perf_counter()
        bars += import_module(f"bench.{PREFIX}{lab}").bars(given.quick)
        print(f"{lab}: {time.perf_counter() - began:.1f} s", flush=True)
    print(*map(_line, bars), sep="\n")
    if given.json:
        given.json.write_text(json.dumps([{**asdict(bar), "reached": bar.reached} for bar in bars], indent=2) + "\n")
    if given.markdown:
        given.markdown.write_text(_page(bars), encoding="utf-8")
    return int(not all(bar.reached for bar in bars))


def _line(bar: Bar) -> str:
    sign = "≤" if bar.at_most else "≥"
    return f"{'ok    ' if bar.reached else 'MISSED'} {bar.lab:<13} {bar.what}: {bar.measured:.4g} ({sign} {bar.bar:g}; {bar.peer})"


def _page(bars: list[Bar]) -> str:
    rows = [
        f"| {bar.lab} | {bar.what} | {bar.measured:.4g} | {'≤' if bar.at_most else '≥'} {bar.bar:g} | {bar.peer} | "
        f"{'reached' if bar.reached else 'missed'} |"
        for bar in bars
    ]
    head = "| lab | what | measured | bar | measured by | |\n| --- | --- | --- | --- | --- | --- |\n"
    about = "Written by `python bench/instruments.py --markdown docs/instruments.md`, on one thread.\n\n"
    return "# How exact the instruments are\n\n" + about + head + "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.exit(main())
