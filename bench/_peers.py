"""Other people's packages in the same programs: run by the interpreter of an environment that has them (bench/peers.txt).

    peers-env/bin/python bench/_peers.py SCRIPT SEED FILE       one script; writes what each package said to FILE

Each is driven from global hooks of the optimizer's step, with the loss that `backward` was called on: what a user of the package
would pass in by hand. Batches are what the model is called with. None of them changes the training.
"""

from __future__ import annotations

import gc
import importlib
import json
import logging
import math
import runpy
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

SOON = 50  # steps: `vanishing` and `no gradient` are said of the first ones by nature
OFTEN = 0.02  # share of the steps at which a package that judges each step alone must have warned, for it to count


class Peer:
    """One package in one run. `said()` gives (what, how often) as the package words it, most important first."""

    def start(self, model: Any, optimizer: Any) -> None: ...

    def batch(self, inputs: Any) -> None: ...

    def before_step(self, step: int, loss: float, norm: float, rate: float) -> None: ...

    def after_step(self, step: int, loss: float) -> None: ...

    def said(self) -> list[str]:
        return []


class Traintools(Peer):
    """Gradient health and batches; each step is judged alone, so that what was said at next to no step is dropped."""

    KINDS: ClassVar = {"non-finite values": "bad batch", "nearly constant": "constant batch", "exceeds": "large values",
             "non-finite gradients": "non-finite gradient", "vanished": "vanished gradient", "very large": "large gradient",
             "ratio is high": "update ratio high", "ratio is tiny": "update ratio tiny", "no gradients": "no gradients"}  # fmt: skip
    ORDER: ClassVar = list(KINDS.values())

    def __init__(self) -> None:
        from traintools import BatchInspector, GradientHealthMonitor

        self.inspector, self.monitor = BatchInspector(), GradientHealthMonitor()
        self.counts: Counter[str] = Counter()
        self.steps = 0

    def start(self, model: Any, optimizer: Any) -> None:
        self.model = model

    def batch(self, inputs: Any) -> None:
        self._count(self.inspector.inspect(inputs).warnings)

    def before_step(self, step: int, loss: float, norm: float, rate: float) -> None:
        self.steps += 1
        self._count(self.monitor.inspect(self.model, step=step, lr=rate).warnings)

    def _count(self, warnings: list[str]) -> None:
        self.counts.update({kind for warning in warnings for text, kind in self.KINDS.items() if text in warning})

    def said(self) -> list[str]:
        sure = {"bad batch", "non-finite gradient"}
        often = [
            kind
            for kind in self.ORDER
            if self.counts[kind] > OFTEN * self.steps or (kind in sure and self.counts[kind])
        ]
        return sorted(often, key=lambda kind: -self.counts[kind])


class Torchmortem(Peer):
    """`Autopsy`; findings that are warnings or worse, as its report orders them."""

    def __init__(self) -> None:
        from torchmortem import Autopsy

        self.make = Autopsy
        self.autopsy: Any = None

    def start(self, model: Any, optimizer: Any) -> None:
        self.autopsy = self.make(model, optimizer=optimizer)
        self.autopsy.attach()

    def after_step(self, step: int, loss: float) -> None:
        self.autopsy.step(loss=loss)

    def said(self) -> list[str]:
        if self.autopsy is None:
            return []
        self.autopsy.detach()
        findings = [f for f in self.autopsy.get_report().findings if f.severity.name in ("WARNING", "CRITICAL")]
        findings.sort(key=lambda finding: -int(finding.severity))
        return [finding.title.partition(" in ")[0] for finding in findings]


class TrainingDoctor(Peer):
    """`Doctor.log`, diagnoses that are warnings or worse."""

    def __init__(self) -> None:
        from training_doctor import Doctor

        self.doctor = Doctor()

    def before_step(self, step: int, loss: float, norm: float, rate: float) -> None:
        if step % max(1, step // 200) == 0:  # it looks through its whole history at each call
            self.doctor.log(step, loss=loss, lr=rate, grad_norm=norm)

    def said(self) -> list[str]:
        grave = [d for d in self.doctor.diagnoses if d.severity.value in ("warning", "critical")]
        grave.sort(key=lambda d: (d.severity.value != "critical", -d.confidence))
        return [d.problem for d in grave]


class Trainpulse(Peer):
    """`Monitor.log`, alerts that are warnings or worse; times of steps are left out."""

    def __init__(self) -> None:
        from trainpulse import Monitor

        self.monitor = Monitor()

    def before_step(self, step: int, loss: float, norm: float, rate: float) -> None:
        for name, value in (("loss", loss), ("grad_norm", norm), ("lr", rate)):
            self.monitor.log(name, step, value)

    def said(self) -> list[str]:
        alerts = [a for a in self.monitor.report().alerts if a.severity.value in ("warning", "critical")]
        alerts.sort(key=lambda a: a.severity.value != "critical")
        kinds = [a.message.partition(":")[0] if "changed" not in a.message else "LR changed" for a in alerts]
        return list(dict.fromkeys(kinds))


PEERS: dict[str, type[Peer]] = {
    "traintools": Traintools,
    "torchmortem": Torchmortem,
    "training-doctor": TrainingDoctor,
    "trainpulse": Trainpulse,
}


class Driver:
    """Calls the packages from hooks; one that raises is dropped from the run, with its error."""

    def __init__(self) -> None:
        self.peers: dict[str, Peer] = {name: kind() for name, kind in PEERS.items()}
        self.errors: dict[str, str] = {}
        self.loss, self.step, self.main = math.nan, 0, None

    def install(self) -> None:
        import torch
        from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

        original, driver = torch.Tensor.backward, self

        def backward(tensor: Any, *args: Any, **options: Any) -> Any:
            if tensor.numel() == 1:
                driver.loss = float(tensor.detach())
            return original(tensor, *args, **options)

        torch.Tensor.backward = backward  # type: ignore[method-assign]
        register_optimizer_step_pre_hook(self.before)
        register_optimizer_step_post_hook(self.after)

    def before(self, optimizer: Any, *_: Any) -> None:
        import torch

        if self.main is None:
            self.main = optimizer
            model = _model_of(optimizer)
            if model is not None:
                model.register_forward_pre_hook(lambda _, inputs: self.each("batch", inputs))
                self.each("start", model, optimizer)
            else:
                self.peers.clear()
        if optimizer is not self.main:
            return
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = float(torch.nn.utils.get_total_norm(gradients)) if gradients else 0.0
        self.each("before_step", self.step, self.loss, norm, float(optimizer.param_groups[0]["lr"]))

    def after(self, optimizer: Any, *_: Any) -> None:
        if optimizer is self.main:
            self.each("after_step", self.step, self.loss)
            self.step += 1

    def each(self, method: str, *args: Any) -> None:
        for name, peer in list(self.peers.items()):
            try:
                getattr(peer, method)(*args)
            except Exception as error:
                self.errors[name] = f"{type(error).__name__}: {error}"
                del self.peers[name]

    def said(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {name: [] for name in PEERS}
        for name, peer in list(self.peers.items()):
            try:
                found[name] = peer.said()
            except Exception as error:
                self.errors[name] = f"{type(error).__name__}: {error}"
        return found


def _model_of(optimizer: Any) -> Any:
    """The outermost module that owns most of the optimizer's parameters."""
    import torch

    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    modules = [m for m in gc.get_objects() if isinstance(m, torch.nn.Module)]
    owned = [(sum(p.numel() for p in m.parameters() if id(p) in held), len(list(m.modules())), m) for m in modules]
    return max((row for row in owned if row[0]), key=lambda row: row[:2], default=(0, 0, None))[2]


def main(script: str, seed: str, file: str) -> None:
    """Runs one script with all packages and writes what they said."""
    logging.disable(logging.CRITICAL)
    for package in ("traintools", "torchmortem", "training_doctor", "trainpulse"):
        importlib.import_module(package)
    driver = Driver()
    driver.install()
    sys.argv = [script, "--seed", seed]
    started, error = time.process_time(), ""
    try:
        runpy.run_path(script, run_name="__main__")
    except Exception as exception:
        error = f"{type(exception).__name__}: {exception}"
    row = {"said": driver.said(), "errors": driver.errors, "steps": driver.step, "script": error}
    Path(file).write_text(json.dumps(row | {"seconds": time.process_time() - started}))


if __name__ == "__main__":
    main(*sys.argv[1:])
