"""The best constant on a validation pass, against scikit-learn's dummy models, and seen by the tap."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.metrics import log_loss, mean_squared_error
from torch import Tensor

from vivavoce.attach.constant import ConstantLoss


def seen(function: str, classes: int | None, targets: list[Tensor], **kwargs: Any) -> ConstantLoss:
    constant = ConstantLoss(function, classes)
    for target in targets:
        constant.see((None, target), kwargs, target, lambda row, take: take(row.tolist()))
    return constant


def test_classes_are_sklearns_prior() -> None:
    labels = torch.randint(0, 4, (90,), generator=torch.Generator().manual_seed(0))
    parts = list(labels.split(30))
    found = seen("cross_entropy", 4, parts).compare([1.0, 1.2, 1.1], [30, 30, 30])
    x = np.zeros((90, 1))
    prior = DummyClassifier(strategy="prior").fit(x, labels.numpy())
    expected = log_loss(labels.numpy(), prior.predict_proba(x))
    assert found is not None
    assert found[0] == pytest.approx(expected, abs=1e-12)
    assert found[1] == pytest.approx(1.1 - expected, abs=1e-12)
    assert found[3] == pytest.approx(np.bincount(labels.numpy()).max() / 90)


def test_numbers_are_sklearns_mean_and_the_error_is_that_of_a_mean() -> None:
    values = torch.randn(80, generator=torch.Generator().manual_seed(1))
    parts = list(values.split(20))
    losses = [1.0, 1.5, 0.7, 1.1]
    found = seen("mse_loss", None, parts).compare(losses, [20] * 4)
    constant = DummyRegressor().fit(np.zeros((80, 1)), values.numpy()).constant_[0, 0]
    apart = [loss - mean_squared_error(part.numpy(), np.full(20, constant)) for loss, part in zip(losses, parts, strict=True)]  # fmt: skip
    assert found is not None
    assert found[0] == pytest.approx(float(values.var(unbiased=False)), rel=1e-6)
    assert found[1] == pytest.approx(np.mean(apart), rel=1e-5)
    assert found[2] == pytest.approx(np.std(apart, ddof=1) / 2, rel=1e-5)
    assert np.isnan(found[3])


def test_yes_and_no() -> None:
    target = torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0])
    found = seen("binary_cross_entropy_with_logits", 2, [target]).compare([0.5], [5])
    assert found is not None
    assert found[0] == pytest.approx(log_loss(target.numpy(), np.full(5, 0.6)))
    assert np.isnan(found[2])
    assert found[3] == pytest.approx(0.6)


def test_ignored_targets_do_not_count() -> None:
    found = seen("cross_entropy", 2, [torch.tensor([0, 1, -100, -100])]).compare([0.5], [4])
    assert found is not None
    assert found[0] == pytest.approx(np.log(2))


@pytest.mark.parametrize(
    ("function", "classes", "kwargs"),
    [
        ("l1_loss", None, {}),
        ("cross_entropy", 1_000, {}),
        ("cross_entropy", 3, {"weight": torch.ones(3)}),
        ("cross_entropy", 3, {"label_smoothing": 0.1}),
        ("cross_entropy", 3, {"reduction": "sum"}),
        ("mse_loss", None, {}),  # whole numbers, which is no squared error
    ],
)
def test_where_no_constant_can_be_compared(function: str, classes: int | None, kwargs: dict[str, Any]) -> None:
    constant = ConstantLoss(function, classes)
    if constant.usable:
        target = torch.tensor([0, 1, 2])
        constant.see((None, target), kwargs, target, lambda row, take: take(row.tolist()))
    assert constant.compare([1.0], [3]) is None


def test_a_pass_that_was_not_seen_as_a_whole_tells_nothing() -> None:
    assert seen("mse_loss", None, [torch.ones(3)]).compare([1.0, 1.0], [3, 3]) is None
    assert seen("mse_loss", None, []).compare([], []) is None


def test_one_class_alone_costs_a_constant_nothing() -> None:
    found = seen("cross_entropy", 2, [torch.zeros(8, dtype=torch.long)]).compare([0.3], [8])
    assert found is not None
    assert found[:2] == (0.0, 0.3)
    assert found[3] == 1.0
