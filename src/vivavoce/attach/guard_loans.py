"""What the guard takes from a script for the length of one step, and gives back after it: gradients and learning rates."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Loans:
    """Of one step at a time. `give_back` returns everything, and may be called at any time."""

    def __init__(self) -> None:
        self._gradients: list[tuple[Tensor, Tensor]] = []  # parameters, and the gradients taken from them
        self._rates: list[
            tuple[dict[str, Any], Any, Any]
        ] = []  # parameter groups, their own learning rates, those lent

    def withhold(self, optimizer: Any) -> None:
        """Take the gradients away for the coming step; they come back as zeros.

        PyTorch's own optimizers leave a parameter without a gradient alone. Others are not known to: they get zeros,
        and what they make of those is for the caller to undo.
        """
        known = leaves_alone_without_gradient(optimizer)
        for parameter in held_by(optimizer):
            gradient = parameter.grad
            if gradient is not None and known:
                self._gradients.append((parameter, gradient))
                parameter.grad = None
            elif gradient is not None:
                gradient.detach().zero_()

    def lower_rates(self, optimizer: Any, factor: float) -> None:
        """Multiply the learning rates for the coming step; the script and its schedulers never see it."""
        for group in optimizer.param_groups:
            rate = group.get("lr")
            if isinstance(rate, Tensor):
                own = rate.clone()
                self._rates.append((group, own, rate.mul_(factor).clone()))
            elif rate is not None:
                self._rates.append((group, rate, rate * factor))
                group["lr"] = rate * factor

    def give_back(self) -> None:
        """The step is over, or was left by an exception; a rate that the script has set since then stays."""
        gradients, self._gradients = self._gradients, []
        with torch.no_grad():
            for parameter, gradient in gradients:
                if parameter.grad is None:
                    parameter.grad = gradient.detach().zero_()
        rates, self._rates = self._rates, []
        for group, own, lent in rates:
            now = group["lr"]
            if isinstance(now, Tensor) and isinstance(lent, Tensor):
                if torch.equal(now, lent):
                    now.copy_(own)
            elif not isinstance(now, Tensor) and now == lent:
                group["lr"] = own


def leaves_alone_without_gradient(optimizer: Any) -> bool:
    """Whether an optimizer is known to leave a parameter whose gradient is None as it is."""
    return type(optimizer).__module__.startswith("torch.optim")


def held_by(optimizer: Any) -> list[Tensor]:
    """The parameters of an optimizer, each once; those without data left out."""
    held = [p for group in optimizer.param_groups for p in group["params"]]
    return list({id(p): p for p in held if isinstance(p, Tensor) and not p.is_meta}.values())
