"""The confusion matrix against scikit-learn (the same numbers) and torchmetrics (throughput)."""

from __future__ import annotations

import numpy as np
import torch
from bench._instruments import Bar, fastest
from sklearn import metrics

from vivavoce.measure import ConfusionMatrix
from vivavoce.measure.confusion_labels import ConfidentJoint, Thresholds
from vivavoce.measure.confusion_scores import scores, wilson

LAB = "confusion"
BATCHES, BATCH = 1_000, 1_000
FEWEST_FAILURES = 4


def bars(quick: bool) -> list[Bar]:
    return [_agreement(quick), *_throughput(quick), _memory(), *_coverage(quick), *_labels()]


def _agreement(quick: bool) -> Bar:
    worst = 0.0
    rng = np.random.default_rng(0)
    for case in range(20 if quick else 200):
        classes = int(rng.integers(2, 30))
        real, predicted = rng.integers(0, classes, (2, 300))
        matrix = ConfusionMatrix(classes)
        for rows in np.array_split(np.arange(300), case % 9 + 1):
            matrix.update(real[rows], predicted[rows])
        labels = list(range(classes))
        ours = scores(matrix)
        p, r, f, _ = metrics.precision_recall_fscore_support(real, predicted, labels=labels, zero_division=np.nan)
        both = np.isfinite(p) & np.isfinite(r)
        pairs = [
            (matrix.counts, metrics.confusion_matrix(real, predicted, labels=labels)),
            (ours.precision.value[both], p[both]),
            (ours.recall.value[both], r[both]),
            (ours.f1.value[both], f[both]),
            (ours.kappa, metrics.cohen_kappa_score(real, predicted)),
            (ours.matthews, metrics.matthews_corrcoef(real, predicted)),
        ]
        worst = max(worst, *(float(np.abs(np.subtract(a, b)).max()) for a, b in pairs))
    return Bar(LAB, "largest difference from scikit-learn", worst, 1e-12, True, "scikit-learn")


def _throughput(quick: bool) -> list[Bar]:
    try:
        from torchmetrics.classification import MulticlassConfusionMatrix
    except ImportError:
        print("torchmetrics is not installed: no comparison of throughput")
        return []
    found = []
    for classes, bar in ((10, 3.0), (1_000, 2.0)):
        generator = torch.Generator().manual_seed(0)
        real, predicted = torch.randint(0, classes, (2, BATCHES, BATCH), generator=generator)

        def ours(classes: int = classes, real: torch.Tensor = real, predicted: torch.Tensor = predicted) -> object:
            matrix = ConfusionMatrix(classes)
            for batch in range(BATCHES):
                matrix.update(real[batch], predicted[batch])
            return matrix.counts

        def theirs(
            validate: bool, classes: int = classes, real: torch.Tensor = real, predicted: torch.Tensor = predicted
        ) -> object:
            metric = MulticlassConfusionMatrix(classes, validate_args=validate)
            for batch in range(BATCHES):
                metric.update(predicted[batch], real[batch])
            return metric.compute()

        same = np.array_equal(ours(), theirs(True).numpy())
        assert same, "torchmetrics counts something else"
        repeats = 1 if quick else 3
        mine = fastest(ours, repeats)
        checked, unchecked = (fastest(lambda v=validate: theirs(v), repeats) for validate in (True, False))
        what = f"throughput at {classes:,} classes, times that of torchmetrics"
        found.append(Bar(LAB, what, checked / mine, bar, False, "torchmetrics, both checking their input"))
        print(
            f"{classes:,} classes: {1e3 * mine:.1f} ms for 1e6 examples; torchmetrics {1e3 * checked:.1f} ms, "
            f"{1e3 * unchecked:.1f} ms without checks"
        )
    return found


def _memory() -> Bar:
    matrix = ConfusionMatrix(100)
    before = matrix.counts.nbytes
    for _ in range(100):
        matrix.update(np.zeros(100_000, np.int64), np.ones(100_000, np.int64))
    return Bar(LAB, "growth of its memory over 1e7 examples (bytes)", matrix.counts.nbytes - before, 0, True, "itself")


def _coverage(quick: bool) -> list[Bar]:
    """Where few failures are expected, one count more or less moves the coverage of any interval by several percent."""
    rng = np.random.default_rng(1)
    covered, failures = [], []
    for n in (10, 30, 100, 300, 1_000):
        for share in (0.5, 0.8, 0.9, 0.95):
            rate = wilson(rng.binomial(n, share, 2_000 if quick else 50_000), n)
            covered.append(np.mean((rate.low <= share) & (share <= rate.high)))
            failures.append(n * (1 - share))
    enough = min(c for c, f in zip(covered, failures, strict=True) if f >= FEWEST_FAILURES)
    all_cases = f"coverage of 95 % intervals, lowest of {len(covered)} cases"
    return [
        Bar(LAB, f"{all_cases}, of 10 examples on", float(min(covered)), 0.90, False, "simulation"),
        Bar(LAB, f"the same where {FEWEST_FAILURES} failures are expected", float(enough), 0.93, False, "simulation"),
        Bar(LAB, "coverage of 95 % intervals, mean of all cases", float(np.mean(covered)), 0.94, False, "simulation"),
    ]


def _labels() -> list[Bar]:
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.preprocessing import StandardScaler

    x, true = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    errors = []
    precision = recall = 0.0
    for rate in (0.05, 0.1, 0.2):
        wrong = rng.random(len(true)) < rate
        given = np.where(wrong, (true + rng.integers(1, 10, len(true))) % 10, true)
        model = LogisticRegression(C=0.02, max_iter=300)
        p = cross_val_predict(model, StandardScaler().fit_transform(x), given, cv=5, method="predict_proba")
        thresholds = Thresholds(10)
        thresholds.update(given, p)
        joint = ConfidentJoint(thresholds.read(), len(given))
        joint.update(given, p)
        errors.append(abs(joint.noise() - wrong.mean()))
        called = np.array([suspect.row for suspect in joint.suspects])
        precision, recall = float(wrong[called].mean()), float(wrong[called].sum() / wrong.sum())
    return [
        Bar(LAB, "error of the estimated share of wrong labels, digits", float(max(errors)), 0.03, True, "known noise"),
        Bar(LAB, "precision of the labels called wrong, 20 % noise", precision, 0.87, False, "known noise"),
        Bar(LAB, "recall of the labels called wrong, 20 % noise", recall, 0.74, False, "known noise"),
    ]
