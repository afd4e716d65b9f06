"""The detectors, causes before symptoms: the order is the causal rank that the verdict sorts by."""

from __future__ import annotations

from vivavoce.examine.detector import Detector
from vivavoce.examine.gradients_not_zeroed import GradientsNotZeroed
from vivavoce.examine.guessing import Guessing
from vivavoce.examine.non_finite import NonFinite

DETECTORS: tuple[type[Detector], ...] = (
    GradientsNotZeroed,
    NonFinite,
    Guessing,
)
