"""Where losses are computed: the calls at the lines of a prescription, and how a live trial finds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import libcst as cst

from vivavoce.remedy import live
from vivavoce.remedy.changes import CannotEditError
from vivavoce.remedy.remedy import Prescription, Remedy, RemedyError
from vivavoce.remedy.rewriting import is_compiled, rewrite, source_of
from vivavoce.remedy.source import Source


def replace_losses(remedy: Remedy, prescription: Prescription, loss: Callable[..., Any]) -> None:
    """Call `loss(original, …)` at the prescription's lines in place of its functions; a compiled script is rewritten.

    Raises:
        RemedyError: there is no such call.
    """
    import torch

    where = prescription.where
    source = source_of(prescription.where)
    if is_compiled(source):
        rewrite(remedy, prescription)
        return
    try:
        places = live.Places(where["file"], [source.end_place(call) for call in loss_calls(source, where)])
    except CannotEditError as error:
        raise RemedyError(str(error)) from None
    for function in where["functions"]:
        live.on_function([torch.nn.functional], function, places.hold, loss)


def loss_calls(source: Source, where: Mapping[str, Any]) -> list[cst.Call]:
    """The calls that compute the losses of the lines: of a function of PyTorch's, or of a loss module.

    Raises:
        CannotEditError: there is none at the finding's line.
    """
    found = []
    for line in where["lines"]:
        calls = [call for call in source.calls_at(line) if len(call.args) >= 2 and not call.args[0].star]
        named = [call for call in calls if _is_loss(source, call, where["functions"])]
        calls = named or calls
        if calls:
            found.append(calls[0])
        elif line == where["line"]:
            raise CannotEditError(f"no call of a loss with two arguments is seen at line {line}")
    return found


def _is_loss(source: Source, call: cst.Call, functions: list[str]) -> bool:
    name = source.code(call.func).lower()
    return any(source.is_torch(call.func, function) for function in functions) or any(
        word in name for word in ("loss", "criterion", "mse", "bce", "l1", "huber", "distance", "objective")
    )
