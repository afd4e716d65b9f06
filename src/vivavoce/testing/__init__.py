"""Conformance cases that every tap, detector, remedy and lab runs through."""
