"""Trains the denoiser's network on photographs; can be stopped at any time and goes on where it was.

    python -m vivavoce.labs.denoise.train photos/ --work run/ --steps 20000
    python -m vivavoce.labs.denoise.train photos/ --work run2/ --from run/weights.safetensors --loss squared
    python -m vivavoce.labs.denoise.train photos/ --work run3/ --minutes 10 --device cuda --batch 64

With `--minutes` the learning rate falls by the clock, so that it reaches its end then however busy the machine is; with
`--steps` a run can be repeated to the bit.

Writes to the folder `--work`: `checkpoint.pt` (all that is needed to go on: the same command does), `weights.safetensors`
(the moving average, float16: what the package ships) and `best.safetensors` (the same, of the best validation so far).
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vivavoce.labs.denoise import colour, weights
from vivavoce.labs.denoise.network import CHANNELS, MULTIPLE, Denoiser
from vivavoce.labs.denoise.photos import LEAST, Photos, files_among, load_folder

MOST_NOISE = 55.0  # standard deviation of the noise, of 255
PATCH = 64  # pixels
BATCH = 16
GREY_SHARE = 2 / 3  # of the patches are grey
LEARNING_RATE = 1e-3
AVERAGE_DECAY = 0.999
WARM_UP = 200  # steps
CLIP = 3.0  # times its moving average a gradient's norm may be: one bad step destroyed a network of 140,000 steps
NORM_DECAY = 0.99  # of that moving average
LEAST_ERROR = 1e-5  # squared; what is better than 50 dB counts no more
LEAST_LEVEL = 5 / 255  # of noise: below it the error stays
CHECKPOINT_STEPS = 500
FEWEST_PHOTOS = 2
HELD_OUT = 10  # every tenth photograph is for validation
VALIDATION_NOISE = 25.0
VALIDATION_CROP = 192  # pixels, of each photograph's centre
LUMA = torch.tensor([0.299, 0.587, 0.114])  # ITU-R BT.601: how the grey test sets were made


@dataclass
class Batch:
    """Clean and noisy patches (N, 3, S, S), the noise level (N, 1, 1, 1), and which channels count (N, 3, 1, 1)."""

    clean: Tensor
    noisy: Tensor
    level: Tensor
    counts: Tensor

    def to(self, device: str) -> Batch:
        """The same on another device."""
        return Batch(*(part.to(device) for part in (self.clean, self.noisy, self.level, self.counts)))


def batches(photos: Photos, size: int, generator: torch.Generator, side: int = PATCH) -> Iterator[Batch]:
    """`size` random patches of `side` pixels, each with random noise of 0 to 55, two of three grey."""
    while True:
        patches = photos.patches(size, side, generator)
        grey = torch.rand(size, generator=generator) < GREY_SHARE
        sigma = MOST_NOISE / 255 * torch.rand(size, generator=generator)
        yield noisy_batch(patches, grey, sigma, generator)


def noisy_batch(rgb: Tensor, grey: Tensor, sigma: Tensor, generator: torch.Generator) -> Batch:
    """Give `rgb` patches noise of standard deviation `sigma` (N,), as grey pictures where `grey` (N,) says so."""
    counts = torch.ones(len(rgb), CHANNELS, 1, 1)
    counts[grey, 1:] = 0
    clean = colour.to_luma(rgb)
    clean[grey, 0] = torch.einsum("c,nchw->nhw", LUMA, rgb[grey])
    clean = clean * counts
    level = (torch.where(grey, 1.0, colour.LEVEL_FACTOR) * sigma)[:, None, None, None]
    noise = torch.randn(clean.shape, generator=generator) * level * counts
    return Batch(clean, clean + noise, level, counts)


@dataclass(frozen=True)
class Plan:
    """How long to train, in steps or where `minutes` is given in minutes, and how."""

    steps: int
    minutes: float | None = None
    learning_rate: float = LEARNING_RATE
    batch: int = BATCH
    patch: int = PATCH
    seed: int = 0
    device: str = "cpu"
    loss: str = "absolute"

    def share(self, step: int, seconds: float) -> float:
        """What lies behind after so many steps and seconds, 0 to 1."""
        return min(1.0, step / self.steps if self.minutes is None else seconds / (60 * self.minutes))


class Training:
    """The network, its moving average, the optimizer and the random numbers: what a checkpoint holds."""

    def __init__(self, photos: Photos, plan: Plan) -> None:
        torch.manual_seed(plan.seed)
        self.network = weights.fast(Denoiser().to(plan.device))
        self.average = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=plan.learning_rate)
        self.generator = torch.Generator().manual_seed(plan.seed)
        self.photos, self.plan = photos, plan
        self.step, self.seconds, self.best, self.loss = 0, 0.0, 0.0, 0.0
        self.norm = math.inf  # moving average of the gradient's

    @property
    def done(self) -> float:
        """Which share of the training lies behind, 0 to 1."""
        return self.plan.share(self.step, self.seconds)

    def advance(self, steps: int) -> None:
        """Train for so many steps, or fewer if the end comes first."""
        stream = batches(self.photos, self.plan.batch, self.generator, self.plan.patch)
        losses: list[float] = []
        while len(losses) < steps and self.done < 1:
            began = time.perf_counter()
            losses.append(self._train(next(stream).to(self.plan.device)))
            self.seconds += time.perf_counter() - began
        self.loss = float(np.mean(losses))

    def _train(self, batch: Batch) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.learning_rate * schedule(self.step, self.done)
        with torch.autocast(torch.device(self.plan.device).type, torch.bfloat16):
            found = self.network(batch.noisy.contiguous(memory_format=torch.channels_last), batch.level)
        loss = LOSSES[self.plan.loss](found.float(), batch)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._clip()
        self.optimizer.step()
        self._follow()
        self.step += 1
        return float(loss.detach())

    def _clip(self) -> None:
        most = CLIP * self.norm
        norm = min(float(torch.nn.utils.clip_grad_norm_(self.network.parameters(), most)), most)
        self.norm = norm if math.isinf(self.norm) else NORM_DECAY * self.norm + (1 - NORM_DECAY) * norm

    def _follow(self) -> None:
        decay = min(AVERAGE_DECAY, (self.step + 1) / (self.step + 10))
        for name, value in self.network.state_dict().items():
            self.average[name].lerp_(value, 1 - decay)

    def averaged(self) -> Denoiser:
        """The network with the averaged weights."""
        network = Denoiser()
        network.load_state_dict(self.average)
        return network

    def begin_from(self, path: Path) -> None:
        """Start with the weights of a file instead of random ones."""
        self.network.load_state_dict(weights.load(path).state_dict())
        self.average = {name: value.clone() for name, value in self.network.state_dict().items()}

    def save(self, path: Path) -> None:
        """Write everything to `path`, whole or not at all."""
        state = {
            "network": self.network.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "step": self.step,
            "seconds": self.seconds,
            "best": self.best,
            "norm": self.norm,
        }
        torch.save(state, path.with_suffix(".new"))
        os.replace(path.with_suffix(".new"), path)

    def restore(self, path: Path) -> None:
        """Go on from what `save` wrote."""
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average = {name: value.to(self.plan.device) for name, value in state["average"].items()}
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.step, self.seconds, self.best = state["step"], state["seconds"], state["best"]
        self.norm = state.get("norm", math.inf)  # checkpoints of before it was followed lack it


def absolute(found: Tensor, batch: Batch) -> Tensor:
    """The mean absolute error."""
    error = (found - batch.clean).abs() * batch.counts
    return error.sum() / batch.counts.expand_as(error).sum()


def squared(found: Tensor, batch: Batch) -> Tensor:
    """The mean squared error of each patch over the level of its noise, which it is about proportional to, averaged."""
    return (_squared_errors(found, batch) / (batch.level.flatten() + LEAST_LEVEL)).mean()


def decibels(found: Tensor, batch: Batch) -> Tensor:
    """The logarithm of each patch's mean squared error, averaged: their mean PSNR but for its sign and scale.

    So patches with much noise, whose errors are larger, count no more than those with little (Chen et al. 2021, "HINet",
    section 3.3).
    """
    return (_squared_errors(found, batch) + LEAST_ERROR).log().mean()


def _squared_errors(found: Tensor, batch: Batch) -> Tensor:
    error = ((found - batch.clean) * batch.counts).square().sum((1, 2, 3))
    return error / batch.counts.expand_as(batch.clean).sum((1, 2, 3))


LOSSES = {"absolute": absolute, "squared": squared, "decibels": decibels}


def schedule(step: int, done: float) -> float:
    """Share of the learning rate: a linear warm-up, and a half cosine down to 0 where `done` is 1."""
    return min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


@torch.no_grad()
def validate(network: Denoiser, photos: Photos) -> float:
    """Mean PSNR in dB on the grey centres of `photos`, with noise of 25 that is the same every time."""
    generator = torch.Generator().manual_seed(0)
    scores = []
    for rgb in photos.centres(VALIDATION_CROP):
        sigma = torch.tensor([VALIDATION_NOISE / 255])
        batch = noisy_batch(rgb[None], torch.tensor([True]), sigma, generator)
        error = (network(batch.noisy, batch.level) - batch.clean)[:, 0]
        scores.append(-10 * error.square().mean().log10().item())
    return float(np.mean(scores))


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    problem = _problem(given)
    if problem:
        parser.error(problem)
    torch.set_num_threads(given.threads)
    photos = load_folder(given.photos)
    if photos.narrowest < given.patch:
        parser.error(f"a photograph of {photos.narrowest} pixels on one side: {given.patch} are expected (--patch)")
    work = Path(given.work)
    work.mkdir(parents=True, exist_ok=True)
    seen, held = photos.split(HELD_OUT)
    names = ("steps", "minutes", "learning_rate", "batch", "patch", "seed", "device", "loss")
    plan = Plan(**{name: getattr(given, name) for name in names})
    training = Training(seen, plan)
    if (work / "checkpoint.pt").exists():
        training.restore(work / "checkpoint.pt")
    elif given.start:
        training.begin_from(Path(given.start))
    _say(
        f"{len(seen)} photographs of {seen.megapixels:.0f} megapixels, {len(held)} for validation, step {training.step}"
    )
    while training.done < 1:
        training.advance(CHECKPOINT_STEPS)
        _keep(training, held, work)
    return 0


def _keep(training: Training, held: Photos, work: Path) -> None:
    score = validate(training.averaged(), held)
    weights.save(training.averaged(), work / "weights.safetensors")
    if score > training.best:
        training.best = score
        weights.save(training.averaged(), work / "best.safetensors")
    training.save(work / "checkpoint.pt")
    _say(
        f"step {training.step}  loss {training.loss:.5f}  validation {score:.3f} dB  {training.seconds:.0f} s"
        f"  {training.done:.0%}"
    )


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _problem(given: argparse.Namespace) -> str:
    """What is wrong with the arguments, in words; "" where nothing is."""
    for name in ("steps", "minutes", "learning_rate", "batch", "patch", "threads"):
        value = getattr(given, name)
        if value is not None and not value > 0:
            return f"--{name.replace('_', '-')} {value}: a number above 0 is expected"
    if given.patch > LEAST or given.patch % MULTIPLE:
        return f"--patch {given.patch}: a multiple of {MULTIPLE} up to {LEAST} is expected"
    for path in (*given.photos, *([given.start] if given.start else [])):
        if not Path(path).exists():
            return f"{path}: there is no such file or folder"
    try:
        torch.zeros(1, device=given.device)
    except (RuntimeError, AssertionError) as error:
        return f"--device {given.device}: {str(error).partition(chr(10))[0]}"
    found = len(files_among(given.photos))
    if found < FEWEST_PHOTOS:
        return f"{found} photographs: {FEWEST_PHOTOS} or more are expected, one of them for validation"
    return ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vivavoce.labs.denoise.train", description="Trains the denoiser's network.")
    parser.add_argument("photos", nargs="+", help="photographs, or folders of them")
    parser.add_argument("--work", required=True, help="folder for checkpoints and weights")
    parser.add_argument("--steps", type=int, default=20_000, help="until when, from the first step")
    parser.add_argument("--minutes", type=float, help="train for so long instead, whatever number of steps that is")
    parser.add_argument("--from", dest="start", metavar="FILE", help="begin with these weights (safetensors)")
    parser.add_argument("--learning-rate", type=float, default=LEARNING_RATE)
    parser.add_argument("--loss", choices=LOSSES, default="absolute")
    parser.add_argument("--batch", type=int, default=BATCH, help="patches a step")
    parser.add_argument("--patch", type=int, default=PATCH, help="pixels, width and height of a patch")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser


if __name__ == "__main__":
    sys.exit(main())
