"""What an operation of a graph was given and what it made: shapes, the operations before it, the dimension it works along."""

from __future__ import annotations

from typing import Any

from torch import Tensor

#: Operations that give the same numbers another shape.
RESHAPES = (
    "View",
    "Reshape",
    "Squeeze",
    "Unsqueeze",
    "T",
    "Transpose",
    "Permute",
    "ToCopy",
    "Select",
    "Slice",
    "Clone",
    "Alias",
)
RESHAPE_HOPS = 6  # reshaping operations looked through to find what made a tensor
UNSIGNED = 2**64  # autograd keeps a dimension as an unsigned number: -1 is one less than this
_SAVED_DIM = ("SoftmaxBackward0", "LogSoftmaxBackward0")


def stem(name: str) -> str:
    """The name of an operation without its ending: "LogSoftmax" of "LogSoftmaxBackward0"."""
    return name.rstrip("0123456789").removesuffix("Backward").removeprefix("Unsafe")


def maker(node: Any) -> Any:
    """The operation that made what `node` passes on, looking through reshapes; None where there is none."""
    for _ in range(RESHAPE_HOPS):
        if node is None or stem(node.name()) not in RESHAPES or not node.next_functions:
            return node
        node = node.next_functions[0][0]
    return node


def shape_of(node: Any) -> tuple[int, ...]:
    """The shape of what a node made, () where autograd does not say (or of a single number)."""
    metadata = getattr(node, "_input_metadata", ())  # of the gradient that comes in: the shape of what went out
    try:
        return tuple(int(size) for size in metadata[0].shape) if metadata else ()
    except (RuntimeError, TypeError, ValueError):  # nested or symbolic shapes
        return ()


def inputs_of(node: Any) -> list[Any]:
    """The nodes, leaves included, that made the inputs of a node that carry gradients."""
    return [following for following, _ in node.next_functions if following is not None]


def dim_of(node: Any) -> int | None:
    """The dimension that a softmax works along, counted from the front; None of other operations."""
    if node.name() not in _SAVED_DIM:
        return None
    dim = int(node._saved_dim)
    if dim >= UNSIGNED // 2:
        dim -= UNSIGNED
    return dim if dim >= 0 else dim + len(shape_of(node))


def saved(node: Any, name: str) -> Tensor | None:
    """A tensor that a node saved, None where there is none or reading it would run code (checkpoints, offloading)."""
    raw = getattr(node, f"_raw_saved_{name}", None)
    if raw is None or getattr(raw, "unpack_hook", True) is not None:
        return None
    try:
        value = getattr(node, f"_saved_{name}")
    except RuntimeError:  # freed, or changed in place since
        return None
    return value.detach() if isinstance(value, Tensor) else None
