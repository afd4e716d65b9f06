"""The trials of a repair: its arms, which of them are run with which seeds, and when enough was tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from time import monotonic as now
from typing import Any

from vivavoce.examine.finding import Finding
from vivavoce.examine.verdict import examine
from vivavoce.record.run import Run
from vivavoce.record.store import open_run
from vivavoce.remedy.optimizers import base_rate, optimizers_of
from vivavoce.remedy.remedy import Edit, Prescription, Words
from vivavoce.repair import choice, yardstick
from vivavoce.repair.arm import MORE_VALUES, Arm, original, widely
from vivavoce.repair.engine import Engine, Job, cores
from vivavoce.repair.errors import MissingPackageError, RepairError
from vivavoce.repair.options import Listener, Options
from vivavoce.repair.outcome import Outcome
from vivavoce.repair.race import FEWEST_ARMS, Race, reading_interval
from vivavoce.repair.specification import Budget, Program, Specification
from vivavoce.repair.supervision import conduct
from vivavoce.repair.sweep import Sweep, best_factor, towards
from vivavoce.repair.yardstick import NoYardstickError, Yardstick

ENOUGH = 3  # arms tried after which the first cure ends the search of a round
SLOWER = 20.0  # times the original run: a trial that takes longer hangs; what else runs on the machine makes some slow
SHORTEST_LIMIT = 300.0  # seconds: of a short run most is the start of the process

LENGTHENING = frozenset({"longer-training"})  # remedies whose half time is not that of the others
ALTERING = frozenset(
    {"class-weights", "label-smoothing"}
)  # remedies after which a loss cannot be held against the original's


class TimeIsUpError(Exception):
    """The time for the repair is spent."""


class Trials:
    """The arms, the control first. `sources` are the user's files by path; recorded runs of patched arms are kept in `scratch`."""

    def __init__(self, program: Program, engine: Engine, options: Options, listener: Listener) -> None:
        self.program, self.engine, self.options, self.listener = program, engine, options, listener
        self.arms = [original()]
        self.control = self.arms[0]
        self.catalogue: Any = import_module(options.catalogue)
        self.sources: Mapping[Path, str] = {}
        self.yardstick: Yardstick | None = None
        self.scratch = Path()
        self.prescribed = 0
        self.notes: list[str] = []
        self.began = now()
        self._tried = 0  # arms that were tried

    @property
    def spent(self) -> bool:
        """No more remedies may be tried."""
        return self._tried >= self.options.trials

    # a round -------------------------------------------------------------------------------------------------------

    def screen(self, run: Run, findings: Sequence[Finding], base: Arm) -> list[Arm]:
        """Try remedies with the original seeds, until one cures or the trials are spent; the first time, controls as well."""
        arms = self._arms(run, findings, base)
        controls = [(self.control, seed) for seed in range(self.options.seeds) if seed not in self.control.outcomes]
        title = "trials and controls" if controls else "trials on top of the patch"
        self.listener.phase(title, len(controls) + len(arms))
        tried: list[Arm] = []
        if 0 not in self.control.outcomes:  # a recorded run was the starting point
            self.conduct(controls[:1])
            self._check_control()
            self.fit()
            controls = controls[1:]
        race = self._race(arms, base)
        certain = findings[0].slug in choice.CERTAIN  # then the first of its cures is likely to be enough
        size = 1 if certain else self.engine.workers
        ask_other_seeds = base is self.control
        while True:
            if ask_other_seeds and (not arms or len(tried) >= ENOUGH) and not self._enough(tried, findings):
                ask_other_seeds = False
                self.conduct(controls)
                controls = []
                arms = self._from_other_seeds(findings, arms)
            if not arms:
                break
            batch, arms = arms[:size], arms[size:]
            fill = self.engine.workers - len(batch) if arms else len(controls)
            now_controls, controls = controls[: max(0, fill)], controls[max(0, fill) :]
            self.arms += batch
            tried += batch
            self.conduct([*((arm, 0) for arm in batch), *now_controls], race)
            self._tried += len(batch)
            if self._enough(tried, findings):
                arms = []
            arms = arms or self._further(tried, base)
        self.conduct(controls)
        return tried

    def _from_other_seeds(self, findings: Sequence[Finding], arms: Sequence[Arm]) -> list[Arm]:
        """The arms to come, before them those that treat what the script's runs with other seeds were first found to have.

        One run may hide a cause that another shows: of a learning rate that is far too high, one dies in a few steps and
        another goes on from where it was thrown to, with all its units dead.
        """
        treated = {finding.slug for finding in findings}
        first: list[Arm] = []
        for seed, outcome in sorted(self.control.outcomes.items()):
            cause = next((found.slug for found in outcome.grave if found.primary), None)
            if seed == 0 or cause is None or cause in treated:
                continue
            treated.add(cause)
            store = outcome.store or self.observe(self.control, self.scratch, seed=seed).store  # no worker keeps one
            if store is not None:
                run = open_run(Path(store))
                grave = [finding for finding in examine(run).findings if finding.severity != "note"]
                first += self._arms(run, grave[:1], self.control, (*first, *arms))
        return [*first, *arms][: max(0, self.options.trials - self._tried)]

    def _check_control(self) -> None:
        outcome = self.control.tried
        if outcome is not None and outcome.ended == "refused":
            raise RepairError(outcome.message)

    def fit(self) -> None:
        """Let the engine know what a run needs."""
        first = self.control.tried
        if first is not None:
            self.engine.fit(first.memory, first.device_memory)

    def _arms(self, run: Run, findings: Sequence[Finding], base: Arm, waiting: Sequence[Arm] = ()) -> list[Arm]:
        """The arms of a plan, but for what was tried before or is `waiting` to be."""
        planned: list[Prescription] = self.catalogue.plan(run, findings)
        if base is self.control:
            planned = [*self._swept(run, findings, planned), *planned]
        known = [prescription for arm in (*self.arms, *waiting) for prescription in arm.prescriptions]
        keys = set(map(_key, known))
        new = [prescription for prescription in widely(planned) if _key(prescription) not in keys]
        new = choice.apart(new, known)
        self.prescribed += len(new)
        chosen = new[: max(0, self.options.trials - self._tried)]
        arms = [
            Arm(name, "remedy", (prescription,), base.overrides)
            for name, prescription in zip(self._names(chosen, base, waiting), chosen, strict=True)
        ]
        return [self._written_at_once(arm, base) for arm in arms]

    def _swept(self, run: Run, findings: Sequence[Finding], planned: Sequence[Prescription]) -> list[Prescription]:
        """The learning rate that a range test speaks for, where the finding is that the rate is wrong."""
        direct = [p for p in planned if (p.finding, p.remedy) in MORE_VALUES and p.finding == findings[0].slug]
        made = optimizers_of(run, findings[0])
        rate = base_rate(made[0]) if made else None
        found = towards(findings[0].slug == "learning-rate-too-low", run.steps)
        first = self.control.tried
        rivals = first is not None and first.players > 1  # whose losses do not say how good a rate is
        if not direct or not rate or found is None or rivals:
            return []
        arm = Arm("range test of the learning rate", "sweep")
        self.arms.append(arm)
        self.listener.phase(arm.name, 1)
        outcome = self.observe(arm, self.scratch, found)
        factor = best_factor(open_run(Path(outcome.store)), found) if outcome.store else None
        if factor is None:
            return []
        swept = self.catalogue.by_name(direct[0].remedy).further(direct[0], factor * rate / direct[0].numbers["lr"])
        return [] if swept is None else [swept]

    def _written_at_once(self, arm: Arm, base: Arm) -> Arm:
        """The certain cure of a wiring fault is tried as the edit that it is: that saves its trial at run time."""
        if arm.prescriptions[-1].finding not in choice.CERTAIN:
            return arm
        return self.written(arm, base) or arm

    def _names(self, prescriptions: Sequence[Prescription], base: Arm, waiting: Sequence[Arm] = ()) -> list[str]:
        """A name of its own for each arm."""
        on_top = "" if base is self.control else f"{base.name.removeprefix('patched: ')} + "
        taken = {arm.name.removeprefix("patched: ") for arm in (*self.arms, *waiting)}
        names: list[str] = []
        for prescription in prescriptions:
            name = f"{on_top}{prescription.title}"
            count = sum(other == name or other.startswith(f"{name} (") for other in (*taken, *names))
            names.append(f"{name} ({count + 1})" if count else name)
        return names

    def _race(self, arms: Sequence[Arm], base: Arm) -> Race | None:
        """Successive halving, where there are enough arms, a whole run to know half time from, and something to read by then.

        A number that is printed at the end is of no use at half time: there the script's own loss tells the better half.
        """
        first = base.tried
        if len(arms) < FEWEST_ARMS or first is None or first.failed or self.options.prove:
            return None
        try:
            found = yardstick.choose(first, (), None, self.options.better)
        except NoYardstickError:
            return None
        try:
            return Race(first, found, reading_interval(first.steps)) if first.steps else None
        except MissingPackageError as error:
            self.notes.append(f"no trial was given up early: {error}")
            return None

    def _enough(self, tried: Sequence[Arm], findings: Sequence[Finding]) -> bool:
        """A cure was found, and the finding has a certain one or enough was tried."""
        if self.options.prove:
            return False
        cured = any(choice.cured(arm) for arm in tried)
        return cured and (findings[0].slug in choice.CERTAIN or len(tried) >= ENOUGH)

    def _further(self, tried: Sequence[Arm], base: Arm) -> list[Arm]:
        """One more value of the best remedy, where its best is the outermost of those tried."""
        if self.spent or self.options.prove:
            return []
        try:
            best, factor = choice.outermost(tried, base, self.measure())
        except NoYardstickError:
            return []
        if best is None:
            return []
        prescription = best.prescriptions[-1]
        found = self.catalogue.by_name(prescription.remedy).further(prescription, factor)
        if found is None or any(_key(found) == _key(p) for arm in self.arms for p in arm.prescriptions):
            return []
        return [Arm(self._names([found], base)[0], "remedy", (found,), base.overrides)]

    def measure(self) -> Yardstick:
        """The yardstick for all arms as they are now. Raises NoYardstickError."""
        first = self.control.tried
        assert first is not None
        runs = [arm for arm in self.arms if arm.kind != "sweep"]
        outcomes = [outcome for arm in runs for outcome in arm.outcomes.values() if outcome is not first]
        self.yardstick = yardstick.choose(first, outcomes, self.options.metric, self.options.better)
        return self.yardstick

    # edits ---------------------------------------------------------------------------------------------------------

    def written(self, arm: Arm, base: Arm) -> Arm | None:
        """The arm as an edit of the base's source, still to be run; None where it can only be said in `arm.words`."""
        texts = {**self.sources, **{Path(file): text for file, text in base.overrides.items()}}
        edit = self._edit(arm.prescriptions[-1], texts)
        if isinstance(edit, Words):
            arm.words = edit
            return None
        changed = {**texts, **edit.files}
        overrides = {str(path): text for path, text in changed.items() if self.sources.get(path) != text}
        prescriptions = (*base.prescriptions, arm.prescriptions[-1])
        return Arm(f"patched: {arm.name}", "patched", prescriptions, overrides, reproduces=arm.name)

    def _edit(self, prescription: Prescription, texts: Mapping[Path, str]) -> Edit | Words:
        try:
            edit: Edit | Words = self.catalogue.by_name(prescription.remedy).edit(prescription, texts)
        except Exception as error:  # a fault of a remedy's shall not cost the trials that were made
            return Words(prescription.title, f"writing it failed: {type(error).__name__}: {error}")
        return edit

    # runs ----------------------------------------------------------------------------------------------------------

    def observe(self, arm: Arm, keep: Path, sweep: Sweep | None = None, seed: int = 0) -> Outcome:
        """Run an arm here, with the original seeds unless told otherwise, and keep the recorded run."""
        specification = self._specification(arm, seed)
        if sweep is not None:
            specification = replace(specification, sweep=sweep, budget=Budget(sweep.steps))
        outcome = conduct(specification, keep=keep, limit=self._limit())
        arm.outcomes[seed] = outcome
        self.listener.ended(outcome)
        return outcome

    def all_seeds(self, arms: Sequence[Arm], title: str) -> None:
        """Run arms with the seeds that they lack."""
        runs = [(arm, seed) for arm in arms for seed in range(self.options.seeds) if seed not in arm.outcomes]
        self.listener.phase(title, len(runs))
        self.conduct(runs)

    def conduct(self, runs: Sequence[tuple[Arm, int]], race: Race | None = None) -> None:
        """Run arms with seeds, at the same time as far as the engine can."""
        if not runs:
            return
        by_name = {arm.name: arm for arm, _ in runs}
        limit = self._limit()
        jobs = [self._job(arm, seed, race, limit) for arm, seed in runs]
        for outcome in self.engine.run(jobs):
            by_name[outcome.arm].outcomes[outcome.seed] = outcome
            self.listener.ended(outcome)

    def _job(self, arm: Arm, seed: int, race: Race | None, limit: float | None) -> Job:
        racing = race if arm.kind == "remedy" and arm.prescriptions[-1].remedy not in LENGTHENING else None
        keep = self.scratch if arm.kind == "original" or (arm.kind == "patched" and seed == 0) else None
        specification = self._specification(arm, seed, racing.every if racing else None)
        return Job(specification, racing.judge() if racing else None, keep, limit)

    def _specification(self, arm: Arm, seed: int, every: int | None = None) -> Specification:
        options = self.options
        prescriptions = () if arm.kind == "patched" else arm.prescriptions
        return Specification(
            arm.name,
            self.program,
            seed,
            prescriptions,
            arm.overrides,
            Budget(options.steps),
            threads=max(1, cores() // max(1, min(cores(), self.engine.workers))),
            metric=options.metric,
            report_every=every,
            catalogue=options.catalogue,
            altered=any(prescription.remedy in ALTERING for prescription in arm.prescriptions),
        )

    def _limit(self) -> float | None:
        """Seconds that a run may take. Raises TimeIsUpError."""
        first = self.control.tried
        limits = [max(SHORTEST_LIMIT, SLOWER * first.seconds)] if first is not None else []
        if self.options.time is not None:
            left = self.options.time - (now() - self.began)
            if left <= 0:
                raise TimeIsUpError
            limits.append(left)
        return min(limits, default=None)


def _key(prescription: Prescription) -> str:
    return repr((prescription.remedy, prescription.title, sorted(prescription.numbers.items())))
