"""Measures the shipped denoiser on the public test sets, beside BM3D and non-local means, and writes docs/denoise.md.

    python bench/denoise.py DATA --colour PICTURE... --ensemble --markdown docs/denoise.md
    python bench/denoise.py DATA --weights run/best.safetensors --every 8     a first look

DATA holds the folders BSD68 and Set12 of the literature (grey PNG files; not part of this project: their licence is for
research). Noise is added to the exact pictures and is not cut off at black and white, as in the literature; the level
is told to every method. The pictures for colour are none that was trained on. One thread. The peers need
`pip install bm3d scikit-image`.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from vivavoce.labs.denoise import restore, weights
from vivavoce.labs.denoise.network import Denoiser
from vivavoce.measure import noise_level

SETS = ("BSD68", "Set12")
LEVELS = (15, 25, 50)  # of 255
BLIND_LEVELS = (5, 10, 15, 25, 35, 50, 55)
BLIND_TOLERANCE = 1.5
PEER_LEVEL = 25
HALF_PICTURES = 8  # how many pictures float32 and bfloat16 are compared on
JPEG_QUALITIES = (20, 30, 40)
PHOTONS = (30, 100, 300)  # counted at white
TARGETS = {("BSD68", 15): 31.65, ("BSD68", 25): 29.20, ("BSD68", 50): 26.25, ("Set12", 25): 30.40}
PUBLISHED = {  # grey, PSNR in dB, from the papers
    ("BM3D", "BSD68"): (31.07, 28.57, 25.62),
    ("DnCNN-S", "BSD68"): (31.73, 29.23, 26.23),
    ("BM3D", "Set12"): (32.37, 29.97, 26.72),
    ("DnCNN-S", "Set12"): (32.86, 30.44, 27.18),
}

Method = Callable[[np.ndarray, float], np.ndarray]  # (noisy in [0, 1], level of 255) to clean


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


def main() -> int:
    """Measures and prints; returns the exit code."""
    arguments = _parser().parse_args()
    torch.set_num_threads(1)
    sets = {name: list(_load(Path(arguments.data) / name, arguments.every)) for name in SETS}
    network = weights.load(Path(arguments.weights))
    numbers = measure(network, sets, arguments)
    page = markdown(numbers, arguments)
    print(page)
    if arguments.markdown:
        Path(arguments.markdown).write_text(page)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder that holds BSD68 and Set12")
    parser.add_argument("--weights", default=str(weights.SHIPPED), help="safetensors to measure instead of the shipped")
    parser.add_argument(
        "--colour", nargs="+", default=[], metavar="PICTURE", help="photographs for the table of colour"
    )
    parser.add_argument("--every", type=int, default=1, help="only each so many-th picture")
    parser.add_argument(
        "--peers-every", type=int, default=8, help="peers on each so many-th picture of BSD68; 0 for none"
    )
    parser.add_argument("--ensemble", action="store_true", help="the self-ensemble too, at eight times the cost")
    parser.add_argument("--markdown", help="write the page there")
    return parser


def _load(folder: Path, every: int) -> Iterator[np.ndarray]:
    files = sorted(folder.glob("*.png"))[::every]
    if not files:
        sys.exit(f"denoise: {folder} holds no PNG files")
    for file in files:
        yield np.asarray(Image.open(file).convert("L"), dtype=np.float32) / 255


def measure(network: Denoiser, sets: dict[str, list[np.ndarray]], arguments: argparse.Namespace) -> Numbers:
    """All numbers of the page."""
    numbers = Numbers(pictures={name: len(pictures) for name, pictures in sets.items()})
    methods = {"one pass": ours(network)} | ({"self-ensemble": ours(network, True)} if arguments.ensemble else {})
    for label, method in methods.items():
        for name, pictures in sets.items():
            for level in LEVELS:
                numbers.psnr[label, name, level] = score(method, pictures, level)
                _say(f"{label} {name} {level}: {numbers.psnr[label, name, level]:.3f} dB")
    everything = [picture for pictures in sets.values() for picture in pictures]
    few = sets["BSD68"][:: max(1, len(sets["BSD68"]) // HALF_PICTURES)]
    numbers.bfloat16 = [half(network, few, level) for level in LEVELS] if restore.has_fast_bfloat16() else []
    numbers.colour = [(Path(file).stem, coloured(network, Path(file))) for file in arguments.colour]
    numbers.blind = [blind(everything, level) for level in BLIND_LEVELS]
    numbers.unchanged = [unchanged(network, name, pictures) for name, pictures in sets.items()]
    numbers.real = real_noise(network, sets["BSD68"][::4])
    if arguments.peers_every:
        few = sets["BSD68"][:: arguments.peers_every]
        numbers.peer_pictures = len(few)
        numbers.peers = [peer(*entry, few) for entry in {"this network": ours(network), **peers()}.items()]
    return numbers


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def ours(network: Denoiser, ensemble: bool = False, exact: bool = False) -> Method:
    """The shipped network."""
    manner = restore.Manner(ensemble, exact)

    def method(noisy: np.ndarray, level: float) -> np.ndarray:
        image = torch.from_numpy(np.atleast_3d(noisy)).permute(2, 0, 1)
        return restore.run(network, image, level, manner).permute(1, 2, 0).numpy().reshape(noisy.shape)

    return method


def peers() -> dict[str, Method]:
    """BM3D and non-local means as their packages recommend them for a known level."""
    from bm3d import bm3d
    from skimage.restoration import denoise_nl_means

    def nlm(noisy: np.ndarray, level: float) -> np.ndarray:
        sigma = level / 255
        return denoise_nl_means(noisy, 5, 6, h=0.6 * sigma, sigma=sigma, fast_mode=False)

    def fast_nlm(noisy: np.ndarray, level: float) -> np.ndarray:
        sigma = level / 255
        return denoise_nl_means(noisy, 5, 6, h=0.8 * sigma, sigma=sigma, fast_mode=True)

    return {
        "bm3d": lambda noisy, level: np.asarray(bm3d(noisy, level / 255)).squeeze(),
        "non-local means": nlm,
        "non-local means, fast": fast_nlm,
    }


def add_noise(picture: np.ndarray, level: float, seed: int) -> np.ndarray:
    """White Gaussian noise of `level` (of 255), not cut off."""
    generator = np.random.default_rng([seed, int(level)])
    return picture + np.float32(level / 255) * generator.normal(size=picture.shape).astype(np.float32)


def psnr(found: np.ndarray, truth: np.ndarray) -> float:
    """In dB; what was found is cut off at black and white first."""
    return float(-10 * np.log10(max(np.mean((np.clip(found, 0, 1) - truth) ** 2), 1e-12)))


def score(method: Method, pictures: list[np.ndarray], level: float) -> float:
    """Mean PSNR of `method` over the pictures."""
    return float(np.mean([psnr(method(add_noise(p, level, i), level), p) for i, p in enumerate(pictures)]))


def coloured(network: Denoiser, file: Path) -> list[float]:
    """PSNR of one colour picture at each of the levels."""
    picture = np.asarray(Image.open(file).convert("RGB"), dtype=np.float32) / 255
    return [score(ours(network), [picture], level) for level in LEVELS]


def half(network: Denoiser, pictures: list[np.ndarray], level: int) -> tuple[int, float, float]:
    """What bfloat16 loses against float32 in dB, and how many times as fast it is."""
    _, exact, slow = peer("float32", ours(network, exact=True), pictures, level)
    _, found, fast = peer("bfloat16", ours(network), pictures, level)
    return level, exact - found, slow / fast


def peer(name: str, method: Method, pictures: list[np.ndarray], level: int = PEER_LEVEL) -> tuple[str, float, float]:
    """PSNR and processor seconds a megapixel."""
    began = time.process_time()
    found = score(method, pictures, level)
    seconds = (time.process_time() - began) / (sum(p.size for p in pictures) / 1e6)
    _say(f"{name}: {found:.3f} dB, {seconds:.1f} s a megapixel")
    return name, found, seconds


def blind(pictures: list[np.ndarray], level: int) -> tuple[int, float, float, float]:
    """Error of the estimated level, of 255: mean, largest, and the share of pictures within the tolerance."""
    errors = np.abs([255 * noise_level(add_noise(p, level, i)) - level for i, p in enumerate(pictures)])
    return level, float(errors.mean()), float(errors.max()), float((errors <= BLIND_TOLERANCE).mean())


def unchanged(network: Denoiser, name: str, pictures: list[np.ndarray]) -> tuple[str, float, float]:
    """PSNR between pictures as they are and what the command makes of them with `--noise auto`."""
    scores = []
    for picture in pictures[:: max(1, len(pictures) // 12)]:
        pixels = np.rint(255 * picture).astype(np.uint8)[..., None]
        clean = restore.restore(network, pixels, restore.estimate(pixels)).pixels
        scores.append(psnr(clean / 255, pixels / 255))
    return name, float(np.median(scores)), float(np.mean(np.array(scores) >= 45))


def real_noise(network: Denoiser, pictures: list[np.ndarray]) -> list[tuple[str, float, float]]:
    """Noise that the network was not trained on, in 8 bits, with `--noise auto`."""
    cases: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
        **{f"photons, {count} at white": _photons(count) for count in PHOTONS},
        **{f"JPEG artefacts, quality {quality}": _jpeg(quality) for quality in JPEG_QUALITIES},
    }
    return [(name, *_before_and_after(network, pictures, spoil)) for name, spoil in cases.items()]


def _photons(count: int) -> Callable[[np.ndarray, int], np.ndarray]:
    return lambda picture, seed: np.random.default_rng(seed).poisson(count * picture) / count


def _jpeg(quality: int) -> Callable[[np.ndarray, int], np.ndarray]:
    def spoil(picture: np.ndarray, _: int) -> np.ndarray:
        stream = io.BytesIO()
        Image.fromarray(np.rint(255 * picture).astype(np.uint8)).save(stream, "JPEG", quality=quality)
        return np.asarray(Image.open(stream)) / 255

    return spoil


def _before_and_after(
    network: Denoiser, pictures: list[np.ndarray], spoil: Callable[[np.ndarray, int], np.ndarray]
) -> tuple[float, float]:
    before, after = [], []
    for seed, picture in enumerate(pictures):
        pixels = np.rint(255 * np.clip(spoil(picture, seed), 0, 1)).astype(np.uint8)[..., None]
        level = min(restore.estimate(pixels), 55.0)
        before.append(psnr(pixels[..., 0] / 255, picture))
        after.append(psnr(restore.restore(network, pixels, level).pixels[..., 0] / 255, picture))
    return float(np.mean(before)), float(np.mean(after))


HEAD = """# The denoiser, measured

Written by `python bench/denoise.py DATA --markdown docs/denoise.md`, on one thread. Do not edit.

`viva lab denoise` ships with a network of 960,256 numbers (1.9 MB in half precision) for grey and colour and every level
of noise from 0 to 55 of 255. It was trained by this project's own recipe, `python -m vivavoce.labs.denoise.train`:
bfloat16, 16 patches of 64×64 pixels a step, half of them grey, Adam, a cosine schedule, a moving average of the weights.

{state}

The photographs: 23 of the 24 Kodak pictures, those that come with scikit-image and scikit-learn, and the photographs among
the wallpapers of Debian's packages lomiri-wallpapers (CC0, CC-BY and CC-BY-SA), mate-backgrounds and
plasma-workspace-wallpapers (GPL-2+ as packaged): 69 in all, 62 to train on (44 megapixels). Large ones were shrunk. None
of the test pictures below, nor any other of the Berkeley set they come from, was trained on.

"""
STATE = """**This is an early checkpoint.** The recipe was stopped after {steps:,} steps, for want of time, and the targets are not
reached yet. It is about as good as BM3D on BSD68, a little behind beside it on the same noise, half a decibel behind on
Set12, and an order of magnitude faster; fast non-local means are faster still, and worse. The training goes on from the committed
weights with `--from`."""


def markdown(numbers: Numbers, arguments: argparse.Namespace) -> str:
    """The page."""
    state = STATE.format(steps=weights.STEPS)
    parts = [HEAD.format(state=state), _psnr_table(numbers), _peer_table(numbers)]
    parts += [
        _colour_table(numbers),
        _half_table(numbers),
        _blind_table(numbers),
        _unchanged_table(numbers),
        _real_table(numbers),
    ]
    if arguments.every > 1:
        parts.insert(1, f"Only every {arguments.every}th picture was used.\n\n")
    return "".join(parts).rstrip() + "\n"


def _psnr_table(numbers: Numbers) -> str:
    lines = ["## Grey pictures, known level\n", "PSNR in dB, mean over the set.\n"]
    lines += [f"| | {' | '.join(f'{s} σ {level}' for s in SETS for level in LEVELS)} |"]
    lines += ["|---" * (1 + len(SETS) * len(LEVELS)) + "|"]
    for label in dict.fromkeys(method for method, _, _ in numbers.psnr):
        cells = [f"{numbers.psnr[label, s, level]:.2f}" for s in SETS for level in LEVELS]
        lines.append(f"| this network, {label} | {' | '.join(cells)} |")
    targets = [_target(numbers, s, level) for s in SETS for level in LEVELS]
    lines.append(f"| target | {' | '.join(targets)} |")
    for method in dict.fromkeys(method for method, _ in PUBLISHED):
        cells = [f"{value:.2f}" for s in SETS for value in PUBLISHED[method, s]]
        lines.append(f"| {method}, published | {' | '.join(cells)} |")
    counts = ", ".join(f"{count} pictures of {name}" for name, count in numbers.pictures.items())
    return "\n".join([*lines, "", f"{counts[0].upper()}{counts[1:]}.", "\n"])


def _target(numbers: Numbers, name: str, level: int) -> str:
    target = TARGETS.get((name, level))
    if target is None:
        return ""
    return f"{target:.2f}, {'reached' if numbers.psnr['one pass', name, level] >= target else 'not yet'}"


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
        " this page are those of bfloat16.\n",
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
        "BSD68 in 8 bits, `--noise auto`. The network has seen neither kind in training.\n",
        "| | before (dB) | after (dB) |\n|---|---|---|",
    ]
    lines += [f"| {name} | {before:.2f} | {after:.2f} |" for name, before, after in numbers.real]
    return "\n".join([*lines, "\n"])


if __name__ == "__main__":
    sys.exit(main())
