"""AUTOTRAINER's order of repairs (ICSE 2021, table 2) with our remedies: problem by problem, first to last.

Repairs of theirs that have no counterpart here (tanh for exploding gradients, gradient noise) are left out.
"""

from vivavoce.remedy.catalogue import REMEDIES, by_name

ORDER = {
    "vanishing": ("selu", "relu", "he-initialisation", "normalisation"),
    "exploding": ("selu", "relu", "clip-norm", "normalisation"),
    "dying": ("selu", "normalisation", "he-initialisation", "default-initialisation", "leaky-relu"),
    "unstable": ("adam", "lower-learning-rate", "schedule", "larger-batch", "lower-momentum", "he-initialisation"),
    "slow": ("adam", "raise-learning-rate", "lower-learning-rate", "he-initialisation"),
}
PROBLEM = {  # which of their five problems a finding of ours shows as
    "vanishing-gradients": "vanishing",
    "saturated-units": "vanishing",
    "exploding-gradients": "exploding",
    "non-finite": "exploding",
    "gradient-spikes": "exploding",
    "dead-units": "dying",
    "learning-rate-too-high": "unstable",
    "oscillating-loss": "unstable",
    "gradients-not-zeroed": "unstable",
}

__all__ = ["REMEDIES", "by_name", "plan"]


def plan(run, findings):
    """Every other finding is, to a tool that watches losses and gradients, training that does not converge."""
    problems = list(dict.fromkeys(PROBLEM.get(finding.slug, "slow") for finding in findings))
    planned = []
    for problem in problems:
        for name in ORDER[problem]:
            remedy = next((remedy for remedy in REMEDIES if remedy.name == name), None)
            found = None if remedy is None else _prescribed(remedy, run, findings)
            if found is not None:
                planned.append(found)
    return planned


def _prescribed(remedy, run, findings):
    """Their tool has one value a repair: the first that ours prescribes, for the finding or for any that it treats."""
    for finding in findings:
        for slug in (finding.slug, *remedy.treats):
            try:
                found = next(iter(remedy.prescribe(run, finding.with_(slug=slug))), None)
            except Exception:  # it needs what only its own finding tells
                continue
            if found is not None:
                return found
    return None
