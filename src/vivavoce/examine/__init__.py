"""Detectors: a run in, findings out. No torch."""

from vivavoce.examine.verdict import Verdict, examine

__all__ = ["Verdict", "examine"]
