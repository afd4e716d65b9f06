"""rule-violated: predictions break a rule that the user has stated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vivavoce.examine.detector import Detector
from vivavoce.examine.finding import Evidence, Finding, Remedy, RuledOut, Severity
from vivavoce.examine.reading import where
from vivavoce.measure.confusion_scores import wilson
from vivavoce.record.entities import Rule, Site
from vivavoce.record.run import Run
from vivavoce.record.tracks import Track

SELDOM = 0.01  # share of violations below which it is a note: it may be the noise of a batch
TITLE = "The predictions break a rule they must obey"
PROJECT = Remedy(
    "project",
    "move finished predictions to the nearest ones that obey: where the rule is true, the squared error cannot grow",
    "from vivavoce.measure import comparison, project_onto_rules\n"
    "rule = comparison(greater=[0], lesser=[1])  # places in prediction.flatten()\n"
    "prediction = project_onto_rules(rule, prediction)",
)
PENALTY = Remedy(
    "penalty",
    "add to the loss how much the rule is broken; alone it seldom carries over to new examples",
    "loss = loss + rule_penalty(rule, prediction)  # from vivavoce.measure",
)
CHECK = Remedy("check-labels", "hold the labels against the rule", "viva lab rules table.csv --rule 'a > b'")


@dataclass(frozen=True)
class _Count:
    """What became of a rule in the second half of the run, in examples or outputs of them."""

    broken: float
    checked: float
    worst: float
    targets_broken: float
    targets_checked: float


class RuleViolated(Detector):
    """In the second half of the run, validation first, predictions broke a stated rule; or the targets do themselves."""

    slug = "rule-violated"
    question = 2

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """Each rule by itself; excluded only where all of them hold."""
        held, checked = [], 0.0
        for text in dict.fromkeys(rule.text for rule in run.rules.values()):
            rules = [rule for rule in run.rules.values() if rule.text == text]
            for signal in ("val/rule", "rule"):
                count = _count(run, rules, signal)
                if count is not None:
                    break
            if count is None:
                yield _unchecked(run, rules)
            elif count.targets_broken:
                yield _no_rule(run, rules, count)
            elif count.broken:
                yield _broken(run, rules, count, "validation" if signal == "val/rule" else "training")
            else:
                held.append(text)
                checked += count.checked
        if held and len(held) == len({rule.text for rule in run.rules.values()}):
            yield RuledOut(self.slug, f"{checked:,.0f} predictions checked obey {' and '.join(held)}")


def _count(run: Run, rules: list[Rule], signal: str) -> _Count | None:
    """The sums over the rule's places; None where it was never held against anything."""
    owners = {("rule", rule.id) for rule in rules}
    tracks = [track for track in run.tracks(signal) if track.owner in owners and len(track)]
    parts = [_late(track, run.steps) for track in tracks]
    if not parts:
        return None
    sums = np.sum([part[0] for part in parts], axis=0)
    if not sums[1] > 0:
        return None
    return _Count(sums[0], sums[1], max(part[1] for part in parts), sums[3], sums[4])


def _late(track: Track, steps: int) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], float]:
    """Sums of the columns and the worst violation over the rows of the second half; over all where it has none."""
    late = track.steps >= steps // 2
    late = late if late.any() else np.ones(len(track), bool)
    sums = np.nansum(track.mean[late] * track.counts[late, None], axis=0)
    return sums, float(np.nanmax(track.maximum[late, 2], initial=0.0))


def _broken(run: Run, rules: list[Rule], count: _Count, where_from: str) -> Finding:
    rate = wilson(min(count.broken, count.checked), count.checked)
    share, low, high = (float(part) for part in (rate.value, rate.low, rate.high))
    text = rules[0].text
    return _finding(
        run, rules,
        "warning" if share >= SELDOM else "note",
        0.95,
        TITLE,
        f"{share:.1%} of {count.checked:,.0f} {where_from} predictions looked at in the second half of the run break {text} "
        f"(95 % interval {low:.1%} to {high:.1%}), by up to {count.worst:.3g}.",
        (
            Evidence(f"predictions that break {text}", share, "fraction", 0.0, "the rule as stated"),
            Evidence("worst violation", count.worst, "", 0.0, "the rule as stated"),
            Evidence("predictions checked", count.checked, "predictions"),
        ),
        (PROJECT, PENALTY),
    )  # fmt: skip


def _no_rule(run: Run, rules: list[Rule], count: _Count) -> Finding:
    text = rules[0].text
    return _finding(
        run, rules, "note", 0.9,
        "The targets themselves break a stated rule",
        f"{count.targets_broken:,.0f} of {count.targets_checked:,.0f} targets looked at break {text} themselves: either it is no rule of "
        f"these data, or these labels are wrong. Predictions were not held against it.",
        (Evidence("targets that break it", count.targets_broken / count.targets_checked, "fraction", 0.0, "a rule has no exceptions"),),
    )  # fmt: skip


def _unchecked(run: Run, rules: list[Rule]) -> Finding:
    why = "; ".join(dict.fromkeys(rule.unfit for rule in rules if rule.unfit)) or "no loss function was called with it"
    return _finding(
        run, rules, "note", 0.9,
        "A stated rule could not be checked",
        f"{rules[0].text} was never held against a prediction: {why}.",
        (Evidence("predictions checked", 0.0, "predictions"),),
    )  # fmt: skip


def _finding(
    run: Run,
    rules: list[Rule],
    severity: Severity,
    confidence: float,
    title: str,
    why: str,
    evidence: tuple[Evidence, ...],
    remedies: tuple[Remedy, ...] = (),
) -> Finding:
    site = _site(run, rules)
    return Finding(
        slug=RuleViolated.slug,
        severity=severity,
        confidence=confidence,
        question=RuleViolated.question,
        title=title,
        why=why,
        where=where(site, first_step=run.steps // 2, last_step=run.steps),
        evidence=evidence,
        remedies=(*remedies, CHECK),
    )


def _site(run: Run, rules: list[Rule]) -> Site | None:
    return next((run.losses[rule.loss].site for rule in rules if rule.loss in run.losses), None)
