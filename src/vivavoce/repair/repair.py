"""The repair: diagnose, plan, try, compare, write the patch, prove it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic as now
from typing import Any

from vivavoce.examine.finding import Finding
from vivavoce.examine.verdict import examine
from vivavoce.record.run import Run
from vivavoce.record.store import open_run
from vivavoce.remedy.remedy import Edit, Prescription, Words
from vivavoce.repair import choice, patch, yardstick
from vivavoce.repair.arm import Arm, original, widely
from vivavoce.repair.comparison import Effect, effect, effects
from vivavoce.repair.engine import Engine, Job, cores
from vivavoce.repair.errors import MissingPackageError, RepairError
from vivavoce.repair.options import Listener, Options
from vivavoce.repair.outcome import Outcome
from vivavoce.repair.race import FEWEST_ARMS, Race, reading_interval
from vivavoce.repair.result import Result, Verdict, cost_of
from vivavoce.repair.search import draws
from vivavoce.repair.specification import Budget, Program, Specification
from vivavoce.repair.supervision import conduct
from vivavoce.repair.yardstick import NoYardstickError, Yardstick

MOST_ROUNDS = 3  # remedies on top of each other
MOST_PATCHES = 3  # candidates of a round that are written and run
ENOUGH = 3  # arms tried after which the first cure ends the search of a round
SLOWER = 20.0  # times the original run: a trial that takes longer hangs; what else runs on the machine makes some slow
SHORTEST_LIMIT = 300.0  # seconds: of a short run most is the start of the process

ALTERING = frozenset(
    {"class-weights", "label-smoothing"}
)  # remedies after which a loss cannot be held against the original's


class TimeIsUpError(Exception):
    """The time for the repair is spent."""


class Repair:
    """One repair, from the script (or a recorded run of it) to the result."""

    def __init__(
        self, program: Program, engine: Engine, options: Options, folder: Path, listener: Listener | None = None
    ) -> None:
        self.program, self.engine, self.options, self.folder = program, engine, options, folder
        self.listener = listener or Listener()
        self.arms = [original()]
        self.control = self.arms[0]
        self.prescribed = 0
        self.notes: list[str] = []
        self.yardstick: Yardstick | None = None
        self.sources: Mapping[Path, str] = {}
        self.store: str | None = None
        self.began = now()
        self._tried = 0  # arms that were tried
        self.catalogue: Any = import_module(options.catalogue)

    # the whole -----------------------------------------------------------------------------------------------------

    def run(self, recorded: Path | None = None) -> Result:
        """Repair; a recorded run takes the place of the diagnosis. Control-C ends it with what is known so far.

        Raises:
            RepairError: the script cannot be tried.
        """
        with TemporaryDirectory(prefix="viva-repair-") as scratch:
            self.scratch = Path(scratch)
            try:
                return self._run(recorded)
            except (KeyboardInterrupt, TimeIsUpError) as stop:
                self.engine.stop()
                why = "the time was up" if isinstance(stop, TimeIsUpError) else "interrupted by Control-C"
                return self._result("interrupted", f"{why} before a patch was proved; this is what was found so far")
            except NoYardstickError as error:
                return self._result("unmeasured", str(error))

    def _run(self, recorded: Path | None) -> Result:
        run, findings = self._diagnose(recorded)
        if not findings:
            verdict = examine(run)
            return self._result("healthy", f"{verdict.reason} Nothing was tried, the script stays as it is.")
        self.sources = patch.sources_of(self.program, run)
        self._fit()
        return self._prove(self._rounds(run, findings), findings)

    def _fit(self) -> None:
        """Let the engine know what a run needs."""
        first = self.control.tried
        if first is not None:
            self.engine.fit(first.memory, first.device_memory)

    # diagnosis -----------------------------------------------------------------------------------------------------

    def _diagnose(self, recorded: Path | None) -> tuple[Run, list[Finding]]:
        """The run and its findings at warning or above."""
        if recorded is not None:
            run = open_run(recorded)
            self.store = str(recorded)
        else:
            self.listener.phase("diagnosis", 1)
            outcome = self._observe(self.control, self.folder)
            self._check(outcome)
            assert outcome.store is not None
            self.store = outcome.store
            run = open_run(Path(outcome.store))
        verdict = examine(run)
        if verdict.outcome == "no-training":
            raise RepairError("no training was seen: nothing to repair")
        return run, [finding for finding in verdict.findings if finding.severity != "note"]

    def _check(self, outcome: Outcome) -> None:
        """Raises RepairError where the script itself cannot be tried."""
        if outcome.ended == "refused":
            raise RepairError(outcome.message)
        if outcome.store is None or not outcome.steps:
            because = outcome.message or "it made no training step; training in child processes cannot be repaired"
            hint = ""
            if any(word in because for word in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "init_process_group")):
                hint = ": it expects torchrun, whose runs cannot be repaired; make a version for one process"
            raise RepairError(f"the script does not train when it is run here: {because}{hint}")
        self.notes += outcome.warnings

    def _observe(self, arm: Arm, keep: Path) -> Outcome:
        """Run an arm with the original seeds here, and keep the recorded run."""
        limit = self._limit()
        specification = self._specification(arm, 0)
        outcome = conduct(specification, keep=keep, limit=limit)
        arm.outcomes[0] = outcome
        self.listener.ended(outcome)
        return outcome

    # trials --------------------------------------------------------------------------------------------------------

    def _rounds(self, run: Run, findings: Sequence[Finding]) -> list[Arm]:
        """Patched arms, the best last: each round treats what the patch of the round before has left."""
        accepted: list[Arm] = []
        base, texts = self.control, dict(self.sources)
        for _ in range(MOST_ROUNDS):
            arms = self._screen(run, findings, base)
            ranked = self._ranked(arms, base)
            patched = self._first_patched(ranked, base, texts)
            if patched is None:
                break
            accepted.append(patched)
            base, texts = patched, {**self.sources, **{Path(file): text for file, text in patched.overrides.items()}}
            outcome = patched.tried
            if outcome is None or outcome.cured or outcome.store is None or self._spent():
                break
            run = open_run(Path(outcome.store))
            findings = [finding for finding in examine(run).findings if finding.severity != "note"]
        return accepted

    def _spent(self) -> bool:
        return self._tried >= self.options.trials

    def _screen(self, run: Run, findings: Sequence[Finding], base: Arm) -> list[Arm]:
        """Try remedies with the original seeds, until one cures or the trials are spent; the first time, controls as well."""
        arms = self._arms(run, findings, base)
        controls = [(self.control, seed) for seed in range(self.options.seeds) if seed not in self.control.outcomes]
        title = "trials and controls" if controls else "trials on top of the patch"
        self.listener.phase(title, len(controls) + len(arms))
        tried: list[Arm] = []
        if 0 not in self.control.outcomes:  # a recorded run was the starting point
            self._conduct(controls[:1])
            self._check_control()
            self._fit()
            controls = controls[1:]
        race = self._race(arms, base)
        while arms:
            batch, arms = arms[: self.engine.workers], arms[self.engine.workers :]
            fill = self.engine.workers - len(batch) if arms else len(controls)
            now_controls, controls = controls[: max(0, fill)], controls[max(0, fill) :]
            self.arms += batch
            tried += batch
            self._conduct([*((arm, 0) for arm in batch), *now_controls], race)
            self._tried += len(batch)
            if self._enough(tried, findings):
                break
        self._conduct(controls)
        return tried

    def _check_control(self) -> None:
        outcome = self.control.tried
        if outcome is not None and outcome.ended == "refused":
            raise RepairError(outcome.message)

    def _arms(self, run: Run, findings: Sequence[Finding], base: Arm) -> list[Arm]:
        planned: list[Prescription] = self.catalogue.plan(run, findings)
        known = {prescription for arm in self.arms for prescription in map(_key, arm.prescriptions)}
        new = [prescription for prescription in widely(planned) if _key(prescription) not in known]
        self.prescribed += len(new)
        room = max(0, self.options.trials - self._tried)
        return [
            Arm(name, "remedy", (prescription,), base.overrides)
            for name, prescription in zip(self._names(new[:room], base), new[:room], strict=True)
        ]

    def _names(self, prescriptions: Sequence[Prescription], base: Arm) -> list[str]:
        """A name of its own for each arm."""
        on_top = "" if base is self.control else f"{base.name.removeprefix('patched: ')} + "
        taken = {arm.name for arm in self.arms}
        names: list[str] = []
        for prescription in prescriptions:
            name = f"{on_top}{prescription.title}"
            count = sum(other == name or other.startswith(f"{name} (") for other in (*taken, *names))
            names.append(f"{name} ({count + 1})" if count else name)
        return names

    def _race(self, arms: Sequence[Arm], base: Arm) -> Race | None:
        """Successive halving, where there are enough arms, a whole run to know half time from, and something to read by then."""
        first = base.tried
        if (
            len(arms) < FEWEST_ARMS
            or first is None
            or first.failed
            or self.options.metric is not None
            or self.options.prove
        ):
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

    def _conduct(self, runs: Sequence[tuple[Arm, int]], race: Race | None = None) -> None:
        """Run arms with seeds, at the same time as far as the engine can."""
        if not runs:
            return
        by_name = {arm.name: arm for arm, _ in runs}
        limit = self._limit()
        jobs = [
            Job(
                self._specification(arm, seed, race.every if race and arm.kind == "remedy" else None),
                race.judge() if race and arm.kind == "remedy" else None,
                None,
                limit,
            )
            for arm, seed in runs
        ]
        for outcome in self.engine.run(jobs):
            by_name[outcome.arm].outcomes[outcome.seed] = outcome
            self.listener.ended(outcome)

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

    # choice --------------------------------------------------------------------------------------------------------

    def _measure(self) -> Yardstick:
        first = self.control.tried
        assert first is not None
        outcomes = [outcome for arm in self.arms for outcome in arm.outcomes.values() if outcome is not first]
        self.yardstick = yardstick.choose(first, outcomes, self.options.metric, self.options.better)
        return self.yardstick

    def _ranked(self, arms: Iterable[Arm], base: Arm) -> list[Arm]:
        return choice.ranked(arms, base, self._measure())

    def _first_patched(self, ranked: Sequence[Arm], base: Arm, texts: Mapping[Path, str]) -> Arm | None:
        """The first of the ranked arms whose edit, run plainly, is better than the base."""
        written = 0
        for arm in ranked:
            edit = self._edit(arm, texts)
            if isinstance(edit, Words):
                arm.words = edit
                continue
            overrides = {
                str(path): text for path, text in {**texts, **edit.files}.items() if self.sources.get(path) != text
            }
            patched = Arm(f"patched: {arm.name}", "patched", arm.prescriptions, overrides, reproduces=arm.name)
            patched.prescriptions = (*base.prescriptions, *arm.prescriptions)
            self.arms.append(patched)
            self.listener.phase("the patched script", 1)
            self._observe(patched, self.scratch)
            measure = self._measure()
            if choice.beats(choice.level(patched, measure), choice.level(base, measure), measure.better):
                return patched
            written += 1
            if written >= MOST_PATCHES:
                break
        return None

    def _edit(self, arm: Arm, texts: Mapping[Path, str]) -> Edit | Words:
        prescription = arm.prescriptions[-1]
        try:
            edit: Edit | Words = self.catalogue.by_name(prescription.remedy).edit(prescription, texts)
        except Exception as error:  # a fault of a remedy's shall not cost the trials that were made
            return Words(prescription.title, f"writing it failed: {type(error).__name__}: {error}")
        return edit

    # proof ---------------------------------------------------------------------------------------------------------

    def _prove(self, candidates: Sequence[Arm], findings: Sequence[Finding]) -> Result:
        """Run the patched script with the other seeds; the last candidate first, then those with fewer remedies."""
        if self.options.prove:
            self._fill()
        for patched in (*reversed(candidates), *self._second_choice(candidates)):
            self._all_seeds([patched], "proof of the patch")
            proof = self._proof(patched)
            if proof is not None and proof.proved:
                return self._result("repaired", self._proved_by(patched), patched, proof)
        return self._by_hand() or self._result("no-remedy", self._why_not(candidates, findings))

    def _second_choice(self, candidates: Sequence[Arm]) -> Iterator[Arm]:
        """Where the best was not proved with the other seeds: the next best remedy of the first round, written and run."""
        written = {arm.reproduces for arm in candidates}
        rest = [arm for arm in self._single() if arm.name not in written and arm.words is None]
        patched = (
            self._first_patched(self._ranked(rest, self.control), self.control, self.sources) if candidates else None
        )
        if patched is not None:
            yield patched

    def _single(self) -> list[Arm]:
        """The remedies that were tried on the script as it is."""
        return [arm for arm in self.arms if arm.kind == "remedy" and not arm.overrides]

    def _fill(self) -> None:
        """For --prove: every arm with every seed, and random search over the same knobs at the same cost."""
        remedies = [arm for arm in self.arms if arm.kind == "remedy" and not choice.hopeless(arm)]
        self._all_seeds(remedies, "every arm with every seed")
        spent = sum(len(arm.outcomes) for arm in self.arms if arm.kind in ("remedy", "patched"))
        if self.store is None:
            return
        count = max(1, spent - (self.options.seeds - 1))
        arms = [
            Arm(f"random: {p.title}", "random", (p,)) for p in draws(open_run(Path(self.store)), self.catalogue, count)
        ]
        self.listener.phase("random search at the same cost", len(arms))
        self.arms += arms
        self._conduct([(arm, 0) for arm in arms])
        ranked = self._ranked(arms, self.control)
        self._all_seeds(ranked[:1], "the best of the random search")

    def _all_seeds(self, arms: Sequence[Arm], title: str) -> None:
        runs = [(arm, seed) for arm in arms for seed in range(self.options.seeds) if seed not in arm.outcomes]
        self.listener.phase(title, len(runs))
        self._conduct(runs)

    def _proof(self, arm: Arm) -> Effect | None:
        measure = self._measure()
        return effect(self.control.levels(measure.name), arm.levels(measure.name), measure.better)

    def _proved_by(self, patched: Arm) -> str:
        left = sorted({found.slug for outcome in patched.outcomes.values() for found in outcome.grave})
        rest = f"; still found: {', '.join(left)}" if left else ", and nothing is found any more"
        return f"the patched script, run plainly, is better with all {len(patched.outcomes)} seeds{rest}"

    def _by_hand(self) -> Result | None:
        """The best remedy that helps but cannot be written, with its evidence; None where there is none."""
        arms = [arm for arm in self._single() if arm.words is not None]
        for arm in self._ranked(arms, self.control)[:1]:
            self._all_seeds([arm], "evidence for a remedy that cannot be written")
            proof = self._proof(arm)
            if proof is not None and proof.proved and arm.words is not None:
                where = f" at {arm.words.file}:{arm.words.line}" if arm.words.file else ""
                reason = f"{arm.words.text}{where}; it was not written, because {arm.words.because}"
                return self._result("by-hand", reason, arm, proof)
        return None

    def _why_not(self, candidates: Sequence[Arm], findings: Sequence[Finding]) -> str:
        if not self.prescribed:
            return f"no remedy is known for {', '.join(dict.fromkeys(finding.slug for finding in findings))}"
        fine = [seed for seed, outcome in self.control.outcomes.items() if outcome.cured]
        if fine:
            return (
                f"the script is well with {len(fine)} of {len(self.control.outcomes)} seeds: what was found may be luck"
            )
        if candidates:
            return "the best patch is not better than the original with all seeds"
        return "none of the remedies that were tried is better than the script as it is"

    # result --------------------------------------------------------------------------------------------------------

    def _result(self, verdict: Verdict, reason: str, winner: Arm | None = None, proof: Effect | None = None) -> Result:
        texts = {Path(file): text for file, text in winner.overrides.items()} if winner is not None else {}
        base = patch.base_of(self.program)
        return Result(
            verdict,
            reason,
            " ".join(self.program.words),
            [arm for arm in self.arms if arm.outcomes or arm.words is not None],  # not those whose turn never came
            self.yardstick,
            self._effects(),
            winner,
            proof,
            patch.diff(self.sources, texts, base) if verdict == "repaired" else "",
            self.sources,
            texts if verdict == "repaired" else {},
            base,
            cost_of(self.arms),
            self.prescribed,
            self.options.seeds,
            self.engine.name,
            self.store,
            self.notes,
        )

    def _effects(self) -> dict[str, Effect]:
        if self.yardstick is None:
            return {}
        name = self.yardstick.name
        arms = {
            arm.name: levels
            for arm in self.arms[1:]
            if len(levels := arm.levels(name)) > 1 and self._comparable(arm, self.yardstick)
        }
        return effects(self.control.levels(name), arms, self.yardstick.better)

    def _comparable(self, arm: Arm, measure: Yardstick) -> bool:
        first = self.control.tried
        return first is not None and all(measure.measures(first, outcome) for outcome in arm.outcomes.values())


def _key(prescription: Prescription) -> str:
    return repr((prescription.remedy, prescription.title, sorted(prescription.numbers.items())))
