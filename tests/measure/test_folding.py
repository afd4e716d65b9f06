import numpy as np
import pytest
from scipy import stats

from vivavoce.measure.folding import f_to_z, fold


@pytest.mark.parametrize(("d1", "d2"), [(5, 40), (20, 100), (45, 400), (100, 1000)])
@pytest.mark.parametrize("f", [0.8, 1.0, 1.3, 1.8, 2.5])
def test_the_normal_deviate_has_the_tail_of_the_f_distribution(f, d1, d2):
    expected = stats.norm.isf(stats.f.sf(f, d1, d2))
    if abs(expected) < 6:  # the approximation serves thresholds of a few standard deviations
        assert f_to_z(f, d1, d2) == pytest.approx(expected, abs=0.12)


def test_noise_has_no_pattern():
    """Reshuffled data: of 200 streams of noise none passes four standard deviations."""
    generator = np.random.default_rng(0)
    z = [fold(generator.normal(size=600), 30).z for _ in range(200)]
    assert max(z) < 4
    assert abs(np.mean(z)) < 0.3


def test_a_fixed_order_is_found_beneath_a_falling_loss():
    generator = np.random.default_rng(1)
    order, t = generator.normal(size=40), np.arange(400)
    stream = np.log(3 * np.exp(-t / 200)) + 0.2 * np.tile(order, 10) + 0.2 * generator.normal(size=400)
    found = fold(stream, 40)
    assert found.z > 8
    assert found.share == pytest.approx(0.5, abs=0.12)  # equal variances of pattern and noise
    assert fold(stream, 37).z < 4


def test_a_slow_course_within_the_period_is_no_pattern():
    t = np.tile(np.linspace(-1, 1, 50), 8)
    stream = t**2 + 0.01 * np.random.default_rng(2).normal(size=400)
    assert fold(stream, 50).z < 4


@pytest.mark.parametrize(("values", "period"), [([], 10), (np.zeros(100), 10), (np.ones(20), 10), (np.full(100, np.nan), 10), (np.ones(50), 3)])  # fmt: skip
def test_too_little_to_say(values, period):
    assert fold(np.asarray(values, dtype=float), period) is None
