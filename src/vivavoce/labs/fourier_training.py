"""The claims about training: the order of the data in the loss, and which frequencies a network learns first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from vivavoce.labs.figures import Line, XYPlot
from vivavoce.labs.lab import Context, Result, Table, held
from vivavoce.labs.threads import one_thread
from vivavoce.measure.spectrum_order import LEVEL, Order, data_order
from vivavoce.measure.spectrum_transform import learned, spectrum

Floats = NDArray[np.float64]

CLASSES, EXAMPLES, FEATURES, BATCH, EPOCHS = 4, 640, 8, 16, 4
SORTED_RUNS, SHUFFLED_RUNS = 20, 100
QUICK_SORTED, QUICK_SHUFFLED = 4, 10
FOUND_BAR, ALARM_BAR = 0.95, 0.01

FREQUENCIES = (1, 4, 12)  # cycles over the interval
POINTS = 256
WIDTH = 128
STEPS, QUICK_STEPS, EVERY = 3_000, 1_200, 5
RATE = 2e-3
LEARNED = 0.8  # of the amplitude
FEATURE_FREQUENCIES = 16


@one_thread()
def order_in_loss(context: Context) -> Result:
    """Runs on data sorted by class, and on the same data shuffled."""
    few, many = (QUICK_SORTED, QUICK_SHUFFLED) if context.quick else (SORTED_RUNS, SHUFFLED_RUNS)
    runs = [(False, seed) for seed in range(few)] + [(True, seed) for seed in range(many)]
    losses = {run: _run(*run, context) for run in context.track("training on sorted and shuffled data", runs)}
    found = {run: data_order(loss, EXAMPLES // BATCH) for run, loss in losses.items()}
    caught = sum(found[False, seed].fixed for seed in range(few))
    alarms = sum(found[True, seed].fixed for seed in range(many))
    claims = [
        held(
            "sorted data show in the loss",
            f"found in {caught} of {few} runs",
            f"at least {100 * FOUND_BAR:g} %",
            caught >= FOUND_BAR * few,
        ),
        held(
            "shuffled data do not",
            f"alarm in {alarms} of {many} runs",
            f"at most {100 * ALARM_BAR:g} %",
            alarms <= max(ALARM_BAR * many, 0),
            f"An F-test at p < {LEVEL:g} of what the epochs share at a position.",
        ),
    ]
    data = {"order_found": caught, "order_runs": few, "order_alarms": alarms, "order_shuffled_runs": many}
    return Result("", claims, figures=_order_figures(losses, found), data=data)


def _run(shuffled: bool, seed: int, context: Context) -> Floats:
    """The loss of each step of a linear classifier."""
    generator = torch.Generator().manual_seed(1_000_003 * context.seed + 2 * seed + shuffled)
    labels = torch.arange(CLASSES).repeat_interleave(EXAMPLES // CLASSES)
    x = torch.randn(EXAMPLES, FEATURES, generator=generator) + 2 * functional.one_hot(labels, FEATURES)
    weight = torch.zeros(CLASSES, FEATURES, requires_grad=True)
    losses = []
    for _ in range(EPOCHS):
        order = torch.randperm(EXAMPLES, generator=generator) if shuffled else torch.arange(EXAMPLES)
        for rows in torch.split(order, BATCH):
            loss = functional.cross_entropy(x[rows] @ weight.T, labels[rows])
            (gradient,) = torch.autograd.grad(loss, weight)
            weight = (weight - 0.1 * gradient).detach().requires_grad_()
            losses.append(loss.item())
    return np.array(losses)


def _order_figures(losses: dict[tuple[bool, int], Floats], found: dict[tuple[bool, int], Order]) -> list[XYPlot]:
    names = {False: "sorted by class", True: "shuffled"}
    steps = np.arange(1.0, EPOCHS * EXAMPLES // BATCH + 1)
    curves = [Line(name, steps, losses[shuffled, 0]) for shuffled, name in names.items()]
    spectra = []
    for shuffled, name in names.items():
        logs = np.log(np.maximum(losses[shuffled, 0], np.finfo(float).tiny))
        whole = spectrum(logs - np.polyval(np.polyfit(steps, logs, 2), steps), EXAMPLES / BATCH, "hann")
        spectra.append(Line(name, whole.frequencies[1:], whole.amplitude[1:]))
    marks = [(1.0, "once an epoch")]
    chance = f"p = {found[False, 0].p:.1g} sorted, {found[True, 0].p:.1g} shuffled."
    return [
        XYPlot("order-loss", "Loss of the same network", "Data in one order, and shuffled.", "step", "loss", curves),
        XYPlot(
            "order-spectrum",
            "Spectrum of the log loss",
            f"What comes back with each epoch stands at whole numbers of cycles an epoch. {chance}",
            "cycles an epoch",
            "amplitude",
            spectra,
            log_y=True,
            marks=marks,
        ),
    ]


@dataclass(frozen=True)
class _Course:
    """How much of each frequency was learned, shape (checks, frequencies), at the steps (checks,)."""

    steps: Floats
    shares: Floats

    def when(self, column: int) -> float:
        """The step at which a frequency was learned for good; infinite where it was not."""
        below = np.flatnonzero(self.shares[:, column] < LEARNED)
        if not len(below):
            return float(self.steps[0])
        return float(self.steps[below[-1] + 1]) if below[-1] + 1 < len(self.steps) else float("inf")


@one_thread()
def slow_before_fast(context: Context) -> Result:
    """One network on raw coordinates, one on Fourier features: when each frequency of the target is learned."""
    kinds = {"raw": "coordinates", "features": "Fourier features"}
    courses = {kind: _trained(kind, context, label) for kind, label in kinds.items()}
    raw = [courses["raw"].when(column) for column in range(len(FREQUENCIES))]
    features = [courses["features"].when(column) for column in range(len(FREQUENCIES))]
    claims = [
        held(
            "a network learns low frequencies first",
            ", ".join(f"{f} at step {_step(when)}" for f, when in zip(FREQUENCIES, raw, strict=True)),
            "in the order of the frequencies",
            raw[0] < raw[1] <= raw[2] and raw[0] < raw[2],
        ),
        held(
            "Fourier features cure it",
            f"{FREQUENCIES[-1]} cycles at step {_step(features[-1])} instead of {_step(raw[-1])}",
            "at most a quarter of the steps",
            features[-1] <= min(raw[-1], float(courses["raw"].steps[-1])) / 4,
        ),
    ]
    rows = [[f"{f} cycles", _step(a), _step(b)] for f, a, b in zip(FREQUENCIES, raw, features, strict=True)]
    heads = ["frequency", "learned at step, on coordinates", "on Fourier features"]
    table = Table(f"When {100 * LEARNED:.0f} % of an amplitude is learned for good", heads, rows)
    return Result("", claims, [table], [_course_plot(kind, label, courses[kind]) for kind, label in kinds.items()])


def _step(when: float) -> str:
    return "never" if when == float("inf") else f"{when:,.0f}"


def _trained(kind: str, context: Context, label: str) -> _Course:
    x = torch.arange(POINTS, dtype=torch.float32)[:, None] / POINTS
    target = torch.stack([torch.sin(2 * torch.pi * f * x[:, 0]) for f in FREQUENCIES]).sum(dim=0)
    inputs = 2 * x - 1 if kind == "raw" else _features(x)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(context.seed)
        model = torch.nn.Sequential(
            torch.nn.Linear(inputs.shape[1], WIDTH),
            torch.nn.ReLU(),
            torch.nn.Linear(WIDTH, WIDTH),
            torch.nn.ReLU(),
            torch.nn.Linear(WIDTH, 1),
        )
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    steps, shares = [], []
    for step in context.track(f"learning from {label}", range(1, (QUICK_STEPS if context.quick else STEPS) + 1)):
        prediction = model(inputs)[:, 0]
        optimizer.zero_grad()
        torch.autograd.backward(functional.mse_loss(prediction, target))
        optimizer.step()
        if step % EVERY == 0:
            steps.append(step)
            shares.append(learned(prediction.detach().double().numpy(), target.double().numpy(), FREQUENCIES))
    return _Course(np.array(steps, dtype=np.float64), np.array(shares))


def _features(x: torch.Tensor) -> torch.Tensor:
    """Sines and cosines of the coordinate (Tancik et al. 2020), with whole frequencies up to `FEATURE_FREQUENCIES`."""
    angles = 2 * torch.pi * x * torch.arange(1, FEATURE_FREQUENCIES + 1)
    return torch.cat([torch.sin(angles), torch.cos(angles)], dim=1)


def _course_plot(kind: str, label: str, course: _Course) -> XYPlot:
    lines = [Line(f"{f} cycles", course.steps, course.shares[:, column]) for column, f in enumerate(FREQUENCIES)]
    note = "How much of each frequency of the target the network has: 1 is all of it."
    return XYPlot(f"learned-{kind}", f"Learning from {label}", note, "step", "share learned", lines, log_x=True)
