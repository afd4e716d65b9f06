"""What Viva says of healthy and of sick GANs: python bench/gan_health.py [--seeds N] [--only WORDS] [--resume] [--markdown FILE].

Each training of `_gan_games.py` is run under `vivavoce.watch`. Results are kept in bench/.cache/gan_health.json, so that
the run can be broken off and resumed. Exits 1 where a sick one was missed or a healthy one alarmed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(HERE.parent))

import torch  # noqa: E402
from bench._gan_games import HEALTHY, SICK, GanGame, play  # noqa: E402

import vivavoce  # noqa: E402
from vivavoce.examine.game import game_of  # noqa: E402
from vivavoce.examine.verdict import examine  # noqa: E402
from vivavoce.record.store import open_run  # noqa: E402

CACHE = HERE / ".cache" / "gan_health"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--resume", action="store_true", help="examine the stores of earlier runs again")
    parser.add_argument("--markdown", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    CACHE.mkdir(parents=True, exist_ok=True)
    rows = []
    for game in (*HEALTHY, *SICK):
        for seed in range(given.seeds):
            if given.only in game.name:
                rows.append(_judged(game, seed, CACHE / f"{_stem(game)}-{seed}.db", given.resume))
                print(_line(rows[-1]), flush=True)
    if given.markdown:
        given.markdown.write_text(_page(rows), encoding="utf-8")
    return int(not all(row["right"] for row in rows))


def _stem(game: GanGame) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in game.name)


def _judged(game: GanGame, seed: int, store: Path, resume: bool) -> dict[str, object]:
    if not (resume and store.exists()):
        with tempfile.TemporaryDirectory() as folder:
            watch = vivavoce.watch(directory=folder)
            with watch:
                play(game, seed)
            assert watch.path is not None
            store.write_bytes(watch.path.read_bytes())
    run = open_run(store)
    verdict = examine(run)
    grave = [finding for finding in verdict.findings if finding.severity != "note"]
    said = [finding.slug for finding in grave]
    seen = {*said, *(slug for finding in grave for slug in finding.symptoms)}
    right = bool(seen & set(game.expected)) if game.expected else not said
    state = game_of(run)
    numbers = json.loads(json.dumps(state.numbers() if state else {}))
    return {"game": game.name, "seed": seed, "sick": bool(game.expected), "said": said, "right": right, **numbers}


def _line(row: dict[str, object]) -> str:
    numbers = " ".join(f"{key} {value:.2f}" for key, value in row.items() if isinstance(value, float))
    return f"{'ok    ' if row['right'] else 'WRONG '} {row['game']:<52} {row['seed']} {', '.join(row['said']) or '–':<48} {numbers}"


def _page(rows: list[dict[str, object]]) -> str:
    head = "| training | seed | state | what Viva said | right |\n|---|---|---|---|---|\n"
    body = [
        f"| {row['game']} | {row['seed']} | {'sick' if row['sick'] else 'healthy'} | {', '.join(row['said']) or '–'} | {'yes' if row['right'] else 'no'} |"
        for row in rows
    ]
    return head + "\n".join(body) + "\n"


if __name__ == "__main__":
    sys.exit(main())
