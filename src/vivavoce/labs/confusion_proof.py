"""The claims about confusion matrices, each on data whose truth is known."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from vivavoce.labs.confusion_views import matrix_figure, percent
from vivavoce.labs.figures import Line, XYPlot
from vivavoce.labs.lab import Claim, Context, Result, Table, held
from vivavoce.measure.confusion import ConfusionMatrix
from vivavoce.measure.confusion_costs import ScoreHistogram, bayes_threshold
from vivavoce.measure.confusion_labels import ConfidentJoint, Suspect, Thresholds
from vivavoce.measure.confusion_scores import LEVEL, never_predicted, scores, wilson
from vivavoce.report.words import number

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

CLASSES = 6
FEATURES = 6
APART = 4.5  # standard deviations between the centres of classes: out of sample about 95 % right
FOLDS = 5
RATES = (0.05, 0.10, 0.20)  # of wrong labels
NOISE_BAR = 0.03  # by which the estimated share of wrong labels may miss the truth
CELL_BAR = 0.06  # by which a cell of the noise matrix may miss the truth
PRECISION_BAR, RECALL_BAR = 0.80, 0.60  # of the labels called wrong, at 10 % and more noise
COVERAGE_BAR = (0.93, 0.97)  # of 95 % intervals, averaged over sizes and shares
RARE = 0.005  # share of the rare class
COSTS = (1.0, 9.0)  # a false alarm, a miss
THRESHOLD_BAR = 0.02


def streaming(context: Context) -> Result:
    """Counting in batches, in parts, and all at once give the same counts, in the same memory."""
    rng = context.rng(1)
    real, predicted = rng.integers(0, 7, (2, 20_011))
    stream, parts = ConfusionMatrix(7), [ConfusionMatrix(7) for _ in range(3)]
    before = stream.counts.nbytes
    for index, rows in enumerate(np.array_split(np.arange(len(real)), 40)):
        stream.update(real[rows], predicted[rows])
        parts[index % 3].update(real[rows], predicted[rows])
    by_hand = [[int(((real == i) & (predicted == j)).sum()) for j in range(7)] for i in range(7)]
    merged = parts[0] + parts[1] + parts[2]
    same = stream.counts.tolist() == by_hand and merged == stream
    claims = [
        held("counting in batches and merging parts is exact", "no count differs" if same else "counts differ", "none", same),
        held(
            "the memory does not grow with the examples",
            f"{before} bytes, then {stream.counts.nbytes}",
            "the same",
            before == stream.counts.nbytes,
        ),
    ]  # fmt: skip
    return Result("", claims)


def ignored_class(context: Context) -> Result:
    """A rare class that is never predicted costs next to no accuracy."""
    rng = context.rng(2)
    real = (rng.random(20_000) < RARE).astype(np.int64)
    matrix = ConfusionMatrix(["common", "rare"])
    matrix.update(real, np.zeros_like(real))
    result = scores(matrix)
    found = [matrix.names[index] for index in never_predicted(matrix)]
    accuracy, balanced = float(result.accuracy.value[0]), result.balanced_accuracy
    claims = [
        held("a class that is never predicted is found", ", ".join(found), "rare", found == ["rare"]),
        Claim(
            "high accuracy means a good classifier",
            f"accuracy {percent(accuracy)}, mean recall {percent(balanced)}",
            "both high",
            "holds only when",
            "the classes are about equally common",
            "This classifier says 'common' whatever it sees.",
        ),
    ]
    return Result("", claims, figures=[matrix_figure(matrix, "none", "ignored")])


def coverage(context: Context) -> Result:
    """How often a 95 % interval holds the true share: Wilson's, and the textbook's p ± 1.96 standard errors."""
    trials = 1_000 if context.quick else 20_000
    sizes, shares = (10, 30, 100, 300, 1000), (0.5, 0.8, 0.9, 0.95, 0.99)
    covered = np.zeros((2, len(sizes), len(shares)))
    rng = context.rng(3)
    for i, size in enumerate(sizes):
        for j, share in enumerate(shares):
            hits = rng.binomial(size, share, trials)
            rate = wilson(hits, np.full(trials, size))
            covered[0, i, j] = np.mean((rate.low <= share) & (share <= rate.high))
            covered[1, i, j] = np.mean(np.abs(hits / size - share) <= _wald(hits / size, size))
    means = covered.mean(axis=(1, 2))
    claims = [
        held(
            "Wilson's 95 % interval covers the truth 95 times in 100",
            percent(float(means[0])),
            f"{percent(COVERAGE_BAR[0])} to {percent(COVERAGE_BAR[1])}",
            COVERAGE_BAR[0] <= means[0] <= COVERAGE_BAR[1],
        ),
        Claim(
            "p ± 1.96 standard errors covers it too",
            f"{percent(float(means[1]))}; {percent(float(covered[1, 0, -1]))} at {sizes[0]} examples of a share of {shares[-1]}",
            percent(LEVEL),
            "holds only when",
            "there are hundreds of examples and the share is not near 0 or 1",
        ),
    ]
    x = np.array(sizes, dtype=np.float64)
    lines = [
        Line(name, x, covered[kind].mean(axis=1), covered[kind].min(axis=1), covered[kind].max(axis=1))
        for kind, name in enumerate(("Wilson", "p ± 1.96 standard errors"))
    ]
    plot = XYPlot(
        "coverage",
        "How often a 95 % interval holds the truth",
        f"Mean over true shares of {shares[0]} to {shares[-1]}; the band runs from the worst to the best of them.",
        "examples",
        "coverage",
        lines,
        log_x=True,
    )
    return Result("", claims, figures=[plot], data={"coverage": {"wilson": float(means[0]), "wald": float(means[1])}})


def _wald(share: Floats, size: int) -> Floats:
    half: Floats = NormalDist().inv_cdf((1 + LEVEL) / 2) * np.sqrt(share * (1 - share) / size)
    return half


def noise(context: Context) -> Result:
    """Labels flipped by a known noise matrix: how much of it comes back, and which labels are called wrong."""
    count = 1_500 if context.quick else 6_000
    x, true = _blobs(count, context.rng(4))
    rows, claims = [], []
    worst_cell = 0.0
    for rate in context.track("labels with noise", RATES):
        flips = _noise_matrix(rate)
        given = _flipped(true, flips, context.rng(5))
        joint = _confident_joint(given, _out_of_fold(x, given, _discriminant))
        truth = float(np.mean(given != true))
        precision, recall = _hits(joint.suspects, given != true)
        error = float(np.abs(joint.noise_matrix() - flips).max())
        worst_cell = max(worst_cell, error)
        rows.append([percent(truth), percent(joint.noise()), f"{precision:.2f}", f"{recall:.2f}", f"{error:.3f}"])
        claims.append(_noise_claim(rate, truth, joint.noise()))
        if rate == RATES[1]:
            claims.append(_hit_claim(precision, recall))
    claims.append(
        held(
            "who is mislabelled as whom comes back as well",
            f"worst cell {worst_cell:.3f} off",
            f"within {CELL_BAR}",
            worst_cell <= CELL_BAR,
        )
    )
    claims.append(_in_sample_claim(x[: count // 3], true[: count // 3], context))
    heads = ["labels wrong", "estimated", "precision of the calls", "recall", "worst cell of the noise matrix"]
    table = Table("Labels with a known share of errors", heads, rows)
    return Result("", claims, [table], data={"noise_matrix_worst_error": worst_cell})


def _noise_claim(rate: float, truth: float, estimate: float) -> Claim:
    return held(
        f"{percent(rate)} of wrong labels are counted without knowing the truth",
        percent(estimate),
        f"{percent(truth)} ± {percent(NOISE_BAR)}",
        abs(estimate - truth) <= NOISE_BAR,
    )


def _hit_claim(precision: float, recall: float) -> Claim:
    return held(
        "the labels called wrong are wrong",
        f"precision {precision:.2f}, recall {recall:.2f}",
        f"above {PRECISION_BAR:.2f} and {RECALL_BAR:.2f}",
        precision >= PRECISION_BAR and recall >= RECALL_BAR,
    )


def _in_sample_claim(x: Floats, true: Labels, context: Context) -> Claim:
    given = _flipped(true, _noise_matrix(RATES[-1]), context.rng(6))
    truth = float(np.mean(given != true))
    inside = _confident_joint(given, _neighbours(x, given, x)).noise()
    outside = _confident_joint(given, _out_of_fold(x, given, _neighbours)).noise()
    return Claim(
        "any probabilities show wrong labels",
        f"{percent(inside)} found in sample, {percent(outside)} out of sample",
        percent(truth),
        "holds only when",
        "the model has not been trained on those labels",
        "A model that has learned a wrong label believes it.",
    )


def _blobs(count: int, rng: np.random.Generator) -> tuple[Floats, Labels]:
    centres = APART / np.sqrt(2) * np.eye(CLASSES, FEATURES)
    true = rng.integers(0, CLASSES, count)
    return centres[true] + rng.standard_normal((count, FEATURES)), true


def _noise_matrix(rate: float) -> Floats:
    """Class i is mostly mislabelled as its neighbour: rows true, columns given."""
    flips = (1 - rate) * np.eye(CLASSES)
    for true in range(CLASSES):
        flips[true, (true + 1) % CLASSES] += 0.7 * rate
        flips[true, (true + 2) % CLASSES] += 0.3 * rate
    return flips


def _flipped(true: Labels, flips: Floats, rng: np.random.Generator) -> Labels:
    ends = np.cumsum(flips, axis=1)[true]
    given: Labels = (rng.random(len(true))[:, None] > ends).sum(axis=1)
    return np.minimum(given, CLASSES - 1)


def _out_of_fold(x: Floats, given: Labels, model: object) -> Floats:
    """Probabilities (n, C) of each example from a model of the other folds."""
    assert callable(model)
    probabilities = np.empty((len(x), CLASSES))
    fold = np.arange(len(x)) % FOLDS
    for left_out in range(FOLDS):
        rest = fold != left_out
        probabilities[~rest] = model(x[rest], given[rest], x[~rest])
    return probabilities


def _discriminant(x: Floats, given: Labels, at: Floats) -> Floats:
    """Linear discriminant analysis: probabilities (m, C) at points (m, d)."""
    means = np.stack([x[given == label].mean(axis=0) for label in range(CLASSES)])
    precision = np.linalg.inv(np.cov((x - means[given]).T))
    shares = np.bincount(given, minlength=CLASSES) / len(given)
    logits = at @ precision @ means.T - np.einsum("cd,de,ce->c", means, precision, means) / 2 + np.log(shares)
    return _softmax(logits)


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Floats = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _neighbours(x: Floats, given: Labels, at: Floats, width: float = 0.5) -> Floats:
    """Gaussian kernel votes, which learn every label by heart where they have seen it."""
    distances = ((at[:, None, :] - x[None, :, :]) ** 2).sum(axis=2)
    weights = np.exp(-(distances - distances.min(axis=1, keepdims=True)) / (2 * width**2))
    votes = weights @ np.eye(CLASSES)[given]
    shares: Floats = votes / votes.sum(axis=1, keepdims=True)
    return shares


def _confident_joint(given: Labels, probabilities: Floats) -> ConfidentJoint:
    thresholds = Thresholds(CLASSES)
    thresholds.update(given, probabilities)
    joint = ConfidentJoint(thresholds.read(), most=len(given))
    joint.update(given, probabilities)
    return joint


def _hits(suspects: list[Suspect], wrong: NDArray[np.bool_]) -> tuple[float, float]:
    called = np.array([suspect.row for suspect in suspects], dtype=np.int64)
    right = int(wrong[called].sum())
    return right / max(len(called), 1), right / max(int(wrong.sum()), 1)


def costs(context: Context) -> Result:
    """With true probabilities the best threshold is c_fa / (c_fa + c_miss), not 0.5."""
    rng = context.rng(7)
    probability = rng.beta(0.8, 1.6, 20_000 if context.quick else 400_000)
    real = rng.random(len(probability)) < probability
    histogram = ScoreHistogram()
    histogram.update(real, probability)
    found = histogram.best(*COSTS)
    expected = bayes_threshold(*COSTS)
    # Of a flat minimum the place is uncertain, the cost is not: it is held against that at the expected threshold.
    thresholds, curve = histogram.curve(*COSTS)
    there = float(np.interp(expected, thresholds, curve))
    claims = [
        held(
            f"where a miss costs {COSTS[1]:g} times a false alarm, the best threshold is {number(expected)}",
            f"{number(found.threshold)}, cost {number(found.cost)}",
            f"{number(expected)} ± {THRESHOLD_BAR}, or a cost within 1 % of {number(there)}",
            abs(found.threshold - expected) <= THRESHOLD_BAR or there <= 1.01 * found.cost,
        ),
        Claim(
            "say yes from 0.5 on",
            f"mean cost {number(found.at_half)} at 0.5, {number(found.cost)} at {number(found.threshold)}",
            "the lowest cost",
            "holds only when",
            "both errors cost the same and the scores are true probabilities",
        ),
    ]
    shown = np.linspace(0, len(curve) - 1, 200).astype(int)
    plot = XYPlot(
        "costs",
        "Mean cost of an example, by threshold",
        f"A false alarm costs {COSTS[0]:g}, a miss {COSTS[1]:g}.",
        "threshold",
        "mean cost",
        [Line("mean cost", thresholds[shown], curve[shown])],
        marks=[(found.threshold, "best"), (0.5, "0.5")],
    )
    return Result("", claims, figures=[plot])
