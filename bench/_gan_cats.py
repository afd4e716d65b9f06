"""Cats of 32 × 32 pixels, learned by `viva lab gan` under `viva run`: the training, and its part of docs/gan.md."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
CACHE = HERE / ".cache" / "gan_cats"
FIGURE = HERE.parent / "docs" / "questions" / "figures" / "gan-cats.png"
LEARNED = 5_000  # of the pictures: the training part of the collection that they are from
STEPS = 1_200
SHEET = "relativistic-sheet.png"
SIDE, SHOWN = 8, 5  # rows of the sheet, and those that the page shows


def train(table: Path, steps: int) -> None:
    """Unpack `images` (n, 32, 32, 3) of an npz file into a folder, and learn them. A training that was broken off goes on."""
    pictures = CACHE / "cats"
    if not pictures.exists():
        pictures.mkdir(parents=True)
        for index, picture in enumerate(np.load(table)["images"][:LEARNED]):
            Image.fromarray(picture).save(pictures / f"{index:04d}.png")
    viva = [sys.executable, "-m", "vivavoce"]
    lab = ["lab", "gan", "cats", "--size", "32", "--steps", str(steps), "--checkpoint", "cats.pt", "--pictures", ".", "-o", "cats.html"]  # fmt: skip
    watched = [*viva, "run", "--no-live", "--dir", "stores", "--json", "report.json", "-m", "vivavoce"]
    subprocess.run([*watched, *lab, "--json", "cats.json"], cwd=CACHE, check=True)
    store = sorted((CACHE / "stores").glob("*.db"))[-1]
    card = subprocess.run([*viva, "report", str(store)], cwd=CACHE, check=True, capture_output=True, text=True).stdout
    (CACHE / "card.txt").write_text(card.partition("\n\n")[0] + "\n")  # the verdict; what follows are tables


def section() -> str:
    """What came of it, as Markdown; nothing where it was not trained. Puts samples beside the figures of the docs."""
    files = [CACHE / name for name in ("cats.json", "card.txt", SHEET)]
    if not all(file.exists() for file in files):
        return ""
    with Image.open(CACHE / SHEET) as sheet:
        sheet.convert("RGB").crop((0, 0, sheet.width, sheet.height * SHOWN // SIDE)).save(FIGURE, optimize=True)
    found = json.loads(files[0].read_text())
    game = found["data"]["games"]["relativistic"]
    return (
        "\n## Cats of 32 × 32 pixels\n\nMade by `python bench/gan.py --cats FILE.npz`: `viva lab gan cats/ --size 32` learns the "
        f"{LEARNED:,} cats of CIFAR-10's training part, watched by `viva run`. {game['steps']:,} steps on one thread, "
        f"{game['seconds'] / 60:.0f} minutes beside other work. {found['notes'][-1]} The weights are not shipped: the licence "
        "of the pictures does not allow it.\n\n"
        f"{_table(found['tables'][0])}\n"
        f"![The first samples, not chosen.](questions/figures/{FIGURE.name})\n\n"
        f"What Viva said of the training:\n\n```\n{files[1].read_text().strip()}\n```\n"
    )


def _table(table: dict[str, Any]) -> str:
    rows = [table["heads"], ["---"] * len(table["heads"]), *table["rows"]]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
