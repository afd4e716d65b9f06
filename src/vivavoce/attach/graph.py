"""Tap on the graph of the loss: which parameters it reaches, activations called as functions, growth through time.

The graph that autograd builds for every backward call already knows what a hook on each module could tell, however
the network is written. It is only read, and only for the first calls and on sampled steps.
"""

from __future__ import annotations

import math
import re
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vivavoce.attach import errors, numbers, wiring
from vivavoce.attach.budget import now
from vivavoce.attach.sites import is_library
from vivavoce.attach.tap import Tap
from vivavoce.record.entities import Node, Site

if TYPE_CHECKING:
    from vivavoce.attach.session import Session

MOST_NODES = 20_000  # a larger graph is not walked to its end, and says nothing on unreached parameters
MOST_RECORDED = 512  # operations recorded
HEAD = 32  # operations before the loss that are all recorded: what the script makes of the model's output
FIRST_WALKS = 3  # backward calls at each place whose graph is always walked
WALKS_TO_JUDGE = 5  # walked graphs before a parameter that none of them reached is called unreached
MOST_UNHELD = 64  # weights outside of every optimizer whose norms are taken
FUNCTIONAL = {"ReluBackward0": "relu", "TanhBackward0": "tanh", "SigmoidBackward0": "sigmoid"}
MOST_ACTIVATIONS = 64  # functional activations looked at in one graph
NAME_HOPS = 6  # operations between an activation and the layer before it
LEAST_CHAIN = 8  # repetitions of an activation behind the same weights that make a recurrence
MOST_PROBES = 32  # points of a recurrence where the gradient is measured
_FRAME = re.compile(r'^\s*File "(?P<file>.+)", line (?P<line>\d+), in (?P<function>.+)$')


class GraphTap(Tap):
    """Reads autograd graphs just before they are used."""

    name = "graph"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._walks: dict[int, int] = {}
        self.lines: dict[int, list[tuple[str, Site | None, str]]] = {}  # backward site -> its operations, in order
        self.consumers: dict[int, dict[int, int]] = {}  # backward site -> parameter id -> index of its last consumer
        self.loose: dict[int, weakref.ref[Tensor]] = {}  # leaves that no module owns
        self._reached: dict[int, weakref.ref[Tensor]] = {}  # by id(tensor), as long as it lives
        self._total = 0
        self._complete = True
        self.asking = False
        self._asked = False
        self._probes: list[tuple[int, dict[int, Tensor], list[Any]]] = []

    def install(self) -> None:
        """Nothing is patched."""

    def uninstall(self) -> None:
        """Leave anomaly mode as it was."""
        self.stop_asking()

    # source lines -------------------------------------------------------------------------------------------------

    def ask_for_lines(self) -> None:
        """Let autograd note the source line of every operation, for the first passes of a run only."""
        if self.on and not self._asked and not torch.is_anomaly_enabled():
            self._asked = True
            self.asking = True
            torch.autograd.set_detect_anomaly(True, check_nan=False)

    def stop_asking(self) -> None:
        """The first passes are over."""
        if self.asking and not torch.is_anomaly_check_nan_enabled():  # else the script has switched it on, for a while
            self.asking = False
            torch.autograd.set_detect_anomaly(False)

    # walking ------------------------------------------------------------------------------------------------------

    def before_backward(self, site: int, loss: Tensor) -> float:
        """Look at the graph of a loss about to be differentiated. Returns the seconds charged elsewhere."""
        if not self.on:
            return 0.0
        walks = self._walks.get(site, 0)
        wanted = walks < FIRST_WALKS or self.session.deep
        if not wanted or loss.grad_fn is None:
            return 0.0
        started = now()
        try:
            self._walks[site] = walks + 1
            self._look(site, loss, first=walks == 0)
        except Exception as error:
            self.fail(error)
        spent = now() - started
        if walks < FIRST_WALKS or not self.session.deep:
            self.session.budget.charge_setup(spent)
        else:
            self.session.budget.charge_deep(spent)
        return spent

    def _look(self, site: int, loss: Tensor, first: bool) -> None:
        nodes, complete = walk(loss)
        self._complete = self._complete and complete
        self._total += 1
        self._note_reached(nodes)
        if first:
            self.lines[site] = [(node.name(), *line_of(node)) for node in nodes]
            self.consumers[site] = self._consumers_of(nodes)
            self._record_nodes(site, nodes)
        if self.session.deep:
            self._look_at_activations(nodes)
            self._look_at_errors(site, loss)
        if self._total == WALKS_TO_JUDGE:
            self.judge_reach()

    def _note_reached(self, nodes: list[Any]) -> None:
        registry = self.session.registry
        for node in nodes:
            tensor = leaf_of(node)
            if tensor is None:
                continue
            known = self._reached.get(id(tensor))
            if known is not None and known() is tensor:
                continue
            self._reached[id(tensor)] = weakref.ref(tensor)
            entity = registry.parameter(tensor)
            if entity is None:
                registry.discover([tensor], self.session.sites.user_frame(5), self.session.step)
                entity = registry.parameter(tensor)
                if entity is None:
                    self.loose[id(tensor)] = weakref.ref(tensor)
            if entity is not None and entity.reached is not True:
                registry.update(replace(entity, reached=True))

    def _consumers_of(self, nodes: list[Any]) -> dict[int, int]:
        consumers: dict[int, int] = {}
        for index, node in enumerate(nodes):
            for following, _ in node.next_functions:
                tensor = leaf_of(following)
                entity = None if tensor is None else self.session.registry.parameter(tensor)
                if entity is not None:
                    consumers[entity.id] = index
        return consumers

    def judge_reach(self) -> None:
        """Record which trainable parameters no graph has reached so far."""
        if not self._complete or not self._total:
            return
        self._note_unheld()
        missing = [p for p in self.session.registry.known() if p.trainable and p.reached is None]
        for entity in missing:
            self.session.registry.update(replace(entity, reached=False))
        if missing:
            self.session.recorder.event(self.session.step, "unreached", parameters=[p.id for p in missing])

    def _note_unheld(self) -> None:
        """Record the norms of weights that the loss reaches and no optimizer holds: of random ones, or of learned ones?"""
        registry = self.session.registry
        reached = (p for p in registry.known() if p.trainable and p.reached and not p.optimizers and len(p.shape) > 1)
        pairs = [(p.id, tensor) for p in reached if (tensor := registry.tensor(p.id)) is not None]
        pairs = [(id, tensor) for id, tensor in pairs if numbers.is_plain(tensor)][:MOST_UNHELD]
        if pairs:
            norms = numbers.norms([tensor.detach() for _, tensor in pairs]).tolist()
            ids = [id for id, _ in pairs]
            self.session.recorder.event(self.session.step, "unheld", parameters=ids, norms=norms)

    def _record_nodes(self, site: int, nodes: list[Any]) -> None:
        """The operations near the loss, and before them the first of each kind at each line."""
        seen: set[tuple[str, Site | None]] = set()
        compared = errors.compared_with(nodes[-HEAD:], self.session.modules.made)
        recorded, base, head = 0, site * MOST_RECORDED, len(nodes) - HEAD
        for index, ((op, place, code), node) in enumerate(zip(self.lines[site], nodes, strict=True)):
            known = (op, place) in seen or recorded >= MOST_RECORDED - HEAD
            if leaf_of(node) is not None or (known and index < head):
                continue
            seen.add((op, place))
            entity = node_entity(node, base + recorded, site, place, code)
            if node in compared:
                entity = replace(entity, constant_range=compared[node])
            self.session.recorder.entity(entity)
            recorded += 1

    # activations called as functions --------------------------------------------------------------------------------

    def _look_at_activations(self, nodes: list[Any]) -> None:
        chains: dict[tuple[str, int], list[Any]] = {}
        looked = 0
        for node in nodes:
            kind = FUNCTIONAL.get(node.name())
            if kind is None:
                continue
            parameter = _parameter_behind(node)
            entity = None if parameter is None else self.session.registry.parameter(parameter)
            chain = chains.setdefault((kind, -1 if entity is None else entity.id), [])
            chain.append(node)
            if len(chain) == 1 and looked < MOST_ACTIVATIONS:
                looked += self._look_at_activation(node, kind, entity)
        self._probe_recurrence(chains)

    def _look_at_activation(self, node: Any, kind: str, entity: Any) -> bool:
        value = wiring.saved(node, "result")
        if value is None or (value.data_ptr(), value.numel()) in self.session.modules.outputs:
            return False
        if not numbers.is_plain(value) or not value.numel():
            return False
        layer = entity.name.rpartition(".")[0] if entity is not None else ""
        name = f"{layer} > {kind}" if layer else kind
        module = self.session.registry.functional(name, kind, line_of(node)[0])
        self.session.modules.add(0 if entity is None or entity.model is None else entity.model, module, kind, value)
        return True

    def _look_at_errors(self, site: int, loss: Tensor) -> None:
        """Predictions and targets of a mean of errors that was written without a loss function."""
        found = errors.errors_of(loss, self.session.modules.made)
        if found is not None:
            self.session.losses.sample_errors(("loss", site), self.session.coming, found)

    # growth of the gradient through time ----------------------------------------------------------------------------

    def _probe_recurrence(self, chains: dict[tuple[str, int], list[Any]]) -> None:
        self._probes.clear()
        for (_, parameter), chain in chains.items():
            if len(chain) < LEAST_CHAIN or parameter < 0:
                continue
            norms: dict[int, Tensor] = {}
            stride = max(1, len(chain) // MOST_PROBES)
            positions = range(0, len(chain), stride)
            handles = [chain[position].register_prehook(_Probe(position, norms)) for position in positions]
            recurrent = self._recurrent_weight(chain) or parameter
            self._probes.append((recurrent, norms, handles))
            return  # one recurrence a sample

    def _recurrent_weight(self, chain: list[Any]) -> int | None:
        """The square matrix behind the activation, where there is one."""
        for tensor in _parameters_behind(chain[-1]):
            entity = self.session.registry.parameter(tensor)
            if entity is None or len(entity.shape) != 2:
                continue
            if "hh" in entity.name or entity.shape[0] == entity.shape[1]:
                return entity.id
        return None

    def after_backward(self) -> None:
        """Turn the norms measured on the way back through time into a growth rate."""
        for parameter, norms, handles in self._probes:
            for handle in handles:
                handle.remove()
            if len(norms) >= LEAST_CHAIN // 2:
                self._emit_growth(parameter, norms)
        self._probes.clear()

    def _emit_growth(self, parameter: int, norms: dict[int, Tensor]) -> None:
        positions = sorted(norms)
        step = self.session.coming
        signal = self.session.recorder.signal(
            "time_growth", ("parameter", parameter), ("rate", "steps", "r_squared", "first_norm", "last_norm")
        )

        def deliver(values: list[float]) -> None:
            row = growth(positions, values)
            if row is not None:
                signal.append(step, row)

        self.session.readback.read(torch.stack([norms[p].reshape(()) for p in positions]), deliver)


def node_entity(node: Any, id: int, loss: int, site: Site | None, code: str) -> Node:
    """An operation as it is recorded."""
    given = wiring.inputs_of(node)
    makers = [wiring.maker(one) for one in given]
    leaves = [leaf_of(one) for one in given]
    return Node(
        id=id,
        op=node.name(),
        loss=loss,
        site=site,
        code=code,
        shape=wiring.shape_of(node),
        given=tuple("" if maker is None else maker.name().rpartition("::")[2] for maker in makers),
        given_shapes=tuple(
            wiring.shape_of(one) if leaf is None else tuple(leaf.shape) for one, leaf in zip(given, leaves, strict=True)
        ),
        constants=sum(following is None for following, _ in node.next_functions),
        dim=wiring.dim_of(node),
    )


class _Probe:
    """Measures the gradient that arrives at one operation."""

    __slots__ = ("norms", "position")

    def __init__(self, position: int, norms: dict[int, Tensor]) -> None:
        self.position, self.norms = position, norms

    def __call__(self, gradients: Any) -> None:
        gradient = gradients[0] if gradients else None
        if gradient is not None and numbers.is_plain(gradient):
            self.norms[self.position] = numbers.norms([gradient.detach()])[0]


def growth(positions: list[int], norms: list[float]) -> tuple[float, float, float, float, float] | None:
    """Growth of a gradient on its way back through a recurrence.

    `positions` are time steps in ascending order, `norms` the gradient's L2 norm at each. Returns the factor per step
    backwards in time from a least-squares line through log norm against time, the number of steps it spans, R², and
    the norms at the last and the first position; None where fewer than four norms are positive and finite.
    """
    points = [(p, math.log(n)) for p, n in zip(positions, norms, strict=True) if n > 0 and math.isfinite(n)]
    if len(points) < 4:
        return None
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    sxx = sum((x - mean_x) ** 2 for x, _ in points)
    sxy = sum((x - mean_x) * (y - mean_y) for x, y in points)
    syy = sum((y - mean_y) ** 2 for _, y in points)
    slope = sxy / sxx
    r_squared = 1.0 if syy == 0 else sxy * sxy / (sxx * syy)
    span = points[-1][0] - points[0][0]
    return math.exp(-slope), float(span), r_squared, math.exp(points[-1][1]), math.exp(points[0][1])


def walk(loss: Tensor) -> tuple[list[Any], bool]:
    """All nodes of a loss's graph in the order of the forward pass, and whether the walk was complete."""
    root = loss.grad_fn
    seen: set[Any] = set()
    stack = [root] if root is not None else []
    while stack and len(seen) < MOST_NODES:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        stack.extend(following for following, _ in node.next_functions if following is not None)
    return sorted(seen, key=_forward_order), not stack


def _forward_order(node: Any) -> int:
    order: int = node._sequence_nr()
    return order


def leaf_of(node: Any) -> Tensor | None:
    """The leaf whose gradient a node accumulates, None for operations (a user's own may have a `variable`, too)."""
    return node.variable if type(node).__name__ == "AccumulateGrad" else None


def _parameters_behind(node: Any) -> list[Tensor]:
    """Leaves behind a node within a few operations, the nearest first."""
    level, found = [node], []
    for _ in range(NAME_HOPS):
        level = [following for n in level for following, _ in n.next_functions if following is not None][:16]
        found += [leaf for leaf in map(leaf_of, level) if leaf is not None]
        if found:
            break
    return found


def _parameter_behind(node: Any) -> Tensor | None:
    found = _parameters_behind(node)
    return found[0] if found else None


def line_of(node: Any) -> tuple[Site | None, str]:
    """The user's source line that made a node, where autograd has noted it."""
    entries = node.metadata.get("traceback_") if hasattr(node, "metadata") else None
    for entry in reversed(entries or []):
        head, _, code = entry.strip("\n").partition("\n")
        match = _FRAME.match(head)
        if match and not is_library(match["file"]):
            return Site(match["file"], int(match["line"]), match["function"]), code.strip()
    return None, ""
