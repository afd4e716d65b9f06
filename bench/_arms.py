"""The ways of watching a training that the benchmark compares: Viva, plain recipes, and other people's packages."""

from __future__ import annotations

import abc
import importlib.metadata
import logging
import os
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from _interleave import PLAIN, Arms, Hooks
from _workloads import Training, Workload


class Unavailable(Exception):
    """The arm cannot run here; the message says why, and what to install where that would help."""


class Arm(abc.ABC):
    """A way of watching a training. `attach` is the one method to write."""

    name: ClassVar[str]
    records: ClassVar[str]  # what it writes down, for the table
    distribution: ClassVar[str | None] = None  # the package it comes from, None for recipes of a few lines
    per_layer: ClassVar[bool] = True  # records something of each layer or parameter
    in_quick: ClassVar[bool] = False
    weight: ClassVar[float] = 1.0  # share of the time

    @abc.abstractmethod
    def attach(self, workload: Workload, folder: Path) -> Arms:
        """Build the training and put the watching on it; files go into `folder`. Raises Unavailable."""

    def recorded_overhead(self) -> float | None:
        """The overhead the arm itself claims, as a fraction of step time; None where it claims none."""
        return None

    def details(self) -> dict[str, object]:
        """Further figures for the JSON."""
        return {}

    def close(self) -> None:  # noqa: B027  most arms leave nothing to close
        """Take everything off again."""

    def version(self) -> str:
        """Installed version, or "" for a recipe. Raises Unavailable where the package is missing."""
        if self.distribution is None:
            return ""
        try:
            return importlib.metadata.version(self.distribution)
        except importlib.metadata.PackageNotFoundError:
            raise Unavailable(f"not installed: pip install {self.distribution}") from None


def twins(workload: Workload, hooks_of: Callable[[Training], Hooks]) -> Arms:
    """A plain and a watched training of the same seed, for watchers that leave traces in the model."""
    watched = workload.build()
    return Arms(workload.build(), watched, hooks_of(watched))


class Nothing(Arm):
    """The harness against itself: anything but 1.00 is the harness's fault or the machine's."""

    name = "nothing"
    records = "nothing (checks the harness: the interval should hold 1.00)"
    per_layer = False
    in_quick = True
    weight = 2.0

    def attach(self, workload: Workload, folder: Path) -> Arms:
        training = workload.build()
        return Arms(training, training, PLAIN)


class NormItems(Arm):
    """The loop that everyone writes first."""

    name = "norm .item() loop"
    records = "gradient norm of each parameter each step"
    in_quick = True

    def attach(self, workload: Workload, folder: Path) -> Arms:
        training = workload.build()
        rows: list[list[float]] = []
        parameters = list(training.model.parameters())

        def record(loss: Tensor) -> None:
            rows.append([parameter.grad.norm().item() for parameter in parameters if parameter.grad is not None])

        return Arms(training, training, Hooks(before_step=record))


class TensorBoardHistograms(Arm):
    """`SummaryWriter.add_histogram` of every parameter and gradient."""

    name = "TensorBoard histograms"
    records = "histogram of each parameter and gradient each step"
    distribution = "tensorboard"
    in_quick = True

    def attach(self, workload: Workload, folder: Path) -> Arms:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder))
        training = workload.build()

        def record(loss: Tensor) -> None:
            for name, parameter in training.model.named_parameters():
                self._writer.add_histogram(name, parameter, training.steps_done)
                self._writer.add_histogram(f"gradient/{name}", parameter.grad, training.steps_done)

        return Arms(training, training, Hooks(before_step=record))

    def close(self) -> None:
        self._writer.close()


class WandbWatch(Arm):
    """`wandb.watch` as its manual has it: default settings, the loss logged each step, offline."""

    name = "wandb.watch"
    records = "loss each step, histogram of each gradient every 1,000 backward passes (offline)"
    distribution = "wandb"
    in_quick = True
    log_every: ClassVar[int] = 1_000  # its default

    def attach(self, workload: Workload, folder: Path) -> Arms:
        import wandb

        os.environ["WANDB_SILENT"] = "true"
        settings = wandb.Settings(console="off", quiet=True, silent=True, x_disable_stats=True)
        self._run = wandb.init(project="overhead", mode="offline", dir=str(folder), settings=settings)

        def watch(training: Training) -> Hooks:
            self._run.watch(training.model, log_freq=self.log_every)
            return Hooks(after_step=lambda loss: self._run.log({"loss": loss.item()}))

        return twins(workload, watch)

    def close(self) -> None:
        self._run.finish()


class WandbWatchEachStep(WandbWatch):
    """The same with `log_freq=1`."""

    name = "wandb.watch, log_freq=1"
    records = "loss and histogram of each gradient each step (offline)"
    in_quick = False
    log_every = 1


class Traintools(Arm):
    """The three monitors of its quick start that need no change to the loss."""

    name = "traintools"
    records = (
        "batch statistics, gradient and weight norm of each parameter each step; plasticity, noise scale every 200"
    )
    distribution = "traintools"

    def attach(self, workload: Workload, folder: Path) -> Arms:
        from torch.nn.functional import cross_entropy
        from traintools import BatchInspector, GradientHealthMonitor
        from traintools.callbacks.pytorch import TraintoolsTracker

        def watch(training: Training) -> Hooks:
            inspector, monitor = BatchInspector(), GradientHealthMonitor()

            def sequence_loss(logits: Tensor, targets: Tensor) -> Tensor:
                return cross_entropy(logits.flatten(0, -2), targets.flatten())

            tracker = TraintoolsTracker(training.model, sequence_loss, verbose=False)
            last: list[tuple[Tensor, Tensor]] = []

            def inspect(inputs: Tensor, targets: Tensor) -> None:
                last[:] = [(inputs, targets)]
                inspector.inspect(inputs, targets, step=training.steps_done)

            def check(loss: Tensor) -> None:
                rate = training.optimizer.param_groups[0]["lr"]
                monitor.inspect(training.model, step=training.steps_done, lr=rate)

            def track(loss: Tensor) -> None:
                tracker.step(step=training.steps_done, inputs=last[0][0], targets=last[0][1])

            return Hooks(batch=inspect, before_step=check, after_step=track)

        return twins(workload, watch)


class Torchmortem(Arm):
    """`Autopsy` at its default sampling."""

    name = "torchmortem"
    records = "gradient, weight and activation statistics of each layer, loss"
    distribution = "torchmortem"

    def attach(self, workload: Workload, folder: Path) -> Arms:
        from torchmortem import Autopsy

        def watch(training: Training) -> Hooks:
            self._autopsy = Autopsy(training.model, optimizer=training.optimizer)
            self._autopsy.attach()
            return Hooks(after_step=lambda loss: self._autopsy.step(loss=loss.item()))

        return twins(workload, watch)

    def close(self) -> None:
        logging.disable(logging.CRITICAL)
        self._autopsy.detach()
        logging.disable(logging.NOTSET)


class TrainingDoctor(Arm):
    """`Doctor.log` of the three numbers its detectors read."""

    name = "training-doctor"
    records = "loss, learning rate, total gradient norm each step (its cost a step grows with the run)"
    distribution = "training-doctor"
    per_layer = False

    def attach(self, workload: Workload, folder: Path) -> Arms:
        from training_doctor import Doctor

        def watch(training: Training) -> Hooks:
            doctor = Doctor()

            def log(loss: Tensor) -> None:
                rate, norm = training.optimizer.param_groups[0]["lr"], total_norm(training)
                doctor.log(training.steps_done, loss=loss.item(), lr=rate, grad_norm=norm)

            return Hooks(before_step=log)

        return twins(workload, watch)


class Trainpulse(Arm):
    """`Monitor.log` of loss, gradient norm, learning rate and step time."""

    name = "trainpulse"
    records = "loss, learning rate, total gradient norm, step time each step"
    distribution = "trainpulse"
    per_layer = False

    def attach(self, workload: Workload, folder: Path) -> Arms:
        from trainpulse import Monitor

        def watch(training: Training) -> Hooks:
            monitor = Monitor()

            def begin(inputs: Tensor, targets: Tensor) -> None:
                monitor.step_start()

            def log(loss: Tensor) -> None:
                step = training.steps_done
                monitor.log("loss", step, loss.item())
                monitor.log("grad_norm", step, total_norm(training))
                monitor.log("lr", step, training.optimizer.param_groups[0]["lr"])

            return Hooks(batch=begin, before_step=log, after_step=lambda loss: end(monitor, training))

        def end(monitor: object, training: Training) -> None:
            monitor.step_end(training.steps_done)  # type: ignore[attr-defined]

        return twins(workload, watch)


class StabilityGuard(Arm):
    """`GuardedOptimizer` at its defaults, silent."""

    name = "stabilityguard"
    records = "gradient norm of each layer each step (and skips steps it dislikes)"
    distribution = "stabilityguard"

    def attach(self, workload: Workload, folder: Path) -> Arms:
        from stabilityguard import GuardedOptimizer

        def watch(training: Training) -> Hooks:
            guard = GuardedOptimizer(training.optimizer, training.model, log_dir=str(folder), verbose=False)
            return Hooks(step=lambda loss: guard.step(loss=loss.item()))

        return twins(workload, watch)


class TrainWatch(Arm):
    """`Watcher` at its defaults."""

    name = "trainwatch"
    records = "loss each step; processor and memory every 10"
    distribution = "trainwatch"
    per_layer = False

    def attach(self, workload: Workload, folder: Path) -> Arms:
        from trainwatch import Watcher

        def watch(training: Training) -> Hooks:
            watcher = Watcher(show_gpu=False)
            return Hooks(after_step=lambda loss: watcher.step(loss=loss.item()))

        return twins(workload, watch)


class TraceML(Arm):
    """Its manual mode, which touches only the objects it is given; its collecting process is not started."""

    name = "traceml"
    records = "time of data, forward, backward and optimizer each step (no numbers of the training)"
    distribution = "traceml-ai"
    per_layer = False

    def attach(self, workload: Workload, folder: Path) -> Arms:
        import traceml_ai

        traceml_ai.init(
            mode="manual",
            logs_dir=str(folder),
            on_missing_aggregator="warn",
            connect_timeout_sec=0.1,
            enable_logging=False,
        )

        def watch(training: Training) -> Hooks:
            traceml_ai.wrap_forward(training.model)
            traceml_ai.wrap_optimizer(training.optimizer)

            def around() -> AbstractContextManager[object]:
                return traceml_ai.trace_step(training.model)

            def backward(loss: Tensor, inputs: Tensor, targets: Tensor) -> None:
                traceml_ai.wrap_backward(loss).backward()

            return Hooks(around=around, backward=backward)

        return twins(workload, watch)


class Cockpit(Arm):
    """The `economy` configuration each step."""

    name = "cockpit, economy"
    records = "histograms, norms and per-example gradient tests of each layer each step"
    distribution = "cockpit-for-pytorch"

    def attach(self, workload: Workload, folder: Path) -> Arms:
        from backpack import extend
        from cockpit import Cockpit as Instruments
        from cockpit.utils.configuration import configuration
        from torch.nn import CrossEntropyLoss

        def watch(training: Training) -> Hooks:
            extend(training.model, use_converter=not isinstance(training.model, torch.nn.Sequential))
            each_loss, mean_loss = CrossEntropyLoss(reduction="none"), extend(CrossEntropyLoss())
            cockpit = Instruments(training.model.parameters(), quantities=configuration("economy"))

            def loss_of(inputs: Tensor, targets: Tensor) -> Tensor:
                logits = training.model(inputs)
                training.logits = logits if logits.dim() == 2 else logits.transpose(1, 2)  # type: ignore[attr-defined]
                return mean_loss(training.logits, targets)  # type: ignore[attr-defined]

            training.loss = loss_of  # type: ignore[method-assign]

            def backward(loss: Tensor, inputs: Tensor, targets: Tensor) -> None:
                info = {
                    "batch_size": len(inputs),
                    "individual_losses": each_loss(training.logits, targets),  # type: ignore[attr-defined]
                    "loss": loss,
                    "optimizer": training.optimizer,
                }
                step = training.steps_done
                with cockpit(step, info=info):
                    loss.backward(create_graph=cockpit.create_graph(step))

            return Hooks(backward=backward)

        return twins(workload, watch)


class AnomalyMode(Arm):
    """`torch.autograd.set_detect_anomaly`, which many leave on to find a NaN."""

    name = "anomaly mode"
    records = "where the first NaN of the backward pass came from"
    per_layer = False

    def attach(self, workload: Workload, folder: Path) -> Arms:
        training = workload.build()

        def off() -> None:
            torch.autograd.set_detect_anomaly(False)

        def on() -> None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                torch.autograd.set_detect_anomaly(True)

        return Arms(training, training, PLAIN, on, off)


def total_norm(training: Training) -> float:
    """Norm of all gradients together, read to the host."""
    gradients = [parameter.grad for parameter in training.model.parameters() if parameter.grad is not None]
    return torch.nn.utils.get_total_norm(gradients).item()
