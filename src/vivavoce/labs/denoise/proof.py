"""The claims about noise that are held against pictures whose noise-free version is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from vivavoce.labs.denoise.network import Denoiser
from vivavoce.labs.denoise.restore import Pixels, estimate, restore
from vivavoce.labs.denoise.scenes import leaves
from vivavoce.labs.figures import Line, XYPlot
from vivavoce.labs.lab import Claim, Context, held

LEVELS = (5.0, 15.0, 25.0, 40.0)  # higher ones would be cut off at black and white
QUICK_LEVELS = (15.0, 40.0)
SIZE, QUICK_SIZE = 384, 160
CHANNELS = (1, 3)  # grey and colour
ESTIMATE_ERROR = 1.5  # of 255, for levels from 5 to 55
NEARLY_UNCHANGED = 45.0  # dB, of a picture without noise
LEAST_GAIN = 3.0  # dB that a picture made of discs gains at least, at every level from 15 on
DEPTH_8, DEPTH_16 = 255, 65535


@dataclass(frozen=True)
class Trial:
    """One picture with known noise: what was estimated, and how far from the truth it was before and after (dB)."""

    channels: int
    level: float
    estimated: float
    before: float
    after: float
    smoothed: float


def psnr(found: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """Peak signal-to-noise ratio in dB, for values in [0, 1]; infinite where they are equal."""
    error = float(np.mean((found - truth) ** 2))
    return float("inf") if error == 0 else -10 * float(np.log10(error))


def trials(network: Denoiser, context: Context) -> list[Trial]:
    """Grey and colour pictures with every level of noise, 16 bits a channel so that rounding adds nothing."""
    size, levels = (QUICK_SIZE, QUICK_LEVELS) if context.quick else (SIZE, LEVELS)
    cases = [(channels, level) for channels in CHANNELS for level in levels]
    return [_trial(network, *case, size, context.rng(i)) for i, case in enumerate(context.track("restoring", cases))]


def _trial(network: Denoiser, channels: int, level: float, size: int, rng: np.random.Generator) -> Trial:
    truth = 0.25 + 0.5 * leaves(size, channels, rng)  # far from black and white, where noise would be cut off
    noisy = _pixels(truth + rng.normal(size=truth.shape) * level / 255)
    found = estimate(noisy)
    clean = restore(network, noisy, found).pixels / DEPTH_16
    seen = noisy / DEPTH_16
    return Trial(channels, level, found, psnr(seen, truth), psnr(clean, truth), _best_blur(seen, truth))


def _pixels(values: NDArray[np.float64]) -> NDArray[np.uint16]:
    return np.rint(np.clip(values, 0, 1) * DEPTH_16).astype(np.uint16)


def _best_blur(noisy: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """What the best of all box-blurred versions reaches, chosen with the truth in hand."""
    return max(psnr(_blurred(noisy, width), truth) for width in (1, 3, 5, 7, 9))


def _blurred(image: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Mean over squares of `width` pixels."""
    padded = np.pad(image, ((width // 2,) * 2, (width // 2,) * 2, (0, 0)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (width, width), axis=(0, 1))
    mean: NDArray[np.float64] = windows.mean((-2, -1))
    return mean


def claims(network: Denoiser, found: Sequence[Trial], context: Context) -> list[Claim]:
    """What the trials and two properties of the network say."""
    return [_estimate_claim(found), *_gain_claims(found), _unchanged_claim(network, context), _scale_claim(network)]


def _estimate_claim(found: Sequence[Trial]) -> Claim:
    errors = [abs(trial.estimated - trial.level) for trial in found]
    return held(
        "the level of the noise can be told from the picture alone",
        f"off by {max(errors):.2f} of 255 at most, {np.mean(errors):.2f} on average",
        f"within {ESTIMATE_ERROR}",
        max(errors) <= ESTIMATE_ERROR,
    )


def _gain_claims(found: Sequence[Trial]) -> list[Claim]:
    gains = [trial.after - trial.before for trial in found if trial.level >= min(QUICK_LEVELS)]
    over_blur = [trial.after - trial.smoothed for trial in found]
    return [
        held(
            "a network that was trained on photographs removes noise from pictures it has never seen",
            f"{min(gains):.1f} to {max(gains):.1f} dB nearer to the truth",
            f"at least {LEAST_GAIN:.0f} dB from a level of {min(QUICK_LEVELS):.0f} on",
            min(gains) >= LEAST_GAIN,
        ),
        held(
            "it does more than blur",
            f"{min(over_blur):.1f} dB better than the best blur, chosen with the truth in hand, at least",
            "better at every level",
            min(over_blur) > 0,
        ),
    ]


def _unchanged_claim(network: Denoiser, context: Context) -> Claim:
    scores = []
    for channels in CHANNELS:
        truth = _pixels(leaves(QUICK_SIZE, channels, context.rng(100 + channels)))
        clean: Pixels = restore(network, truth, estimate(truth)).pixels
        scores.append(psnr(clean / DEPTH_16, truth / DEPTH_16))
    return held(
        "a picture without noise is left alone",
        f"{min(scores):.1f} dB to the original",
        f"at least {NEARLY_UNCHANGED:.0f} dB",
        min(scores) >= NEARLY_UNCHANGED,
    )


def _scale_claim(network: Denoiser) -> Claim:
    """A network without biases answers a picture that is twice as bright, with twice the noise, with twice the answer."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, 32, 32, generator=generator)
    level = torch.full((1, 1, 1, 1), 0.1)
    with torch.inference_mode():
        once, twice = network(image, level), network(2 * image, 2 * level)
    difference = float((twice - 2 * once).abs().max())
    return held(
        "without biases, twice the picture and twice the noise give twice the answer",
        f"off by {difference:.1e}",
        "equal but for rounding",
        difference < 1e-5,
        note="So one set of weights serves every level of noise.",
    )


def figures(found: Sequence[Trial]) -> list[XYPlot]:
    """How near to the truth before, after, and with the best blur; and the estimates."""
    grey = [trial for trial in found if trial.channels == 1]
    x = np.array([trial.level for trial in grey])
    lines = [
        Line(name, x, np.array([getattr(trial, key) for trial in grey]))
        for name, key in (("restored", "after"), ("best blur", "smoothed"), ("noisy", "before"))
    ]
    both = [
        Line(name, x, np.array([trial.estimated for trial in found if trial.channels == channels]))
        for name, channels in (("grey", 1), ("colour", 3))
    ]
    truth = Line("truth", x, x, faint=True)
    return [
        XYPlot("psnr", "How near to the truth", "Higher is nearer.", "noise (of 255)", "PSNR (dB)", lines),
        XYPlot("level", "Level found in the picture", "", "true level (of 255)", "found (of 255)", [*both, truth]),
    ]
