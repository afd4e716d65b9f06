"""Known truth for question 5: a growth rate that is known beforehand, and remedies tried one by one."""

from __future__ import annotations

from dataclasses import replace
from statistics import median

import numpy as np
import torch
from torch import nn

from vivavoce.labs.figures import Line, XYPlot
from vivavoce.labs.gradients_adder import (
    ALONE,
    BASELINE,
    CONSTANT_ERROR,
    LEARNS,
    LENGTH,
    SGD_RATE,
    TOGETHER,
    WIDTH,
    Fate,
    Recipe,
    make,
    make_batches,
    train,
)
from vivavoce.labs.lab import Claim, Context, Table, held
from vivavoce.measure.hessian import sharpness
from vivavoce.measure.recurrence import gradient_log_norms, measured_growth, predict_growth

RHOS = (1.02, 1.05, 1.1)
RATE_BAR = 0.01  # relative
RANDOM_GAIN = 1.5  # spectral radius of a random recurrence
SEEDS = (5, 2)  # full, quick
STEPS = (500, 420)  # enough for the LSTM to learn
WATCHED = (0.5, 0.9, 0.97, 1.0, 1.02, 1.1)  # scales of W whose fate is foretold
FAR_BEYOND = 100.0  # times 2/λmax; nearer, a ReLU network may lose its units, come to rest and survive
FORETOLD_STEPS = 200
LANCZOS = 0.01


def growth_claims(context: Context) -> tuple[list[Claim], XYPlot]:
    """The rate from the weights and states alone, against autograd in float64 and against ρ."""
    claims, lines = [], []
    time = np.arange(LENGTH, dtype=np.float64)
    for rho in RHOS:
        recipe = replace(BASELINE, rho=rho)
        model = make(recipe, context.seed)
        sequences, _ = next(make_batches(recipe, context.seed))
        found = predict_growth(_rnn(model.layer), sequences)
        claims.append(
            held(
                f"W = {rho:g}·I: the growth is known before the first step",
                f"{found.rate:.6f} a step, R² {found.r_squared:.4f}",
                f"{rho:g} (the Jacobian is {rho:g}·I)",
                abs(found.rate / rho - 1) < RATE_BAR,
                f"Over {found.steps} steps: × {found.factor:,.4g}.",
            )
        )
        norms = gradient_log_norms(model.layer, sequences)
        lines.append(Line(f"W = {rho:g}·I", time, np.exp(norms - norms[-1])))
    for kind in ("relu", "tanh"):
        layer, sequences = _random_layer(kind, context)
        found, true = predict_growth(layer, sequences), measured_growth(layer, sequences)
        claims.append(
            held(
                f"a random {kind} recurrence of spectral radius {RANDOM_GAIN:g}: its growth is known, too",
                f"{found.rate:.4f} a step",
                f"{true.rate:.4f} (autograd, float64)",
                abs(found.rate / true.rate - 1) < RATE_BAR,
                f"The spectral radius alone would say {RANDOM_GAIN:g}.",
            )
        )
        norms = gradient_log_norms(layer, sequences)
        lines.append(Line(f"random, {kind}", time, np.exp(norms - norms[-1])))
    plot = XYPlot(
        "growth",
        "The gradient on its way back",
        "‖∂L/∂h_t‖ over that of the last state, by autograd, before any training.",
        "time step t",
        "relative norm",
        lines,
        log_y=True,
    )
    return claims, plot


def _rnn(layer: nn.RNNBase) -> nn.RNN:
    assert isinstance(layer, nn.RNN)
    return layer


def _random_layer(kind: str, context: Context) -> tuple[nn.RNN, torch.Tensor]:
    model = make(replace(BASELINE, cell=kind), context.seed)
    layer = _rnn(model.layer)
    weight = context.rng(1).standard_normal((WIDTH, WIDTH))
    weight *= RANDOM_GAIN / np.max(np.abs(np.linalg.eigvals(weight)))
    with torch.no_grad():
        layer.get_parameter("weight_hh_l0").copy_(torch.from_numpy(weight))
    return layer, next(make_batches(BASELINE, context.seed))[0]


def remedies(context: Context) -> tuple[list[Claim], Table, XYPlot]:
    """Each remedy alone under plain SGD, then those that work together: survives, and learns, are two verdicts."""
    seeds = [context.seed + i for i in range(SEEDS[context.quick])]
    steps = STEPS[context.quick]
    recipes = (BASELINE, *ALONE, *TOGETHER)
    fates: dict[str, list[Fate]] = {recipe.name: [] for recipe in recipes}
    work = [(recipe, seed) for recipe in recipes for seed in seeds]
    for recipe, seed in context.track("trying remedies", work):
        fates[recipe.name].append(train(recipe, seed, steps))
    claims = [_verdict(recipe, fates[recipe.name], alone=recipe in ALONE) for recipe in recipes]
    heads = ["remedy", "survives", "learns", "dies at step", "final loss"]
    table = Table(f"W = 1.1·I, T = {LENGTH}, {len(seeds)} seeds, {steps} steps", heads, [_row(n, f) for n, f in fates.items()], most=20)  # fmt: skip
    alive = {name: found[0] for name, found in fates.items() if found[0].survives}
    lines = [Line(name, np.arange(1.0, len(fate.losses) + 1), np.array(fate.losses)) for name, fate in alive.items()]
    lines.append(Line("best constant", np.array([1.0, steps]), np.full(2, CONSTANT_ERROR), faint=True))
    note = "The first seed of those that survive: staying alive is not learning."
    return claims, table, XYPlot("remedies", "Loss", note, "steps", "squared error", lines, log_y=True)


def _row(name: str, fates: list[Fate]) -> list[str]:
    n, died = len(fates), [f.died for f in fates if f.died is not None]
    final = median(f.final for f in fates)
    return [
        name,
        f"{sum(f.survives for f in fates)} of {n}",
        f"{sum(f.learns for f in fates)} of {n}",
        f"{median(died):g}" if died else "–",
        f"{final:.3g}" if np.isfinite(final) else "–",
    ]


def _verdict(recipe: Recipe, fates: list[Fate], alone: bool) -> Claim:
    survive, learn, n = sum(f.survives for f in fates), sum(f.learns for f in fates), len(fates)
    died = [f.died for f in fates if f.died is not None]
    ends = f"final loss {median(f.final for f in fates):.2g}" if survive == n else f"dies at step {median(died):g}"
    measured = f"survives {survive} of {n}, learns {learn} of {n}; {ends}"
    expected = f"squared error < {LEARNS * CONSTANT_ERROR:.3f}, half of the best constant's"
    if recipe is BASELINE:
        return held("without a remedy the training dies", measured, "dies", survive == 0, "A plain gradient step.")
    claim = f"{recipe.name} cures it" + (" alone" if alone else "")
    if 0 < learn < n:
        condition = f"the initialisation is lucky ({learn} of {n} seeds)"
        return Claim(claim, measured, expected, "holds only when", condition, _note(recipe))
    return held(claim, measured, expected, learn == n, _note(recipe))


def _note(recipe: Recipe) -> str:
    notes = {
        "ReLU": "The network has it: ReLU keeps gradients from vanishing, and so lets them explode.",
        "truncated backpropagation (10)": "The state itself grows 1.1 a step, however short the way back.",
        "smaller batch (4)": "The growth through time does not depend on the batch.",
        "clipping (norm 1)": "It bounds the step, not the state: the training lives and crawls.",
    }
    return notes.get(recipe.name, "")


def foretold(context: Context) -> tuple[list[Claim], Table]:
    """Who dies, said before the first step: the learning rate against 2/λmax of the first loss."""
    rows, right, far = [], 0, 0
    for rho in context.track("foretelling", WATCHED):
        recipe = replace(BASELINE, rho=rho)
        ratio = SGD_RATE / _critical(recipe, context.seed)
        fate = train(recipe, context.seed, FORETOLD_STEPS)
        if ratio < 1 or ratio > FAR_BEYOND:
            far += 1
            right += fate.survives == (ratio < 1)
        rows.append([f"{rho:g}", f"{ratio:.3g}", "–" if fate.died is None else str(fate.died)])
    dies = {row[0] for row in rows if row[2] != "–"}
    claims = [
        held(
            "who dies is known before the first step",
            f"right in {right} of {far}",
            f"survives below 2/λmax, dies beyond {FAR_BEYOND:g} times it",
            right == far,
            "λmax of the loss's Hessian by Lanczos. In between the network may blow its units out and live on without them.",
        ),
        held(
            "gradients that do not grow through time do not explode",
            f"W = 1·I {'dies' if '1' in dies else 'survives'}, W = 0.97·I {'dies' if '0.97' in dies else 'survives'}",
            "survives",
            not dies & {"1", "0.97"},
            "The gradient of a shared weight adds up all time steps: length is enough.",
        ),
    ]
    return claims, Table("Foretold", ["W / I", "learning rate over 2/λmax", "dies at step"], rows)


def _critical(recipe: Recipe, seed: int) -> float:
    model = make(recipe, seed).double()
    sequences, sums = next(make_batches(recipe, seed))
    loss = nn.functional.mse_loss(model(sequences.double()), sums.double())
    return sharpness(loss, model.parameters(), tolerance=LANCZOS).critical_rate
