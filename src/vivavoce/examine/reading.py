"""Small helpers that detectors share: places in words, names in order, gradient norms of a whole step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from vivavoce.examine.finding import Where
from vivavoce.measure.robust import median
from vivavoce.record.entities import Loss, Optimizer, Parameter, Site
from vivavoce.record.run import Run
from vivavoce.record.tracks import Track

SHORTEST_PHASE = 10  # steps: fewer are an end, not a phase that could be judged by itself
REGRESSIONS = frozenset({"mse_loss", "smooth_l1_loss", "huber_loss", "l1_loss"})
LAYERS = frozenset({"Linear", "Bilinear", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d", "RNN",
                    "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell", "Embedding", "EmbeddingBag", "MultiheadAttention"})  # fmt: skip
NO_GRADIENT = -1.0  # what gradient_norm holds where a parameter's gradient is None


def at(site: Site | None, otherwise: str = "the training loop") -> str:
    """A place as people write it: "train.py:57"."""
    return f"{PurePath(site.file).name}:{site.line}" if site else otherwise


def where(site: Site | None = None, **place: object) -> Where:
    """A `Where` at a source line, with any of its other fields."""
    return Where(file=site.file if site else None, line=site.line if site else None, **place)  # type: ignore[arg-type]


def some(names: list[str], most: int = 3) -> str:
    """A short list in words: "a, b, c and 4 more"."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def layer_of(parameter: Parameter) -> str:
    """The qualified name of the module that owns a parameter."""
    return parameter.name.rpartition(".")[0] or parameter.name


def scalars(parameters: list[Parameter]) -> int:
    """Number of scalars in the parameters."""
    return sum(parameter.numel for parameter in parameters)


def is_weight(parameter: Parameter) -> bool:
    """A matrix or kernel: biases and normalisation gains start at zero or one and say little of scale."""
    return len(parameter.shape) >= 2 and parameter.numel > 1


def of_no_layer(parameter: Parameter) -> bool:
    """A matrix that no layer of PyTorch's holds, with several units, whichever of its dimensions they are."""
    return parameter.module_class not in LAYERS and len(parameter.shape) == 2 and min(parameter.shape) > 1


@dataclass(frozen=True)
class Norms:
    """The gradient of all parameters of an optimizer at each recorded step.

    Shapes (n,): `steps`; `typical`, the L2 norm; `peak`, its largest value where the row stands for many;
    `nonfinite`, values that were NaN or infinite.
    """

    steps: NDArray[np.int64]
    typical: NDArray[np.float64]
    peak: NDArray[np.float64]
    nonfinite: NDArray[np.int64]
    unit: str = "L2 norm"


def gradient_norms(run: Run, optimizer: Optimizer) -> Norms:
    """The norm of the whole gradient at each recorded step, from the norms of the parameters."""
    tracks = run.tracks_of("gradient_norm", ("optimizer", optimizer.id))
    parts = [_total(track) for track in tracks if len(track)]
    if not parts:
        empty = np.zeros(0)
        return Norms(np.zeros(0, np.int64), empty, empty, np.zeros(0, np.int64))
    steps, typical, peak, nonfinite = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.argsort(steps, kind="stable")
    return Norms(steps[order], typical[order], peak[order], nonfinite[order])


def _total(track: Track) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    broken = track.nonfinite.sum(axis=1)
    with np.errstate(over="ignore"):
        typical = np.sqrt(np.sum(np.clip(track.mean, 0, None) ** 2, axis=1))
        peak = np.sqrt(np.sum(np.clip(track.maximum, 0, None) ** 2, axis=1))
    return track.steps, typical, peak, broken


def finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The finite values."""
    return values[np.isfinite(values)]


def longest(tracks: list[Track]) -> Track | None:
    """The track with the most rows: the one of the columns that lasted."""
    return max((track for track in tracks if len(track)), key=len, default=None)


def optimizer_track(run: Run, name: str, optimizer: Optimizer) -> Track | None:
    """The longest track of an optimizer's signal."""
    return longest(run.tracks_of(name, ("optimizer", optimizer.id)))


def main_optimizer(run: Run) -> Optimizer | None:
    """The optimizer with the most scalars among those that stepped."""
    return max(
        stepped_optimizers(run),
        key=lambda o: scalars([run.parameters[i] for i in held(o) if i in run.parameters]),
        default=None,
    )


def stepped_optimizers(run: Run) -> list[Optimizer]:
    """The optimizers whose gradients were recorded in the last phase, in the order they were made."""
    begun = last_phase(run)
    ids = {t.owner[1] for t in run.tracks("gradient_norm") if t.owner and len(t) and int(t.steps[-1]) > begun}
    return [run.optimizers[id] for id in sorted(ids) if id in run.optimizers]


def last_phase(run: Run) -> int:
    """The step after which the last phase begins, 0 where there is one phase: pre-training ends, fine-tuning begins.

    A phase is new where all optimizers that stepped before step no more, and others do.
    """
    spans: dict[object, tuple[int, int]] = {}
    for track in run.tracks("step"):
        if len(track):
            first, last = spans.get(track.owner, (int(track.steps[0]), int(track.steps[-1])))
            spans[track.owner] = min(first, int(track.steps[0])), max(last, int(track.steps[-1]))
    begun, ended, waiting = 0, -1, -1  # `ended`: when the last of those that began before this one did
    earlier: int | None = None
    for first, last in sorted(spans.values()):
        if first != earlier:
            ended, earlier = max(ended, waiting), first
        if 0 <= ended <= first and last - first >= SHORTEST_PHASE:
            begun = max(begun, ended)
        waiting = max(waiting, last)
    return begun


def critics(run: Run) -> set[int]:
    """Ids of the models that are shown both what another network made and data, to tell them apart."""
    tracks = [track for track in run.tracks("adversary") if track.owner and len(track.column("made_spread").finite)]
    found = {track.owner[1] for track in tracks if track.owner} & set(run.models)
    return set() if found and estimates_values(run) else found


def maker_of(run: Run, critic: int) -> int | None:
    """The id of the model that made what a critic is shown; None where it was changed on the way, and in older stores."""
    seen = [
        int(value)
        for track in run.tracks_of("adversary", ("model", critic))
        if "maker" in track.columns
        for value in track.column("maker").finite.mean
        if value in run.models  # means of several ids are none
    ]
    return max(set(seen), key=seen.count, default=None)


def estimates_values(run: Run) -> bool:
    """A critic is fitted to numbers that differ from example to example: it rates actions (actor and critic), and no fakes."""
    trained = {track.owner[1] for track in run.tracks("train/function_loss") if track.owner and len(track)}
    return any(_fits_numbers(run, run.losses[id]) for id in trained if id in run.losses)


def _fits_numbers(run: Run, loss: Loss) -> bool:
    one_number = loss.target_shape[1:] in ((), (1,))
    if loss.function not in REGRESSIONS or not one_number:
        return False
    return median(run.series("target", ("loss", loss.id), "std").mean) > 0


def held(optimizer: Optimizer) -> list[int]:
    """Ids of the parameters an optimizer holds."""
    return [id for group in optimizer.groups for id in group.get("parameters", ())]


@dataclass(frozen=True)
class Weights:
    """The weight matrices and kernels of an optimizer, first layer first, at steps where their norms were sampled.

    Shapes: `steps` (n,); `gradient`, `weight`, `update` (n, k) for k parameters: norms, and ‖Δw‖/‖w‖.
    """

    parameters: tuple[Parameter, ...]
    steps: NDArray[np.int64]
    gradient: NDArray[np.float64]
    weight: NDArray[np.float64]
    update: NDArray[np.float64]

    @property
    def relative(self) -> NDArray[np.float64]:
        """‖g‖/‖w‖ (n, k); NaN where a parameter has no gradient or no weight."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where((self.gradient >= 0) & (self.weight > 0), self.gradient / self.weight, np.nan)

    @property
    def typical_update(self) -> NDArray[np.float64]:
        """The median over the parameters of ‖Δw‖/‖w‖ at each step, (n,); beside weights that began at zero any step is large."""
        grown = self.weight[0] != 0
        return _row_median(self.update[:, grown] if grown.any() else self.update)


def weights_of(run: Run, optimizer: Optimizer) -> Weights | None:
    """The sampled norms of an optimizer's weights; None where none were recorded."""
    gradient, weight, update = (
        optimizer_track(run, name, optimizer) for name in ("gradient_norm", "weight_norm", "update_ratio")
    )
    if gradient is None or weight is None or update is None:
        return None
    ids = [int(id) for id in weight.columns if id in run.parameters and is_weight(run.parameters[int(id)])]
    ids = [id for id in ids if id in gradient.columns and id in update.columns]
    steps = np.intersect1d(np.intersect1d(gradient.steps, weight.steps), update.steps)
    if not ids or not len(steps):
        return None
    return Weights(
        tuple(run.parameters[id] for id in ids),
        steps,
        *(_rows(track, steps, ids) for track in (gradient, weight, update)),
    )


def _rows(track: Track, steps: NDArray[np.int64], ids: list[int]) -> NDArray[np.float64]:
    index = np.searchsorted(track.steps, steps)
    columns = [track.columns.index(id) for id in ids]
    return track.mean[index][:, columns]


def _row_median(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The median of the finite values of each row; NaN for a row without any."""
    return np.array([np.median(row[np.isfinite(row)]) if np.isfinite(row).any() else np.nan for row in values])


def column_median(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The median of the finite values of each column; NaN for a column without any."""
    return _row_median(values.T)


def unclipped_norms(run: Run, optimizer: Optimizer) -> Norms:
    """The norm of the whole gradient before clipping, where clipping was seen; as step() found it, elsewhere."""
    clipped = run.series("clip", None, "norm_before")
    norms = gradient_norms(run, optimizer)
    if not len(clipped) or len(run.optimizers) > 1:
        return norms
    return Norms(clipped.steps, clipped.mean, clipped.maximum, clipped.nonfinite, "L2 norm before clipping")


def learning_rate(optimizer: Optimizer) -> float | None:
    """The largest learning rate of the groups; None where it is not recorded."""
    rates = [
        group["learning_rate"] for group in optimizer.groups if isinstance(group.get("learning_rate"), (int, float))
    ]
    return float(max(rates)) if rates else None


def with_rate(optimizer: Optimizer, rate: float) -> str:
    """The edit that sets a learning rate where the optimizer was made."""
    return (
        f"{optimizer.class_name}(…, lr={rate:.2g})  # at {at(optimizer.site, 'the place where the optimizer is made')}"
    )


def first_nonfinite(run: Run) -> int | None:
    """The first step whose loss or gradient was NaN or infinite."""
    steps = [
        int(track.steps[track.nonfinite.any(axis=1)][0])
        for name in ("train/loss", "gradient_norm")
        for track in run.tracks(name)
        if track.nonfinite.any()
    ]
    return min(steps, default=None)


def finished(run: Run) -> bool:
    """The run is over: it says so, or (recorded without a clock) it does not say when it started."""
    return "finished" in run.meta or "started" not in run.meta
