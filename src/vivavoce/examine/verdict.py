"""`examine(run) -> Verdict`: all detectors over one run, symptoms under their causes, the most important finding first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vivavoce.examine import preflight
from vivavoce.examine.catalogue import DETECTORS
from vivavoce.examine.detector import Detector
from vivavoce.examine.finding import SEVERITIES, Finding, RuledOut
from vivavoce.examine.places import placed
from vivavoce.examine.progress import Progress
from vivavoce.examine.slugs import SLUGS
from vivavoce.record.run import Run

Outcome = Literal["healthy", "findings", "unknown", "no-training"]

FEWEST_STEPS = 20  # steps; a verdict on fewer is a guess: a block of 5 at either end still has a usable median
MOST_RIVALS = 4  # ruled-out causes listed under a finding: more than a reader takes in


@dataclass(frozen=True)
class Fault:
    """A detector that raised: a fault of ours, not of the run."""

    slug: str
    error: str


@dataclass(frozen=True)
class Verdict:
    """The outcome of an examination.

    `findings` are ordered, most important first; exactly one is primary if any is a warning or worse. Notes alone do
    not make an outcome "findings". `reason` is one plain sentence. `ruled_out` holds what the detectors excluded.
    """

    outcome: Outcome
    findings: tuple[Finding, ...]
    reason: str
    ruled_out: tuple[RuledOut, ...] = ()
    faults: tuple[Fault, ...] = ()

    @property
    def primary(self) -> Finding | None:
        """The finding to look at first."""
        return next((finding for finding in self.findings if finding.primary), None)


def examine(run: Run, detectors: Sequence[type[Detector]] = DETECTORS) -> Verdict:
    """Examine a run with `detectors`, listed causes before symptoms. Never raises: a detector's fault is reported."""
    found, ruled_out, faults = _collect(run, detectors)
    found = preflight.revised(run, found)
    findings = _ordered(_folded(found, detectors), detectors)
    findings = tuple(
        placed(run, finding.with_(ruled_out=_rivals(finding, ruled_out, detectors))) for finding in findings
    )
    outcome, reason = _outcome(run, findings, faults)
    return Verdict(outcome, findings, reason, tuple(ruled_out), tuple(faults))


def _collect(run: Run, detectors: Iterable[type[Detector]]) -> tuple[list[Finding], list[RuledOut], list[Fault]]:
    found: list[Finding] = []
    ruled_out: list[RuledOut] = []
    faults: list[Fault] = []
    for detector in detectors:
        try:
            with np.errstate(all="ignore"):
                results = list(detector().examine(run))
        except Exception as error:
            faults.append(Fault(detector.slug, f"{type(error).__name__}: {error}"))
        else:
            found += [result for result in results if isinstance(result, Finding)]
            ruled_out += [result for result in results if isinstance(result, RuledOut)]
    slugs = {finding.slug for finding in found}
    return found, [item for item in ruled_out if item.slug not in slugs], faults


def _grave(finding: Finding) -> bool:
    return finding.severity != "note"


def _folded(found: Sequence[Finding], detectors: Sequence[type[Detector]]) -> list[Finding]:
    """Findings without those that a found cause explains; each cause lists them, and their own symptoms, under it.

    A detector explains only what comes after it in the catalogue, so that no two findings make each other vanish.
    """
    order = [detector.slug for detector in detectors]
    explains = {
        detector.slug: tuple(s for s in detector.explains if s in order[i + 1 :])
        for i, detector in enumerate(detectors)
    }
    by_slug: dict[str, list[Finding]] = {}
    for finding in found:
        by_slug.setdefault(finding.slug, []).append(finding)
    causes = {slug for slug, group in by_slug.items() if any(map(_grave, group))}
    under = {slug: _reach(slug, explains, set(by_slug), causes) for slug in causes}
    symptoms = set().union(*under.values())
    return [
        finding.with_(symptoms=tuple(s for s in by_slug if s in under.get(finding.slug, ())))
        for finding in found
        if finding.slug not in symptoms
    ]


def _reach(slug: str, explains: dict[str, tuple[str, ...]], found: set[str], causes: set[str]) -> set[str]:
    """The found slugs that `slug` explains, directly or through another found cause."""
    reached: set[str] = set()
    open_slugs = [slug]
    while open_slugs:
        for symptom in explains.get(open_slugs.pop(), ()):
            if symptom in found and symptom not in reached and symptom != slug:
                reached.add(symptom)
                if symptom in causes:
                    open_slugs.append(symptom)
    return reached


def _ordered(findings: Sequence[Finding], detectors: Sequence[type[Detector]]) -> tuple[Finding, ...]:
    rank = {detector.slug: position for position, detector in enumerate(detectors)}

    def importance(finding: Finding) -> tuple[bool, int, int, float]:
        return (
            not _grave(finding),
            rank.get(finding.slug, len(rank)),
            SEVERITIES.index(finding.severity),
            -finding.confidence,
        )

    ordered = sorted(findings, key=importance)
    return tuple(finding.with_(primary=i == 0 and _grave(finding)) for i, finding in enumerate(ordered))


def _rivals(
    finding: Finding, ruled_out: Iterable[RuledOut], detectors: Iterable[type[Detector]]
) -> tuple[RuledOut, ...]:
    """The excluded causes that a reader would think of, nearest first.

    Those that explain the finding, or explain what it explains; the order of the catalogue says which are near.
    """
    explains = {detector.slug: set(detector.explains) for detector in detectors}
    rank = {slug: position for position, slug in enumerate(explains)}
    own, place = explains.get(finding.slug, set()), rank.get(finding.slug, len(rank))
    rivals = {slug for slug, under in explains.items() if finding.slug in under or slug in own or under & own}
    near = sorted((item for item in ruled_out if item.slug in rivals), key=lambda item: abs(rank[item.slug] - place))
    kept: dict[str, RuledOut] = {}
    for item in (*finding.ruled_out, *near):
        kept.setdefault(item.slug, item)
    return tuple(kept.values())[:MOST_RIVALS]


def _outcome(run: Run, findings: Sequence[Finding], faults: Sequence[Fault]) -> tuple[Outcome, str]:
    grave = [finding for finding in findings if _grave(finding)]
    if grave:
        first = grave[0]
        title = SLUGS[first.slug].title if first.slug in SLUGS else first.title
        more = f", and {len(grave) - 1} more" if len(grave) > 1 else ""
        return "findings", f"{title}{more}."
    if run.steps <= 0 or not _trained(run):
        return "no-training", "No training step was seen."
    judged = preflight.outcome(run, findings)
    if judged is not None:
        return judged
    if run.steps < FEWEST_STEPS:
        return "unknown", f"{run.steps} steps are too few to judge; {FEWEST_STEPS} are needed."
    progress = Progress.of(run)
    if progress is not None and progress.off:
        return "unknown", f"{progress.sentence} None of the ailments that Viva knows explains it."
    if faults:
        names = ", ".join(fault.slug for fault in faults)
        return "unknown", f"Nothing was found, but these detectors failed: {names}."
    if not len(run.train_loss):
        return (
            "unknown",
            f"No loss was seen in {run.steps:,} steps, and without it nothing says whether the training succeeds.",
        )
    return "healthy", progress.sentence if progress is not None else "Nothing wrong was found."


def _trained(run: Run) -> bool:
    return any(len(track) for name in ("step", "train/loss", "gradient_norm") for track in run.tracks(name))
