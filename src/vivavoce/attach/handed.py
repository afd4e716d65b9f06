"""Tap on gradients that are handed to the script: `torch.autograd.grad`, `torch.func.grad` and `grad_and_value`.

Most such calls train nothing: gradient penalties, equations with derivatives, adversarial examples, curvature. They do
where no backward call is seen and an optimizer steps on what they gave, or the weights change from call to call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from vivavoce.attach import numbers
from vivavoce.attach.byhand import MOVES, ByHand, Handed, Moves
from vivavoce.attach.tap import Tap

if TYPE_CHECKING:
    from vivavoce.attach.session import Session

FEWEST_WEIGHTS = 2  # tensors that a transformed function is differentiated by: a single one is as often an input
PATIENCE = 1_000  # calls after which it is settled that they train nothing
LOOKS_THAT_WAIT = 16  # calls for weights on a device, which comparing makes wait


class HandedTap(Tap):
    """Wraps the functions that hand gradients back."""

    name = "handed"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._settled = False  # they train nothing: a backward call does
        self._feeding = False  # an optimizer steps on them
        self._moves: dict[tuple[int | str, ...], Moves] = {}  # by the ids of the weights, or their names
        self._calls = 0
        self._weights: set[int] = set()  # ids of those that had a gradient since the last step

    def install(self) -> None:
        """Wrap `torch.autograd.grad`, and what both functions of `torch.func` call."""
        self.patches.wrap(torch.autograd, "grad", self._wrap)
        with suppress(ImportError, AttributeError):  # not public: without it, training by `torch.func` is not seen
            from torch._functorch import eager_transforms

            self.patches.wrap(eager_transforms, "grad_and_value_impl", self._wrap_transform)

    # what the other taps tell ---------------------------------------------------------------------------------------

    def backward_begins(self) -> None:
        """A backward call starts: it is what trains."""
        self._settled = self._settled or not self._training

    def optimizer_steps(self, optimizer: Any) -> None:
        """An optimizer is about to step; on gradients that were handed out where no backward call was made."""
        if self._settled or not self._weights:
            return
        weights, self._weights = self._weights, set()
        if not self._feeding and any(id(p) in weights for group in optimizer.param_groups for p in group["params"]):
            self._feeding = True

    @property
    def _training(self) -> bool:
        by_hand = self.session.by_hand
        return self._feeding or (by_hand is not None and by_hand.handed)

    def _listening(self) -> bool:
        session = self.session
        return (
            not self._settled
            and self.on
            and not numbers.tracing()
            and (session.active or session.awake())
            and not session.backward.inside
        )

    # torch.autograd.grad --------------------------------------------------------------------------------------------

    def _wrap(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def grad(*args: Any, **kwargs: Any) -> Any:
            loss = weights = None
            try:
                if self._listening():
                    loss, weights = _asked(args, kwargs)
                    if loss is not None and self._training:
                        self.session.backward.take(loss, handed=True)
            except Exception as error:
                self.fail(error)
            result = original(*args, **kwargs)
            if loss is not None and weights is not None:
                self._given(Handed(weights, list(result)))
            return result

        return grad

    # torch.func -----------------------------------------------------------------------------------------------------

    def _wrap_transform(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def grad_and_value(func: Any, argnums: Any, has_aux: bool, args: Any, kwargs: Any) -> Any:
            result = original(func, argnums, has_aux, args, kwargs)
            handed = None
            try:
                if self._listening():
                    given = args[argnums] if isinstance(argnums, int) else tuple(args[index] for index in argnums)
                    handed = _transformed(given, result[0])
                    value = result[1][0] if has_aux else result[1]
                    if handed is not None and self._training and numbers.is_plain(value):
                        self.session.backward.take(value, handed=True)
            except Exception as error:
                self.fail(error)
            if handed is not None:
                self._given(handed)
            return result

        return grad_and_value

    # both -----------------------------------------------------------------------------------------------------------

    def _given(self, handed: Handed) -> None:
        """Gradients were handed out. Raises `StopTraining` where the session does."""
        session = self.session
        try:
            if session.deep:
                session.graph.after_backward()
            if not self._feeding and session.by_hand is None:
                self._doubt(handed)
        except Exception as error:
            self.fail(error)
        if session.by_hand is not None and session.by_hand.handed:
            session.by_hand.after_backward(handed)

    def _doubt(self, handed: Handed) -> None:
        """Nothing has been trained so far: have the weights changed since they were asked for the last time?"""
        session = self.session
        ids = tuple(map(id, handed.weights))
        self._weights.update(ids)
        self._calls += 1
        moves = self._moves_of(handed.names or ids, handed.weights)
        near = self._calls <= LOOKS_THAT_WAIT or all(weight.is_cpu for weight in handed.weights)
        if session.step == 0 and near and moves.look(handed.weights) >= MOVES:
            session.registry.discover(handed.weights, session.sites.user_frame(2), session.step)
            session.update_by_hand(ByHand(session, handed=True))
        elif self._calls > PATIENCE:
            self._settled = True

    def _moves_of(self, key: tuple[int | str, ...], weights: list[Tensor]) -> Moves:
        """How often these weights have changed; from the beginning where others have had their ids."""
        moves = self._moves.get(key)
        if moves is None or not (isinstance(key[0], str) or moves.are(weights)):
            moves = self._moves[key] = Moves(weights)
        return moves


def _asked(args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Tensor | None, list[Tensor] | None]:
    """The loss and the weights of a call that may train: one number, differentiated by leaves, and that only once."""
    names = ("outputs", "inputs", "grad_outputs", "retain_graph", "create_graph")
    given: dict[str, Any] = dict(zip(names, args, strict=False)) | kwargs
    loss, inputs = given.get("outputs"), given.get("inputs")
    if isinstance(loss, (tuple, list)) and len(loss) == 1:
        loss = loss[0]
    if not isinstance(loss, Tensor) or not numbers.is_plain(loss) or loss.numel() != 1 or given.get("create_graph"):
        return None, None
    weights = [inputs] if isinstance(inputs, Tensor) else list(inputs) if isinstance(inputs, (tuple, list)) else []
    if not weights or not all(numbers.is_plain(w) and w.is_leaf and w.requires_grad for w in weights):
        return None, None
    return loss, weights


def _transformed(weights: Any, gradients: Any) -> Handed | None:
    """What a transformed function was differentiated by; None where that is a single tensor, or itself transformed."""
    found, _ = pytree.tree_flatten_with_path(weights)
    leaves = [leaf for _, leaf in found]
    given = pytree.tree_leaves(gradients)
    if len(leaves) < FEWEST_WEIGHTS or not all(map(numbers.is_plain, [*leaves, *given])):
        return None
    names = tuple(".".join(str(getattr(key, "key", getattr(key, "idx", key))) for key in path) for path, _ in found)
    return Handed(leaves, given, names)
