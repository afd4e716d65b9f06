"""A plan that knows nothing of what was found: remedies at random with random numbers."""

from vivavoce.remedy import catalogue
from vivavoce.remedy.catalogue import REMEDIES, by_name
from vivavoce.repair.search import draws

MOST = 16  # drawn; the number of trials cuts them

__all__ = ["REMEDIES", "by_name", "plan"]


def plan(run, findings):
    return draws(run, catalogue, MOST)
