"""The lab of question 2 on noise: what a network has learned of photographs, put to use."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vivavoce.labs.denoise import pictures, proof, weights
from vivavoce.labs.denoise.files import STREAM, Job, plan
from vivavoce.labs.denoise.network import Denoiser
from vivavoce.labs.denoise.restore import Manner, estimate, restore
from vivavoce.labs.figures import ImagePlot
from vivavoce.labs.lab import Context, Lab, LabError, Option, Result, Table

AUTO = "auto"
MOST_NOISE = 55.0  # of 255: the network has seen no more
MOST_MAPS = 4  # pictures whose map of noise a page shows


@dataclass(frozen=True)
class Done:
    """What is said of a picture that was restored; its pixels are in the file alone, so that any number of them will do."""

    job: Job
    level: float
    removed: NDArray[np.float64]  # as in Restored
    shape: tuple[int, ...]
    bits: int
    seconds: float


class Denoise(Lab):
    """Finds the noise in photographs and removes it."""

    name = "denoise"
    question = "What is a neural network, and what has it learned?"
    textbook = (
        "A chain of simple functions whose numbers were fitted to examples. One that was shown photographs with and "
        "without noise has learned what photographs look like; what it finds unlike one, it takes for noise."
    )
    input_help = "a photograph (PNG, JPEG, TIFF), a folder of them, or - for standard input"
    options = (
        Option("noise", "Level of the noise: its standard deviation in units of 1/255, or auto.", str, AUTO, "LEVEL"),
        Option("ensemble", "Average eight turned and mirrored runs: slower, a little better.", bool),
        Option("exact", "Compute in float32, also where the processor is faster in bfloat16.", bool),
    )
    product = (
        "The clean picture, or the folder of them; - is standard output. [default: beside the input, with -denoised]"
    )
    examples = (
        "viva lab denoise photo.png -o clean.png",
        "viva lab denoise scans/ -o clean/ --noise 12",
        "viva lab denoise - < photo.jpg > clean.jpg",
    )

    def prove(self, context: Context) -> Result:
        """Pictures made by rule, with known noise: is it found, and is it removed?"""
        if context.output is not None:
            raise LabError(f"-o {context.output}: there is nothing to write without an INPUT")
        network = weights.load()
        trials = proof.trials(network, context)
        gain = np.mean([trial.after - trial.before for trial in trials])
        answer = (
            f"It is {_parameters(network):,} numbers, fitted to photographs. On pictures it has never seen it finds how "
            f"much noise there is and brings them {gain:.1f} dB nearer to the truth on average."
        )
        return Result(
            answer,
            proof.claims(network, trials, context),
            [_trial_table(trials)],
            proof.figures(trials),
            data={"trials": [vars(trial) for trial in trials]},
        )

    def apply(self, source: str, context: Context) -> Result:
        """Restore the picture, or all pictures of the folder, and write them."""
        level = _level(context.options["noise"])
        jobs = plan(source, context.output, context.force)
        network = weights.load()
        done, failed = [], []
        for job in jobs:
            try:
                done.append(_restored(network, job, level, context))
            except LabError as error:
                if len(jobs) == 1:
                    raise
                failed.append(str(error))
        if not done:
            raise LabError(f"none of {len(jobs)} pictures could be read; the first: {failed[0]}")
        return _result(done, failed)


def _parameters(network: Denoiser) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _level(given: str) -> float | None:
    """The level in units of 1/255, None for auto. Raises LabError for anything else."""
    if given == AUTO:
        return None
    try:
        level = float(given)
    except ValueError:
        level = float("nan")
    if not 0 <= level <= MOST_NOISE:
        raise LabError(f"--noise {given!r}: {AUTO} or a number from 0 to {MOST_NOISE:.0f} is expected")
    return level


def _restored(network: Denoiser, job: Job, level: float | None, context: Context) -> Done:
    began = time.perf_counter()
    picture = pictures.read(job.read(), job.name)
    pixels = picture.pixels
    try:
        level = min(estimate(pixels), MOST_NOISE) if level is None else level
    except ValueError as error:
        raise LabError(f"{job.name}: {error}; give its noise with --noise") from None
    work = float(pixels.shape[0] * pixels.shape[1])
    with context.progress.task(job.name, work) as advance:
        manner = Manner(context.options["ensemble"], context.options["exact"])
        restored = restore(network, pixels, level, manner, advance)
    clean = picture.with_pixels(restored.pixels)
    try:
        data = pictures.write(clean, job.format(picture.format))
    except LabError as error:
        raise LabError(f"{job.target or STREAM}: {error}") from None
    job.write(data)
    bits, seconds = 8 * pixels.dtype.itemsize, time.perf_counter() - began
    return Done(job, restored.level, restored.removed, pixels.shape, bits, seconds)


def _result(done: Sequence[Done], failed: Sequence[str]) -> Result:
    return Result(
        _answer(done, failed),
        tables=[_table(done)],
        figures=[_map(index, item) for index, item in enumerate(done[:MOST_MAPS])],
        notes=[f"Left out: {problem}" for problem in failed],
        data={"pictures": [_data(item) for item in done], "left_out": list(failed)},
    )


def _answer(done: Sequence[Done], failed: Sequence[str]) -> str:
    levels = [item.level for item in done]
    left = f" {len(failed)} could not be used." if failed else ""
    if len(done) == 1:
        removed = _removed(done[0])
        return f"The noise has a standard deviation of {levels[0]:.1f} of 255; {removed:.1f} was removed.{left}"
    return (
        f"{len(done)} pictures were restored; their noise has a standard deviation of {min(levels):.1f} to "
        f"{max(levels):.1f} of 255.{left}"
    )


def _removed(item: Done) -> float:
    """Standard deviation of all that was taken away, of 255."""
    return float(np.sqrt(np.mean(item.removed**2)))


def _table(done: Sequence[Done]) -> Table:
    rows = [
        [
            item.job.name,
            f"{item.shape[1]} × {item.shape[0]}, {'colour' if item.shape[2] == 3 else 'grey'}, {item.bits} bits",
            f"{item.level:.2f}",
            f"{_removed(item):.2f}",
            f"{item.seconds:.1f}",
            "standard output" if item.job.target is None else str(item.job.target),
        ]
        for item in done
    ]
    heads = ["picture", "size", "noise (of 255)", "removed (of 255)", "seconds", "written to"]
    return Table("What was found and removed", heads, rows)


def _map(index: int, item: Done) -> ImagePlot:
    height, width = item.shape[:2]
    return ImagePlot(
        f"map-{index}",
        f"Noise in {item.job.name}",
        "Standard deviation of what was removed, in squares of 32 pixels, in units of 1/255.",
        "pixels from the left",
        "pixels from the bottom",
        "of 255",
        item.removed[::-1],
        (0.0, float(width)),
        (0.0, float(height)),
    )


def _data(item: Done) -> dict[str, object]:
    return {
        "picture": item.job.name,
        "written_to": None if item.job.target is None else str(item.job.target),
        "shape": list(item.shape),
        "bits": item.bits,
        "noise": item.level,
        "removed": _removed(item),
        "map": item.removed,
        "seconds": item.seconds,
    }


def _trial_table(trials: Sequence[proof.Trial]) -> Table:
    rows = [
        [
            "grey" if trial.channels == 1 else "colour",
            f"{trial.level:.0f}",
            f"{trial.estimated:.2f}",
            *(f"{value:.2f}" for value in (trial.before, trial.smoothed, trial.after)),
        ]
        for trial in trials
    ]
    heads = ["picture", "noise", "found", "noisy (dB)", "best blur (dB)", "restored (dB)"]
    return Table("Pictures of fallen leaves with known noise (of 255)", heads, rows)
