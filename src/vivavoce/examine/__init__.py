"""Detectors: a run in, findings out. No torch."""
