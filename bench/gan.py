"""How well the GANs of `viva lab gan` do: python bench/gan.py [--seeds N] [--only WORDS] [--cats FILE.npz] [--page].

Each game's result is kept in bench/.cache/gan, its state beside it while it is played: broken off, it goes on where it was.
`--page` writes docs/gan.md from the results that are there.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(HERE.parent))

from bench._gan_page import page  # noqa: E402

from bench import _gan_cats  # noqa: E402
from vivavoce.labs.gan import REAL, Gan  # noqa: E402
from vivavoce.labs.lab import Context, Progress  # noqa: E402

CACHE = HERE / ".cache" / "gan"
HEALTH = HERE / ".cache" / "gan_health" / "rows.json"  # of `bench/gan_health.py`
PAGE = HERE.parent / "docs" / "gan.md"
GAMES = [(data, recipe) for data in ("ring", "grid", "digits") for recipe in ("relativistic", "vanilla")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", default="", help="games whose name holds these words: 'grid relativistic'")
    parser.add_argument("--cats", type=Path, help="learn these pictures under Viva, and nothing else")
    parser.add_argument("--steps", type=int, default=_gan_cats.STEPS, help="of the cats' training")
    parser.add_argument("--page", action="store_true")
    given = parser.parse_args()
    CACHE.mkdir(parents=True, exist_ok=True)
    if given.cats and not given.cats.is_file():
        parser.error(
            f"--cats {given.cats}: there is no such file; an npz file with `images` (n, 32, 32, 3) is expected"
        )
    if given.cats:
        _gan_cats.train(given.cats, given.steps)
        return 0
    if given.page:
        games = [json.loads(file.read_text()) for file in sorted(CACHE.glob("*.json"))]
        health = json.loads(HEALTH.read_text()) if HEALTH.exists() else []
        PAGE.write_text(page(games, health, _gan_cats.section()), encoding="utf-8")
        return 0
    for seed in range(given.seeds):
        for data, recipe in GAMES:
            if given.only in f"{data} {recipe}":
                print(_line(_played(data, recipe, seed)), flush=True)
    return 0


def _played(data: str, recipe: str, seed: int) -> dict[str, Any]:
    file = CACHE / f"{data}-{recipe}-{seed}.json"
    if file.exists():
        return dict(json.loads(file.read_text()))
    state = file.with_suffix(".pt")
    whole = not state.exists()
    began = time.process_time()
    options = {"data": data, "recipe": recipe, "checkpoint": str(state)}
    result = Gan().run(None, Context(seed=seed, options=options, progress=Progress()))
    game = {key: _plain(value) for key, value in result.data["games"][recipe].items()}
    row = {"data": data, "recipe": recipe, "seed": seed, **game}
    if whole:
        row["cpu"] = time.process_time() - began
    if REAL in result.tables[0].heads:
        column = result.tables[0].heads.index(REAL)
        row["reference"] = {cells[0]: cells[column] for cells in result.tables[0].rows}
    file.write_text(json.dumps(row, indent=1) + "\n")
    state.unlink(missing_ok=True)
    return row


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def _line(row: dict[str, Any]) -> str:
    found = (
        f"{row['covered']} of {row['modes']} modes, KL {row['divergence']:.3f}, {row['quality']:.1%}"
        if "covered" in row
        else f"Fréchet {row['frechet']:.3g}, recall {row['recall']:.2f}, KL {row['divergence']:.3f}"
    )
    took = f"{row['cpu']:.0f} s of processor" if "cpu" in row else "broken off on the way"
    return f"{row['data']:<7} {row['recipe']:<13} {row['seed']} {found}, {took}"


if __name__ == "__main__":
    sys.exit(main())
