"""Counts and scores against scikit-learn, merging, bad input."""

from __future__ import annotations

import pickle
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from sklearn import metrics

from vivavoce.measure import ConfusionMatrix
from vivavoce.measure.confusion_scores import (
    never_predicted,
    normalised,
    scores,
    top_confusions,
    wilson,
)
from vivavoce.measure.confusion_torch import Accumulator

Pair = tuple[NDArray[np.int64], NDArray[np.int64]]


def random_pair(seed: int, classes: int, n: int = 500) -> Pair:
    rng = np.random.default_rng(seed)
    real = rng.choice(classes, n, p=rng.dirichlet(np.ones(classes)))
    return real, np.where(rng.random(n) < 0.6, real, rng.integers(0, classes, n))


@pytest.mark.parametrize("classes", [2, 3, 7, 40])
@pytest.mark.parametrize("seed", range(5))
def test_everything_equals_scikit_learn(seed: int, classes: int) -> None:
    real, predicted = random_pair(seed, classes)
    matrix = ConfusionMatrix(classes)
    for part in np.array_split(np.arange(len(real)), 7):
        matrix.update(real[part], predicted[part])
    labels = list(range(classes))
    np.testing.assert_array_equal(matrix.counts, metrics.confusion_matrix(real, predicted, labels=labels))
    for by, theirs in (("real", "true"), ("predicted", "pred"), ("all", "all")):
        expected = metrics.confusion_matrix(real, predicted, labels=labels, normalize=theirs)
        np.testing.assert_allclose(np.nan_to_num(normalised(matrix, by)), expected, atol=1e-12)  # type: ignore[arg-type]
    ours = scores(matrix)
    p, r, f, support = metrics.precision_recall_fscore_support(real, predicted, labels=labels, zero_division=np.nan)
    np.testing.assert_allclose(ours.precision.value, p, atol=1e-12)
    np.testing.assert_allclose(ours.recall.value, r, atol=1e-12)
    known = np.isfinite(p) & np.isfinite(r)
    np.testing.assert_allclose(ours.f1.value[known], f[known], atol=1e-12)
    np.testing.assert_array_equal(ours.support, support)
    assert ours.accuracy.value[0] == pytest.approx(metrics.accuracy_score(real, predicted), abs=1e-12)
    assert ours.kappa == pytest.approx(metrics.cohen_kappa_score(real, predicted), abs=1e-12)
    assert ours.matthews == pytest.approx(metrics.matthews_corrcoef(real, predicted), abs=1e-12)
    assert ours.balanced_accuracy == pytest.approx(np.nanmean(r), abs=1e-12)


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
@pytest.mark.parametrize(("hits", "trials"), [(0, 1), (1, 1), (3, 10), (0, 50), (50, 50), (499, 500)])
def test_wilson_equals_scipy(hits: int, trials: int, level: float) -> None:
    rate = wilson(hits, trials, level)
    expected = stats.binomtest(hits, trials).proportion_ci(level, method="wilson")
    assert float(rate.low) == pytest.approx(expected.low, abs=1e-12)
    assert float(rate.high) == pytest.approx(expected.high, abs=1e-12)


def test_wilson_of_nothing_says_nothing() -> None:
    rate = wilson([0], [0])
    assert np.isnan(rate.value[0])
    assert (rate.low[0], rate.high[0]) == (0, 1)


def test_wilson_of_many_shares_of_one_number() -> None:
    rate = wilson([0, 5, 10], 10)
    assert rate.value.tolist() == [0.0, 0.5, 1.0]
    assert rate.low.shape == rate.high.shape == (3,)


@pytest.mark.parametrize(
    ("hits", "trials", "level"), [([2], [1], 0.95), ([-1], [1], 0.95), ([0], [1], 1.0), ([0], [1], 0.0)]
)
def test_wilson_refuses(hits: list[int], trials: list[int], level: float) -> None:
    with pytest.raises(ValueError, match=r"successes|level"):
        wilson(hits, trials, level)


def test_the_interval_of_f1_covers_at_its_level() -> None:
    """200 examples of three classes, 2,000 times: the true F1 lies in the interval about 95 times in 100."""
    joint = np.array([[0.30, 0.05, 0.01], [0.04, 0.25, 0.05], [0.02, 0.03, 0.25]])
    truth = 2 * np.diag(joint) / (joint.sum(axis=0) + joint.sum(axis=1))
    rng = np.random.default_rng(0)
    inside = []
    for counts in rng.multinomial(200, joint.ravel(), 2_000):
        f1 = scores(ConfusionMatrix(3, counts.reshape(3, 3))).f1
        inside.append((f1.low <= truth) & (truth <= f1.high))
    assert np.abs(np.mean(inside, axis=0) - 0.95).max() < 0.02


def test_rows_are_real_and_columns_predicted() -> None:
    matrix = ConfusionMatrix(["cat", "dog"])
    matrix.update_names(["cat", "cat", "cat"], ["dog", "dog", "cat"])
    assert matrix.counts.tolist() == [[1, 2], [0, 0]]
    assert matrix.total == 3
    (top,) = top_confusions(matrix)
    assert (top.real, top.predicted, top.count, top.share) == (0, 1, 2, 2 / 3)


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, np.uint64, bool, list, torch.int32, torch.uint8])
def test_every_whole_type_is_counted(kind: object) -> None:
    real, predicted = [0, 1, 1, 0], [0, 1, 0, 0]
    matrix = ConfusionMatrix(2)
    if kind is list:
        matrix.update(real, predicted)
    elif isinstance(kind, torch.dtype):
        matrix.update(torch.tensor(real, dtype=kind), torch.tensor(predicted, dtype=kind))
    else:
        matrix.update(np.array(real, kind), np.array(predicted, kind))  # type: ignore[call-overload]
    assert matrix.counts.tolist() == [[2, 0], [1, 1]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_scores_count_for_the_highest_and_the_first_of_equals(dtype: torch.dtype) -> None:
    values = torch.tensor([[0.1, 0.9], [0.5, 0.5], [2.0, -1.0]], dtype=dtype, requires_grad=True)
    matrix = ConfusionMatrix(2)
    matrix.update(torch.tensor([1, 1, 1]), values)
    assert matrix.counts.tolist() == [[0, 0], [2, 1]]


@pytest.mark.parametrize("seed", range(3))
def test_the_accumulator_of_devices_counts_the_same(seed: int) -> None:
    real, predicted = random_pair(seed, 11)
    expected = ConfusionMatrix(11)
    expected.update(real, predicted)
    accumulator = Accumulator(11, torch.device("cpu"))
    for rows in np.array_split(np.arange(len(real)), 3):
        accumulator.add(
            torch.tensor(real[rows]), torch.nn.functional.one_hot(torch.tensor(predicted[rows]), 11).float()
        )
    outside, counts = accumulator.read()
    assert outside == 0
    np.testing.assert_array_equal(counts, expected.counts)


def test_the_accumulator_counts_what_lies_outside() -> None:
    accumulator = Accumulator(2, torch.device("cpu"))
    accumulator.add(torch.tensor([0, 2, -1]), torch.tensor([0, 0, 0]))
    accumulator.add(torch.tensor([0]), torch.tensor([[float("nan"), 1.0]]))
    outside, counts = accumulator.read()
    assert outside == 3
    assert counts.tolist() == [[1, 0], [0, 0]]


@pytest.mark.parametrize(
    ("real", "predicted", "message"),
    [
        ([0, 3], [0, 1], "1 real classes lie outside 0 … 2, the first is 3"),
        ([0, 1], [0, -1], "1 predicted classes lie outside 0 … 2, the first is -1"),
        ([0, 1], [0], r"\(2,\) and \(1,\)"),
        ([[0]], [[0]], r"\(1, 1\)"),
        ([0], [[0.1, 0.2]], r"\(1, 2\)"),
        ([0], [[0.1, float("nan"), 0.2]], "1 of 1 rows of scores hold NaN"),
    ],
)
def test_bad_batches_are_refused_and_nothing_is_counted(real: list[int], predicted: list[int], message: str) -> None:
    matrix = ConfusionMatrix(3)
    with pytest.raises(ValueError, match=message):
        matrix.update(real, predicted)
    assert matrix.total == 0


def test_labels_must_be_whole_numbers() -> None:
    with pytest.raises(TypeError, match="real classes must be whole numbers, got float64"):
        ConfusionMatrix(3).update([0.5], [1])
    ConfusionMatrix(3).update([], [])  # an empty batch is one


@pytest.mark.parametrize(
    ("classes", "counts", "message"),
    [
        (0, None, "at least one class"),
        (["a", "a"], None, "two classes are named 'a'"),
        (2, [[1]], r"the shape \(2, 2\), got \(1, 1\)"),
        (1, [[-1]], "not negative"),
        (1, [[0.5]], "whole numbers"),
    ],
)
def test_bad_matrices_are_refused(classes: int, counts: list[list[int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ConfusionMatrix(classes, counts)


def counted_elsewhere(seed: int) -> ConfusionMatrix:
    matrix = ConfusionMatrix(5)
    matrix.update(*random_pair(seed, 5))
    return matrix


def test_merges_across_processes() -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        first, second = pool.map(counted_elsewhere, [1, 2])
    whole = ConfusionMatrix(5)
    for seed in (1, 2):
        whole.update(*random_pair(seed, 5))
    assert first + second == whole
    assert pickle.loads(pickle.dumps(whole)) == whole


def test_merges_classes_by_name() -> None:
    one, two = ConfusionMatrix(["a", "b"], [[1, 2], [3, 4]]), ConfusionMatrix(["b", "c"], [[10, 20], [30, 40]])
    merged = one + two
    assert merged.names == ("a", "b", "c")
    assert merged.counts.tolist() == [[1, 2, 0], [3, 14, 20], [0, 30, 40]]
    assert one.counts.tolist() == [[1, 2], [3, 4]]


def reduced(rank: int, address: str, results: object) -> None:
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    matrix = ConfusionMatrix(2)
    matrix.update([0, 1], [rank, rank])
    matrix.all_reduce()
    results.put((rank, matrix.counts.tolist()))  # type: ignore[attr-defined]
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(sys.platform == "win32", reason="gloo over a file")
def test_all_reduce_gives_every_rank_the_sum(tmp_path: object) -> None:
    context = get_context("spawn")
    results = context.Queue()
    workers = [context.Process(target=reduced, args=(rank, f"file://{tmp_path}/meet", results)) for rank in range(2)]
    for worker in workers:
        worker.start()
    found = dict(results.get(timeout=120) for _ in workers)
    for worker in workers:
        worker.join()
    assert found == {0: [[1, 1], [1, 1]], 1: [[1, 1], [1, 1]]}


def test_all_reduce_without_a_group_says_so() -> None:
    with pytest.raises(RuntimeError, match="not initialised"):
        ConfusionMatrix(2).all_reduce()


def test_never_predicted_leaves_out_what_never_occurs() -> None:
    assert never_predicted(ConfusionMatrix(3, [[5, 0, 0], [2, 0, 0], [0, 0, 0]])) == [1]


def test_scores_of_an_empty_matrix_are_nan_and_do_not_warn() -> None:
    result = scores(ConfusionMatrix(3))
    assert np.isnan([result.kappa, result.matthews, result.macro_f1, result.balanced_accuracy]).all()
    assert np.isnan(normalised(ConfusionMatrix(2), "all")).all()
    with pytest.raises(ValueError, match="'rows' is none of"):
        normalised(ConfusionMatrix(2), "rows")  # type: ignore[arg-type]


def test_numpy_alone_does_not_import_torch() -> None:
    import subprocess

    code = "import sys; from vivavoce.measure import ConfusionMatrix as C; C(2).update([0], [1]); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
