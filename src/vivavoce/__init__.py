"""Vivavoce: the oral exam for neural networks."""

from vivavoce._version import __version__

__all__ = ["__version__"]
