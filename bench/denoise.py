"""Measures the shipped denoiser on the public test sets, beside BM3D and non-local means, and writes docs/denoise.md.

    python bench/denoise.py DATA --colour PICTURE... --ensemble --peers-every 1 --markdown docs/denoise.md
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
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from _denoise_page import (
    BLIND_TOLERANCE,
    ENSEMBLE_LEVEL,
    ENSEMBLE_SET,
    EXACT,
    LEVELS,
    PEER_LEVEL,
    SETS,
    Numbers,
    markdown,
)
from vivavoce.labs.denoise import restore, weights
from vivavoce.labs.denoise.network import Denoiser
from vivavoce.measure import noise_level

BLIND_LEVELS = (5, 10, 15, 25, 35, 50, 55)
HALF_PICTURES = 8  # how many pictures float32 and bfloat16 are compared on
JPEG_QUALITIES = (20, 30, 40)
PHOTONS = (30, 100, 300)  # counted at white

Method = Callable[[np.ndarray, float], np.ndarray]  # (noisy in [0, 1], level of 255) to clean


def main() -> int:
    """Measures and prints; returns the exit code."""
    arguments = _parser().parse_args()
    torch.set_num_threads(1)
    sets = {name: list(_load(Path(arguments.data) / name, arguments.every)) for name in SETS}
    network = weights.load(Path(arguments.weights))
    numbers = measure(network, sets, arguments)
    page = markdown(numbers, arguments.every)
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
    for name, pictures in sets.items():
        for level in LEVELS:
            numbers.psnr["one pass", name, level] = _scored(ours(network), pictures, f"one pass {name}", level)
    for name, pictures in sets.items() if restore.has_fast_bfloat16() else ():
        for level in LEVELS:
            method = ours(network, exact=True)
            numbers.psnr[EXACT, name, level] = _scored(method, pictures, f"{EXACT} {name}", level)
    if arguments.ensemble:
        found = _scored(ours(network, ensemble=True), sets[ENSEMBLE_SET], "self-ensemble", ENSEMBLE_LEVEL)
        numbers.psnr["self-ensemble", ENSEMBLE_SET, ENSEMBLE_LEVEL] = found
    few = sets["BSD68"][:: max(1, len(sets["BSD68"]) // HALF_PICTURES)]
    numbers.bfloat16 = [half(network, few, level) for level in LEVELS] if restore.has_fast_bfloat16() else []
    numbers.colour = [(Path(file).stem, coloured(network, Path(file))) for file in arguments.colour]
    everything = [picture for pictures in sets.values() for picture in pictures]
    numbers.blind = [blind(everything, level) for level in BLIND_LEVELS]
    numbers.unchanged = [unchanged(network, name, pictures) for name, pictures in sets.items()]
    numbers.real = real_noise(network, sets["BSD68"][::4])
    if arguments.peers_every:
        few = sets["BSD68"][:: arguments.peers_every]
        numbers.peer_pictures = len(few)
        numbers.peers = [peer(*entry, few) for entry in {"this network": ours(network), **peers()}.items()]
    return numbers


def _scored(method: Method, pictures: list[np.ndarray], what: str, level: int) -> float:
    found = score(method, pictures, level)
    _say(f"{what} {level}: {found:.3f} dB")
    return found


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


if __name__ == "__main__":
    sys.exit(main())
