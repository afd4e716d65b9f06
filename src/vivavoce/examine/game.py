"""The game between two networks, as the recorded signals have it: who plays, how alike made and real are, who is ahead."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vivavoce.examine.progress import Progress
from vivavoce.examine.reading import critics, held, maker_of, stepped_optimizers, weights_of
from vivavoce.measure.robust import Floats, median
from vivavoce.record.entities import Model, Optimizer
from vivavoce.record.run import Run
from vivavoce.record.tracks import Track

RIVALS = 2  # optimizers that take turns; with more, it must be known whose is whose
FEWEST_SAMPLES = 6  # sampled steps
FEWEST_LATE = 3  # of them in the second half of the run: what a generator makes at its beginning is all alike
STILL = 0.01  # of its weights, over the whole run: a critic that moves less is no rival; measured: healthy 1 and more
LATEST = 0.45  # of the run: samples at doubling distances leave the last one in its second half, give or take a step
SETTLED = 0.125  # of the run: of a short one, whose samples come at doubling distances, those from here on must agree


@dataclass(frozen=True)
class Game:
    """Medians over the later half of the run, or of its latest phase.

    Of a short run with hardly a sample there, the healthiest of the later ones: `steady` is False, and only what all of them
    show can be said.

    `diversity`: spread of what is made over that of the data; `growth` of it, last over second quarter. `separation`: how well
    the scores tell the two apart. `distance` of what is made from the data (0 equal … 1), and what is `left` of it, last over
    second quarter. `coverage` and `precision`: shares of the data's neighbourhoods that hold something made, and of what
    is made that lies in them; `gain` of the coverage, last over second quarter. NaN where a number was not recorded.
    """

    critic: Model
    generator: Model | None
    diversity: float
    growth: float
    separation: float
    distance: float
    left: float
    coverage: float
    precision: float
    gain: float
    samples: int
    steady: bool = True

    @property
    def since(self) -> str:
        """The part of the run that the numbers are from, as a sentence begins."""
        return "In the second half of the run" if self.steady else "After an eighth of the run"

    def numbers(self) -> dict[str, float]:
        """The numbers by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, float)}


def game_of(run: Run) -> Game | None:
    """The game between two networks with optimizers of their own; None where there is none, or too little was seen."""
    progress = Progress.of(run)
    known = critics(run)
    tracks = [t for t in run.tracks("adversary") if t.owner and t.owner[1] in known and _separate(run, t.owner[1])]
    track = max(tracks, key=lambda track: (_scored(track), _seen(track)), default=None)
    if track is None or _seen(track) < FEWEST_SAMPLES or progress is None or progress.players < 2:
        return None
    if _seen_from(track, run.steps / 2) >= FEWEST_LATE:
        return _game(run, track, first_step=0, steady=True)
    if _seen_from(track, LATEST * run.steps) and _seen_from(track, SETTLED * run.steps) >= FEWEST_LATE:
        return _game(run, track, first_step=SETTLED * run.steps, steady=False)
    return None


def _game(run: Run, track: Track, first_step: float, *, steady: bool) -> Game:
    critic = run.models[track.owner[1] if track.owner else 0]
    rows = track.mean[np.isfinite(track.column("made_spread").mean) & (track.steps >= first_step)]
    columns = dict(zip(track.columns, rows.T, strict=True))
    made = columns["made_spread"]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = made / _real_spread(columns, made)
    missing = np.full(len(rows), np.nan)
    distance = columns.get("distance", missing)
    coverage, precision = (columns.get(name, missing) for name in ("coverage", "precision"))
    change = _change if steady else _whole_change
    high, low = (_late, _late) if steady else (np.max, np.min)
    return Game(
        critic,
        _generator(run, critic),
        float(high(ratio)),
        change(ratio),
        float(low(columns["separation"])),
        float(low(distance)),
        change(distance),
        float(high(coverage)),
        float(low(precision)),
        change(coverage),
        len(rows),
        steady,
    )


def _separate(run: Run, critic: int) -> bool:
    """Two optimizers step; or more, of which one each moves critic and maker, and no other model of the pair."""
    optimizers = stepped_optimizers(run)
    if len(optimizers) <= RIVALS:
        return len(optimizers) == RIVALS
    maker = maker_of(run, critic)
    if maker is None:
        return False
    moved = [{run.parameters[id].model for id in held(o) if id in run.parameters} for o in optimizers]
    ours, theirs = ([models for models in moved if model in models] for model in (maker, critic))
    return len(ours) == len(theirs) == 1 and critic not in ours[0]


def _seen(track: Track) -> int:
    return len(track.column("made_spread").finite)


def _scored(track: Track) -> int:
    """Samples in which it gave a score: a generator that turns pictures into pictures is shown data and made ones, too."""
    return len(track.column("separation").finite)


def _seen_from(track: Track, step: float) -> int:
    """Samples from a step on: of a very small network mostly the beginning is sampled."""
    return int((track.steps[np.isfinite(track.column("made_spread").mean)] >= step).sum())


def _real_spread(columns: dict[str | int, Floats], made: Floats) -> Floats:
    """The spread of the data; of older stores the given batch least like what is made."""
    if "real_spread" in columns:
        return columns["real_spread"]
    low, high = columns["given_low"], columns["given_high"]
    return np.where(np.abs(np.log(low / made)) > np.abs(np.log(high / made)), low, high)


def _generator(run: Run, critic: Model) -> Model | None:
    """Who made what the critic was shown; where that is not known the largest other model that is moved."""
    maker = maker_of(run, critic.id)
    if maker is not None:
        return run.models[maker]
    others: dict[int, int] = {}
    for optimizer in stepped_optimizers(run):
        for parameter in (run.parameters[id] for id in held(optimizer) if id in run.parameters):
            if parameter.model is not None and parameter.model != critic.id:
                others[parameter.model] = others.get(parameter.model, 0) + parameter.numel
    best = max(others, key=lambda id: others[id], default=None)
    return None if best is None else run.models.get(best)


def _late(values: Floats) -> float:
    return median(values[len(values) // 2 :])


def stands_still(run: Run, game: Game) -> bool:
    """The critic's weights hardly move over the whole run, although an optimizer steps them."""
    optimizer = optimizer_of(run, game.critic)
    weights = weights_of(run, optimizer) if optimizer else None
    return weights is not None and median(weights.typical_update) * run.steps < STILL


def _change(values: Floats) -> float:
    """The last over the second quarter; 1 where that means nothing, NaN where nothing was recorded."""
    n = len(values)
    before, after = median(values[n // 4 : n // 2]), median(values[3 * n // 4 :])
    return after / before if before > 0 or np.isnan(before) else 1.0


def _whole_change(values: Floats) -> float:
    """The last value over the first, with the same exceptions."""
    return float(values[-1] / values[0]) if values[0] > 0 or np.isnan(values[0]) else 1.0


def optimizer_of(run: Run, model: Model | None) -> Optimizer | None:
    """The optimizer that holds most of a model's parameters."""
    if model is None:
        return None
    own = {parameter.id: parameter.numel for parameter in run.parameters.values() if parameter.model == model.id}
    shares = {optimizer.id: sum(own.get(id, 0) for id in held(optimizer)) for optimizer in stepped_optimizers(run)}
    best = max(shares, key=lambda id: shares[id], default=None)
    return run.optimizers[best] if best is not None and shares[best] else None
