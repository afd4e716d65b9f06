"""What remedies of optimizers share: the optimizer of a finding, its call in the source, its model, its step sizes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import libcst as cst
import numpy as np

from vivavoce.examine.finding import Finding
from vivavoce.examine.reading import learning_rate, main_optimizer, stepped_optimizers, weights_of
from vivavoce.examine.sensitivity import ADAPTIVE, first_update
from vivavoce.record.entities import Optimizer, Site
from vivavoce.record.run import Run
from vivavoce.remedy.changes import CannotEditError
from vivavoce.remedy.source import Source, argument, method_of

ADAPTIVE_TARGETS = (1e-2, 3e-2, 1e-1, 3e-3)  # ‖Δw‖/‖w‖ of the first step; Adam at 1e-3 on small networks: 0.005 … 0.03
PLAIN_TARGETS = (
    3e-2,
    1.5e-1,
    6e-1,
    6e-3,
)  # the same for gradient steps, which shrink with the gradient: measured 0.01 … 0.5
CLEARLY = 0.7  # a rate must differ by this factor to be worth a trial
FAR = 1.0  # decades between the size of a step and the usual one
LITTLE = (3.0, 30.0)  # factors where the steps have a usual size already: it may be measured too late to tell
DECADES = (0.1, 0.01, 0.001)  # factors where the size of the first step is not known
MOST_MOMENTUM = 0.999
DIGITS = 2  # of a prescribed number
COLLECTORS = ("parameters", "named_parameters", "children", "modules")  # methods of a model that lead to its weights


def place(site: Site | None, **extra: Any) -> dict[str, Any]:
    """A site as a prescription's `where`."""
    return {"file": site.file, "line": site.line, **extra} if site is not None else dict(extra)


def rounded(value: float, digits: int = DIGITS) -> float:
    """A number with few digits, as a person would write it."""
    return float(f"{value:.{digits}g}")


def optimizer_of(run: Run, finding: Finding) -> Optimizer | None:
    """The optimizer that a finding names by its line, else the main one; None where its place is not known."""
    named = [
        optimizer
        for optimizer in run.optimizers.values()
        for site in (optimizer.site, optimizer.step_site)
        if site is not None and (site.file, site.line) == (finding.where.file, finding.where.line)
    ]
    optimizer = named[0] if named else main_optimizer(run)
    if optimizer is None:
        optimizer = next((o for o in run.optimizers.values() if o.site is not None), None)
    return optimizer if optimizer is not None and optimizer.site is not None else None


def optimizers_of(run: Run, finding: Finding) -> list[Optimizer]:
    """The finding's optimizer first, then the others that step."""
    first = optimizer_of(run, finding)
    others = [o for o in stepped_optimizers(run) if o.site is not None and (first is None or o.id != first.id)]
    return [first, *others] if first is not None else others


def momentum_of(optimizer: Optimizer) -> float:
    """The largest momentum of the groups."""
    return max((float(group.get("momentum") or 0) for group in optimizer.groups), default=0.0)


def step_size(run: Run, optimizer: Optimizer) -> float:
    """‖Δw‖/‖w‖ that the recorded learning rate leads to: of the first step, or the typical one; NaN where unknown.

    Momentum m makes lasting gradients act 1/(1 - m) times.
    """
    first = first_update(run, optimizer, highest_rate=True)
    if math.isfinite(first) and first > 0:
        return first / (1 - min(momentum_of(optimizer), MOST_MOMENTUM))
    weights = weights_of(run, optimizer)
    if weights is None:
        return math.nan
    typical = weights.typical_update
    typical = typical[np.isfinite(typical) & (typical > 0)]
    return float(np.median(typical)) if len(typical) else math.nan


def base_rate(optimizer: Optimizer) -> float | None:
    """The learning rate as the script gives it: schedulers keep it beside the one that they set."""
    for key in ("max_lr", "initial_lr"):
        rates = [group[key] for group in optimizer.groups if isinstance(group.get(key), (int, float))]
        if rates:
            return float(max(rates))
    return learning_rate(optimizer)


def better_rates(run: Run, optimizer: Optimizer, higher: bool, rate: float | None = None) -> list[float]:
    """Learning rates, the likeliest first, at which a step changes the weights by a usual share.

    `rate` is the learning rate where the run has not recorded it.
    """
    rate, size = rate or base_rate(optimizer), step_size(run, optimizer)
    if not rate or not math.isfinite(rate):
        return []
    if not (math.isfinite(size) and size > 0):
        return [rounded(rate / factor if higher else rate * factor) for factor in DECADES]
    targets = ADAPTIVE_TARGETS if optimizer.class_name in ADAPTIVE else PLAIN_TARGETS
    rates = [rounded(rate * target / size) for target in targets]
    if higher:
        rates = [r for r in rates if r > rate / CLEARLY] or [rounded(rate * factor) for factor in LITTLE]
    else:
        rates = [r for r in rates if r < rate * CLEARLY] or [rounded(rate / factor) for factor in LITTLE]
    return list(dict.fromkeys(rates))


def usual_rate(run: Run, optimizer: Optimizer) -> float | None:
    """The learning rate at which a step has a usual size, where the recorded one is far from it; None where it is not."""
    rate, size = base_rate(optimizer), step_size(run, optimizer)
    if not rate or not (math.isfinite(size) and size > 0):
        return None
    target = (ADAPTIVE_TARGETS if optimizer.class_name in ADAPTIVE else PLAIN_TARGETS)[0]
    return rounded(rate * target / size) if abs(math.log10(size / target)) > FAR else None


def one_cycles(source: Source, call: cst.Call) -> list[cst.Call]:
    """Schedulers that set an optimizer's rate by themselves, whatever it was made with."""
    try:
        name = variable_of(source, call)
    except CannotEditError:
        return []
    given = [(cycle, argument(cycle, "optimizer", 0)) for cycle in source.calls("OneCycleLR")]
    return [cycle for cycle, arg in given if arg is not None and source.code(arg.value) == name]


# in the source -------------------------------------------------------------------------------------------------------


def optimizer_call(source: Source, line: int, class_name: str = "") -> cst.Call:
    """The call that makes the optimizer of a line.

    Raises:
        CannotEditError: there is none, or it is not clear which.
    """
    calls = source.calls_at(line)
    named = [call for call in calls if source.code(call.func).rpartition(".")[2] == class_name]
    named = named or [c for c in calls if any(name.endswith(f".{class_name}") for name in source.names(c.func))]
    named = named or [call for call in calls if call.args and _gives_parameters(source, call)]
    if not named:
        raise CannotEditError(f"no call at line {line} is recognised as the one that makes the optimizer")
    return named[0]


def _gives_parameters(source: Source, call: cst.Call) -> bool:
    first = call.args[0].value
    return any(method_of(inner) in ("parameters", "named_parameters") for inner in source.all(cst.Call, first))


def rates_from_one(source: Source, call: cst.Call) -> list[cst.BaseExpression]:
    """The learning rate of an optimizer's call, and where its groups' rates are made of it: `{"lr": 2 * args.lr}`; else none."""
    rate, given = argument(call, "lr", 1), argument(call, "params", 0)
    if rate is None or given is None or not isinstance(rate.value, (cst.Name, cst.Attribute, cst.Subscript)):
        return []
    code = source.code(rate.value)
    of_groups = [
        node
        for element in source.all(cst.DictElement, given.value)
        if isinstance(element.key, cst.SimpleString) and element.key.evaluated_value == "lr"
        for node in source.all(type(rate.value), element.value)
        if source.code(node) == code
    ]
    return [rate.value, *of_groups] if of_groups else []


def variable_of(source: Source, call: cst.Call) -> str:
    """The variable or attribute that the value of a call is assigned to.

    Raises:
        CannotEditError: it is not assigned to one.
    """
    statement = source.statement(call)
    if isinstance(statement, cst.Assign) and statement.value is call and len(statement.targets) == 1:
        target = statement.targets[0].target
        if isinstance(target, (cst.Name, cst.Attribute)):
            return source.code(target)
    if isinstance(statement, cst.AnnAssign) and statement.value is call:
        return source.code(statement.target)
    raise CannotEditError("the optimizer is not assigned to a variable where it is made")


def parameters_argument(call: cst.Call) -> cst.BaseExpression:
    """What the optimizer is given to train.

    Raises:
        CannotEditError: it comes out of a starred argument.
    """
    arg = argument(call, "params", 0)
    if arg is None:
        raise CannotEditError("what the optimizer is given to train cannot be told")
    return arg.value


def models_in(source: Source, expression: cst.BaseExpression) -> list[str]:
    """The models whose parameters an expression collects: `model` in `[*model.body.parameters(), model.head.bias]`."""
    if isinstance(expression, cst.Name):
        expression = _assigned_once(source, expression) or expression
    owners = [
        call.func.value
        for call in source.all(cst.Call, expression)
        if isinstance(call.func, cst.Attribute) and call.func.attr.value in COLLECTORS
    ]
    owners = owners or [n.value for n in source.all(cst.Attribute, expression) if n.attr.value in ("weight", "bias")]
    names = [name for owner in owners if (name := root_of(source, owner))]
    return list(dict.fromkeys(names or _handed_over(source, expression)))


def _assigned_once(source: Source, name: cst.Name) -> cst.BaseExpression | None:
    """What a variable of the same function is, where it is assigned once."""
    values = [
        assign.value
        for assign in source.all(cst.Assign)
        if source.code(assign.targets[0].target) == name.value and source.function(assign) is source.function(name)
    ]
    return values[0] if len(values) == 1 else None


def _handed_over(source: Source, expression: cst.BaseExpression) -> list[str]:
    """Models that a function of the script's collects parameters from: `groups(model, 0.1)`, where `model(x)` is called."""
    if not isinstance(expression, cst.Call):
        return []
    called = {source.code(call.func) for call in source.all(cst.Call)}
    return [code for arg in expression.args if (code := source.code(arg.value)) in called and not arg.star][:1]


def root_of(source: Source, expression: cst.BaseExpression) -> str:
    """The variable that holds the whole model: `model` for `model.encoder[0]`, `self.net` for `self.net.head`; "" else."""
    chain: list[cst.BaseExpression] = [expression]
    while isinstance(chain[-1], (cst.Attribute, cst.Subscript)):
        chain.append(chain[-1].value)
    if not isinstance(chain[-1], cst.Name):
        return ""
    inner = [node for node in reversed(chain) if isinstance(node, (cst.Name, cst.Attribute))]
    if chain[-1].value in ("self", "cls", "trainer", "args", "cfg", "config") and len(inner) > 1:
        return source.code(inner[1])
    return chain[-1].value


def models_of(source: Source, call: cst.Call) -> list[str]:
    """The models that an optimizer trains, as expressions that hold where it is made.

    Raises:
        CannotEditError: they cannot be told.
    """
    names = models_in(source, parameters_argument(call))
    if not names:
        raise CannotEditError("the model cannot be told from what the optimizer is given")
    return names


def joined(parts: Iterable[str]) -> str:
    """Words in a row: "a, b and c"."""
    words = list(parts)
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
