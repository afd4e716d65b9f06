"""The things a training script makes, as they are recorded: plain data, no torch.

Each class is the typed form of one ``entity`` row of the store. Fields may be added; readers ignore unknown keys.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self


@dataclass(frozen=True, slots=True)
class Site:
    """A place in the user's source: absolute file name and 1-based line."""

    file: str
    line: int
    function: str = ""


@dataclass(frozen=True, kw_only=True)
class Entity:
    """Base of the recorded things: an integer id, unique within its kind and run."""

    kind: ClassVar[str]
    id: int

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dictionary of all fields but the id."""
        data = dataclasses.asdict(self)
        del data["id"]
        return data

    @classmethod
    def from_json(cls, id: int, data: dict[str, Any]) -> Self:
        """Rebuild from `to_json`; unknown keys are ignored, so that older code reads newer rows."""
        known = {f.name for f in dataclasses.fields(cls)}
        values = {key: _decode(key, value) for key, value in data.items() if key in known}
        return cls(id=id, **values)


def _decode(key: str, value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {"file", "line", "function"}:
        return Site(**value)
    if isinstance(value, list):
        return tuple(_decode(key, item) for item in value)
    return value


@dataclass(frozen=True, kw_only=True)
class Model(Entity):
    """A root `torch.nn.Module` that owns optimized parameters."""

    kind: ClassVar[str] = "model"
    name: str  # class name, with " (2)" … appended where several models share it
    class_name: str
    site: Site | None = None  # where the class is defined, for classes of the user's own
    parameters: int = 0  # number of scalars, shared ones counted once
    trainable: int = 0
    compiled: bool = False


@dataclass(frozen=True, kw_only=True)
class Module(Entity):
    """A module inside a model, or an activation function called as a function (`functional`)."""

    kind: ClassVar[str] = "module"
    model: int | None
    name: str  # qualified name in the model: "encoder.fc1"; for functional ones "fc1 > relu"
    class_name: str  # "Linear", "ReLU"; for functional ones "relu"
    functional: bool = False
    parameters: int = 0  # scalars owned directly
    site: Site | None = None  # where the class is defined, if it is the user's own; else where the module was made
    input_shape: tuple[int, ...] = ()  # of its first input in the first sampled step that called it
    output_shape: tuple[int, ...] = ()
    calls: int = 0  # in that step; 0 where it was not called
    multiply_adds: int = 0  # of those calls, by its own weights


@dataclass(frozen=True, kw_only=True)
class Parameter(Entity):
    """A parameter tensor: a leaf that a model owns or an optimizer holds."""

    kind: ClassVar[str] = "parameter"
    model: int | None
    name: str  # qualified name; "optimizer 0 parameter 3" where no model owns it
    shape: tuple[int, ...]
    dtype: str
    trainable: bool = True  # requires_grad
    module_class: str = ""  # class of the module that owns it, "" where none does
    optimizers: tuple[int, ...] = ()  # ids of the optimizers that hold it
    tied: tuple[str, ...] = ()  # other qualified names of the same tensor
    reached: bool | None = None  # the loss's graph reaches it; None where no graph was seen
    first_step: int = 0

    @property
    def numel(self) -> int:
        """Number of scalars."""
        count = 1
        for size in self.shape:
            count *= size
        return count


@dataclass(frozen=True, kw_only=True)
class Optimizer(Entity):
    """An optimizer. `groups` holds one dictionary a parameter group: its numbers, and "parameters": ids."""

    kind: ClassVar[str] = "optimizer"
    class_name: str
    groups: tuple[dict[str, Any], ...] = ()  # learning_rate, momentum, weight_decay, betas …; parameters: [id …]
    site: Site | None = None  # where it was made
    step_site: Site | None = None  # where step() was first called
    zero_grad_site: Site | None = None  # where the gradients were first cleared through it, if ever
    closure: bool = False  # step() is given a closure


@dataclass(frozen=True, kw_only=True)
class Loader(Entity):
    """A `torch.utils.data.DataLoader`."""

    kind: ClassVar[str] = "loader"
    batch_size: int | None
    shuffle: bool | None  # None where the sampler is the user's own
    sampler: str
    dataset_size: int | None
    batches: int | None
    workers: int = 0
    drop_last: bool = False
    role: str | None = None  # "train" where backward ran while it was iterated, "validation" where it never did
    site: Site | None = None


@dataclass(frozen=True, kw_only=True)
class Loss(Entity):
    """A place where a loss comes from: a call of a loss function, or of `backward`."""

    kind: ClassVar[str] = "loss"
    source: str  # "function" or "backward"
    function: str = ""  # "cross_entropy", "mse_loss" …; for "backward" the function that made the tensor, if known
    site: Site | None = None
    reduction: str = "mean"
    classes: int | None = None  # number of classes, for classification losses
    prediction_shape: tuple[int, ...] = ()
    target_shape: tuple[int, ...] = ()
    target_dtype: str = ""
    prediction_op: str = ""  # last operation before the loss: "SoftmaxBackward0", "ReluBackward0" …
    models: tuple[int, ...] = ()  # models the loss's graph reaches (for "backward")
    precision: str = ""  # "float16" … where autocast was on when it was first called
    weights: tuple[float, ...] = ()  # of the classes, or of the positives (binary); (nan,) where they vary otherwise


@dataclass(frozen=True, kw_only=True)
class Clip(Entity):
    """A place where gradients are clipped."""

    kind: ClassVar[str] = "clip"
    function: str  # clip_grad_norm_ or clip_grad_value_
    threshold: float
    norm_type: float = 2.0
    site: Site | None = None
    after_step: bool = False  # called between step() and the next backward()


@dataclass(frozen=True, kw_only=True)
class Node(Entity):
    """An operation in the graph of the loss, seen once near the start (ids in topological order, the loss last)."""

    kind: ClassVar[str] = "node"
    op: str  # "ReluBackward0"
    inputs: tuple[int, ...] = ()  # ids of the nodes it reads from
    parameter: int | None = None  # for leaves
    loss: int | None = None  # the backward site this graph belongs to
    site: Site | None = None
    code: str = ""
    shape: tuple[int, ...] = ()  # of what it made
    given: tuple[
        str, ...
    ] = ()  # operations that made its inputs with gradients, through reshapes; "AccumulateGrad" of leaves
    given_shapes: tuple[tuple[int, ...], ...] = ()
    constants: int = 0  # inputs without a gradient, as far as the operation keeps a place for them
    dim: int | None = None  # that a softmax works along
    constant_range: tuple[float, float] | None = None  # of what a difference compares a squashed output with


@dataclass(frozen=True, kw_only=True)
class Rule(Entity):
    """A rule of the user's, at one place where a loss is computed."""

    kind: ClassVar[str] = "rule"
    text: str  # as it was stated
    loss: int  # the loss function's site
    function: str = ""
    unfit: str = ""  # why it cannot be held against this loss, "" where it can


KINDS: dict[str, type[Entity]] = {
    cls.kind: cls for cls in (Model, Module, Parameter, Optimizer, Loader, Loss, Clip, Node, Rule)
}


@dataclass(frozen=True)
class Event:
    """A rare happening. `time` is in seconds since the run started."""

    step: int
    time: float
    kind: str
    data: dict[str, Any] = field(default_factory=dict)
