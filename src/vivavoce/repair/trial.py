"""The process of one trial: `python trial.py SPECIFICATION`.

It runs the user's script as `viva run` does, from the trial's working folder, with the remedies put in place when PyTorch has
been imported and the seeds shifted. What came of it is written beside the specification, for the process that asked.
"""

from __future__ import annotations

import io
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from importlib import import_module
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any, TextIO

from vivavoce import launch, targets
from vivavoce.imports import on_import
from vivavoce.repair import seeds, sweep
from vivavoce.repair.fence import Fence
from vivavoce.repair.specification import Specification, moved
from vivavoce.settings import Settings
from vivavoce.targets import TargetError, find_target

if TYPE_CHECKING:
    from vivavoce.attach.session import Session

PROGRESS = "progress.jsonl"  # one line a reading: {"step", "level"}
ENDING = "ending.json"
OUTPUT = "output.txt"  # the script's standard output
STORES = "runs"
LOST_STEPS = 20  # steps in a row without a finite loss after which a trial is hopeless: weights that are NaN stay so
PR_SET_PDEATHSIG = 1  # linux/prctl.h
BLINDING = frozenset({"session", "optimizers", "backward"})  # parts without which a trial cannot be judged
REFUSED = 78  # exit status of a trial that was refused (sysexits.h: configuration error)


class Trial:
    """One trial in this process."""

    def __init__(self, specification: Specification, folder: Path, places: dict[str, str]) -> None:
        self.specification = moved_in(specification, places)
        self.folder = folder
        self.places = places
        self.fence = Fence(folder, specification.program.roots)
        self.session: Session | None = None
        self.began = time.monotonic()
        self.ended = "finished"
        self.message = ""
        self.lost = 0  # steps in a row without a finite loss
        self.step = 0
        self.counts: dict[int, int] = {}  # steps of each optimizer, by its id
        self.progress: TextIO | None = None

    def run(self) -> None:
        """Run the script; ends as the script ends."""
        specification = self.specification
        program = specification.program
        if specification.report_every:
            self.progress = (self.folder / PROGRESS).open("w", encoding="utf-8")
        _map_import_path(self.places)
        name_code_as_the_users(self.places)
        self._give_input(program.standard_input)
        try:
            target = find_target(program.target, program.module)
        except TargetError as error:
            self._refuse(str(error))
            raise SystemExit(REFUSED) from None
        seeds.seed_random(specification.seed)
        on_import("numpy", lambda numpy: seeds.seed_numpy(numpy, specification.seed))
        on_import("torch", self._begin)
        self.fence.raise_()
        sys.orig_argv[:] = [sys.executable, "-m", "vivavoce", sys.argv[-1]]  # as `launch` expects it
        launch.run(target, list(program.arguments), self._end)

    def _begin(self, torch: ModuleType) -> None:
        """PyTorch was imported: seeds, remedies, then the watch over both."""
        seeds.seed_torch(torch, self.specification.seed)
        self.fence.guard_torch(torch)
        self._apply()
        if self.specification.sweep is not None:
            sweep.install(self.specification.sweep)
        from torch.optim.optimizer import register_optimizer_step_post_hook

        from vivavoce.attach.session import Session

        settings = Settings(directory=self.folder / STORES, quiet=True, live=False)
        self.session = Session(settings, command=self.specification.program.words)
        self.session.install()
        register_optimizer_step_post_hook(self._stepped)
        self.session.end_step = self._by_hand(self.session.end_step)  # type: ignore[method-assign]

    def _apply(self) -> None:
        from vivavoce.remedy.constants import set_command_line
        from vivavoce.remedy.remedy import RemedyError
        from vivavoce.remedy.source import look_in

        if not self.specification.remedies:
            return
        set_command_line(self.specification.program.arguments)
        look_in(self.places)  # what is edited already is in the copies
        catalogue = import_module(self.specification.catalogue)
        for prescription in self.specification.remedies:
            try:
                catalogue.by_name(prescription.remedy).apply(prescription)
            except RemedyError as error:
                self._refuse(f"{prescription.title} cannot be tried here: {error}")
                raise SystemExit(REFUSED) from None

    def _stepped(self, optimizer: Any, *_: Any) -> None:
        """An optimizer has stepped. Where several take turns, the one that steps most often counts."""
        self.counts[id(optimizer)] = count = self.counts.get(id(optimizer), 0) + 1
        if count > self.step:
            self.step = count
            self._after_step(count)

    def _by_hand(self, end: Callable[..., None]) -> Callable[..., None]:
        """A script that changes its weights by hand has steps too, which the session tells."""

        def end_step(*args: Any) -> None:
            end(*args)
            if not self.counts and self.session is not None and self.session.step > self.step:
                self.step = self.session.step
                self._after_step(self.step)

        return end_step

    def _after_step(self, step: int) -> None:
        """Stop where the budget is spent or nothing is to be hoped for; report where it is due."""
        session, budget = self.session, self.specification.budget
        if session is None or os.getpid() != session.pid:
            return
        every = self.specification.report_every
        loss = session.latest.loss
        self.lost = self.lost + 1 if loss is not None and not math.isfinite(loss) else 0
        if self.lost >= LOST_STEPS:
            self._stop("stopped early", f"no finite loss in {LOST_STEPS} steps up to step {step}")
        if (budget.steps and step >= budget.steps) or (
            budget.seconds and time.monotonic() - self.began >= budget.seconds
        ):
            self._stop("budget", f"stopped at step {step}")
        if every and step % every == 0:
            self._report(step)

    def _report(self, step: int) -> None:
        from vivavoce.record.run import Run
        from vivavoce.repair.reading import read

        if self.progress is None or self.session is None:
            return
        try:
            reading = read(Run(self.session.recorder.source()), altered=self.specification.altered)
        except Exception:  # a fault of ours: the trial goes on unjudged
            return
        self.progress.write(json.dumps({"step": step, "reading": reading.to_json()}) + "\n")
        self.progress.flush()

    def _stop(self, ended: str, message: str) -> None:
        from vivavoce.attach.session import StopTraining

        if self.ended == "finished":
            self.ended, self.message = ended, message
            raise StopTraining(0)

    def _refuse(self, message: str) -> None:
        self.ended, self.message = "refused", message
        self._write({"exit_code": REFUSED, "store": None, "steps": 0})

    def _give_input(self, file: str | None) -> None:
        if file is not None:
            os.dup2(os.open(file, os.O_RDONLY), 0)
            sys.stdin = os.fdopen(0, "r", closefd=False)
            return
        sys.stdin = io.TextIOWrapper(io.BufferedReader(NoInput(self._needs_input)))

    def _needs_input(self) -> str:
        self.ended = "refused"
        self.message = "the script reads standard input; to have it replayed in every trial: viva repair … < FILE"
        return self.message

    def _end(self, ending: launch.Ending) -> None:
        """The script is over: end the session and say what came of it."""
        outcome = self.session.finish(ending.exit_code, ending.error) if self.session else None
        if ending.error is not None and self.ended == "finished":
            self.ended = "exception"
            self.message = " ".join(f"{type(ending.error).__name__}: {ending.error}".split())[:500]
        elif self.ended == "finished" and self.session is not None and BLINDING & set(self.session.faults):
            self.ended, self.message = "lost", "an internal error of Viva's ended the recording of this trial"
        store = outcome.path if outcome else None
        steps = self.session.step if self.session else 0
        self._write({"exit_code": ending.exit_code, "store": store and str(store), "steps": steps})

    def _write(self, facts: dict[str, Any]) -> None:
        facts |= {"ended": self.ended, "message": moved(self.message, {v: k for k, v in self.places.items()})}
        facts |= {"refused": self.fence.refused, **_memory()}
        (self.folder / ENDING).write_text(json.dumps(facts), encoding="utf-8")


class NoInput(io.RawIOBase):
    """Standard input that nobody has given: reading from it says so."""

    def __init__(self, noted: Callable[[], str]) -> None:
        self._noted = noted

    def readable(self) -> bool:
        """It can be asked for."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Raises OSError: there is nothing to read from."""
        raise OSError(self._noted())

    def fileno(self) -> int:
        """The descriptor of /dev/null."""
        return 0


def moved_in(specification: Specification, places: dict[str, str]) -> Specification:
    """The specification with every path of the user's in the working folder."""
    data = specification.to_json()
    roots = data["program"]["roots"]
    inside: dict[str, Any] = moved(data | {"overrides": {}}, places)
    inside["program"]["roots"] = roots
    return Specification.from_json(inside)


def _map_import_path(places: dict[str, str]) -> None:
    """Modules that an editable installation finds in the user's folder come from the working folder."""
    sys.path[:] = [moved(entry, places) for entry in sys.path]


def name_code_as_the_users(places: dict[str, str]) -> None:
    """Give the code that is compiled from the working folder the names of the user's own files.

    So places that are recorded and tracebacks are the user's in every trial.
    """
    back = {copy: root for root, copy in places.items()}
    compiled, load = targets._compiled_source, SourceFileLoader.source_to_code

    def compiled_source(path: str) -> CodeType:
        return _renamed(compiled(path), moved(path, back))

    def source_to_code(self: Any, data: Any, path: Any, *rest: Any, **more: Any) -> CodeType:
        return load(self, data, moved(path, back), *rest, **more)

    targets._compiled_source = compiled_source
    SourceFileLoader.source_to_code = source_to_code  # type: ignore[method-assign]


def _renamed(code: CodeType, name: str) -> CodeType:
    constants = tuple(_renamed(item, name) if isinstance(item, CodeType) else item for item in code.co_consts)
    return code.replace(co_filename=name, co_consts=constants)


def _memory() -> dict[str, float]:
    resident = device = 0
    try:
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    except ImportError:
        pass
    torch = sys.modules.get("torch")
    try:
        if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
            device = torch.cuda.max_memory_reserved()
    except Exception:
        pass
    return {"memory": resident, "device_memory": device, "cpu": time.process_time()}


def _die_with_the_parent() -> None:
    """A trial does not outlive the process that asked for it, however that ends (Linux)."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """Run the trial whose specification the first argument names."""
    _die_with_the_parent()
    path = Path(sys.argv[1])
    places = json.loads((path.parent / "places.json").read_text(encoding="utf-8"))
    Trial(Specification.read(path), path.parent, places).run()


if __name__ == "__main__":
    main()
