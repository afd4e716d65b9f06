"""What the published rules look at, read from a recorded run."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vivavoce.examine.reading import first_nonfinite, is_weight, main_optimizer, optimizer_track
from vivavoce.measure.chance import entropy
from vivavoce.record.run import Run
from vivavoce.record.tracks import Series
from vivavoce.report.build import longest_series

PARTS = 20  # parts of a run, where no loader tells its epochs
END = 0.1  # of the rows, for the levels at the end
MEAN_OF_NORMAL = math.sqrt(2 / math.pi)  # mean|x| of a normal variable of deviation 1: rules on mean|g| are given norms
START = 3  # samples that show the initialisation


class Signals:
    """One run as the rules see it. Arrays are (n, k) for n recorded steps and k weights, first layer first."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.optimizer = main_optimizer(run)

    @cached_property
    def broken(self) -> bool:
        """A loss or gradient was not finite."""
        return first_nonfinite(self.run) is not None

    @cached_property
    def gradient(self) -> NDArray[np.float64]:
        return self._weights("gradient_norm")[0]

    @cached_property
    def mean_gradient(self) -> NDArray[np.float64]:
        """mean|g|, reckoned from the norm as of normal values."""
        norms, sizes = self._weights("gradient_norm")
        return norms * MEAN_OF_NORMAL / np.sqrt(sizes)

    @cached_property
    def update(self) -> NDArray[np.float64]:
        """‖Δw‖/‖w‖."""
        return self._weights("update_ratio")[0]

    def _weights(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        track = optimizer_track(self.run, name, self.optimizer) if self.optimizer else None
        if track is None:
            return np.zeros((0, 0)), np.zeros(0)
        known = [(i, self.run.parameters[int(id)]) for i, id in enumerate(track.columns) if id in self.run.parameters]
        kept = [(i, parameter) for i, parameter in known if is_weight(parameter)]
        values = track.mean[:, [i for i, _ in kept]]
        return np.where(values >= 0, values, np.nan), np.array([parameter.numel for _, parameter in kept], float)

    @cached_property
    def losses(self) -> Series:
        return self.run.train_loss.finite

    @property
    def first_loss(self) -> float:
        return float(self.losses.mean[0]) if len(self.losses) else math.nan

    @property
    def highest_loss(self) -> float:
        return float(self.losses.maximum.max()) if len(self.losses) else math.nan

    @cached_property
    def epoch_losses(self) -> NDArray[np.float64]:
        """Mean loss of each epoch; of each twentieth of the run where there is no loader, or but one epoch."""
        loader = next((item for item in self.run.loaders.values() if item.role == "train" and item.batches), None)
        epochs = len(self.losses) // (loader.batches or 1) if loader else 0
        parts = np.array_split(self.losses.mean, epochs if epochs > 2 else min(PARTS, max(1, len(self.losses))))
        return np.array([part.mean() for part in parts if len(part)])

    @cached_property
    def epoch_accuracies(self) -> NDArray[np.float64]:
        """Validation accuracies; where there are none, those of sampled training batches."""
        validation = longest_series(self.run, "val/loss", "accuracy").finite.mean
        return validation if len(validation) > 2 else longest_series(self.run, "train/accuracy", "accuracy").finite.mean

    @property
    def last_losses(self) -> tuple[float, float]:
        """Training and validation loss at the end."""
        return _end(self.losses.mean), _end(longest_series(self.run, "val/loss", "loss").finite.mean)

    @property
    def last_accuracies(self) -> tuple[float, float]:
        """Training and validation accuracy at the end."""
        training = longest_series(self.run, "train/accuracy", "accuracy").finite.mean
        return _end(training), _end(longest_series(self.run, "val/loss", "accuracy").finite.mean)

    @property
    def classes(self) -> int:
        return max((loss.classes or 0 for loss in self.run.losses.values()), default=0)

    @property
    def rates(self) -> list[float]:
        """The highest learning rate of each optimizer."""
        return [float(t.maximum.max()) for t in self.run.tracks("learning_rate") if len(t)]

    @property
    def dead(self) -> list[float]:
        return self._shares("activation_dead")

    @property
    def saturated(self) -> list[float]:
        return self._shares("activation_saturated")

    def _shares(self, name: str) -> list[float]:
        """The median over the samples, of each module."""
        columns = [column[np.isfinite(column)] for track in self.run.tracks(name) for column in track.mean.T]
        return [float(np.median(column)) for column in columns if len(column)]

    @property
    def activation_scales(self) -> list[float]:
        """Deviations of the outputs of activation functions in the first samples."""
        scales = []
        for track in self.run.tracks("activation_std"):
            for id, column in zip(track.columns, track.mean.T, strict=True):
                module = self.run.modules.get(int(id))
                known = column[:START][np.isfinite(column[:START])]
                if module is not None and not module.parameters and len(known):
                    scales.append(float(np.median(known)))
        return scales

    @property
    def equal(self) -> list[float]:
        """Share of equal rows of each weight in the first sample."""
        return [float(v) for track in self.run.tracks("equal_units") for v in track.mean[0] if np.isfinite(v)]

    @property
    def variance_ratio(self) -> float:
        """Largest over smallest variance of the layers' weights at the start."""
        norms, sizes = self._weights("weight_norm")
        variances = norms[0] ** 2 / sizes if len(norms) else np.zeros(0)
        return float(variances.max() / variances.min()) if len(variances) > 1 and variances.min() > 0 else 1.0

    @property
    def input_mean(self) -> float:
        return self._input("mean")

    @property
    def input_low(self) -> float:
        return self._input("min")

    @property
    def input_high(self) -> float:
        return self._input("max")

    @property
    def input_constant(self) -> float:
        return self._input("constant_features")

    @property
    def input_nonfinite(self) -> bool:
        return self._input("nonfinite") > 0

    def _input(self, column: str) -> float:
        values = longest_series(self.run, "input", column).finite.mean
        return float(np.median(values)) if len(values) else math.nan

    @property
    def output_range(self) -> float:
        return self._range("prediction")

    @property
    def target_range(self) -> float:
        return self._range("target")

    def _range(self, name: str) -> float:
        high, low = (longest_series(self.run, name, column).finite.mean for column in ("max", "min"))
        return float(np.median(high) - np.median(low)) if len(high) and len(low) else math.nan

    @cached_property
    def class_counts(self) -> NDArray[np.float64]:
        tracks = [track for track in self.run.tracks("target_classes") if len(track)]
        return np.nansum(max(tracks, key=len).mean, axis=0) if tracks else np.zeros(0)

    @property
    def imbalance(self) -> float:
        """Count of the most frequent class over that of the rarest."""
        counts = self.class_counts[self.class_counts > 0]
        return float(counts.max() / counts.min()) if len(counts) > 1 else 1.0

    @property
    def perplexity_share(self) -> float:
        """exp of the labels' entropy over the number of classes."""
        counts = self.class_counts
        return math.exp(entropy(counts)) / len(counts) if len(counts) > 1 and counts.sum() else 1.0


def _end(values: NDArray[np.float64]) -> float:
    return float(np.median(values[-max(1, int(END * len(values))) :])) if len(values) else math.nan
