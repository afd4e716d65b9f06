"""The page of `bench/gan.py`: docs/gan.md."""

from __future__ import annotations

from statistics import median
from typing import Any

HEAD = """# How well the lab's GANs do

Written by `python bench/gan.py --page` from the games that `python bench/gan.py` played, on one thread each. A mode counts with
at least 20 of 2,500 samples within 3 deviations; KL is that of the modes' shares from equal ones. The ring has eight
Gaussians of deviation 0.05 on a circle of radius 2, the grid twenty-five of them, 1 apart. Seconds are processor time,
– of a game that was broken off and went on.

"""
POINTS = "| data | recipe | seed | modes | KL | on a mode | steps | seconds |\n|---|---|---|---|---|---|---|---|\n"
DIGITS = "| samples | seed | classes | KL of classes | Fréchet | kernel | precision | recall | density | coverage |\n|---|---|---|---|---|---|---|---|---|---|\n"


def page(rows: list[dict[str, Any]], health: list[dict[str, Any]], cats: str) -> str:
    points = [row for row in rows if "covered" in row]
    digits = [row for row in rows if "covered" not in row]
    text = HEAD + POINTS + "\n".join(_point(row) for row in points) + "\n\n" + _summary(points)
    if digits:
        text += (
            "\n## Digits of 8 × 8 pixels\n\nFeatures: the last hidden layer of a small classifier trained on the digits.\n"
            "The first row holds real digits against others: what could be reached.\n\n"
            + DIGITS
            + "\n".join([_reference(digits[0]), *map(_digit, digits)])
            + "\n"
        )
    return text + cats + (_health(health) if health else "")


def _health(rows: list[dict[str, Any]]) -> str:
    """What Viva said of small trainings of many kinds."""
    well, ill = ([row for row in rows if row["sick"] == sick] for sick in (False, True))
    text = (
        "\n## What Viva says of healthy and of sick GANs\n\n"
        "Made by `python bench/gan_health.py`: small trainings as users write them, run under Viva with its default budget. The "
        f"thresholds were set on these. Healthy ones passed without a finding: {sum(row['right'] for row in well)} of {len(well)}; "
        f"sick ones named: {sum(row['right'] for row in ill)} of {len(ill)}. Medians over the later half: diversity is the spread of a made "
        "batch over that of the data, area that under the ROC curve of the critic's scores, distance the energy distance.\n\n"
        "| training | state | findings | diversity | area | distance | right |\n|---|---|---|---|---|---|---|\n"
    )
    return text + "\n".join(_health_row(row) for row in rows) + "\n"


def _health_row(row: dict[str, Any]) -> str:
    said = ", ".join(f"`{slug}`" for slug in row["said"]) or "–"
    state = "sick" if row["sick"] else "healthy"
    measured = " | ".join(
        f"{row[name]:.2f}" if name in row else "–" for name in ("diversity", "separation", "distance")
    )
    return f"| {row['game']} | {state} | {said} | {measured} | {'yes' if row['right'] else 'no'} |"


def _point(row: dict[str, Any]) -> str:
    return (
        f"| {row['data']} | {row['recipe']} | {row['seed']} | {row['covered']} of {row['modes']} | {row['divergence']:.3f} | "
        f"{row['quality']:.1%} | {row['steps']:,} | {_seconds([row])} |"
    )


def _seconds(rows: list[dict[str, Any]]) -> str:
    """The median of the games that were not broken off."""
    known = [row["cpu"] for row in rows if "cpu" in row]
    return f"{median(known):.0f}" if known else "–"


def _summary(points: list[dict[str, Any]]) -> str:
    lines = []
    for data, recipe in dict.fromkeys((row["data"], row["recipe"]) for row in points):
        found = [row for row in points if (row["data"], row["recipe"]) == (data, recipe)]
        full = sum(row["covered"] == row["modes"] for row in found)
        lines.append(
            f"- {data}, {recipe}: every mode in {full} of {len(found)} seeds; medians: KL {median(r['divergence'] for r in found):.3f}, "
            f"{median(r['quality'] for r in found):.1%} on a mode, {_seconds(found)} s."
        )
    return "\n".join(lines) + "\n"


def _reference(row: dict[str, Any]) -> str:
    real = row["reference"]
    heads = ("classes", "KL of classes", "Fréchet", "kernel", "precision", "recall", "density", "coverage")
    return f"| real | – | {' | '.join(real[head] for head in heads)} |"


def _digit(row: dict[str, Any]) -> str:
    made = sum(count >= 0.02 * sum(row["classes"]) for count in row["classes"])
    quality = " | ".join(f"{row[name]:.2f}" for name in ("precision", "recall", "density", "coverage"))
    return (
        f"| {row['recipe']} | {row['seed']} | {made} of {len(row['classes'])} | {row['divergence']:.3f} | {row['frechet']:.3g} | "
        f"{row['kernel']:.3g} | {quality} |"
    )
