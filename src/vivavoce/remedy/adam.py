"""adam: steps of a size of their own for every weight, in place of plain gradient steps."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import libcst as cst

from vivavoce.examine.finding import Finding
from vivavoce.record.run import Run
from vivavoce.remedy import live
from vivavoce.remedy.changes import CannotEditError, Changes, open_source, written
from vivavoce.remedy.optimizers import optimizer_call, optimizers_of, place
from vivavoce.remedy.remedy import Edit, Prescription, Remedy, Words
from vivavoce.remedy.source import argument, has_double_star

RATES = (1e-3, 3e-3)  # PyTorch's default for Adam, and what small networks often like better
PLAIN = ("SGD", "ASGD", "Rprop", "Adadelta", "Adagrad", "RMSprop")
SHARED = ("weight_decay",)  # what means nearly the same to both


class Adam(Remedy):
    """The class of the optimizer, with Adam's usual rate. Schedulers find an optimizer of PyTorch as before."""

    name = "adam"
    treats = (
        "activation-scale",
        "vanishing-gradients",
        "always-clipped",
        "learning-rate-too-high",
        "learning-rate-too-low",
        "oscillating-loss",
        "underfitting",
        "guessing",
    )
    rank = 30
    late = False

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """For optimizers that do not adapt their steps."""
        for optimizer in optimizers_of(run, finding)[:1]:
            if optimizer.class_name in PLAIN and not optimizer.closure:
                for rate in RATES:
                    title = f"Adam with a learning rate of {rate:g} for {optimizer.class_name}"
                    where = place(optimizer.site, optimizer=optimizer.class_name)
                    yield Prescription(self.name, finding.slug, title, {"lr": rate}, where)

    def apply(self, prescription: Prescription) -> None:
        """Let the object be an Adam before it is built."""
        import torch

        cls = getattr(torch.optim, prescription.where["optimizer"])
        names = list(inspect.signature(cls.__init__).parameters)[1:]

        def make(original: Callable[..., Any]) -> Callable[..., Any]:
            def init(optimizer: Any, *args: Any, **kwargs: Any) -> None:
                frame = live.caller(1, optimizer)
                if type(optimizer) is not cls or not live.is_at(frame, prescription.where):
                    original(optimizer, *args, **kwargs)
                    return
                given = {**dict(zip(names, args, strict=False)), **kwargs}
                kept = {key: given[key] for key in SHARED if key in given}
                optimizer.__class__ = torch.optim.Adam
                torch.optim.Adam.__init__(optimizer, given["params"], lr=prescription.numbers["lr"], **kept)

            return init

        live.wrap(cls, "__init__", make)

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """Change the name, set the rate, and drop the arguments that Adam does not have."""
        where, rate = prescription.where, written(prescription.numbers["lr"])
        try:
            changes = Changes(source := open_source(sources, where.get("file")))
            call = optimizer_call(source, where["line"], where["optimizer"])
            if has_double_star(call) or not source.code(call.func).endswith(where["optimizer"]):
                raise CannotEditError("the optimizer's class or arguments are not written out at this place")
            params = argument(call, "params", 0)
            if params is None:
                raise CannotEditError("what the optimizer is given to train cannot be told")
            parts = [source.code(params), f"lr={rate}"]
            parts += [source.code(arg) for arg in call.args if arg.keyword and arg.keyword.value in SHARED]
            changes.replace(call, f"{_class(changes, call)}({', '.join(parts)})")
            return changes.edit()
        except CannotEditError as error:
            return Words(f"torch.optim.Adam(…, lr={rate}) for {where['optimizer']}", str(error), where.get("file"), where.get("line"))  # fmt: skip


def _class(changes: Changes, call: cst.Call) -> str:
    """How Adam is called where the optimizer's class was."""
    if isinstance(call.func, cst.Attribute):
        return f"{changes.source.code(call.func.value)}.Adam"
    changes.need("Adam", "from torch.optim import Adam")
    return "Adam"
