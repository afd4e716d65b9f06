"""Conformance cases that every detector runs through: strange runs it must survive, healthy ones it must pass in silence.

@pytest.mark.parametrize("case", STRANGE + HEALTHY, ids=lambda case: case.name)
@pytest.mark.parametrize("detector", DETECTORS, ids=lambda detector: detector.slug)
def test_conforms(detector, case):
    check(detector, case)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from vivavoce.examine.detector import Detector
from vivavoce.examine.finding import Finding, RuledOut
from vivavoce.examine.slugs import SLUGS
from vivavoce.record.entities import Clip, Entity, Event, Loader, Loss, Model, Module, Optimizer, Parameter, Site
from vivavoce.record.run import Run
from vivavoce.record.tracks import Track
from vivavoce.testing.runs import MemorySource, make_run, make_track

SIGNALS_TO_GUARD = ("train/loss", "gradient_norm", "weight_norm", "update_ratio", "activation_dead", "val/loss")


@dataclass(frozen=True)
class Case:
    """A run to examine. `silent`: it is healthy, so no warning or worse may be found."""

    name: str
    make: Callable[[], Run]
    silent: bool = False


def check(detector: type[Detector], case: Case) -> None:
    """Raise AssertionError where a detector breaks its contract on a case; whatever it raises itself passes through."""
    run = case.make()
    before = _fingerprint(run)
    results = list(detector().examine(run))
    again = list(detector().examine(run))
    assert repr(results) == repr(again), f"{detector.slug} does not give the same answer twice"
    assert _fingerprint(run) == before, f"{detector.slug} changed the run"
    for result in results:
        _check_result(detector, result)
        grave = isinstance(result, Finding) and result.severity != "note"
        assert not (case.silent and grave), f"{detector.slug} is a false alarm on {case.name}: {result}"


def _check_result(detector: type[Detector], result: Finding | RuledOut) -> None:
    assert result.slug == detector.slug, f"{detector.slug} yielded {result.slug}"
    if isinstance(result, RuledOut):
        assert result.because, f"{detector.slug} excludes itself without a reason"
        return
    assert result.question == SLUGS[result.slug].question
    assert result.evidence, f"{detector.slug} names no number"
    assert result.remedies, f"{detector.slug} names no remedy"
    assert all(remedy.edit for remedy in result.remedies)
    assert result.why.endswith("."), f"{detector.slug} does not speak in sentences: {result.why!r}"
    assert not result.primary, "the verdict decides what is primary"


def _fingerprint(run: Run) -> tuple[object, ...]:
    tracks = [track for name in SIGNALS_TO_GUARD for track in run.tracks(name)]
    return tuple(
        array.tobytes() for track in tracks for array in (track.steps, track.mean, track.maximum, track.counts)
    )


LAYERS = 4
WIDTH = 64
STEPS = 400
CLASSES = 10


def entities(layers: int = LAYERS, *, clip: bool = False) -> list[Entity]:
    """A classifier of `layers` linear layers with ReLU between them, its optimizer, loader and loss sites."""
    parameters = [
        Parameter(
            id=2 * layer + part,
            model=0,
            name=f"layer{layer}.{'bias' if part else 'weight'}",
            shape=(WIDTH,) if part else (WIDTH, WIDTH),
            dtype="float32",
            module_class="Linear",
            optimizers=(0,),
            reached=True,
        )
        for layer in range(layers)
        for part in (0, 1)
    ]
    ids = [parameter.id for parameter in parameters]
    group = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 1e-4, "parameters": ids}
    place = Site("/home/user/train.py", 12)
    found: list[Entity] = [
        Model(id=0, name="Net", class_name="Net", parameters=sum(parameter.numel for parameter in parameters)),
        *(Module(id=i, model=0, name=f"relu{i}", class_name="ReLU") for i in range(layers - 1)),
        *parameters,
        Optimizer(id=0, class_name="SGD", groups=(group,), site=place, step_site=replace(place, line=33)),
        Loader(id=0, batch_size=32, shuffle=True, sampler="RandomSampler", dataset_size=1000, batches=32, role="train"),
        Loss(id=0, source="backward", function="cross_entropy", site=replace(place, line=31), models=(0,)),
        Loss(id=1, source="function", function="cross_entropy", classes=CLASSES, prediction_op="AddmmBackward0",
             prediction_shape=(32, CLASSES), target_shape=(32,)),
        Loss(id=2, source="function", function="cross_entropy", classes=CLASSES),
    ]  # fmt: skip
    return [*found, Clip(id=0, function="clip_grad_norm_", threshold=1.0)] if clip else found


def classifier(
    *,
    steps: int = STEPS,
    layers: int = LAYERS,
    start: float = 2.35,
    floor: float = 0.1,
    noise: float = 0.1,
    seed: int = 0,
    clip: bool = False,
    validation: bool = True,
    transform: Callable[[Track], Track] = lambda track: track,
) -> Run:
    """A healthy run: the loss decays from `start` to `floor` with relative `noise`, the norms stay in proportion.

    `transform` is applied to every track.
    """
    rng = np.random.default_rng(seed)
    when = np.arange(1, steps + 1)
    sampled = np.unique(np.concatenate([when[:5], when[::10]]))
    ids = list(range(2 * layers))
    course = floor + (start - floor) * np.exp(-when / (steps / 6))
    losses = course * np.exp(noise * rng.standard_normal(steps))
    gradient = 0.3 * np.exp(0.3 * rng.standard_normal((steps, len(ids)))) * np.sqrt(course / start)[:, None]
    weight = np.tile(np.where(np.arange(len(ids)) % 2 == 0, 5.0, 0.5), (len(sampled), 1))
    update = 2e-3 * np.exp(0.3 * rng.standard_normal((len(sampled), len(ids))))
    modules = list(range(layers - 1))
    counts = np.full((len(sampled), CLASSES), 32 / CLASSES)
    step_rows = np.column_stack([np.ones(steps), np.zeros(steps), np.full(steps, 0.01)])
    data = [
        ("train/loss", ("loss", 0), ["loss"], when, losses),
        ("train/function_loss", ("loss", 1), ["loss"], when, losses),
        ("step", ("optimizer", 0), ["backward_calls", "stale", "seconds"], when, step_rows),
        ("gradient_norm", ("optimizer", 0), ids, when, gradient),
        ("weight_norm", ("optimizer", 0), ids, sampled, weight),
        ("update_ratio", ("optimizer", 0), ids, sampled, update),
        ("activation_dead", ("model", 0), modules, sampled, np.full((len(sampled), len(modules)), 0.1)),
        ("target_classes", ("loss", 1), list(range(CLASSES)), sampled, counts),
        ("predicted_classes", ("loss", 1), list(range(CLASSES)), sampled, counts),
        ("input", ("model", 0), ["mean", "std", "min", "max", "nonfinite", "constant_features"], sampled,
         np.tile([0.0, 1.0, -3.0, 3.0, 0.0, 0.0], (len(sampled), 1))),
    ]  # fmt: skip
    if clip:
        data.append(("clip", ("clip", 0), ["norm_before"], when, np.linalg.norm(gradient, axis=1)))
    if validation:
        passes = when[steps // 20 :: max(1, steps // 20)]
        level = 1.2 * course[passes - 1] * np.exp(0.02 * rng.standard_normal(len(passes)))
        rows = np.column_stack([level, 0.1 * level, np.full_like(level, 4), np.full_like(level, 400), 1 - level / 3])
        data.append(("val/loss", ("loss", 2), ["loss", "deviation", "batches", "examples", "accuracy"], passes, rows))
    tracks = [transform(make_track(*row)) for row in data]  # type: ignore[arg-type]
    return Run(MemorySource({"steps": steps}, entities(layers, clip=clip), tracks, [], []))


def reduced(track: Track, width: int = 8) -> Track:
    """The track with its older half reduced: each row stands for `width` recorded ones."""
    half = len(track) // 2 // width * width
    if half == 0:
        return track

    def fold(values: np.ndarray, how: Callable[..., np.ndarray]) -> np.ndarray:
        return how(values[:half].reshape(half // width, width, *values.shape[1:]), axis=1)

    return Track(
        track.name,
        track.owner,
        track.columns,
        np.concatenate([track.steps[:half].reshape(-1, width)[:, -1], track.steps[half:]]),
        np.concatenate([fold(track.counts, np.sum), track.counts[half:]]),
        np.concatenate([fold(track.mean, np.mean), track.mean[half:]]),
        np.concatenate([fold(track.minimum, np.min), track.minimum[half:]]),
        np.concatenate([fold(track.maximum, np.max), track.maximum[half:]]),
        np.concatenate([fold(track.nonfinite, np.sum), track.nonfinite[half:]]),
    )


def _filled(value: float) -> Callable[[Track], Track]:
    def fill(track: Track) -> Track:
        return make_track(track.name, track.owner, track.columns, track.steps, np.full_like(track.mean, value))

    return fill


def _orphans() -> Run:
    """Signals whose entities were never recorded, entities that point nowhere, sites and groups left out."""
    whole = classifier(steps=50)
    strange: list[Entity] = [
        Optimizer(id=0, class_name=""),
        Parameter(id=99, model=None, name="", shape=(), dtype="complex64"),
        Loss(id=0, source="backward"),
        Loss(id=7, source="function", function="cross_entropy", classes=0),
        Loader(id=3, batch_size=None, shuffle=None, sampler="", dataset_size=None, batches=None),
        Clip(id=5, function="clip_grad_value_", threshold=0.0),
    ]
    names = ("train/loss", "train/function_loss", "gradient_norm", "weight_norm", "update_ratio", "input", "val/loss")
    tracks = [track for name in names for track in whole.tracks(name)]
    events = [
        Event(3, 0.1, "non-finite", {"what": "gradient", "parameters": [1234], "module": 77}),
        Event(4, 0.2, "odd", {}),
    ]
    return make_run(entities=strange, tracks=tracks, events=events)


STRANGE: tuple[Case, ...] = (
    Case("an empty run", make_run),
    Case("entities without signals", lambda: make_run(entities=entities())),
    Case("one step", lambda: classifier(steps=1)),
    Case("two steps", lambda: classifier(steps=2)),
    Case("all values NaN", lambda: classifier(transform=_filled(float("nan")))),
    Case("all values infinite", lambda: classifier(transform=_filled(float("inf")))),
    Case("all values zero", lambda: classifier(transform=_filled(0.0))),
    Case("all values negative", lambda: classifier(transform=_filled(-1.0))),
    Case("orphaned signals", _orphans),
    Case("a thousand parameters", lambda: classifier(layers=500, steps=60)),
)

HEALTHY: tuple[Case, ...] = (
    Case("a classifier", classifier, silent=True),
    Case("a noisy loss", lambda: classifier(noise=0.4, seed=1), silent=True),
    Case("a converged run", lambda: classifier(floor=1e-4, seed=2), silent=True),
    Case("no validation", lambda: classifier(validation=False, seed=3), silent=True),
    Case("a clipped run", lambda: classifier(clip=True, seed=4), silent=True),
    Case("reduced rows", lambda: classifier(steps=4000, seed=5, transform=reduced), silent=True),
    Case("a long run", lambda: classifier(steps=5000, seed=6), silent=True),
    Case("fine-tuning from a low loss", lambda: classifier(start=0.3, floor=0.15, seed=7), silent=True),
)
