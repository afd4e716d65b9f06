"""The page docs/denoise.md, from what `denoise.py` measured."""

from __future__ import annotations

from dataclasses import dataclass, field

SETS = ("BSD68", "Set12")
LEVELS = (15, 25, 50)  # of 255
BLIND_TOLERANCE = 1.5
PEER_LEVEL = 25
ENSEMBLE_SET, ENSEMBLE_LEVEL, ENSEMBLE_TARGET = "BSD68", 25, 29.25
EXACT = "one pass, `--exact`"  # in float32, where bfloat16 is the default
TARGETS = {("BSD68", 15): 31.65, ("BSD68", 25): 29.20, ("BSD68", 50): 26.25, ("Set12", 25): 30.40}
PUBLISHED = {  # grey, PSNR in dB, from the papers
    ("BM3D", "BSD68"): (31.07, 28.57, 25.62),
    ("DnCNN-S", "BSD68"): (31.73, 29.23, 26.23),
    ("BM3D", "Set12"): (32.37, 29.97, 26.72),
    ("DnCNN-S", "Set12"): (32.86, 30.44, 27.18),
}


@dataclass
class Numbers:
    """What was measured: PSNR by (method, set, level), seconds a megapixel by method, and the rest by name."""

    psnr: dict[tuple[str, str, int], float] = field(default_factory=dict)
    pictures: dict[str, int] = field(default_factory=dict)
    peers: list[tuple[str, float, float]] = field(default_factory=list)  # method, dB, seconds a megapixel
    peer_pictures: int = 0
    blind: list[tuple[int, float, float, float]] = field(default_factory=list)  # level, mean, largest, share within
    unchanged: list[tuple[str, float, float]] = field(default_factory=list)  # set, median dB, share from 45 dB on
    real: list[tuple[str, float, float]] = field(default_factory=list)  # what, before, after
    colour: list[tuple[str, list[float]]] = field(default_factory=list)  # picture, dB at each of the levels
    bfloat16: list[tuple[int, float, float]] = field(default_factory=list)  # level, dB lost, times as fast


HEAD = """# The denoiser, measured

Written by `python bench/denoise.py DATA --colour PICTURE... --ensemble --peers-every 1 --markdown docs/denoise.md`, on one thread. Do not
edit.

`viva lab denoise` ships with a network of 960,256 numbers (1.9 MB in half precision) for grey and colour and every level
of noise from 0 to 55 of 255. It was trained by this project's own recipe: [how](denoise-training.md).

{state}

None of the test pictures below, nor any other of the Berkeley set they come from, was trained on.

"""


def markdown(numbers: Numbers, every: int) -> str:
    """The page."""
    parts = [HEAD.format(state=_state(numbers)), _psnr_table(numbers), _peer_table(numbers)]
    parts += [
        _colour_table(numbers),
        _half_table(numbers),
        _blind_table(numbers),
        _unchanged_table(numbers),
        _real_table(numbers),
    ]
    if every > 1:
        parts.insert(1, f"Only every {every}th picture was used.\n\n")
    return "".join(parts).rstrip() + "\n"


def _state(numbers: Numbers) -> str:
    """How many of the targets are reached, and how far the others are."""
    missing = [target - _one_pass(numbers, *where) for where, target in TARGETS.items()]
    found = numbers.psnr.get(("self-ensemble", ENSEMBLE_SET, ENSEMBLE_LEVEL))
    missing += [] if found is None else [ENSEMBLE_TARGET - found]
    short = [lack for lack in missing if lack > 0]
    if not short:
        return "All targets are reached, in float32."
    return (
        f"Of {len(missing)} targets {len(missing) - len(short)} are reached, in float32; the others are missed by {max(short):.3f} dB at most:\n"
        "[what was tried, and what stands in the way](denoise-training.md#what-is-missing)."
    )


def _psnr_table(numbers: Numbers) -> str:
    lines = [
        "## Grey pictures, known level\n",
        "PSNR in dB, mean over the set. Targets are held against float32 (`--exact`).\n",
    ]
    lines += [f"| | {' | '.join(f'{s} σ {level}' for s in SETS for level in LEVELS)} |"]
    lines += ["|---" * (1 + len(SETS) * len(LEVELS)) + "|"]
    for label in dict.fromkeys(method for method, _, _ in numbers.psnr):
        cells = [_decibels(numbers.psnr.get((label, s, level))) for s in SETS for level in LEVELS]
        lines.append(f"| this network, {label} | {' | '.join(cells)} |")
    targets = [_target(numbers, s, level) for s in SETS for level in LEVELS]
    lines.append(f"| target | {' | '.join(targets)} |")
    found = numbers.psnr.get(("self-ensemble", ENSEMBLE_SET, ENSEMBLE_LEVEL))
    if found is not None:
        lines.append(f"| target, self-ensemble | | {_reached(ENSEMBLE_TARGET, found)} | | | | |")
    for method in dict.fromkeys(method for method, _ in PUBLISHED):
        cells = [f"{value:.2f}" for s in SETS for value in PUBLISHED[method, s]]
        lines.append(f"| {method}, published | {' | '.join(cells)} |")
    counts = ", ".join(f"{count} pictures of {name}" for name, count in numbers.pictures.items())
    return "\n".join([*lines, "", f"{counts[0].upper()}{counts[1:]}.", "\n"])


def _decibels(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _target(numbers: Numbers, name: str, level: int) -> str:
    target = TARGETS.get((name, level))
    if target is None:
        return ""
    return _reached(target, _one_pass(numbers, name, level))


def _one_pass(numbers: Numbers, name: str, level: int) -> float:
    """What the targets are held against: float32, as in the papers."""
    return numbers.psnr.get((EXACT, name, level), numbers.psnr["one pass", name, level])


def _reached(target: float, found: float) -> str:
    return f"{target:.2f}, {'reached' if found >= target else 'not yet'}"


def _peer_table(numbers: Numbers) -> str:
    if not numbers.peers:
        return ""
    ours = numbers.peers[0][2]
    lines = [
        "## Beside its peers\n",
        f"{numbers.peer_pictures} pictures of BSD68 at σ {PEER_LEVEL}, processor seconds a megapixel, same noise.\n",
        "| | PSNR (dB) | seconds a megapixel | times the network's |\n|---|---|---|---|",
    ]
    lines += [f"| {name} | {found:.2f} | {took:.2f} | {took / ours:.1f} |" for name, found, took in numbers.peers]
    return "\n".join([*lines, "\n"])


def _colour_table(numbers: Numbers) -> str:
    if not numbers.colour:
        return ""
    lines = [
        "## Colour pictures, known level\n",
        "PSNR in dB over red, green and blue. Photographs that were not trained on.\n",
        f"| | {' | '.join(f'σ {level}' for level in LEVELS)} |\n{'|---' * (1 + len(LEVELS))}|",
    ]
    lines += [f"| {name} | {' | '.join(f'{value:.2f}' for value in found)} |" for name, found in numbers.colour]
    return "\n".join([*lines, "\n"])


def _half_table(numbers: Numbers) -> str:
    if not numbers.bfloat16:
        return ""
    lines = [
        "## bfloat16\n",
        "Where the processor multiplies in bfloat16 the network does so too; `--exact` keeps it to float32. The numbers of"
        " this page are those of bfloat16 where nothing else is said.\n",
        "| σ | lost (dB) | times as fast |\n|---|---|---|",
    ]
    lines += [f"| {level} | {lost:.4f} | {faster:.2f} |" for level, lost, faster in numbers.bfloat16]
    return "\n".join([*lines, "\n"])


def _blind_table(numbers: Numbers) -> str:
    lines = [
        "## The level, from the picture alone\n",
        f"Error of 255 over both sets; the aim is {BLIND_TOLERANCE} at most.\n",
        "| σ | mean error | largest | within |\n|---|---|---|---|",
    ]
    lines += [f"| {level} | {mean:.2f} | {most:.2f} | {share:.0%} |" for level, mean, most, share in numbers.blind]
    return "\n".join([*lines, "\n"])


def _unchanged_table(numbers: Numbers) -> str:
    lines = [
        "## Pictures without added noise\n",
        "PSNR between the picture as it is and the result, `--noise auto`; the aim is 45 dB. The pictures are themselves"
        " not free of grain.\n",
        "| | median (dB) | 45 dB or more |\n|---|---|---|",
    ]
    lines += [f"| {name} | {median:.1f} | {share:.0%} |" for name, median, share in numbers.unchanged]
    return "\n".join([*lines, "\n"])


def _real_table(numbers: Numbers) -> str:
    lines = [
        "## Other kinds of noise\n",
        "BSD68 in 8 bits, `--noise auto`. The network has seen neither kind in training. JPEG artefacts are no independent"
        " noise: next to none of it is found in them, and so they stay.\n",
        "| | before (dB) | after (dB) |\n|---|---|---|",
    ]
    lines += [f"| {name} | {before:.2f} | {after:.2f} |" for name, before, after in numbers.real]
    return "\n".join([*lines, "\n"])
