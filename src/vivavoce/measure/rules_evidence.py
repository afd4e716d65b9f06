"""Whether labels contradict a rule, or noise in them explains what they break of it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from vivavoce.measure.rules import Floats, Rule, check_rule
from vivavoce.measure.rules_linear import LinearRule
from vivavoce.measure.rules_order import MonotoneRule
from vivavoce.measure.rules_projection import dykstra

REFUSED = 1e-3  # below this probability a rule counts as contradicted
_LAMBDAS = np.linspace(0.001, 0.499, 499)  # of Chernoff's bound; the moments exist below 1/2


def contradiction(rule: Rule, labels: ArrayLike, deviation: float = 0.0) -> float:
    """An upper bound of the probability that labels of a true rule look as broken as these, or worse.

    Labels are the truth and independent normal noise of standard `deviation`; 0 means that they have none, so that any
    violation contradicts: 0.0, else 1.0. The statistic is the squared distance to the nearest labels that obey, over the
    variance. Were the rule true, it would be largest where the truth lies on every boundary: a χ² of one degree of
    freedom or nothing, at even odds, for each inequality that shares no label, and at most a χ² of as many degrees as
    there are constraints else. Chernoff's bound of its tail holds for any number of labels.
    Raises ValueError for labels that are not finite, a negative deviation, and an implication on predictions.
    """
    if not (deviation >= 0 and math.isfinite(deviation)):
        raise ValueError(f"a standard deviation is 0 or more, not {deviation}")
    if not rule.convex:
        raise ValueError("labels are held against convex rules alone; check an implication with check_rule")
    if deviation == 0:
        return float(check_rule(rule, labels).holds)
    values: Floats = np.asarray(labels, np.float64).reshape(-1)
    statistic = float(np.sum((values - dykstra([rule], values).values) ** 2)) / deviation**2
    if isinstance(rule, LinearRule) and not rule.equal and len(rule.parts()) == 1:
        moments = np.log(0.5 + 0.5 / np.sqrt(1 - 2 * _LAMBDAS))
    else:
        moments = -0.5 * np.log(1 - 2 * _LAMBDAS)
    return float(np.exp(min(0.0, float(np.min(_constraints(rule) * moments - _LAMBDAS * statistic)))))


def _constraints(rule: Rule) -> int:
    """The dimension of the space in which the rule can push labels."""
    return len(rule.places) - len(rule.chains) if isinstance(rule, MonotoneRule) else rule.size
