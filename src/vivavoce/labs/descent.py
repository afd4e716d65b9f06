"""The lab of question 6: stochastic or batch gradient descent?"""

from __future__ import annotations

import numpy as np

from vivavoce.labs.descent_proof import floors, limits, race, scale
from vivavoce.labs.descent_race import Course, descend, fastest
from vivavoce.labs.figures import Floats, Line, XYPlot
from vivavoce.labs.inputs import LARGEST, CsvFile
from vivavoce.labs.lab import Claim, Context, Lab, LabError, Option, Result, Table
from vivavoce.measure.curvature import extreme_eigenvalues
from vivavoce.measure.gradient_noise import exact_noise_scale
from vivavoce.measure.sgd_theory import LeastSquares

MOST_ROWS = 200_000  # rows that are used; more are thinned evenly
MOST_CATEGORIES = 20  # values of a column of words that become columns of their own
MOST_FEATURES = 500
BATCHES = (1, 4, 16, 64, 256, 1_024, 4_096)
RATES = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.003, 0.001)  # of the limit 2/λmax; the last for single examples
SECONDS = (3.0, 0.6)  # of steps for one batch size and learning rate: full, quick
MOST_PASSES = 200
REPEATS = 7  # runs of the best learning rate; the median counts


class Descent(Lab):
    """Races batch sizes against samples and against the clock, beside what theory says of them."""

    name = "descent"
    question = "Stochastic or batch gradient descent?"
    textbook = (
        "Batch descent takes the exact gradient of all examples at every step; stochastic descent that of one, or of a few "
        "(mini-batch): noisier but far cheaper, so it gets near the minimum with fewer samples and then stays above it."
    )
    input_help = "a CSV file, on which linear regression is trained"
    options = (
        Option("target", "Column to predict: numbers, or two classes.", metavar="COLUMN"),
        Option("error", "Excess loss wanted, as a share of the first.", float, 0.01, "SHARE"),
    )
    examples = ("viva lab descent", "viva lab descent houses.csv --target price")

    def prove(self, context: Context) -> Result:
        """Linear regression, where everything has a closed form."""
        limit_claims, limit_plot = limits(context)
        floor_claims, floor_table = floors(context)
        race_claims, race_table, race_plots = race(context)
        noise, numbers = scale(context)
        answer = (
            "Mini-batches, as a rule: small batches need fewer samples down to their noise floor, large ones fewer steps, and "
            "on a real machine the fastest lies between. The floor, the limit of the learning rate and the batch size at "
            "which the gradient becomes more signal than noise can all be computed."
        )
        claims = [*limit_claims, *floor_claims, *race_claims, noise]
        return Result(
            answer, claims, [race_table, floor_table], [*race_plots, limit_plot], data={"noise_scale": numbers}
        )

    def apply(self, source: str, context: Context) -> Result:
        """Which batch size reaches the error first on this table and this machine."""
        share = context.options["error"]
        if not 0 < share < 1:
            raise LabError(f"--error must lie between 0 and 1, not {share:g}")
        problem, notes = read(source, context)
        first = float(problem.excess(np.zeros(problem.d)))
        if first <= 1e-12 * float(np.mean(problem.y**2)):
            raise LabError(f"{source}: no linear model predicts {context.options['target']} better than its mean")
        largest = extreme_eigenvalues(lambda v: problem.x.T @ (problem.x @ v) / problem.n, problem.d).largest
        courses = _courses(problem, 2 / largest, share * first, context)
        return _result(source, problem, 2 / largest, courses, share, context, notes)


def _courses(problem: LeastSquares, limit: float, target: float, context: Context) -> list[Course]:
    """The best course of each batch size over the learning rates."""
    best = []
    batches = sorted({batch for batch in (*BATCHES, problem.n) if batch <= problem.n})
    for batch in context.track("racing batch sizes", batches):
        found: Course | None = None
        for share in RATES:
            allowed = SECONDS[context.quick] if found is None or not found.reached else float(found.seconds[-1])
            course = descend(
                problem,
                batch,
                share * limit,
                target,
                context.rng(batch),
                most_samples=MOST_PASSES * problem.n,
                most_seconds=allowed,
            )
            found = course if found is None else _better(found, course)
        if found is not None:
            best.append(_typical(problem, found, target, context) if found.reached else found)
    return best


def _typical(problem: LeastSquares, found: Course, target: float, context: Context) -> Course:
    """The course of median time among repetitions with other batches: one alone may have been lucky."""
    courses = [
        descend(problem, found.batch, found.rate, target, random, most_samples=MOST_PASSES * problem.n)
        for random in (context.rng(1_000_000 + repeat) for repeat in range(REPEATS))
    ]
    reached = sorted((c for c in courses if c.reached), key=lambda c: float(c.seconds[-1]))
    return reached[len(reached) // 2] if len(reached) > REPEATS // 2 else found


def _better(a: Course, b: Course) -> Course:
    if a.reached != b.reached:
        return a if a.reached else b
    if a.reached:
        return min(a, b, key=lambda c: float(c.seconds[-1]))
    return min(a, b, key=lambda c: float(c.excess[-1]) if np.isfinite(c.excess[-1]) else np.inf)


def _result(
    source: str,
    problem: LeastSquares,
    limit: float,
    courses: list[Course],
    share: float,
    context: Context,
    notes: list[str],
) -> Result:
    winner = fastest(courses)
    noise, signal = exact_noise_scale(problem.x * (-problem.y)[:, None])
    scale = noise / signal if signal else float("inf")
    rows = [
        [
            f"{c.batch:,}" + (" (all)" if c.batch == problem.n else ""),
            f"{c.rate:.3g}",
            f"{c.samples[-1]:,.0f}" if c.reached else "not reached",
            f"{c.steps:,}" if c.reached else "–",
            f"{1e3 * c.seconds[-1]:.3g}" if c.reached else "–",
        ]
        for c in courses
    ]
    heads = ["batch", "learning rate", "samples", "steps", "ms"]
    table = Table(
        f"To {share:.3g} of the first excess loss, each at the best of {len(RATES)} learning rates", heads, rows
    )
    lines = [Line(f"batch {c.batch:,}", np.maximum.accumulate(c.seconds[1:]), c.excess[1:]) for c in courses]
    plot = XYPlot("by-seconds", "Error and time", "Each batch size at its best learning rate.", "seconds", "excess loss", lines, log_x=True, log_y=True)  # fmt: skip
    if winner is None:
        answer = f"No batch size reached {share:g} of the first excess loss of {source} in time; the features may be almost dependent."
    else:
        answer = (
            f"Batch {winner.batch:,} was the first to reach {share:.3g} of the first excess loss on this machine, after "
            f"{1e3 * winner.seconds[-1]:.3g} ms and {winner.samples[-1]:,.0f} samples. The learning rate of batch descent must stay below {limit:.4g}."
        )
    data = {
        "winner": winner.batch if winner else None,
        "critical_learning_rate": limit,
        "noise_scale": scale,
        "batches": [c.batch for c in courses],
        "seconds": [float(c.seconds[-1]) if c.reached else None for c in courses],
        "samples": [float(c.samples[-1]) if c.reached else None for c in courses],
    }
    said = f"At the start the gradient noise scale is {scale:,.3g} examples: below that a batch is mostly noise, above it mostly repetition."
    return Result(answer, _claims(courses, winner), [table], [plot], [said, *notes], data)


def _claims(courses: list[Course], winner: Course | None) -> list[Claim]:
    reached = [c for c in courses if c.reached]
    if winner is None or len(reached) < 2:
        return []
    cheapest = min(reached, key=lambda c: float(c.samples[-1]))
    same = cheapest.batch == winner.batch
    return [
        Claim(
            "the batch size that needs the fewest samples is the fastest",
            f"batch {winner.batch:,} in seconds",
            f"batch {cheapest.batch:,} in samples",
            "holds" if same else "does not hold",
        )
    ]


def read(source: str, context: Context) -> tuple[LeastSquares, list[str]]:
    """Standardised features, words as indicators, gaps as means, and the centred target. Raises LabError."""
    table = CsvFile(source)
    target = context.options["target"]
    if not target:
        raise LabError(f"name the column to predict with --target (it has {', '.join(table.header[:12])})")
    table.column(target)
    columns, total, stride = _thinned(table, context)
    y = _target(source, target, columns.pop(target), stride)
    if len(y) < 2:
        raise LabError(f"{source}: at least two rows are needed")
    keep = np.linspace(0, len(y) - 1, min(len(y), MOST_ROWS)).round().astype(int)
    notes = [f"{total:,} rows were thinned evenly to {len(keep):,}."] if len(keep) < total else []
    features, dropped = encode_features(columns, keep)
    if dropped:
        notes.append(f"Left out: {', '.join(dropped)} (constant, or words of more than {MOST_CATEGORIES} kinds).")
    if not features:
        raise LabError(f"{source}: no column besides {target} can be used as a feature")
    if len(features) > MOST_FEATURES:
        raise LabError(f"{source}: {len(features)} features, at most {MOST_FEATURES} are used")
    y = y[keep] - y[keep].mean()
    if not np.ptp(y):
        raise LabError(f"{source}: {target} is the same in every row")
    return LeastSquares(np.column_stack(features), y), notes


def _thinned(table: CsvFile, context: Context) -> tuple[dict[str, list[str]], int, int]:
    """Every `stride`-th row, at most 2 · MOST_ROWS of them, how many rows there are, and the stride."""
    columns: dict[str, list[str]] = {name: [] for name in table.header}
    total, stride = 0, 1
    for chunk in table.chunks(table.header, context):
        first = -total % stride
        for name in table.header:
            columns[name].extend(chunk.text(name)[first::stride])
        total += len(chunk)
        while len(columns[table.header[0]]) > 2 * MOST_ROWS:
            columns, stride = {name: cells[::2] for name, cells in columns.items()}, 2 * stride
    return columns, total, stride


def _target(source: str, name: str, cells: list[str], stride: int) -> Floats:
    try:
        values = np.array(cells, dtype=np.float64)
    except ValueError:
        kinds = sorted(set(cells))
        if len(kinds) != 2:
            raise LabError(
                f"{source}: {name} must be numbers or two classes; it has {len(kinds)} different words"
            ) from None
        return np.array([float(cell == kinds[1]) for cell in cells])
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0]) * stride + 2
        raise LabError(f"{source}, row {row}: {name} must be a finite number")
    if np.abs(values).max(initial=0.0) > LARGEST:
        row = int(np.argmax(np.abs(values))) * stride + 2
        raise LabError(f"{source}, row {row}: {name} is {values[(row - 2) // stride]:g}, beyond ± {LARGEST:g}")
    return values


def encode_features(
    columns: dict[str, list[str]], keep: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> tuple[list[Floats], list[str]]:
    """Standardised features of the rows `keep`, and the names of the columns that gave none."""
    features, dropped = [], []
    for name, cells in columns.items():
        parts = _encode([cells[i] for i in keep.tolist()])
        good = [
            (part - part.mean()) / part.std()
            for part in parts
            if part.std() > 1e-12 * max(1.0, float(np.abs(part).max()))
        ]
        if not good:
            dropped.append(name)
        features += good
    return features, dropped


def _encode(cells: list[str]) -> list[Floats]:
    """A column as one of numbers, or as indicators of its words; none where they are too many."""
    try:
        values = np.array([float(cell) if cell.strip() else np.nan for cell in cells])
    except ValueError:
        kinds = sorted(set(cells))
        return (
            [np.array([float(cell == kind) for cell in cells]) for kind in kinds[1:]]
            if len(kinds) <= MOST_CATEGORIES
            else []
        )
    finite = np.abs(values) <= LARGEST  # NaN is not
    if not finite.any():
        return []
    return [np.where(finite, values, values[finite].mean())]
