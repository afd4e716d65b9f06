"""What the checks of `viva run --preflight` amount to: findings, and the verdict on a run of a few steps."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

from vivavoce.examine.finding import Evidence, Finding, Remedy, Severity, Where
from vivavoce.examine.slugs import SLUGS
from vivavoce.record.run import Run

CONFIDENCE = {"failed": 0.85, "suspicious": 0.7}  # by status: a trial on one batch is strong, but it is one batch
OUTCOMES = frozenset(
    {"stopped-too-early", "stopped-too-late", "underfitting", "overfitting", "guessing", "class-ignored",
     "classes-confused", "oscillating-loss", "capacity-too-small", "batch-too-small", "batch-too-large",
     "discriminator-dominates", "generator-dominates", "mode-collapse"}
)  # what a training ends in: not to be told from its first steps  # fmt: skip
REFUTES: dict[str, tuple[str, ...]] = {
    "learning-rate": ("learning-rate-too-high", "learning-rate-too-low"),
    "train-eval-parity": ("train-eval-mismatch",),
    "units-differ": ("symmetric-weights",),
}  # findings that a check speaks against where it finds nothing wrong
REMEDIES: dict[str, Remedy] = {
    "parameters-not-optimized": Remedy(
        "optimize-all", "give the optimizer every parameter", "torch.optim.Adam(model.parameters(), lr=…)"
    ),
    "no-gradient": Remedy(
        "reconnect", "look for detach(), .data, no_grad() and layers that forward() leaves out", "print(p.grad)"
    ),
    "symmetric-weights": Remedy(
        "he-initialisation", "start from small random weights", "nn.init.kaiming_normal_(layer.weight)"
    ),
    "train-eval-mismatch": Remedy(
        "check-modes", "compare the modes on one batch, and look at momentum and batch size of the named layer",
        "model.eval(); print(criterion(model(x), y)); model.train(); print(criterion(model(x), y))",
    ),
    "guessing": Remedy("check-path", "follow the input to the output: where does it stop to matter?", "print(model(x), model(0 * x))"),
    "underfitting": Remedy("check-targets", "check that the outputs can reach the targets", "print(model(x).min(), model(x).max(), y.min(), y.max())"),
    "activation-scale": Remedy("check-scale", "normalise the inputs, and initialise the last layer with small weights", "nn.init.normal_(head.weight, std=0.01)"),
}  # fmt: skip


def checks(run: Run) -> list[dict[str, Any]]:
    """The checks that were made, as `Check.to_json` has them; none where the run was no preflight."""
    events = run.events("preflight")
    return list(events[-1].data.get("checks", ())) if events else []


def revised(run: Run, found: list[Finding]) -> list[Finding]:
    """What detectors found, in the light of the checks: all of it where the run was no preflight.

    A few steps say nothing of how a training ends, and what was tried on a copy outweighs what its traces suggest.
    """
    made = checks(run)
    if not made:
        return found
    refuted = {slug for check in made if check["status"] == "ok" for slug in REFUTES.get(check["name"], ())}
    kept = [finding for finding in found if finding.slug not in refuted | OUTCOMES]
    return kept + findings(run, kept)


def findings(run: Run, found: Iterable[Finding]) -> list[Finding]:
    """The findings that checks amount to, without those that are `found` already."""
    known = {finding.slug for finding in found}
    results: dict[str, Finding] = {}
    for check in checks(run):
        slug = check.get("slug")
        if slug in SLUGS and slug not in known and slug not in results and check.get("status") in CONFIDENCE:
            results[slug] = _finding(run, slug, check)
    return list(results.values())


def outcome(run: Run, found: Iterable[Finding]) -> tuple[Literal["healthy", "unknown"], str] | None:
    """The verdict on a preflight without grave findings, and its reason; None where the run was none."""
    made = checks(run)
    if not made or any(finding.severity != "note" for finding in found):
        return None
    by_status = {status: [c["name"] for c in made if c["status"] == status] for status in ("ok", "unchecked")}
    doubtful = [c["name"] for c in made if c["status"] in CONFIDENCE]
    if doubtful:
        return "unknown", f"{', '.join(doubtful)}: look at the table of checks."
    if not by_status["ok"]:
        return "unknown", "None of the checks could be made."
    left = f"; {len(by_status['unchecked'])} could not be made" if by_status["unchecked"] else ""
    return "healthy", f"{len(by_status['ok'])} of {len(made)} checks found nothing wrong{left}."


def _finding(run: Run, slug: str, check: dict[str, Any]) -> Finding:
    status = check["status"]
    severity: Severity = "critical" if status == "failed" else "warning"
    numbers = check.get("numbers", {})
    return Finding(
        slug=slug,
        severity=severity,
        confidence=CONFIDENCE[status],
        question=SLUGS[slug].question,
        title=SLUGS[slug].title,
        why=f"Preflight: {check['why']}.",
        where=Where(layer=check.get("layer"), first_step=1, last_step=run.steps),
        evidence=tuple(Evidence(name, _number(value), "", None, check["name"]) for name, value in numbers.items()),
        remedies=_remedies(slug, numbers),
    )


def _remedies(slug: str, numbers: dict[str, Any]) -> tuple[Remedy, ...]:
    if slug.startswith("learning-rate") and "best" in numbers:
        rate = _number(numbers["best"])
        if math.isfinite(rate):
            return (Remedy("learning-rate", "take a rate from the range that the copy could bear", f"lr={rate:.2g}"),)
    return (REMEDIES[slug],) if slug in REMEDIES else ()


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
