"""Student's t distribution, without SciPy: its tail through the regularised incomplete beta function."""

from __future__ import annotations

import math

SMALLEST = 1e-300  # keeps the continued fraction from dividing by zero
CLOSE = 1e-16  # relative change at which it has converged
MOST_TERMS = 500
BISECTIONS = 200


def two_sided_p(t: float, freedom: float) -> float:
    """The probability that |T| ≥ |t| for `freedom` > 0 degrees of freedom: I_{ν/(ν+t²)}(ν/2, 1/2) (DLMF 8.17).

    Raises ValueError where `freedom` is not positive.
    """
    if not freedom > 0:
        raise ValueError(f"degrees of freedom must be positive, not {freedom}")
    if math.isinf(t):
        return 0.0
    return _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t))


def quantile(probability: float, freedom: float) -> float:
    """The t with P(T ≤ t) = `probability`, by bisection. Raises ValueError outside of 0 < probability < 1."""
    if not 0 < probability < 1:
        raise ValueError(f"a probability between 0 and 1 is expected, not {probability}")
    tail = 2 * min(probability, 1 - probability)
    low, high = 0.0, 1.0
    while two_sided_p(high, freedom) > tail:
        high *= 2
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if two_sided_p(middle, freedom) > tail else (low, middle)
    return math.copysign(high, probability - 0.5) if probability != 0.5 else 0.0


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """I_x(a, b), by the continued fraction that converges fast on the side of x that is asked for (DLMF 8.17.22)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    if x < (a + 1) / (a + b + 2):
        return front * _fraction(a, b, x) / a
    return 1 - front * _fraction(b, a, 1 - x) / b


def _fraction(a: float, b: float, x: float) -> float:
    """The continued fraction, by Lentz's method (1976) as Thompson and Barnett (1986) changed it."""
    c, d = 1.0, 1 - (a + b) * x / (a + 1)
    d = 1 / (d if abs(d) > SMALLEST else SMALLEST)
    value = d
    for m in range(1, MOST_TERMS):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d, c = 1 + term * d, 1 + term / c
            d, c = 1 / (d if abs(d) > SMALLEST else SMALLEST), (c if abs(c) > SMALLEST else SMALLEST)
            value *= d * c
        if abs(d * c - 1) < CLOSE:
            break
    return value
