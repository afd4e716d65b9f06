"""The remedies, and the order in which they are tried for each finding."""

from __future__ import annotations

from collections.abc import Sequence

from vivavoce.examine.finding import Finding
from vivavoce.record.run import Run
from vivavoce.remedy.adam import Adam
from vivavoce.remedy.clip_norm import ClipNorm
from vivavoce.remedy.initialisation import DefaultInitialisation, HeInitialisation, XavierInitialisation
from vivavoce.remedy.lower_learning_rate import LowerLearningRate
from vivavoce.remedy.lower_momentum import LowerMomentum
from vivavoce.remedy.match_shapes import MatchShapes
from vivavoce.remedy.optimize_all import OptimizeAll
from vivavoce.remedy.output_layer import LinearOutput, MatchOutput
from vivavoce.remedy.raise_learning_rate import RaiseLearningRate
from vivavoce.remedy.remedy import Prescription, Remedy
from vivavoce.remedy.schedules import Schedule, WarmUp
from vivavoce.remedy.shuffle import Shuffle
from vivavoce.remedy.unfreeze import Unfreeze
from vivavoce.remedy.weight_decay import WeightDecay
from vivavoce.remedy.zero_grad import ZeroGrad

REMEDIES: tuple[Remedy, ...] = (
    Adam(),
    DefaultInitialisation(),
    HeInitialisation(),
    XavierInitialisation(),
    MatchShapes(),
    OptimizeAll(),
    LinearOutput(),
    MatchOutput(),
    Schedule(),
    WarmUp(),
    Unfreeze(),
    ClipNorm(),
    LowerLearningRate(),
    LowerMomentum(),
    RaiseLearningRate(),
    Shuffle(),
    WeightDecay(),
    ZeroGrad(),
)

_BY_NAME = {remedy.name: remedy for remedy in REMEDIES}


def by_name(name: str) -> Remedy:
    """The remedy of a name. Raises KeyError where there is none."""
    return _BY_NAME[name]


def plan(run: Run, findings: Sequence[Finding]) -> list[Prescription]:
    """What to try on a run: for each finding, the most important first, its remedies in their order; nothing twice."""
    planned: dict[str, Prescription] = {}
    for finding in findings:
        remedies = [remedy for remedy in REMEDIES if finding.slug in remedy.treats]
        for remedy in sorted(remedies, key=lambda remedy: remedy.rank):
            for prescription in remedy.prescribe(run, finding):
                planned.setdefault(_key(prescription), prescription)
    return list(planned.values())


def _key(prescription: Prescription) -> str:
    return repr(
        (prescription.remedy, sorted(prescription.numbers.items()), sorted(map(str, prescription.where.items())))
    )
