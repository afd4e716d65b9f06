"""Losses written by hand: of which kind they are, by the operations behind the last layer."""

from __future__ import annotations

import math

from vivavoce.examine.wiring import head_of, stem
from vivavoce.record.entities import Loss, Node
from vivavoce.record.run import Run

OVER_CLASSES = ("LogSoftmax", "Softmax", "Logsumexp")
OF_TWO = ("LogSigmoid", "Softplus", "Sigmoid")
#: Operations of a mean squared or absolute error, and those that only give numbers another shape.
OF_ERRORS = frozenset(
    {"Sub", "Rsub", "Pow", "Mul", "Mean", "Sum", "Div", "Abs", "View", "UnsafeView", "Reshape", "ReshapeAlias", "Squeeze",
     "Unsqueeze", "Select", "Slice", "T", "Transpose", "Permute", "Expand", "Index", "Alias", "Clone", "ToCopy", "Add"}
)  # fmt: skip
ERRORS = ("Pow", "Abs")  # what follows a squashed output that is compared with numbers
SQUASHED = frozenset(
    {"Sigmoid", "Tanh", "Relu", "Softplus", "Softmax", "LeakyRelu", "Silu", "Gelu"}
)  # the last layer's own
NEAR = (0.7, 1.4)  # times the likelihood of guessing: where a mean over examples begins, whatever the initialisation


def chance_by_hand(run: Run, loss: Loss, start: float) -> float | None:
    """The loss of guessing, ln C or ln 2, where the graph shows a likelihood and the loss begins near it; else None.

    Tables of all pairs, square ones, belong to contrastive losses: their classes are the examples of the batch.
    """
    nodes = head_of(run, loss)
    for place, node in reversed(list(enumerate(nodes))):
        classes = 0
        if node.op.startswith(OVER_CLASSES) and len(node.shape) >= 2 and node.shape[0] != node.shape[-1]:
            classes = node.shape[-1] if not node.op.startswith("Logsumexp") else 0
        elif _normalised(node):
            classes = node.shape[-1]
        elif node.op.startswith(OF_TWO) and not any(later.op.startswith(ERRORS) for later in nodes[place:]):
            classes = 2
        if classes > 1 and NEAR[0] * math.log(classes) <= start <= NEAR[1] * math.log(classes):
            return math.log(classes)
    return None


def _normalised(node: Node) -> bool:
    """Exponentials over their sum, a row an example: a softmax written by hand."""
    of_sum = stem(node.op) == "Div" and [stem(op) for op in node.given] == ["Exp", "Sum"]
    return (
        of_sum
        and len(node.shape) == 2
        and node.given_shapes[1] == (node.shape[0], 1)
        and node.shape[0] != node.shape[1]
    )


def of_errors(run: Run, loss: Loss) -> bool:
    """The loss is a mean of squares or absolute values of differences, whose floor is zero."""
    names = {stem(node.op) for node in head_of(run, loss)}
    return names <= OF_ERRORS | SQUASHED and bool(names & {"Sub", "Rsub"}) and bool(names & {"Pow", "Abs", "Mul"})
