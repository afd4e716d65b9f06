"""What one network is shown in a step: batches that another network made beside batches of data, and its scores of both.

Nothing says which batch is which, and nothing may wait for the device to find out. A batch is known to be made where it
carries a graph, or where its first example is one that a model has put out in this step (detached, made without
gradient, or joined to the data: no matter). Of the others the one farthest from what is made is the data: half-way
batches, as gradient penalties use them, lie nearer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vivavoce.attach import numbers

ROWS = 128  # examples of a batch that are compared
WIDTH = 1_024  # numbers of each
LEAST_EXAMPLES = 4  # examples a batch must have for its spread to mean anything
LEAST_FOR_BALLS = 16  # examples below which neighbourhoods mean nothing
NEAREST = 3  # neighbours that a neighbourhood reaches to (Kynkäänniemi et al. 2019)
MOST_GIVEN, MOST_MADE = 8, 2  # batches without and with a graph that are kept in a step
MOST_OUTPUTS = 16
COLUMNS = ("made_spread", "given_low", "given_high", "separation", "real_spread", "distance", "coverage", "precision", "confirmed", "maker")  # fmt: skip
NOBODY = -1.0  # the maker of a batch that is none of the outputs seen


@dataclass(frozen=True)
class Batch:
    """Up to `ROWS` examples that a model was called with: `rows` (n, w), one score each or none, `made` (), 0 or 1.

    `graph` says that it carries a graph, which shows that it was made; `maker` () is the id of the model that has put it out.
    """

    graph: bool
    rows: Tensor
    scores: Tensor | None
    made: Tensor | None  # None where it cannot be: nothing of that shape was put out
    maker: Tensor


@dataclass(frozen=True)
class Output:
    """What identifies a batch that a model has put out: its number of examples, their size, and the first one."""

    model: int
    examples: int
    size: int
    first: Tensor


class Rivals:
    """The batches of one sampled step, by the model that was called with them."""

    def __init__(self) -> None:
        self._outputs: list[Output] = []
        self._batches: dict[int, list[Batch]] = {}

    def put_out(self, model: int, value: Any) -> None:
        """A model as a whole has put out `value`, with or without a graph."""
        if len(self._outputs) < MOST_OUTPUTS and _comparable(value):
            self._outputs.append(Output(model, value.shape[0], _size(value), thinned(value[:1])[0]))

    def called(self, model: int, value: Tensor, output: Any) -> None:
        """A model as a whole was called with `value` and gave `output`."""
        if not _comparable(value):
            return
        examples = value.shape[0]
        scores = output.detach().reshape(-1).float() if _is_score(output, examples) else None
        others = [known for known in self._outputs if known.model != model and known.size == _size(value)]
        joined = any(known.examples * 2 == examples for known in others)
        for part in _halves(examples) if joined else (slice(None),):
            graph = value.grad_fn is not None and not joined
            self._keep(model, value.detach()[part], None if scores is None else scores[part], graph, others)

    def _keep(self, model: int, value: Tensor, scores: Tensor | None, graph: bool, others: list[Output]) -> None:
        kept = self._batches.setdefault(model, [])
        alike = [batch for batch in kept if batch.graph == graph]
        if len(alike) >= (MOST_MADE if graph else MOST_GIVEN):
            if not graph:
                return
            kept.remove(alike[0])
        rows = thinned(value)
        maker = _maker(rows[0], others)
        made = rows.new_ones(()) if graph else None if maker is None else (maker != NOBODY).float()
        nobody = rows.new_full((), NOBODY)
        kept.append(
            Batch(graph, rows, None if scores is None else scores[:ROWS], made, nobody if maker is None else maker)
        )

    def rows(self) -> dict[int, Tensor]:
        """For each model that was shown what another one made, and something else: a row of `COLUMNS`. Forgets the step."""
        batches, self._batches, self._outputs = self._batches, {}, []
        found = {model: compared(seen) for model, seen in batches.items()}
        return {model: row for model, row in found.items() if row is not None}


def compared(batches: Sequence[Batch]) -> Tensor | None:
    """The row of `COLUMNS`, float32; NaN where a number cannot be told. None where there is nothing to compare.

    Spreads are mean distances within a batch; `distance` is 1 − (spread made + spread real) / (2 · mean distance
    between), 0 for equal distributions (energy distance, Székely & Rizzo 2013, over its largest value).
    """
    shape = ([batch for batch in batches if batch.graph] or batches)[-1].rows.shape
    batches = [batch for batch in batches if batch.rows.shape == shape]
    if all(batch.graph for batch in batches) or all(batch.made is None for batch in batches):
        return None
    rows = torch.stack([batch.rows for batch in batches])
    made = torch.stack([rows.new_zeros(()) if batch.made is None else batch.made for batch in batches])
    spreads = torch.stack([torch.pdist(batch.rows).mean() for batch in batches])
    place = torch.arange(len(batches), device=made.device, dtype=made.dtype)
    last = (made * (1 + place)).argmax()
    distances = _distances(rows, spreads, last)
    real = torch.where(made > 0, -torch.inf, distances.nan_to_num(-1.0)).argmax()
    rival = torch.where(made > 0, -(place - real).abs(), -torch.inf).argmax()
    outside = torch.tensor([not batch.graph for batch in batches], device=made.device)
    known = made.any() & (made == 0).any()
    confirmed = (made[outside] > 0).any().float()
    coverage, precision = _balls(_pick(rows, real), _pick(rows, last))
    numbers_ = [
        _pick(spreads, last),
        spreads[outside].min(),
        spreads[outside].max(),
        _separation(batches, real, rival),
        _pick(spreads, real),
        _pick(distances, real),
        coverage,
        precision,
    ]
    maker = _pick(torch.stack([batch.maker for batch in batches]), last)
    row = torch.stack([*(torch.where(known, number, torch.nan) for number in numbers_), confirmed, maker])
    return row.float()


def _maker(first: Tensor, outputs: Sequence[Output]) -> Tensor | None:
    """The model, as a number (), that has put out a batch with this first example, else `NOBODY`; None without outputs."""
    found = [
        torch.where((known.first.to(first.device) == first).all(), float(known.model), NOBODY)
        for known in outputs
        if known.first.shape == first.shape
    ]
    return torch.stack(found).max() if found else None


def _distances(rows: Tensor, spreads: Tensor, last: Tensor) -> Tensor:
    """The distance of every batch (b, n, w) from the one at `last`, shape (b,)."""
    between = torch.cdist(rows, _pick(rows, last)[None]).mean(dim=(1, 2))
    return 1 - (spreads + _pick(spreads, last)) / (2 * between)


def _pick(table: Tensor, index: Tensor) -> Tensor:
    """The entry at an index that is known to the device alone: `table[index]` would wait for it."""
    return table.index_select(0, index.reshape(1))[0]


def _balls(real: Tensor, made: Tensor) -> tuple[Tensor, Tensor]:
    """Coverage and precision (n, w), as `vivavoce.measure.sample_quality` has them; NaN of too few examples."""
    if len(real) < LEAST_FOR_BALLS:
        return real.new_full((), torch.nan), real.new_full((), torch.nan)
    own = torch.cdist(real, real).fill_diagonal_(torch.inf)
    radii = own.kthvalue(NEAREST, dim=1).values
    inside = torch.cdist(real, made) < radii[:, None]
    return inside.any(1).float().mean(), inside.any(0).float().mean()


def _separation(batches: Sequence[Batch], real: Tensor, rival: Tensor) -> Tensor:
    """The area under the ROC curve, the better of both directions: 0.5 cannot tell them apart, 1 always can."""
    scores = [batch.scores for batch in batches if batch.scores is not None]
    if len(scores) < len(batches):
        return real.new_full((), torch.nan, dtype=torch.float32)
    table = torch.stack(scores)
    difference = _pick(table, real)[:, None] - _pick(table, rival)[None, :]
    area = (difference > 0).float().mean() + 0.5 * (difference == 0).float().mean()
    return torch.maximum(area, 1 - area)


def thinned(value: Tensor) -> Tensor:
    """A copy of up to `ROWS` examples as (n, w) float32, of each at most `WIDTH` numbers, evenly picked."""
    kept = value.detach()[:ROWS]
    flat = kept.reshape(kept.shape[0], -1)
    stride = -(-flat.shape[1] // WIDTH)
    return flat[:, ::stride].float().clone()


def _comparable(value: Any) -> bool:
    return bool(
        numbers.is_plain(value)
        and value.is_floating_point()
        and value.ndim >= 2
        and value.shape[0] >= LEAST_EXAMPLES
        and value.numel()
    )


def _size(value: Tensor) -> int:
    return value.numel() // value.shape[0]


def _halves(examples: int) -> tuple[slice, slice]:
    return slice(0, examples // 2), slice(examples // 2, None)


def _is_score(output: Any, examples: int) -> bool:
    """One number an example."""
    return numbers.is_plain(output) and output.is_floating_point() and output.numel() == examples
