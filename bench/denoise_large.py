"""Restores a large picture by the command itself and prints the most memory that took, for docs/denoise-training.md.

python bench/denoise_large.py --megapixels 100
python bench/denoise_large.py --megapixels 25 --channels 3 --bits 16 --format tif
"""

from __future__ import annotations

import argparse
import math
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from vivavoce.labs.denoise import pictures

SIDE = 1000  # pixels of the square that the picture repeats
NOISE = 15.0  # of 255


def main() -> int:
    """Makes the picture, restores it in a process of its own and prints what that took; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", type=int, default=100)
    parser.add_argument("--channels", type=int, choices=(1, 3), default=1)
    parser.add_argument("--bits", type=int, choices=(8, 16), default=8)
    parser.add_argument("--format", choices=("png", "tif"), default="png")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"large.{given.format}"
        kind = pictures.FORMATS[file.suffix]
        pixels = large(given.megapixels, given.channels, given.bits)
        file.write_bytes(pictures.write(pictures.Picture(pixels, None, kind), kind))
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "vivavoce", "lab", "denoise", str(file)], check=True)
        seconds = time.perf_counter() - began
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    print(f"{pixels.shape[1]} × {pixels.shape[0]} pixels: {memory:.2f} GB at most, {seconds:.0f} s")
    return 0


def large(megapixels: int, channels: int, bits: int) -> np.ndarray:
    """A noisy square of waves, again and again, about `megapixels` in all: (H, W, channels)."""
    y, x = np.mgrid[:SIDE, :SIDE]
    waves = 128 + 40 * np.sin(x / 37) * np.cos(y / 53)
    noisy = waves[..., None] + np.random.default_rng(0).normal(0, NOISE, (SIDE, SIDE, channels))
    most = 2**bits - 1
    square = np.clip(np.rint(noisy * most / 255), 0, most).astype(np.uint8 if bits == 8 else np.uint16)
    times = round(math.sqrt(megapixels))
    return np.tile(square, (times, times, 1))


if __name__ == "__main__":
    sys.exit(main())
