"""loss-output-mismatch: the output layer does what the loss function does once more, or leaves nothing to learn."""

from __future__ import annotations

import math
from collections.abc import Iterator

from vivavoce.examine.detector import Detector
from vivavoce.examine.finding import Evidence, Finding, Remedy, RuledOut
from vivavoce.examine.maximised import maximised
from vivavoce.examine.progress import CLASSIFICATION, Progress, main_function
from vivavoce.examine.reading import at, where
from vivavoce.examine.wiring import head_of, stem, trained_losses
from vivavoce.measure.robust import median
from vivavoce.record.entities import Loss, Node, Optimizer
from vivavoce.record.run import Run

BELOW_ZERO = -0.1  # nats: what is added to a probability before its logarithm, 1e-2 at most, brings less
ONE = 1e-6  # difference from 1 that a softmax over one unit may show

#: (loss function, start of the operation before it): what is wrong, what to write.
MISMATCHES: dict[tuple[str, str], tuple[str, str]] = {
    ("cross_entropy", "Softmax"): ("cross_entropy applies log_softmax itself, so a softmax before it squeezes the gradients", "return the logits: drop the softmax"),
    ("cross_entropy", "Sigmoid"): ("cross_entropy applies log_softmax itself and expects logits of any size, not numbers in (0, 1)", "return the logits: drop the sigmoid"),
    ("binary_cross_entropy_with_logits", "Sigmoid"): ("the loss applies the sigmoid itself, a second one confines it to (0.5, 0.73)", "return the logits: drop the sigmoid"),
    ("binary_cross_entropy_with_logits", "Softmax"): ("the loss applies a sigmoid itself and expects logits", "return the logits: drop the softmax"),
    ("binary_cross_entropy_with_logits", "Relu"): ("a ReLU leaves no negative logits, so every probability is 0.5 or more", "return the logits: drop the ReLU"),
    ("nll_loss", "Softmax"): ("nll_loss expects logarithms of probabilities", "F.log_softmax(logits, dim=1)"),
    ("nll_loss", "Addmm"): ("nll_loss expects logarithms of probabilities; the output of a linear layer has no lower bound", "F.cross_entropy(logits, target)"),
}  # fmt: skip

#: Behind the last layer: (operation, start of the one before it): what is wrong, what to write.
TWICE: dict[tuple[str, str], tuple[str, str]] = {
    ("LogSoftmax", "Softmax"): ("the softmax is taken twice, which squeezes the gradients", "log_softmax of the logits"),
    ("Softmax", "Softmax"): ("the softmax is taken twice, which squeezes the gradients", "softmax of the logits, once"),
    ("LogSoftmax", "Sigmoid"): ("it expects logits of any size, not numbers in (0, 1)", "log_softmax of the logits"),
    ("Sigmoid", "Sigmoid"): ("the sigmoid is taken twice, which confines it to (0.5, 0.73)", "sigmoid of the logits, once"),
    ("Logsumexp", "Softmax"): ("logsumexp normalises logits, and a softmax before it squeezes the gradients", "logsumexp of the logits: drop the softmax"),
    ("Logsumexp", "Sigmoid"): ("logsumexp normalises logits, not numbers in (0, 1)", "logsumexp of the logits: drop the sigmoid"),
    ("LogSigmoid", "Sigmoid"): ("the sigmoid is taken twice, which confines it to (0.5, 0.73)", "logsigmoid of the logits"),
    ("Softplus", "Sigmoid"): ("softplus of a logit is a likelihood, of a probability it is not", "softplus of the logits"),
}  # fmt: skip


CUT_LOGITS = (
    "a ReLU cuts off the logits below zero, and with them the gradient of the class: it can hardly be made unlikely or learned again",
    "return the logits: drop the ReLU",
)
MUCH_LEFT = 0.3  # fraction of chance level: networks that cope with logits cut at zero come below it
NORMALISERS = ("Logsumexp", "Sum")
LIKELIHOOD = ("Gather", "Log", "NllLoss")


class LossOutputMismatch(Detector):
    """Softmax before cross-entropy, sigmoid before the loss with logits, a softmax of one unit."""

    slug = "loss-output-mismatch"
    question = 2
    explains = ("guessing", "underfitting", "stopped-too-early", "learning-rate-too-low", "vanishing-gradients",
                "saturated-units", "no-gradient", "class-ignored", "overfitting", "output-range", "label-noise",
                "capacity-too-small")  # fmt: skip

    def examine(self, run: Run) -> Iterator[Finding | RuledOut]:
        """Judge by the last operation before each loss function that is called in training."""
        trained = {track.owner[1] for track in run.tracks("train/function_loss") if track.owner and len(track)}
        sites = [run.losses[id] for id in sorted(trained) if id in run.losses]
        found = [(site, problem) for site in sites if (problem := _problem(run, site))]
        for site, (reason, edit) in found[:1]:
            yield _finding(run, site, reason, edit)
        progress, turned = Progress.of(run), None if found else maximised(run)
        if turned is not None and progress is not None:
            yield _finding_maximised(run, progress, turned)
            return
        by_hand = None if found else next(filter(None, (_by_hand(run, loss) for loss in trained_losses(run))), None)
        if by_hand is not None:
            yield _finding_by_hand(run, *by_hand)
        elif not found and any(site.prediction_op for site in sites):
            operations = ", ".join(
                sorted({f"{site.prediction_op} before {site.function}" for site in sites if site.prediction_op})
            )
            yield RuledOut(self.slug, operations)


def _problem(run: Run, site: Loss) -> tuple[str, str] | None:
    operation = site.prediction_op
    one_unit = len(site.prediction_shape) >= 2 and site.prediction_shape[1] == 1
    if one_unit and site.function in CLASSIFICATION:
        return (
            "the softmax of a single output is always 1: the loss is 0 whatever the network says",
            "two outputs, or F.binary_cross_entropy_with_logits",
        )
    if one_unit and operation.startswith("Softmax") and _always_one(run, site):
        return (
            "the softmax of a single output is always 1: no gradient passes it",
            "torch.sigmoid, or logits and F.binary_cross_entropy_with_logits",
        )
    if site.function == "nll_loss" and (lowest := _below_zero(run, site)):
        reason = f"nll_loss expects logarithms of probabilities, which are never above zero, and its value fell to {lowest:.3g}"
        return reason, "F.cross_entropy(logits, target)"
    for (function, before), problem in MISMATCHES.items():
        if site.function == function and operation.startswith(before) and not _is_soft(site):
            return problem
    if site.function == "cross_entropy" and operation.startswith("Relu") and _held_up(run):
        return CUT_LOGITS
    return None


def _below_zero(run: Run, site: Loss) -> float:
    """The lowest value of a loss in training where it lies below zero; else 0. log(p + 1e-6) of a certain p is no such value."""
    values = run.series("train/function_loss", ("loss", site.id)).finite
    lowest = float(values.minimum.min()) if len(values) else 0.0
    return lowest if lowest < BELOW_ZERO else 0.0


def _held_up(run: Run) -> bool:
    progress = Progress.of(run)
    return progress is not None and progress.remaining > MUCH_LEFT


def _by_hand(run: Run, loss: Loss) -> tuple[Node, str, str, str] | None:
    """Behind the model, an operation that squashes what is squashed already, or a softmax over the examples of the batch."""
    nodes = head_of(run, loss)
    for place, node in enumerate(nodes):
        for (operation, before), (reason, edit) in TWICE.items():
            if node.op.startswith(operation) and any(op.startswith(before) for op in node.given):
                return node, before, reason, edit
        rows = len(node.shape) == 2 and node.shape[0] != node.shape[1] and node.shape[1] > 1
        if node.dim == 0 and rows:  # attention over a set mixes it with a matrix afterwards, and is no head
            reason = "it is taken over the examples of the batch, not over the classes: each column sums to 1"
            return node, "The network's output", reason, "softmax(dim=1)"
        if _over_examples(node) and any(later.op.startswith(LIKELIHOOD) for later in nodes[place:]):
            reason = "its sum is taken over the examples of the batch, not over the classes"
            return node, "The network's output", reason, f"{stem(node.op).lower()}(dim=1, keepdim=True)"
    return None


def _over_examples(node: Node) -> bool:
    """A normaliser (1, C) of a table (N, C): what stands in one column, of all examples, is summed."""
    if stem(node.op) not in NORMALISERS or not node.given_shapes or len(node.shape) != 2:
        return False
    given = node.given_shapes[0]
    return len(given) == 2 and node.shape == (1, given[1]) and 1 < given[1] != given[0] > 1


def _finding_by_hand(run: Run, node: Node, before: str, reason: str, edit: str) -> Finding:
    operation = node.op.removesuffix("Backward0")
    return Finding(
        slug=LossOutputMismatch.slug,
        severity="critical",
        confidence=0.92,
        question=LossOutputMismatch.question,
        title="The output layer and the loss do not fit together",
        why=f"{before} goes into {operation} at {at(node.site, 'the loss')}: {reason}.",
        where=where(node.site, first_step=1, last_step=run.steps),
        evidence=(Evidence("operations on the way to the loss", f"{before}, {operation}", "", None, "the graph of the first loss"),),
        remedies=(Remedy("match-output", "make the output fit the loss", edit),),
    )  # fmt: skip


def _finding_maximised(run: Run, progress: Progress, turned: Node | Optimizer) -> Finding:
    function = loss.function if (loss := main_function(run)) is not None else "the loss"
    if isinstance(turned, Node):
        why = f"{function} is given a minus sign at {at(turned.site, 'the loss')}"
        edit = "loss, not -loss"
    else:
        why = f"The optimizer made at {at(turned.site, 'an unknown place')} has maximize=True"
        edit = "maximize=False"
    return Finding(
        slug=LossOutputMismatch.slug,
        severity="critical",
        confidence=0.92,
        question=LossOutputMismatch.question,
        title="The loss is maximised",
        why=f"{why}: every step makes the predictions worse, as far as they can become.",
        where=where(turned.site, first_step=1, last_step=run.steps),
        evidence=(Evidence(f"{function} in the end", progress.end, "", progress.start, "where it began"),),
        remedies=(Remedy("minimise", "let the loss fall", edit),),
    )  # fmt: skip


def _floor(site: Loss) -> str:
    """What the loss cannot fall below where the logits are probabilities: ln(1 + (C - 1)/e), in words."""
    if site.function != "cross_entropy" or site.prediction_op.startswith("Relu"):
        return ""
    if not site.classes or site.classes < 2:
        return ""
    floor = math.log(1 + (site.classes - 1) / math.e)
    return f"; with {site.classes} classes the loss cannot fall below a floor of {floor:.3g}"


def _is_soft(site: Loss) -> bool:
    """Raw outputs into nll_loss may be sums of log-probabilities where they come from a matrix product of another kind."""
    return site.function == "nll_loss" and site.prediction_op.startswith("Addmm") and len(site.prediction_shape) != 2


def _always_one(run: Run, site: Loss) -> bool:
    low = run.series("prediction", ("loss", site.id), "min").finite.mean
    return not len(low) or abs(median(low) - 1) < ONE


def _finding(run: Run, site: Loss, reason: str, edit: str) -> Finding:
    operation = site.prediction_op.removesuffix("Backward0") or "one output"
    return Finding(
        slug=LossOutputMismatch.slug,
        severity="critical",
        confidence=0.95,
        question=LossOutputMismatch.question,
        title="The output layer and the loss do not fit together",
        why=f"{operation} stands right before {site.function} at {at(site.site)}: {reason}{_floor(site)}.",
        where=where(site.site, first_step=1, last_step=run.steps),
        evidence=(
            Evidence("last operation before the loss", site.prediction_op, "", None, "the graph of the first loss"),
        ),
        remedies=(Remedy("match-output", "make the output fit the loss", edit),),
    )
