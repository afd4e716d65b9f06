"""Repairs of faulty programs by several strategies with the same engine, and what their patches are worth."""

from __future__ import annotations

import hashlib
import json
import math
import os
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import _forked
import _plain as plain
from _collection import CACHE, DIGEST_LENGTH, PROGRAMS, Program, Variant

FOLDER = CACHE / "repair"
EFFECTS = PROGRAMS / "effects.json"
SEEDS = (0, 1, 2)  # of the check: the repair begins with seed 0, the check adds two
GOAL = 0.05  # of the way from the healthy twin's score to the trivial one
TRIALS = 8  # remedies tried at most: the command's default
TIME_LIMIT = 3600.0  # seconds for one repair: what else runs on the machine must not end one
RESEEDING = "re-seeding"
# Every strategy goes through the same engine, the same proof and the same check; they differ in the plan alone.
CATALOGUES = {
    "viva": "vivavoce.remedy.catalogue",
    "autotrainer": "_autotrainer",
    "random": "_random_search",
}
STRATEGIES = (*CATALOGUES, RESEEDING)


@dataclass(frozen=True)
class Patched:
    """A program whose text is given: stands in for a `Variant` where it is run plainly."""

    program: Program
    key: str
    source: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.source.encode()).hexdigest()[:DIGEST_LENGTH]

    def write(self) -> Path:
        path = CACHE / "scripts" / self.digest / "train.py"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.source)
        return path


@dataclass(frozen=True)
class Repaired:
    """One repair, checked.

    Scores are medians of the program's own metric over SEEDS, of the healthy twin, the faulty script, and the script that was
    handed back (the faulty one where no patch was); of re-seeding, which hands back weights, `after` is the best run's.
    """

    key: str
    strategy: str
    verdict: str
    reason: str
    fault: str
    treated: tuple[str, ...]
    runs: int
    multiple: float
    healthy: float
    sick: float
    after: float
    loss_of_range: float  # of what was handed back: 0 as good as healthy, 1 as bad as trivial
    sick_loss_of_range: float
    changed: bool
    error: str = ""

    @property
    def reached(self) -> bool:
        """What was handed back is as good as the healthy twin, within GOAL."""
        return math.isfinite(self.loss_of_range) and self.loss_of_range <= GOAL

    @property
    def worsened(self) -> bool:
        """What was handed back is worse than the faulty script, by more than GOAL."""
        if not self.changed:
            return False
        if not math.isfinite(self.after):
            return math.isfinite(self.sick)
        return math.isfinite(self.sick) and self.loss_of_range > self.sick_loss_of_range + GOAL


def run_all(variants: list[Variant], strategies: list[str], workers: int) -> Iterator[Repaired]:
    """Repair each variant by each strategy; results of earlier calls are kept."""
    for variant in variants:
        for strategy in strategies:
            known = read(variant, strategy)
            yield known if known is not None else _kept(variant, strategy, _run(variant, strategy, workers))


def read(variant: Variant, strategy: str) -> Repaired | None:
    """The result of an earlier call."""
    path = _path(variant, strategy)
    if not path.exists():
        return None
    data = json.loads(path.read_text())
    numbers = {name: float(data[name]) for name in ("healthy", "sick", "after", "loss_of_range", "sick_loss_of_range")}
    return Repaired(**{**data, **numbers, "treated": tuple(data["treated"])})


def _path(variant: Variant, strategy: str) -> Path:
    return FOLDER / f"{variant.digest}-{strategy}.json"


def _run(variant: Variant, strategy: str, workers: int) -> Repaired:
    healthy = known_scores(Variant(variant.program, None), len(SEEDS), workers)
    sick = known_scores(variant, 1, workers) if variant.fault else healthy
    if strategy == RESEEDING:
        return _judged(variant, strategy, _reseeded(variant), "", healthy, sick, _best(variant, workers), True)
    document, error = _repair(variant, strategy, workers)
    text = _patched_text(variant, document)
    after = _scores(Patched(variant.program, variant.key, text), SEEDS, workers) if text is not None else sick
    return _judged(variant, strategy, document, error, healthy, sick, after, text is not None)


def _kept(variant: Variant, strategy: str, result: Repaired) -> Repaired:
    path = _path(variant, strategy)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = {name: str(value) if isinstance(value, float) else value for name, value in asdict(result).items()}
    path.write_text(json.dumps(data | {"multiple": result.multiple}, indent=1))
    return result


def _repair(variant: Variant, strategy: str, workers: int) -> tuple[dict[str, Any], str]:
    """The document of one repair, as `viva repair --json` has it."""
    from vivavoce.repair.document import document
    from vivavoce.repair.errors import RepairError
    from vivavoce.repair.local import LocalEngine
    from vivavoce.repair.options import Options
    from vivavoce.repair.repair import Repair
    from vivavoce.repair.specification import Program as Script

    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": _import_path()}
    folder = variant.write().parent.resolve()
    metric = variant.program.metric
    options = Options(
        trials=_trials(variant, strategy),
        time=TIME_LIMIT,
        metric=metric.name,
        better=metric.better,
        catalogue=CATALOGUES[strategy],
    )
    _forked.install()
    script = Script((str(folder),), str(folder), "train.py")
    try:
        result = Repair(script, LocalEngine(workers), options, FOLDER / "runs").run()
    except RepairError as error:
        return {}, str(error)
    found = document(result)
    (FOLDER / f"{variant.digest}-{strategy}-document.json").write_text(json.dumps(found, indent=1))
    found["texts"] = {str(file): text for file, text in result.texts.items()}
    return found, ""


def _import_path() -> str:
    """What the trials' processes import from: where we do, so that they find the other strategies' plans."""
    return os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])


def _trials(variant: Variant, strategy: str) -> int:
    """As many remedies as Viva tried, so that the cost is the same."""
    file = FOLDER / f"{variant.digest}-viva-document.json"
    if strategy != "random" or not file.exists():
        return TRIALS
    arms = json.loads(file.read_text())["arms"]
    tried = {arm["name"].removeprefix("patched: ") for arm in arms if arm["kind"] in ("remedy", "patched")}
    return max(1, len(tried))


def _patched_text(variant: Variant, document: dict[str, Any]) -> str | None:
    if document.get("repair") != "repaired":
        return None
    return next(iter(document["texts"].values()))


def _scores(variant: Any, seeds: Iterable[int], workers: int) -> list[float]:
    """The metric of plain runs with these seeds."""
    return [run.metric for _, _, run in plain.run_all([(variant, seed) for seed in seeds], workers)]


def known_scores(variant: Variant, fewest: int, workers: int) -> list[float]:
    """The metric of plain runs with the first seeds as effects.json has it, and of more where it has fewer."""
    known = [float(value) for value in json.loads(EFFECTS.read_text()).get(variant.key, {}).get("metrics", ())]
    return known[: len(SEEDS)] + _scores(variant, range(len(known), fewest), workers)


def _reseeded(variant: Variant) -> dict[str, Any]:
    """What re-seeding has in place of a repair's document: as many runs as the repair made."""
    runs = _runs_of_viva(variant)
    return {"repair": RESEEDING, "reason": "the best of as many runs", "cost": {"runs": runs, "multiple": float(runs)}}


def _best(variant: Variant, workers: int) -> list[float]:
    """The best metric of as many runs of the faulty script as the repair made; it has no second choice to fall back on."""
    found = [value for value in _scores(variant, range(_runs_of_viva(variant)), workers) if math.isfinite(value)]
    pick = max if variant.program.metric.better == "higher" else min
    return [pick(found)] if found else [math.nan]


def _runs_of_viva(variant: Variant) -> int:
    known = read(variant, "viva")
    return max(1, known.runs) if known is not None else TRIALS


def _judged(
    variant: Variant,
    strategy: str,
    document: dict[str, Any],
    error: str,
    healthy: list[float],
    sick: list[float],
    after: list[float],
    changed: bool,
) -> Repaired:
    metric = variant.program.metric
    good = statistics.median(healthy)
    way = metric.gain(metric.trivial, good)

    def lost(values: list[float]) -> float:
        return metric.gain(plain._median(values), good) / way

    winner = next((arm for arm in document.get("arms", ()) if arm["name"] == document.get("winner")), None)
    return Repaired(
        key=variant.key,
        strategy=strategy,
        verdict=document.get("repair", "refused"),
        reason=document.get("reason", error),
        fault=variant.fault.accept[0] if variant.fault else "",
        treated=tuple(remedy["remedy"] for remedy in winner["remedies"]) if winner else (),
        runs=document.get("cost", {}).get("runs", 0),
        multiple=document.get("cost", {}).get("multiple", 0.0),
        healthy=good,
        sick=plain._median(sick),
        after=plain._median(after),
        loss_of_range=lost(after),
        sick_loss_of_range=lost(sick),
        changed=changed,
        error=error,
    )
