"""What a script makes of its model's output, where the loss is written by hand: the last operations before the loss."""

from __future__ import annotations

from vivavoce.record.entities import Loss, Node
from vivavoce.record.run import Run

#: Operations with weights, or that mix positions: what comes after the last of them is the loss, not the model.
LAYERS = ("Addmm", "Mm", "Bmm", "Mv", "Dot", "Convolution", "Embedding", "NativeBatchNorm", "NativeLayerNorm", "ScaledDotProduct",
          "MkldnnRnn", "ThnnFused", "CudnnRnn", "Addbmm", "Baddbmm", "NativeGroupNorm", "CudnnBatchNorm", "EmbeddingBag",
          "NativeDropout", "MaxPool", "Linear", "MkldnnLinear")  # fmt: skip


def stem(op: str) -> str:
    """The name of an operation without its ending: "Sigmoid" of "SigmoidBackward0"."""
    return op.rstrip("0123456789").removesuffix("Backward")


def head_of(run: Run, loss: Loss | None) -> list[Node]:
    """The recorded operations behind the last layer, in the order of the forward pass; empty where none were recorded."""
    nodes = [
        node for node in run.nodes.values() if loss is not None and node.loss == loss.id and node.shape is not None
    ]
    last = max((i for i, node in enumerate(nodes) if node.op.startswith(LAYERS)), default=-1)
    return nodes[last + 1 :]


def trained_losses(run: Run) -> list[Loss]:
    """The places that called `backward`, the main one first."""
    ids = {track.owner[1] for track in run.tracks("train/loss") if track.owner and len(track)}
    main = run.main_loss
    losses = [run.losses[id] for id in sorted(ids) if id in run.losses]
    return sorted(losses, key=lambda loss: main is None or loss.id != main.id)
