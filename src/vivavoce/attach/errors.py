"""Errors that a script writes by hand: of d = p - t autograd keeps d, and where p is known, t follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vivavoce.attach import numbers, wiring

POWERS = ("Pow", "Abs", "Mul")  # operations that keep the difference they are given
CONSTANT = (
    "l1_loss",
    "smooth_l1_loss",
    "huber_loss",
)  # functions whose loss at a constant no statistic of the targets gives


@dataclass(frozen=True)
class Errors:
    """A mean of squared or absolute differences: its predictions and targets, of one shape, and what a constant would lose."""

    prediction: Tensor
    target: Tensor
    constant: Tensor


def errors_of(loss: Tensor, made: dict[Any, Tensor]) -> Errors | None:
    """The errors that `loss` is the mean of; `made` holds the models' outputs by the operation that made them."""
    power = _input(loss.grad_fn, "Mean")
    difference = _difference(power)
    if power is None or difference is None:
        return None
    kind = wiring.stem(power.name())
    if kind == "Pow" and float(getattr(power, "_saved_exponent", 0.0)) != 2.0:
        return None
    pair = _pair(power, difference, made)
    if pair is None:
        return None
    apart = pair[1] - pair[1].mean()
    return Errors(*pair, apart.abs().mean() if kind == "Abs" else apart.square().mean())


def constant_loss(function: str, target: Tensor, kwargs: dict[str, Any]) -> Tensor | None:
    """The mean loss if every prediction were the mean of `target`; None for functions that are not among `CONSTANT`."""
    if function not in CONSTANT or not numbers.is_plain(target) or not target.is_floating_point() or not target.numel():
        return None
    apart = (target.detach().float() - target.detach().float().mean()).abs()
    if function == "l1_loss":
        return apart.mean()
    edge = float(kwargs.get("beta" if function == "smooth_l1_loss" else "delta", 1.0))
    if edge <= 0:
        return apart.mean()
    huber = torch.where(apart < edge, 0.5 * apart.square(), edge * (apart - 0.5 * edge)).mean()
    return huber / edge if function == "smooth_l1_loss" else huber


def compared_with(nodes: list[Any], made: dict[Any, Tensor]) -> dict[Any, tuple[float, float]]:
    """The range of what a squashed output is compared with, for each difference whose power is taken."""
    found = {}
    for node in nodes:
        difference = _difference(node)
        pair = _pair(node, difference, made) if difference is not None else None
        if pair is not None:
            low, high = torch.stack(torch.aminmax(pair[1])).tolist()
            found[difference] = (low, high)
    return found


def _input(node: Any, name: str) -> Any:
    """What an operation of that name was made of."""
    if node is None or wiring.stem(node.name()) != name or not node.next_functions:
        return None
    return node.next_functions[0][0]


def _difference(power: Any) -> Any:
    """The difference that an operation raises to a power, where it is one."""
    if power is None or wiring.stem(power.name()) not in POWERS or not power.next_functions:
        return None
    sides = {following for following, _ in power.next_functions}  # both sides of d·d are the same
    difference = power.next_functions[0][0]
    return (
        difference if len(sides) == 1 and difference is not None and wiring.stem(difference.name()) == "Sub" else None
    )


def _pair(power: Any, difference: Any, made: dict[Any, Tensor]) -> tuple[Tensor, Tensor] | None:
    """Predictions and targets of a difference between what a network made and a constant, in float32."""
    given = [(place, following) for place, (following, _) in enumerate(difference.next_functions) if following]
    apart = wiring.saved(power, "self")
    if len(given) != 1 or apart is None or not numbers.is_plain(apart) or not apart.is_floating_point():
        return None
    prediction = _made(given[0][1], made)
    if prediction is None or prediction.numel() != apart.numel() or not apart.numel():
        return None
    prediction, apart = prediction.reshape(apart.shape).float(), apart.float()
    return prediction, prediction - apart if given[0][0] == 0 else prediction + apart


def _made(node: Any, made: dict[Any, Tensor]) -> Tensor | None:
    """What an operation made, looking through reshapes: the output of a model, or of a squashing function."""
    for _ in range(wiring.RESHAPE_HOPS):
        if node in made:
            return made[node]
        if (
            wiring.stem(node.name()) not in wiring.RESHAPES
            or not node.next_functions
            or node.next_functions[0][0] is None
        ):
            break
        node = node.next_functions[0][0]
    return wiring.saved(node, "result")
