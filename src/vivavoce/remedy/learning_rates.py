"""Another learning rate, from the size of the run's own first step. The base of lower-learning-rate and raise-learning-rate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

from vivavoce.examine.finding import Finding
from vivavoce.examine.reading import learning_rate
from vivavoce.record.entities import Optimizer
from vivavoce.record.run import Run
from vivavoce.remedy.adversaries import players
from vivavoce.remedy.optimizer_number import Choice, OptimizerNumber, rates_by_hand
from vivavoce.remedy.optimizers import better_rates, joined, optimizers_of, rounded, usual_rate
from vivavoce.remedy.remedy import Prescription

JOINT_CHOICES = 3  # of rates for several optimizers at once
SECOND_SCALE = 0.5  # times the usual rate, for a generator: slower than its critic (Heusel et al. 2017: ¼ to ½)


class AnotherLearningRate(OptimizerNumber):
    """A few rates on one side of the recorded one; `verb` is what is done to it."""

    higher: ClassVar[bool]
    verb: ClassVar[str]

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """For an optimizer, or for updates by hand."""
        yield from super().prescribe(run, finding)
        yield from rates_by_hand(self, run, finding, self.higher)

    def further(self, prescription: Prescription, factor: float) -> Prescription:
        """Every rate of the prescription times the factor."""
        where, title = dict(prescription.where), prescription.title
        numbers = {"lr": rounded(prescription.numbers["lr"] * factor)}
        title = title.replace(f"{prescription.numbers['lr']:g}", f"{numbers['lr']:g}", 1)
        also = []
        for each in where.get("also", ()):
            rate = rounded(each["numbers"]["lr"] * factor)
            title = f"{rate:g}".join(title.rsplit(f"{each['numbers']['lr']:g}", 1))
            also.append({**each, "numbers": {"lr": rate}})
        if also:
            where["also"] = also
        return replace(prescription, title=title, numbers=numbers, where=where)

    def values(self, run: Run, finding: Finding) -> Iterator[Choice]:
        """All optimizers together where there are several, each to its likely rates in turn; then the finding's own."""
        found = [(o, rates) for o in optimizers_of(run, finding) if (rates := better_rates(run, o, self.higher))]
        if len(found) > 1:
            yield from self._apart(run, found)
            yield from self._jointly(found)
        for index, (optimizer, rates) in enumerate(found):
            for rate in rates if index == 0 else rates[:1]:
                yield (
                    [(optimizer, {"lr": rate})],
                    f"{self.verb} the learning rate of {optimizer.class_name} to {rate:g}",
                )

    def _apart(self, run: Run, found: list[tuple[Optimizer, list[float]]]) -> Iterator[Choice]:
        """To the usual rate for each, where some are far too high and others far too low."""
        usual = {optimizer.id: rate for optimizer, _ in found if (rate := usual_rate(run, optimizer)) is not None}
        chosen = [optimizer for optimizer, _ in found if optimizer.id in usual]
        if len({usual[optimizer.id] > (learning_rate(optimizer) or 0) for optimizer in chosen}) < 2:
            return
        generator = players(run)[0]
        if generator is not None and generator.id in usual:
            usual[generator.id] = rounded(usual[generator.id] * SECOND_SCALE)
        title = "a usual learning rate for each: " + joined(f"{o.class_name} {usual[o.id]:g}" for o in chosen)
        yield [(optimizer, {"lr": usual[optimizer.id]}) for optimizer in chosen], title

    def _jointly(self, found: list[tuple[Optimizer, list[float]]]) -> Iterator[Choice]:
        for place in range(min(JOINT_CHOICES, max(len(rates) for _, rates in found))):
            chosen = [(optimizer, rates[min(place, len(rates) - 1)]) for optimizer, rates in found]
            title = f"{self.verb} every learning rate: " + joined(f"{o.class_name} to {rate:g}" for o, rate in chosen)
            yield [(optimizer, {"lr": rate}) for optimizer, rate in chosen], title
