"""A number of an optimizer set to another value, where it is made. The base of several remedies."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from vivavoce.examine.finding import Finding
from vivavoce.record.entities import Optimizer
from vivavoce.record.run import Run
from vivavoce.remedy import by_hand, live
from vivavoce.remedy.changes import CannotEditError, Changes, open_source, written
from vivavoce.remedy.optimizers import better_rates, one_cycles, optimizer_call, place, rates_from_one
from vivavoce.remedy.remedy import Edit, Prescription, Remedy, Words
from vivavoce.remedy.rewriting import rewrite
from vivavoce.remedy.source import Source

POSITIONS = {"lr": 1, "momentum": 2}  # among the arguments of every optimizer that has them


Choice = tuple[list[tuple[Optimizer, dict[str, Any]]], str]  # optimizers with their numbers, and the trial's title


class OptimizerNumber(Remedy):
    """Sets arguments, by their names in PyTorch, of the optimizer at a line; of several at once where they go together."""

    late = True

    @abstractmethod
    def values(self, run: Run, finding: Finding) -> Iterator[Choice]:
        """What to try: optimizers with their numbers, and the title of each trial."""

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """One prescription a value."""
        for chosen, title in self.values(run, finding):
            (first, numbers), *others = chosen
            where = place(first.site, optimizer=first.class_name)
            also = [place(o.site, optimizer=o.class_name, numbers=values) for o, values in others]
            yield Prescription(self.name, finding.slug, title, numbers, {**where, **({"also": also} if also else {})})

    def apply(self, prescription: Prescription) -> None:
        """Change the defaults that the optimizer's class hands to its base."""
        if prescription.where.get("by_hand"):
            rewrite(self, prescription)
            return
        for where, numbers in _places(prescription):
            live.on_optimizer(where, _setting(numbers, "lr" in numbers and _one_rate(where)))
            if "lr" in numbers:
                _set_cycles(where, numbers["lr"])

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """Change the number where it is written, or the argument."""
        where = prescription.where
        try:
            changes = Changes(source := open_source(sources, where.get("file")))
            if where.get("by_hand"):
                by_hand.set_rate(changes, prescription.numbers["lr"])
                return changes.edit()
            for each, numbers in _places(prescription):
                if Path(each["file"]).name != source.path.name:
                    raise CannotEditError("the optimizers are made in different files")
                call = optimizer_call(source, each["line"], each.get("optimizer", ""))
                together = rates_from_one(source, call) if "lr" in numbers else []
                for keyword, value in numbers.items():
                    if keyword == "lr" and together:
                        changes.set_all(call, together, value)
                    else:
                        changes.set_number(call, keyword, value, POSITIONS.get(keyword))
                for cycle in one_cycles(source, call) if "lr" in numbers else ():
                    changes.set_number(cycle, "max_lr", numbers["lr"], 1)
            return changes.edit()
        except CannotEditError as error:
            text = "; ".join(
                f"give the {each.get('optimizer') or 'optimizer'} of line {each.get('line')} "
                + ", ".join(f"{key}={written(value)}" for key, value in numbers.items())
                for each, numbers in _places(prescription)
            )
            return Words(text, str(error), where.get("file"), where.get("line"))


def _set_cycles(where: Mapping[str, Any], rate: float) -> None:
    """Let `OneCycleLR`, which sets the rate by itself, rise to this one."""
    from torch.optim.lr_scheduler import OneCycleLR

    source = Source.read(str(where.get("file", "")))
    try:
        calls = [] if source is None else one_cycles(source, optimizer_call(source, where["line"], where["optimizer"]))
    except CannotEditError:
        return
    if source is None or not calls:
        return

    def build(original: Callable[..., None], made: Any, optimizer: Any, max_lr: Any, *args: Any, **kwargs: Any) -> None:
        original(made, optimizer, rate, *args, **kwargs)

    live.on_construction(OneCycleLR, live.Places(str(source.path), [source.end_place(c) for c in calls]).hold, build)


def rates_by_hand(remedy: Remedy, run: Run, finding: Finding, higher: bool) -> Iterator[Prescription]:
    """Rates for a script that moves its weights by hand."""
    optimizer = by_hand.optimizer_by_hand(run)
    for where, rate in by_hand.where_of(run) if optimizer is not None else ():
        assert optimizer is not None
        for value in better_rates(run, optimizer, higher, rate):
            title = f"a learning rate of {value:g} in place of {rate:g}"
            yield Prescription(remedy.name, finding.slug, title, {"lr": value}, where)


def _places(prescription: Prescription) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    where = prescription.where
    return [(where, prescription.numbers), *((each, each["numbers"]) for each in where.get("also", ()))]


def _one_rate(where: Mapping[str, Any]) -> bool:
    """Whether the rates of the optimizer's groups are made of its own."""
    source = Source.read(str(where.get("file", "")))
    try:
        return source is not None and bool(
            rates_from_one(source, optimizer_call(source, where["line"], where.get("optimizer", "")))
        )
    except CannotEditError:
        return False


def _setting(numbers: Mapping[str, Any], one_rate: bool) -> Callable[[Any, list[Any], dict[str, Any], FrameType], None]:
    def change(optimizer: Any, params: list[Any], defaults: dict[str, Any], frame: FrameType) -> None:
        if one_rate and defaults.get("lr"):
            factor = numbers["lr"] / defaults["lr"]
            params[:] = [
                {**group, "lr": group["lr"] * factor} if isinstance(group, dict) and "lr" in group else group
                for group in params
            ]
        defaults.update({key: value for key, value in numbers.items() if key in defaults})

    return change
