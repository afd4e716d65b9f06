"""Remedies for a game of two networks: the pace of each, the critic's slope, and who moves whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import libcst as cst

from vivavoce.examine.finding import Finding
from vivavoce.examine.reading import held, learning_rate, stepped_optimizers
from vivavoce.record.entities import Optimizer
from vivavoce.record.run import Run
from vivavoce.remedy import live
from vivavoce.remedy.changes import CannotEditError, Changes, open_source
from vivavoce.remedy.hidden_parts import is_network
from vivavoce.remedy.initialisation import MATRICES
from vivavoce.remedy.optimizer_number import Choice, OptimizerNumber
from vivavoce.remedy.optimizers import optimizer_call, optimizer_of, parameters_argument, place, root_of, rounded
from vivavoce.remedy.remedy import Edit, Prescription, Remedy, RemedyError, Words
from vivavoce.remedy.rewriting import source_of
from vivavoce.remedy.snippet import Snippet
from vivavoce.remedy.source import Source, method_of

PENALTIES = (1.0, 10.0)  # γ of R1: 10 in Mescheder et al. 2018
PLAYERS = 2


def critics(run: Run) -> set[int]:
    """Models that judge data and what another network makes."""
    return {track.owner[1] for track in run.tracks("adversary") if track.owner and len(track)}


def players(run: Run) -> tuple[Optimizer | None, Optimizer | None]:
    """The optimizers of the generator and of the discriminator, None where they cannot be told."""
    judges = critics(run)
    optimizers = [o for o in stepped_optimizers(run) if o.site is not None]
    if len(optimizers) != PLAYERS:
        return None, None

    def share(optimizer: Optimizer) -> float:
        ids = [id for id in held(optimizer) if id in run.parameters]
        return sum(run.parameters[id].model in judges for id in ids) / max(1, len(ids))

    ordered = sorted(optimizers, key=share if judges else _judges)
    key = share if judges else _judges
    return (ordered[0], ordered[-1]) if key(ordered[0]) < key(ordered[-1]) else (None, None)


def _judges(optimizer: Optimizer) -> float:
    """1 for the optimizer of a network that is called with what another network makes, as the source has it, else 0."""
    source = Source.read(optimizer.site.file) if optimizer.site is not None else None
    if source is None or optimizer.site is None:
        return 0.0
    try:
        models = _collected(
            source, parameters_argument(optimizer_call(source, optimizer.site.line, optimizer.class_name))
        )
    except CannotEditError:
        return 0.0
    judged = [call for call in source.all(cst.Call) if source.code(call.func) in models]
    made = [inner for call in judged for arg in call.args for inner in source.all(cst.Call, arg.value)]
    named = any(word in model.lower() for model in models for word in ("disc", "critic"))
    networks = {source.code(call.func) for call in made if method_of(call) != "detach"} - set(models)
    others = networks & set(_networks(source, models[0] if models else ""))
    return 1.0 if named or others else 0.0


class Pace(OptimizerNumber):
    """Another learning rate for one of the two."""

    factors: ClassVar[tuple[float, ...]]
    of_discriminator: ClassVar[bool]

    def values(self, run: Run, finding: Finding) -> Iterator[Choice]:
        """The recorded rate times each factor."""
        optimizer = players(run)[1 if self.of_discriminator else 0]
        rate = learning_rate(optimizer) if optimizer else None
        if optimizer is None or not rate:
            return
        whom = "discriminator" if self.of_discriminator else "generator"
        for factor in self.factors:
            value = rounded(rate * factor)
            yield [(optimizer, {"lr": value})], f"a learning rate of {value:g} for the {whom}"


class SlowerDiscriminator(Pace):
    """Time for the generator."""

    name = "slower-discriminator"
    treats = ("discriminator-dominates", "learning-rate-too-high")
    rank = 24
    factors = (0.1, 0.01)
    of_discriminator = True


class FasterDiscriminator(Pace):
    """A critic that keeps up."""

    name = "faster-discriminator"
    treats = ("generator-dominates",)
    rank = 24
    factors = (4.0, 20.0)
    of_discriminator = True


class SlowerGenerator(Pace):
    """Time for the critic, before all modes but one are forgotten (two time scales: Heusel et al. 2017)."""

    name = "slower-generator"
    treats = ("mode-collapse", "generator-dominates", "learning-rate-too-high")
    rank = 23
    factors = (0.25, 0.01)
    of_discriminator = False


class FasterGenerator(Pace):
    """A generator that keeps up."""

    name = "faster-generator"
    treats = ("discriminator-dominates", "learning-rate-too-low")
    rank = 23
    factors = (10.0, 100.0)
    of_discriminator = False


class SpectralNorm(Snippet):
    """Spectral normalisation of the discriminator's layers (Miyato et al. 2018)."""

    name = "spectral-norm"
    treats = ("mode-collapse", "discriminator-dominates")
    rank = 40

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """For the network of the discriminator's optimizer."""
        optimizer = players(run)[1]
        if optimizer is not None:
            where = place(optimizer.site, optimizer=optimizer.class_name)
            yield Prescription(self.name, finding.slug, "spectral normalisation of the discriminator", {}, where)

    def lines(self, prescription: Prescription, models: list[str], optimizer: str) -> list[str]:
        """A loop over the linear and convolutional layers."""
        lines = ["with torch.random.fork_rng():  # the random numbers that follow stay as they were"]
        for model in models:
            lines += [
                f"    for module in list({model}.modules()):",
                f"        if isinstance(module, {MATRICES}):",
                "            torch.nn.utils.parametrizations.spectral_norm(module)",
            ]
        return lines


class GradientPenalty(Snippet):
    """R1 and R2: the squared slope of the discriminator at whatever it is shown, data or made."""

    name = "gradient-penalty"
    treats = ("mode-collapse", "discriminator-dominates", "generator-dominates")
    rank = 35
    behind = True

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """Two strengths, for the network of the discriminator's optimizer."""
        optimizer = players(run)[1]
        for gamma in PENALTIES if optimizer is not None else ():
            assert optimizer is not None
            where = place(optimizer.site, optimizer=optimizer.class_name)
            title = f"a penalty on the discriminator's slope, γ = {gamma:g}"
            yield Prescription(self.name, finding.slug, title, {"gamma": gamma}, where)

    def lines(self, prescription: Prescription, models: list[str], optimizer: str) -> list[str]:
        """A hook that remembers what the network is shown, and one that adds the penalty's gradient before a step."""
        model, half = models[0], prescription.numbers["gamma"] / 2
        return [
            "shown = []  # what the discriminator is shown for its own step",
            "",
            "def remember(module, inputs):",
            "    if torch.is_grad_enabled() and inputs[0].is_floating_point() and not inputs[0].requires_grad:",
            "        shown.append(inputs[0])",
            "",
            "def penalise(optimizer, args, kwargs):  # R1 and R2 (Mescheder et al. 2018)",
            "    inputs = [x.detach().clone().requires_grad_() for x in shown]",
            "    shown.clear()",
            f"    weights = [p for p in {model}.parameters() if p.grad is not None]",
            "    for x in inputs:",
            f"        (slope,) = torch.autograd.grad({model}(x).sum(), x, create_graph=True)",
            f"        penalty = {half} * slope.square().flatten(1).sum(1).mean()",
            "        for p, g in zip(weights, torch.autograd.grad(penalty, weights, allow_unused=True)):",
            "            if g is not None:",
            "                p.grad += g",
            "",
            f"{model}.register_forward_pre_hook(remember)",
            f"{optimizer}.register_step_pre_hook(penalise)",
        ]


class OwnParameters(Remedy):
    """Each optimizer gets the parameters of its own network."""

    name = "own-parameters"
    treats = ("optimizer-crosstalk",)
    rank = 1

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """For the optimizer that the finding calls the guest."""
        optimizer = optimizer_of(run, finding)
        others = [o for o in stepped_optimizers(run) if optimizer is not None and o.id != optimizer.id and o.site]
        if optimizer is None or not others:
            return
        where = place(optimizer.site, optimizer=optimizer.class_name, other=place(others[0].site))
        yield Prescription(self.name, finding.slug, "give the optimizer its own network's parameters alone", {}, where)

    def apply(self, prescription: Prescription) -> None:
        """Evaluate the expression of the edit in the user's frame."""
        try:
            live.give_parameters(prescription.where, own(source_of(prescription.where), prescription.where))
        except CannotEditError as error:
            raise RemedyError(str(error)) from None

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """Write the expression into the call."""
        where = prescription.where
        try:
            changes = Changes(source := open_source(sources, where.get("file")))
            call = optimizer_call(source, where["line"], where.get("optimizer", ""))
            changes.replace(parameters_argument(call), own(source, where))
            return changes.edit()
        except CannotEditError as error:
            return Words("generator.parameters()", str(error), where.get("file"), where.get("line"))


def own(source: Source, where: Mapping[str, Any]) -> str:
    """The expression that collects the parameters of the optimizer's own network.

    Raises:
        CannotEditError: it cannot be told.
    """
    call = optimizer_call(source, where["line"], where.get("optimizer", ""))
    given = parameters_argument(call)
    held_here = _collected(source, given)
    other = where.get("other", {})
    held_there = _collected(source, parameters_argument(optimizer_call(source, other.get("line", -1))))
    mine = [model for model in held_here if model not in held_there]
    if len(held_here) > 1 and mine:
        return f"{mine[0]}.parameters()"
    if len(held_here) > 1:  # both hold both: the first named is one's own
        return f"{held_here[0]}.parameters()"
    left = [name for name in _networks(source, held_here[0] if held_here else "") if name not in held_there]
    if len(left) != 1:
        raise CannotEditError("which network is the optimizer's own cannot be told")
    return f"{left[0]}.parameters()"


def _collected(source: Source, given: cst.BaseExpression) -> list[str]:
    calls = [given, *source.all(cst.Call, given)]
    found = [
        root_of(source, call.func.value)
        for call in calls
        if isinstance(call, cst.Call) and isinstance(call.func, cst.Attribute) and method_of(call) == "parameters"
    ]
    return list(dict.fromkeys(name for name in found if name))


def _networks(source: Source, like: str) -> list[str]:
    """Variables, or attributes where `like` is one, that hold a network."""
    classes = {node.name.value for node in source.all(cst.ClassDef)}
    found = []
    for assign in source.all(cst.Assign):
        owner = source.around(assign, cst.ClassDef)
        if owner is not None and is_network(source, owner):
            continue  # a layer of a network, no player
        for target, value in _pairs(assign):
            name = source.code(target)
            if isinstance(value, cst.Call) and name.startswith("self.") == like.startswith("self."):
                called = source.code(value.func)
                known = source.is_torch(value.func, "Sequential") or called in classes or "mlp" in called.lower()
                found += [name] if known else []
    return list(dict.fromkeys(found))


def _pairs(assign: cst.Assign) -> list[tuple[cst.CSTNode, cst.BaseExpression]]:
    """Targets and values, those of `a, b = c, d` one by one."""
    target, value = assign.targets[0].target, assign.value
    if isinstance(target, cst.Tuple) and isinstance(value, cst.Tuple) and len(target.elements) == len(value.elements):
        return [(t.value, v.value) for t, v in zip(target.elements, value.elements, strict=True)]
    return [(target, value)]
