"""Known truth for question 4: functions whose best approximation is known, and a step that none can follow."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from vivavoce.labs.figures import Floats, Line, XYPlot
from vivavoce.labs.lab import Claim, Context, Table, held
from vivavoce.measure.approximation import HiddenLayer, fit_function, pieces_in_the_limit, random_tanh_layer
from vivavoce.measure.jump import certify, find_breaks
from vivavoce.measure.links import pieces_without_continuity, smallest_relu_width

Function = Callable[[Floats], Floats]

GRID = 20_001  # points at which the largest error is measured
WIDTHS = (8, 16, 32, 64, 128)
SMOOTH_BAR = 1e-10  # largest error that float64 allows to ask of a width of 128
TUBES = (("sin 8πx", 0.1), ("sin 8πx", 0.03), ("sin 8πx", 0.01), ("Runge", 0.0167))
LIMIT_ERRORS = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4)
LIMIT_SLACK = 0.03  # relative difference from the limit that is allowed at the smallest error
STEP_AT = 0.3
FEW_POINTS = 40  # a grid that steps over the jump
ADAM_WIDTH = 64
ADAM_STEPS = (3_000, 600)  # full, quick
ADAM_RATE = 3e-3
PLANE_WIDTHS = (16, 64, 256)
PLANE_BAR = 1e-3
PLANE_POINTS = 1_500


def sine(x: Floats) -> Floats:
    """sin 8πx: four periods on [0, 1]."""
    return np.asarray(np.sin(8 * np.pi * x))


def runge(x: Floats) -> Floats:
    """Runge's function 1/(1 + 25x²)."""
    return np.asarray(1 / (1 + 25 * x**2))


def bend(x: Floats) -> Floats:
    """|2x − 1|."""
    return np.asarray(np.abs(2 * x - 1))


def step(x: Floats) -> Floats:
    """0 before `STEP_AT`, 1 from it on."""
    return np.where(x < STEP_AT, 0.0, 1.0)


def hill(p: Floats) -> Floats:
    """A function of two variables, p (n, 2)."""
    return np.asarray(np.exp(-np.sum(p**2, axis=1)) * np.cos(3 * p[:, 0] + p[:, 1]))


FUNCTIONS: dict[str, tuple[Function, float, float]] = {
    "sin 8πx": (sine, 0, 1),
    "Runge": (runge, -1, 1),
    "|2x − 1|": (bend, 0, 1),
}


def largest_error(network: Callable[[Floats], Floats], function: Function, low: float, high: float) -> float:
    """The largest error on `GRID` points."""
    x = np.linspace(low, high, GRID)
    return float(np.max(np.abs(network(x) - function(x))))


def errors_by_width(context: Context) -> tuple[list[Claim], Table, XYPlot]:
    """Random tanh layers: the error falls with the width, on smooth functions down to rounding."""
    work = [(name, width) for name in FUNCTIONS for width in WIDTHS]
    errors: dict[str, list[float]] = {name: [] for name in FUNCTIONS}
    for name, width in context.track("fitting tanh layers", work):
        function, low, high = FUNCTIONS[name]
        network = fit_function(function, low, high, width, seed=context.seed)
        errors[name].append(largest_error(network, function, low, high))
    claims = [
        held(
            f"width {WIDTHS[-1]} reaches ten digits on {name}",
            f"largest error {errors[name][-1]:.1e}",
            f"≤ {SMOOTH_BAR:.0e}",
            errors[name][-1] <= SMOOTH_BAR,
            f"At {GRID:,} points; random tanh units, output weights by least squares in float64.",
        )
        for name in ("sin 8πx", "Runge")
    ]
    rows = [[str(w), *(f"{errors[name][i]:.1e}" for name in FUNCTIONS)] for i, w in enumerate(WIDTHS)]
    table = Table("Largest error of random tanh layers", ["width", *FUNCTIONS], rows)
    widths = np.array(WIDTHS, dtype=np.float64)
    lines = [Line(f"{name}, tanh", widths, np.array(errors[name])) for name in FUNCTIONS]
    relu_widths, relu_errors = _optimal_curve(sine)
    lines.append(Line("sin 8πx, the best ReLU layer", relu_widths, relu_errors))
    plot = XYPlot(
        "error-by-width",
        "Error and width",
        "Smooth functions: down to rounding. A kink holds smooth units up; ReLU layers fall as one over the width squared.",
        "hidden units",
        "largest error",
        lines,
        log_x=True,
        log_y=True,
    )
    return claims, table, plot


def _optimal_curve(function: Function) -> tuple[Floats, Floats]:
    units = [smallest_relu_width(function, 0, 1, error).units for error in LIMIT_ERRORS]
    return np.array(units, dtype=np.float64), np.array(LIMIT_ERRORS)


def smallest_widths(context: Context) -> tuple[list[Claim], Table]:
    """The exact smallest ReLU layers against a lower bound found another way, and against the limit of small errors."""
    claims, rows = [], []
    for name, error in TUBES:
        function, low, high = FUNCTIONS[name]
        found = smallest_relu_width(function, low, high, error)
        x = np.linspace(low, high, GRID)
        y = function(x)
        bound = pieces_without_continuity(x.tolist(), (y - error).tolist(), (y + error).tolist()) - 1
        rows.append([f"{name}, error {error:g}", str(found.units), str(bound)])
        claims.append(
            held(
                f"the smallest ReLU layer within {error:g} of {name} is known exactly",
                f"{found.units} units",
                f"≥ {bound} units (a bound found another way)",
                found.exact and found.units == bound,
                "With an affine skip; the bound drops the condition that the pieces join.",
            )
        )
    last = LIMIT_ERRORS[-1]
    pieces = smallest_relu_width(sine, 0, 1, last).path.pieces
    limit = pieces_in_the_limit(sine, 0, 1, last)
    claims.append(
        held(
            "the error of ReLU layers falls as one over the width squared",
            f"{pieces} pieces at error {last:g}",
            f"{limit:.0f} = ∫√|f″| / (4√ε)",
            abs(pieces / limit - 1) < LIMIT_SLACK,
            "The constant is known, too: a straight piece of length h is off by h²|f″|/16 at best.",
        )
    )
    units = smallest_relu_width(bend, 0, 1, 1e-3).units
    claims.append(held("|2x − 1| needs one ReLU unit", f"{units} unit", "1 unit", units == 1, "It has one corner."))
    return claims, Table("The smallest ReLU layers", ["wanted", "units", "lower bound"], rows)


def training_finds_it(context: Context) -> Claim:
    """Folklore: because the theorem holds, training gets there."""
    torch.manual_seed(context.seed)
    model = nn.Sequential(nn.Linear(1, ADAM_WIDTH), nn.Tanh(), nn.Linear(ADAM_WIDTH, 1))
    x = torch.linspace(0, 1, 512)[:, None]
    y = torch.sin(8 * torch.pi * x)
    optimizer = torch.optim.Adam(model.parameters(), lr=ADAM_RATE)
    for _ in context.track("training the same width with Adam", range(ADAM_STEPS[context.quick])):
        optimizer.zero_grad()
        torch.autograd.backward(nn.functional.mse_loss(model(x), y))
        optimizer.step()

    def trained(at: Floats) -> Floats:
        with torch.no_grad():
            return np.asarray(model(torch.from_numpy(at)[:, None].float())[:, 0].double().numpy())

    by_adam = largest_error(trained, sine, 0, 1)
    solved = largest_error(fit_function(sine, 0, 1, ADAM_WIDTH, seed=context.seed), sine, 0, 1)
    return held(
        "training finds the network that the theorem promises",
        f"Adam, {ADAM_STEPS[context.quick]:,} steps: {by_adam:.2g}",
        f"least squares at the same width: {solved:.1g}",
        by_adam < 10 * solved,
        "The theorem says that the weights exist, not that gradient descent gets to them.",
    )


def outside(context: Context) -> tuple[Claim, XYPlot]:
    """The theorem needs a compact domain: beyond it nothing is promised, and nothing is kept."""
    network = fit_function(sine, 0, 1, WIDTHS[-1], seed=context.seed)
    inside, beyond = largest_error(network, sine, 0, 1), largest_error(network, sine, 1, 2)
    claim = held(
        "a network that is right on [0, 1] is right beyond it",
        f"largest error {beyond:.2g} on [1, 2]",
        f"{inside:.1e}, as on [0, 1]",
        beyond < 10 * inside,
        "Beyond the domain tanh units saturate and leave a straight line; a sine goes on for ever.",
    )
    x = np.linspace(-0.2, 1.2, 701)
    shown = np.clip(network(x), -4, 4)
    plot = XYPlot(
        "outside",
        "Inside and outside the domain",
        "Fitted on [0, 1] alone. Values beyond ±4 are cut off.",
        "x",
        "y",
        [Line("sin 8πx", x, sine(x)), Line(f"network, {network.width} units", x, shown)],
        marks=[(0.0, "domain begins"), (1.0, "domain ends")],
    )
    return claim, plot


def the_step(context: Context) -> tuple[list[Claim], XYPlot]:
    """No continuous network comes nearer to a step than half its height, however wide; a grid of points may hide that."""
    (jump,) = find_breaks(step, 0, 1)
    grid = np.linspace(0, 1, GRID)
    bounds, means = [], []
    for width in context.track("fitting a step", WIDTHS):
        network = fit_function(step, 0, 1, width, seed=context.seed)
        bounds.append(certify(network, jump).bound)
        means.append(float(np.mean(np.abs(network(grid) - step(grid)))))
    sparse = np.linspace(0, 1, FEW_POINTS)
    deceptive = random_tanh_layer(sparse, step(sparse), 2 * FEW_POINTS, seed=context.seed)
    on_grid, real = float(np.max(np.abs(deceptive(sparse) - step(sparse)))), certify(deceptive, jump).bound
    claims = [
        held(
            "no width brings the largest error at a step of height 1 below 1/2",
            f"smallest of {len(WIDTHS)} widths: {min(bounds):.3f}",
            "≥ 0.5, proved by one evaluation",
            min(bounds) >= 0.5,
            f"The step was found at x = {jump.left:.15g}, height {jump.height:g}.",
        ),
        held(
            "the mean error still falls",
            f"{means[0]:.3f} → {means[-1]:.3f}",
            "falling",
            means[-1] < means[0],
            "In the mean every step can be approximated; in the maximum none.",
        ),
        held(
            "the error at the points of the data is the error",
            f"at {FEW_POINTS} points {on_grid:.1g}",
            f"{real:.2f} (certificate)",
            on_grid >= real / 2,
            "The points step over the jump.",
        ),
    ]
    widths = np.array(WIDTHS, dtype=np.float64)
    lines = [Line("largest error, at least", widths, np.array(bounds)), Line("mean error", widths, np.array(means))]
    lines.append(Line("half the step", widths, np.full(len(widths), 0.5), faint=True))
    note = "However wide the layer: half the step remains, and only the mean gets better."
    return claims, XYPlot("step", "A step", note, "hidden units", "error", lines, log_x=True, log_y=True)


def plane(context: Context) -> tuple[Claim, Table]:
    """A function of two variables."""
    random = context.rng(2)
    points, test = random.uniform(-1, 1, (PLANE_POINTS, 2)), random.uniform(-1, 1, (GRID, 2))
    errors = []
    for width in context.track("two variables", PLANE_WIDTHS):
        layer = random_tanh_layer(points, hill(points), width, seed=context.seed)
        errors.append(float(np.max(np.abs(layer(test) - hill(test)))))
    claim = held(
        "two variables work the same",
        f"{errors[0]:.1g} → {errors[-1]:.1g} from {PLANE_WIDTHS[0]} to {PLANE_WIDTHS[-1]} units",
        f"≤ {PLANE_BAR:g}",
        errors[-1] <= PLANE_BAR,
        "exp(−x² − y²) cos(3x + y) on [−1, 1]², at points that were not fitted.",
    )
    return claim, Table("Two variables", ["width", "largest error"], _two(PLANE_WIDTHS, errors))


def _two(widths: Sequence[int], errors: Sequence[float]) -> list[list[str]]:
    return [[str(width), f"{error:.1e}"] for width, error in zip(widths, errors, strict=True)]


def smallest_tanh(
    fit: Callable[[int], HiddenLayer], error_of: Callable[[HiddenLayer], float], error: float, widest: int
) -> HiddenLayer | None:
    """The first layer of widths 1, 2, 3, 4, 6, 8, 12 … `widest` that comes within `error`; None where none does."""
    width = 1
    while width <= widest:
        layer = fit(width)
        if error_of(layer) <= error:
            return layer
        width = width + 1 if width < 4 else width * 3 // 2 if not width & (width - 1) else width * 4 // 3
    return None
