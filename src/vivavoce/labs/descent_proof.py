"""Known truth for question 6: least squares, where every error, floor and limit has a closed form."""

from __future__ import annotations

import numpy as np
import torch

from vivavoce.labs.descent_race import Course, best_rate, chains, descend
from vivavoce.labs.figures import Line, XYPlot
from vivavoce.labs.lab import Claim, Context, Table, held
from vivavoce.measure.curvature import extreme_eigenvalues
from vivavoce.measure.gradient_chunks import backward_in_chunks
from vivavoce.measure.gradient_noise import NoiseScale, exact_noise_scale
from vivavoce.measure.sgd_theory import LeastSquares

WEIGHTS = 8
SMALL, LARGE = 256, 4_096  # examples
NOISE = 0.5  # standard deviation of the targets' noise
LANCZOS_BAR = 0.01
CRITICAL_BAR = 1e-3
LONGEST_TRY = 4_000  # steps: near the limit the error grows or shrinks slowly
FLOOR_BAR = 0.1  # relative: a few standard errors of the simulation
COURSE_BAR = 0.25
NOISE_BAR = 1.3
FLOORS = ((1, 0.05), (1, 0.025), (16, 0.4))  # batch, learning rate over 2/λmax
FLOOR_CHAINS = (256, 96)  # full, quick
BATCHES = (1, 8, 64, 512, LARGE)
LOOSE, TIGHT = 0.05, 1e-6  # of the first excess loss
MOST_PASSES = 12
RACE_CHAINS = (48, 16)
SCALE_WEIGHTS, SCALE_EXAMPLES, SCALE_BATCH, SCALE_STEPS = 100, 2_000, 64, 100


def make_problem(n: int, context: Context, stream: int = 0) -> LeastSquares:
    """Linear regression: `WEIGHTS` features of variances from 1 down to 0.1, and noise."""
    random = context.rng(stream)
    x = random.standard_normal((n, WEIGHTS)) * np.sqrt(np.geomspace(1, 0.1, WEIGHTS))
    return LeastSquares(x, x @ random.standard_normal(WEIGHTS) + NOISE * random.standard_normal(n))


def limits(context: Context) -> tuple[list[Claim], XYPlot]:
    """Where descent diverges: 2/λmax for the full batch, less for single examples."""
    problem = make_problem(LARGE, context)
    largest = extreme_eigenvalues(lambda v: problem.hessian @ v, problem.d, seed=context.seed).largest
    true = float(np.linalg.eigvalsh(problem.hessian)[-1])
    theory = 2 / true
    measured = _measured_limit(problem)
    stochastic = problem.critical_rate(1)
    between = 0.5 * theory
    blown = descend(problem, 1, between, 0.0, context.rng(3), most_samples=LARGE)
    claims = [
        held(
            "λmax from products with the Hessian alone",
            f"{largest:.6g}",
            f"{true:.6g} (dense eigenvalues)",
            abs(largest / true - 1) < LANCZOS_BAR,
            "Lanczos.",
        ),
        held(
            "batch descent diverges where the learning rate passes 2/λmax",
            f"at {measured:.6g}",
            f"{theory:.6g}",
            abs(measured / theory - 1) < CRITICAL_BAR,
            "Bisection between runs that converged and runs that did not.",
        ),
        held(
            "below 2/λmax stochastic descent converges, too",
            f"batch 1 at half of it: loss × {blown.excess[-1] / blown.excess[0]:.1g}",
            f"its own limit is {stochastic:.4g}",
            bool(blown.excess[-1] < blown.excess[0]),
            "A single example curves more than the mean does; its limit follows from the fourth moments of the data.",
        ),
    ]
    steps = np.arange(41, dtype=np.float64)
    lines = [
        Line(f"{share:g} × 2/λmax", steps, problem.expected_course(np.zeros(problem.d), share * theory, LARGE, 40))
        for share in (0.5, 0.99, 1.01, 1.1)
    ]
    plot = XYPlot("limit", "The limit of the learning rate", "Batch descent on either side of 2/λmax.", "steps", "excess loss", lines, log_y=True)  # fmt: skip
    return claims, plot


def _measured_limit(problem: LeastSquares) -> float:
    """The learning rate between batch descents that shrink the error in the end and those that do not."""
    low, high = 0.0, 8 / float(np.trace(problem.hessian)) * problem.d
    while high - low > CRITICAL_BAR / 10 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if _grows(problem, middle) else (middle, high)
    return (low + high) / 2


def _grows(problem: LeastSquares, rate: float) -> bool:
    delta = np.ones(problem.d)
    for _ in range(LONGEST_TRY):
        before = delta
        delta = delta - rate / problem.n * (problem.x.T @ (problem.x @ delta))
        size = float(np.linalg.norm(delta))
        if size > 1e100 or size < 1e-100:
            break
    return bool(np.linalg.norm(delta) > np.linalg.norm(before))


def floors(context: Context) -> tuple[list[Claim], Table]:
    """The floor that a constant learning rate leaves, against the closed form."""
    problem, random = make_problem(SMALL, context, 1), context.rng(4)
    slowest = float(np.linalg.eigvalsh(problem.hessian)[0])
    rows, claims, measured = [], [], []
    for batch, share in context.track("the noise floor", FLOORS):
        rate = share * problem.batch_critical_rate
        settled = int(3 / (rate * slowest))
        start = np.tile(problem.solution, (FLOOR_CHAINS[context.quick], 1))
        found = float(chains(problem, batch, rate, start, 4 * settled, random, skip=settled).mean())
        theory = problem.floor(rate, batch)
        measured.append(found)
        rows.append([str(batch), f"{rate:.3g}", f"{found:.3e}", f"{theory:.3e}"])
        claims.append(
            held(
                f"the noise floor of batch {batch} at learning rate {rate:.2g}",
                f"{found:.3e}",
                f"{theory:.3e}",
                abs(found / theory - 1) < FLOOR_BAR,
                "Excess loss in the long run; theory: the stationary covariance, exact for these examples.",
            )
        )
    table = Table("Noise floors of a constant learning rate", ["batch", "learning rate", "measured", "theory"], rows)
    return claims, table


def race(context: Context) -> tuple[list[Claim], Table, list[XYPlot]]:
    """Samples and seconds to a loose and to a tight target, each batch size at the learning rate that is best for it."""
    problem = make_problem(LARGE, context, 2)
    first = float(problem.excess(np.zeros(problem.d)))
    rows: list[list[str]] = []
    loose: list[Course] = []
    samples: dict[int, int] = {}
    worst = 1.0
    for batch in context.track("racing batch sizes", BATCHES):
        most = MOST_PASSES * LARGE * (8 if batch == LARGE else 1)
        plan = best_rate(problem, batch, LOOSE * first, most)
        if plan is None:
            rows.append([str(batch), "–", "–", "–", "–", "–"])
            continue
        rate, steps = plan
        samples[batch] = steps * batch
        found = _mean_after(problem, batch, rate, steps, context)
        theory = problem.expected_course(np.zeros(problem.d), rate, batch, steps)[-1]
        worst = max(worst, found / theory, theory / found)
        course = descend(problem, batch, rate, LOOSE * first, context.rng(6), most_samples=4 * most)
        loose.append(course)
        tight = best_rate(problem, batch, TIGHT * first, MOST_PASSES * LARGE * 20 if batch == LARGE else LARGE)
        rows.append(
            [
                str(batch),
                f"{rate:.3g}",
                f"{steps * batch:,}",
                f"{course.samples[-1]:,.0f}",
                f"{1e3 * course.seconds[-1]:.2f}",
                f"{tight[1] * batch:,}" if tight else "not below the floor",
            ]
        )
    heads = ["batch", "learning rate", "samples, theory", "samples, one run", "ms", f"samples to {TIGHT:g}"]
    table = Table(f"To {LOOSE:.0%} of the first excess loss, each at its best learning rate", heads, rows)
    return _race_claims(problem, samples, loose, worst, first), table, _race_plots(loose)


def _mean_after(problem: LeastSquares, batch: int, rate: float, steps: int, context: Context) -> float:
    if batch == problem.n:
        course = descend(problem, batch, rate, 0.0, context.rng(5), most_samples=steps * batch)
        return float(course.excess[course.samples == steps * batch][-1])
    start = np.zeros((RACE_CHAINS[context.quick], problem.d))
    return float(chains(problem, batch, rate, start, steps + 1, context.rng(5), skip=steps)[-1])


def _race_claims(
    problem: LeastSquares, samples: dict[int, int], courses: list[Course], worst: float, first: float
) -> list[Claim]:
    cheapest = min(samples, key=lambda batch: samples[batch])
    quickest = min(courses, key=lambda c: float(c.seconds[-1])).batch
    rate = best_rate(problem, 1, LOOSE * first, MOST_PASSES * LARGE)
    floor = problem.floor(rate[0], 1) / first if rate else float("inf")
    return [
        held(
            "theory foretells the error after k steps, for every batch size",
            f"at most × {worst:.2f} off",
            f"× 1 (± {COURSE_BAR:.0%} of sampling)",
            worst < 1 + COURSE_BAR,
            "Mean and covariance of the weights obey an exact recursion.",
        ),
        Claim(
            "stochastic descent needs fewer samples than batch descent",
            f"{samples[cheapest]:,} at batch {cheapest}, {samples[LARGE]:,} at full batch",
            f"fewer down to {floor:.1%} of the first excess, its floor",
            "holds only when" if samples[cheapest] < samples[LARGE] else "does not hold",
            "the error wanted lies above its noise floor" if samples[cheapest] < samples[LARGE] else "",
            f"At a constant learning rate no small batch reaches {TIGHT:g} of the first excess within a pass; the full batch does.",
        ),
        held(
            "the batch size that needs the fewest samples is the fastest",
            f"batch {quickest} in seconds",
            f"batch {cheapest} in samples",
            quickest == cheapest,
            "A step costs time of its own, whatever the batch: on this machine.",
        ),
    ]


def _race_plots(courses: list[Course]) -> list[XYPlot]:
    plots = []
    for key, title, unit in (
        ("samples", "Error and samples", "samples seen"),
        ("seconds", "Error and time", "seconds"),
    ):
        lines = [Line(f"batch {c.batch:,}", np.maximum.accumulate(getattr(c, key)[1:]), c.excess[1:]) for c in courses]
        note = "The same runs over samples and over time: what is cheap in one need not be in the other."
        plots.append(XYPlot(f"by-{key}", title, note, unit, "excess loss", lines, log_x=True, log_y=True))
    return plots


def scale(context: Context) -> tuple[Claim, dict[str, float]]:
    """The gradient noise scale of one ordinary training run, against the covariance of all examples' gradients."""
    random = context.rng(7)
    x = random.standard_normal((SCALE_EXAMPLES, SCALE_WEIGHTS))
    y = x @ random.standard_normal(SCALE_WEIGHTS) / np.sqrt(SCALE_WEIGHTS) + 1.5 * random.standard_normal(len(x))
    inputs, targets = torch.from_numpy(x), torch.from_numpy(y)
    weights = torch.zeros(SCALE_WEIGHTS, dtype=torch.float64, requires_grad=True)
    optimizer, collector, truth = torch.optim.SGD([weights], lr=1e-3), NoiseScale(), []

    def loss(part: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.mse_loss(part @ weights, wanted) / 2

    for _ in context.track("the gradient noise scale", range(SCALE_STEPS)):
        truth.append(exact_noise_scale(x * (x @ weights.detach().numpy() - y)[:, None]))
        rows = torch.from_numpy(random.integers(0, len(x), SCALE_BATCH))
        optimizer.zero_grad()
        backward_in_chunks(loss, (inputs[rows], targets[rows]), [weights], collector)
        optimizer.step()
    noise, signal = np.mean(truth, axis=0)
    exact, found = float(noise / signal), collector.estimate()
    claim = held(
        f"the gradient noise scale from {SCALE_STEPS} ordinary steps",
        f"{found.scale:,.0f} examples [{found.low:,.0f}, {found.high:,.0f}]",
        f"{exact:,.0f} (exact covariance), within × {NOISE_BAR}",
        1 / NOISE_BAR < found.scale / exact < NOISE_BAR,
        f"Batches of {SCALE_BATCH} in four chunks: {SCALE_BATCH / exact:.2f} of the noise scale.",
    )
    return claim, {"exact": exact, "estimate": found.scale, "low": found.low, "high": found.high}
