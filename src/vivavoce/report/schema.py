"""The report's data, schema version 1, as types. `schema-1.json` beside this file says the same to other languages.

Keys may be added within a version, never removed or renamed. A number that is NaN or infinite is written as the
string "nan", "inf" or "-inf".
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

SCHEMA_VERSION = 1

Number = float | Literal["nan", "inf", "-inf"]
Outcome = Literal["healthy", "findings", "unknown", "no-training"]
State = Literal["running", "finished", "killed"]


class PlaceData(TypedDict):
    """A line of the user's source."""

    file: str
    line: int


class ModuleData(TypedDict):
    """A module that has parameters of its own or none below it, as the first sampled step saw it.

    Shapes are those of its first input and output (empty where it was not seen); `multiply_adds` of its `calls` in that step.
    """

    name: str
    class_name: str
    input_shape: list[int]
    output_shape: list[int]
    parameters: int
    calls: int
    multiply_adds: int


class ModelData(TypedDict):
    """A model that was trained. `parameters` and `trainable` count scalars; `multiply_adds` those of the modules."""

    name: str
    class_name: str
    parameters: int
    trainable: int
    compiled: bool
    site: PlaceData | None
    modules: NotRequired[list[ModuleData]]
    multiply_adds: NotRequired[int]


class OptimizerData(TypedDict):
    """An optimizer: where it was made, where it stepped, and its learning rate at the end, one number a group."""

    class_name: str
    learning_rate: list[Number]
    settings: list[dict[str, Any]]
    parameters: int
    site: PlaceData | None
    step_site: PlaceData | None


class LoaderData(TypedDict):
    """A data loader, as it was made."""

    role: str | None
    batch_size: int | None
    shuffle: bool | None
    sampler: str
    dataset_size: int | None
    batches: int | None
    workers: int
    site: PlaceData | None


class LossData(TypedDict):
    """A loss function that the script called."""

    function: str
    classes: int | None
    prediction_shape: list[int]
    target_shape: list[int]
    site: PlaceData | None


class RunData(TypedDict):
    """Facts about the run. `started` and `finished` are ISO 8601; `overhead`, `budget` and `allowed` fractions of step
    time (`allowed` is the budget and what is granted once to a short run)."""

    id: str
    command: str
    script: str | None
    started: str | None
    finished: str | None
    state: State
    exit_code: int | None
    stopped: str | None
    steps: int
    viva: str | None
    python: str | None
    torch: str | None
    device: str | None
    overhead: Number | None
    budget: Number | None
    allowed: Number | None
    training_seconds: Number | None
    models: list[ModelData]
    optimizers: list[OptimizerData]
    loaders: list[LoaderData]
    losses: list[LossData]


class MetricData(TypedDict):
    """A quantity over the run. `best` is the smallest loss or the largest accuracy, at step `best_step`."""

    first: Number
    last: Number
    best: Number
    best_step: int | None


class WhereData(TypedDict):
    """The place of a finding; any part may be unknown."""

    layer: str | None
    parameter: str | None
    first_step: int | None
    last_step: int | None
    file: str | None
    line: int | None


class EvidenceData(TypedDict):
    """A measured number, and what it was held against."""

    name: str
    value: Number | str
    unit: str
    threshold: Number | None
    source: str


class RuledOutData(TypedDict):
    """A cause that was considered and is not it."""

    slug: str
    because: str


class RemedyData(TypedDict):
    """What to try: `edit` is code."""

    slug: str
    title: str
    edit: str


class FindingData(TypedDict):
    """One thing that is wrong."""

    slug: str
    severity: Literal["critical", "warning", "note"]
    confidence: float
    primary: bool
    question: int
    title: str
    why: str
    where: WhereData
    evidence: list[EvidenceData]
    symptoms: list[str]
    ruled_out: list[RuledOutData]
    remedies: list[RemedyData]
    first_seen: NotRequired[int]  # step of the live examination that first named it
    last_seen: NotRequired[int]


class CheckData(TypedDict):
    """A check of a preflight: what became of it, and the numbers it rests on. `why` ends a sentence with "because" where
    the check could not be made.
    """

    name: str
    status: Literal["ok", "suspicious", "failed", "unchecked"]
    why: str
    slug: str | None  # the finding that it amounts to
    layer: str | None
    numbers: dict[str, Number]


class PreflightData(TypedDict):
    """What `--preflight` tried: after how many steps of the script, for how many seconds, with what results."""

    steps: int
    seconds: float
    checks: list[CheckData]


class ActData(TypedDict):
    """One act of the guard, with its reason: clip, rewind, lower-learning-rate or skip-batch; gave-up is its last."""

    step: int
    act: str
    why: str
    norm: NotRequired[Number]  # clip: the gradient's norm as it was, and what it was scaled down to
    to: NotRequired[Number]
    to_step: NotRequired[int]  # rewind: the weights are those from before this step again
    factor: NotRequired[Number]  # lower-learning-rate: what the script's own learning rate is multiplied by


class GuardData(TypedDict):
    """What `--guard` was allowed to do, and what it did. `gave_up` says why it stopped acting, None where it did not."""

    allowed: list[str]
    acts: list[ActData]
    gave_up: str | None


class FaultData(TypedDict):
    """A detector that failed: a fault of Viva's, not of the run."""

    slug: str
    error: str


class Report(TypedDict):
    """Everything a report says about a run."""

    schema: int
    verdict: Outcome
    reason: str
    path: str | None
    run: RunData
    metrics: dict[str, MetricData]
    findings: list[FindingData]
    examined: list[str]  # slugs that were looked for
    ruled_out: list[RuledOutData]  # what the evidence speaks against, whatever was found
    faults: list[FaultData]
    preflight: NotRequired[PreflightData]  # of `viva run --preflight` only
    guard: NotRequired[GuardData]  # of `viva run --guard` only
