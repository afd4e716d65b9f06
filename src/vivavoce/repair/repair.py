"""The repair: diagnose, plan, try, compare, write the patch, prove it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

from vivavoce.examine.finding import Finding
from vivavoce.examine.verdict import examine
from vivavoce.record.run import Run
from vivavoce.record.store import open_run
from vivavoce.remedy.constants import command_line
from vivavoce.repair import choice, patch
from vivavoce.repair.arm import Arm
from vivavoce.repair.comparison import Effect, effect, effects
from vivavoce.repair.engine import Engine
from vivavoce.repair.errors import RepairError
from vivavoce.repair.options import Listener, Options
from vivavoce.repair.outcome import Outcome
from vivavoce.repair.result import Result, Verdict, cost_of
from vivavoce.repair.search import draws
from vivavoce.repair.specification import Program
from vivavoce.repair.trials import TimeIsUpError, Trials
from vivavoce.repair.yardstick import NoYardstickError, Yardstick

MOST_ROUNDS = 3  # remedies on top of each other
MOST_PATCHES = 3  # candidates of a round that are written and run


class Repair:
    """One repair, from the script (or a recorded run of it) to the result."""

    def __init__(
        self, program: Program, engine: Engine, options: Options, folder: Path, listener: Listener | None = None
    ) -> None:
        self.program, self.engine, self.options, self.folder = program, engine, options, folder
        self.listener = listener or Listener()
        self.trials = Trials(program, engine, options, self.listener)
        self.control = self.trials.control
        self.store: str | None = None

    # the whole -----------------------------------------------------------------------------------------------------

    def run(self, recorded: Path | None = None) -> Result:
        """Repair; a recorded run takes the place of the diagnosis. Control-C ends it with what is known so far.

        Raises:
            RepairError: the script cannot be tried.
        """
        with TemporaryDirectory(prefix="viva-repair-") as scratch, command_line(self.program.arguments):
            self.trials.scratch = Path(scratch)
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
        if self.options.metric is not None and self.control.tried is not None and not self.control.tried.failed:
            self.trials.measure()  # a name that nothing is printed under is said before anything is tried
        self.trials.sources = patch.sources_of(self.program, run)
        self.trials.fit()
        return self._prove(self._rounds(run, findings), findings)

    # diagnosis -----------------------------------------------------------------------------------------------------

    def _diagnose(self, recorded: Path | None) -> tuple[Run, list[Finding]]:
        """The run and its findings at warning or above."""
        if recorded is not None:
            run = open_run(recorded)
            self.store = str(recorded)
        else:
            self.listener.phase("diagnosis", 1)
            outcome = self.trials.observe(self.control, self.folder)
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
        self.trials.notes += outcome.warnings

    # rounds --------------------------------------------------------------------------------------------------------

    def _rounds(self, run: Run, findings: Sequence[Finding]) -> list[Arm]:
        """Patched arms, the best last: each round treats what the patch of the round before has left."""
        accepted: list[Arm] = []
        base = self.control
        for _ in range(MOST_ROUNDS):
            arms = self.trials.screen(run, findings, base)
            patched = self._first_patched(self._ranked(arms, base), base)
            if patched is None:
                break
            accepted.append(patched)
            base = patched
            outcome = patched.tried
            if outcome is None or outcome.cured or self.trials.spent:
                break
            store = outcome.store or self.trials.observe(patched, self.trials.scratch).store  # no worker keeps one
            if store is None:
                break
            run = open_run(Path(store))
            findings = [finding for finding in examine(run).findings if finding.severity != "note"]
        return accepted

    def _ranked(self, arms: Iterable[Arm], base: Arm) -> list[Arm]:
        return choice.ranked(arms, base, self.trials.measure())

    def _first_patched(self, ranked: Sequence[Arm], base: Arm) -> Arm | None:
        """The first of the ranked arms whose edit, run plainly, is better than the base."""
        written = 0
        for arm in ranked:
            if arm.kind == "patched":  # it is an edit that was run plainly, and ranks because it is better
                return arm
            patched = self.trials.written(arm, base)
            if patched is None:
                continue
            self.trials.arms.append(patched)
            self.listener.phase("the patched script", 1)
            self.trials.observe(patched, self.trials.scratch)
            measure = self.trials.measure()
            if choice.beats(choice.level(patched, measure), choice.level(base, measure), measure.better):
                return patched
            written += 1
            if written >= MOST_PATCHES:
                break
        return None

    # proof ---------------------------------------------------------------------------------------------------------

    def _prove(self, candidates: Sequence[Arm], findings: Sequence[Finding]) -> Result:
        """Run the patched script with the other seeds; the last candidate first, then those with fewer remedies."""
        if self.options.prove:
            self._fill()
        for patched in chain(reversed(candidates), self._second_choice(candidates)):
            self.trials.all_seeds([patched], "proof of the patch")
            proof = self._proof(patched)
            if proof is not None and proof.proved:
                return self._result("repaired", self._proved_by(patched), patched, proof)
        return self._by_hand() or self._result("no-remedy", self._why_not(candidates, findings))

    def _second_choice(self, candidates: Sequence[Arm]) -> Iterator[Arm]:
        """Where the best was not proved with the other seeds: the next best remedy of the first round, written and run."""
        if not candidates:
            return
        written = {arm.reproduces for arm in candidates}
        rest = [
            arm for arm in self._single() if arm not in candidates and arm.name not in written and arm.words is None
        ]
        patched = self._first_patched(self._ranked(rest, self.control), self.control)
        if patched is not None:
            yield patched

    def _single(self) -> list[Arm]:
        """The remedies that were tried on the script as it is, at run time or as edits."""
        arms = self.trials.arms
        reproduced = {arm.name for arm in arms if arm.kind == "remedy"}
        return [
            arm
            for arm in arms
            if (arm.kind == "remedy" and not arm.overrides)
            or (arm.kind == "patched" and len(arm.prescriptions) == 1 and arm.reproduces not in reproduced)
        ]

    def _fill(self) -> None:
        """For --prove: every arm with every seed, and random search over the same knobs at the same cost."""
        remedies = [arm for arm in self._single() if not choice.hopeless(arm)]
        self.trials.all_seeds(remedies, "every arm with every seed")
        spent = sum(len(arm.outcomes) for arm in self.trials.arms if arm.kind in ("remedy", "patched"))
        if self.store is None:
            return
        count = max(1, spent - (self.options.seeds - 1))
        drawn = draws(open_run(Path(self.store)), self.trials.catalogue, count)
        arms = [Arm(f"random: {p.title}", "random", (p,)) for p in drawn]
        self.listener.phase("random search at the same cost", len(arms))
        self.trials.arms += arms
        self.trials.conduct([(arm, 0) for arm in arms])
        self.trials.all_seeds(self._ranked(arms, self.control)[:1], "the best of the random search")

    def _proof(self, arm: Arm) -> Effect | None:
        measure = self.trials.measure()
        return effect(self.control.levels(measure.name), arm.levels(measure.name), measure.better)

    def _proved_by(self, patched: Arm) -> str:
        left = sorted({found.slug for outcome in patched.outcomes.values() for found in outcome.grave})
        rest = f"; still found: {', '.join(left)}" if left else ", and nothing is found any more"
        return f"the patched script, run plainly, is better with all {len(patched.outcomes)} seeds{rest}"

    def _by_hand(self) -> Result | None:
        """The best remedy that helps but cannot be written, with its evidence; None where there is none."""
        arms = [arm for arm in self._single() if arm.words is not None]
        for arm in self._ranked(arms, self.control)[:1]:
            self.trials.all_seeds([arm], "evidence for a remedy that cannot be written")
            proof = self._proof(arm)
            if proof is not None and proof.proved and arm.words is not None:
                where = f" at {arm.words.file}:{arm.words.line}" if arm.words.file else ""
                reason = f"{arm.words.text}{where}; it was not written, because {arm.words.because}"
                return self._result("by-hand", reason, arm, proof)
        return None

    def _why_not(self, candidates: Sequence[Arm], findings: Sequence[Finding]) -> str:
        if not self.trials.prescribed:
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
        arms, sources = self.trials.arms, self.trials.sources
        return Result(
            verdict,
            reason,
            " ".join(self.program.words),
            [arm for arm in arms if arm.outcomes or arm.words is not None],  # not those whose turn never came
            self.trials.yardstick,
            self._effects(),
            winner,
            proof,
            patch.diff(sources, texts, base) if verdict == "repaired" else "",
            sources,
            texts if verdict == "repaired" else {},
            base,
            cost_of(arms),
            self.trials.prescribed,
            self.options.seeds,
            self.engine.name,
            self.store,
            [*self.trials.notes, *(self._overruled(winner) if verdict == "repaired" else ())],
        )

    def _overruled(self, winner: Arm | None) -> Iterator[str]:
        """Options of the command that the patch has no use for any more."""
        texts = {Path(file): text for file, text in winner.overrides.items()} if winner is not None else {}
        for word in self.program.arguments:
            option = re.compile(rf"\.{re.escape(word.partition('=')[0].lstrip('-').replace('-', '_'))}\b")
            sources = self.trials.sources
            if word.startswith("--") and any(
                len(option.findall(text)) < len(option.findall(sources.get(path, ""))) for path, text in texts.items()
            ):
                flag = word.partition("=")[0]
                yield f"the command gives {flag}, which the patch overrules: give another {flag} and it needs no patch"

    def _effects(self) -> dict[str, Effect]:
        if self.trials.yardstick is None:
            return {}
        name = self.trials.yardstick.name
        arms = {
            arm.name: levels
            for arm in self.trials.arms[1:]
            if len(levels := arm.levels(name)) > 1 and self._comparable(arm, self.trials.yardstick)
        }
        return effects(self.control.levels(name), arms, self.trials.yardstick.better)

    def _comparable(self, arm: Arm, measure: Yardstick) -> bool:
        first = self.control.tried
        return first is not None and all(measure.measures(first, outcome) for outcome in arm.outcomes.values())
