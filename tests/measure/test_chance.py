import math

import numpy as np
import pytest
from scipy import stats
from sklearn.dummy import DummyClassifier
from sklearn.metrics import log_loss

from vivavoce.measure.chance import binary_entropy, entropy, uniform_cross_entropy


def test_entropy_is_the_loss_of_the_best_constant_classifier():
    labels = np.repeat([0, 1, 2, 3], [5, 20, 60, 15])
    dummy = DummyClassifier(strategy="prior").fit(np.zeros((100, 1)), labels)
    expected = log_loss(labels, dummy.predict_proba(np.zeros((100, 1))))
    assert entropy(np.bincount(labels).astype(float)) == pytest.approx(expected)
    assert entropy(np.array([5.0, 0.0, 95.0])) == pytest.approx(stats.entropy([5, 95]))


def test_equal_classes_give_the_logarithm_of_their_number():
    assert uniform_cross_entropy(4) == pytest.approx(1.386, abs=5e-4)  # what r2c's asker saw at every epoch
    assert entropy(np.full(7, 3.0)) == pytest.approx(uniform_cross_entropy(7))
    with pytest.raises(ValueError, match="not 0"):
        uniform_cross_entropy(0)


def test_binary_entropy():
    assert binary_entropy(0.25) == pytest.approx(stats.bernoulli(0.25).entropy())
    assert binary_entropy(0.0) == 0
    assert math.isnan(binary_entropy(1.5))
    assert math.isnan(entropy(np.zeros(3)))
