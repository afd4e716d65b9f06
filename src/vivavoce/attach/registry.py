"""Gives names and ids to the user's models, modules and parameters, found by looking through live objects."""

from __future__ import annotations

import gc
import inspect
import sys
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from vivavoce.attach.sites import Sites, is_library, local_variables
from vivavoce.record.entities import Model, Module, Parameter, Site
from vivavoce.record.recorder import Recorder

WRAPPER_PREFIXES = ("module.", "_orig_mod.", "_fsdp_wrapped_module.")  # of DDP, torch.compile and FSDP
SCAN_SECONDS = 0.5  # how long threads may have to wait for a look through all objects
MOST_SCANS = (
    16  # looks through all objects, a tenth of a second each: a script that makes parameters for ever is not followed
)
MOST_MODULES = 1024  # modules recorded by name in one model; larger models are cut


class ModelState:
    """A root module and the ids of what is inside it."""

    def __init__(self, id: int, root: nn.Module, name: str) -> None:
        self.id = id
        self.name = name
        self.root = weakref.ref(root)
        self.modules: dict[int, int] = {}  # id(module) -> entity id
        self.leaves: list[int] = []  # entity ids of the modules without children, in the model's order
        self.compiled = _is_compiled(root)


class Registry:
    """All models and parameters of the run. A tensor or module is known by `id` as long as it lives."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.index = ModuleIndex()
        self.models: dict[int, ModelState] = {}  # by id(root)
        self._modules: dict[int, tuple[weakref.ref[nn.Module], ModelState, int]] = {}  # by id(module)
        self._parameters: dict[int, tuple[weakref.ref[Tensor], Parameter]] = {}
        self._by_entity: dict[int, int] = {}  # entity id -> id(tensor)
        self._next_parameter = 0
        self._next_module = 0
        self._next_model = 0
        self._functional: dict[str, int] = {}
        self._described: dict[int, Module] = {}  # entity id -> what is recorded of a module

    @property
    def compiled(self) -> bool:
        """True where a model is compiled: its modules must not be hooked."""
        return any(state.compiled and state.root() is not None for state in self.models.values())

    def module(self, module: nn.Module) -> tuple[ModelState, int] | None:
        """The model and the entity id of a module, None where it is not known."""
        entry = self._modules.get(id(module))
        return entry[1:] if entry is not None and entry[0]() is module else None

    def parameter(self, tensor: Tensor) -> Parameter | None:
        """The entity of a tensor, None where it is not known."""
        entry = self._parameters.get(id(tensor))
        return entry[1] if entry is not None and entry[0]() is tensor else None

    def tensor(self, id: int) -> Tensor | None:
        """The live tensor of a parameter entity."""
        entry = self._parameters.get(self._by_entity.get(id, -1))
        return None if entry is None or entry[1].id != id else entry[0]()

    def known(self) -> list[Parameter]:
        """All parameter entities."""
        return [entity for _, entity in self._parameters.values()]

    def update(self, entity: Parameter) -> None:
        """Replace a parameter's entity and record it."""
        key = self._by_entity[entity.id]
        self._parameters[key] = (self._parameters[key][0], entity)
        self._recorder.entity(entity)

    def pass_on(self, entity_ids: Sequence[int], tensors: Sequence[Tensor]) -> None:
        """From here on these tensors stand for the parameter entities, in the place of those before."""
        before = [self._parameters.pop(self._by_entity.get(id, -1), None) for id in entity_ids]
        for entry, tensor in zip(before, tensors, strict=True):
            if entry is not None:
                self._parameters[id(tensor)] = (weakref.ref(tensor), entry[1])
                self._by_entity[entry[1].id] = id(tensor)

    def discover(self, tensors: Iterable[Tensor], frame: FrameType | None, step: int) -> None:
        """Find the root modules that own the tensors, and record everything inside them that is new.

        Only an `nn.Parameter` has an owner: inputs that require gradients, new ones at every step, are not searched for.
        """
        unknown = [t for t in tensors if isinstance(t, nn.Parameter) and self.parameter(t) is None]
        if not unknown:
            return
        for root in self.index.find_roots({id(t) for t in unknown}):
            self._record_model(root, frame, step)

    def ensure(self, tensor: Tensor, fallback: str, step: int, reached: bool | None = None) -> Parameter:
        """The entity of a tensor; one without an owner is recorded under the fallback name."""
        known = self.parameter(tensor)
        if known is None:
            known = self._record_parameter(tensor, None, fallback, "", (), step)
            if reached is not None:
                known = replace(known, reached=reached)
                self.update(known)
        return known

    def functional(self, name: str, class_name: str, site: Site | None) -> int:
        """The id of an activation that is called as a function, recorded on first use."""
        if name not in self._functional:
            id = self._functional[name] = self._take_module_id()
            self._recorder.entity(
                Module(id=id, model=None, name=name, class_name=class_name, functional=True, site=site)
            )
        return self._functional[name]

    def describe(self, id: int, **facts: Any) -> None:
        """Record more about a module."""
        if id in self._described:
            self._described[id] = replace(self._described[id], **facts)
            self._recorder.entity(self._described[id])

    def _take_module_id(self) -> int:
        self._next_module += 1
        return self._next_module - 1

    def _record_model(self, root: nn.Module, frame: FrameType | None, step: int) -> None:
        state = self.models.get(id(root))
        if state is None or state.root() is not root:
            state = ModelState(self._next_model, root, self._model_name(root, frame))
            self._next_model += 1
            self.models[id(root)] = state
        self._record_modules(state, root)
        self._record_parameters(state, root, step)
        distinct = {id(p): p for p in root.parameters() if not _is_lazy(p)}.values()
        self._recorder.entity(
            Model(
                id=state.id,
                name=state.name,
                class_name=type(root).__name__,
                site=_class_site(type(root)),
                parameters=sum(p.numel() for p in distinct),
                trainable=sum(p.numel() for p in distinct if p.requires_grad),
                compiled=state.compiled,
            )
        )

    def _record_modules(self, state: ModelState, root: nn.Module) -> None:
        for name, module in list(root.named_modules())[:MOST_MODULES]:
            known = self.module(module)
            if known is not None and known[0] is state:
                continue
            entity_id = self._take_module_id()
            state.modules[id(module)] = entity_id
            self._modules[id(module)] = (weakref.ref(module), state, entity_id)
            if next(module.children(), None) is None:
                state.leaves.append(entity_id)
            own = module.__dict__.get("_parameters", {})
            self._described[entity_id] = Module(
                id=entity_id,
                model=state.id,
                name=plain_name(name),
                class_name=type(module).__name__,
                parameters=sum(p.numel() for p in own.values() if p is not None and not _is_lazy(p)),
                site=_class_site(type(module)) or self.index.site(module),
            )
            self._recorder.entity(self._described[entity_id])

    def _record_parameters(self, state: ModelState, root: nn.Module, step: int) -> None:
        names: dict[int, list[str]] = {}
        owners: dict[int, nn.Module] = {}
        tensors: dict[int, Tensor] = {}
        for prefix, module in root.named_modules():
            for name, tensor in module.__dict__.get("_parameters", {}).items():
                if tensor is not None:
                    names.setdefault(id(tensor), []).append(plain_name(f"{prefix}.{name}" if prefix else name))
                    owners.setdefault(id(tensor), module)
                    tensors[id(tensor)] = tensor
        for key, tensor in tensors.items():
            if self.parameter(tensor) is None:
                first, *tied = names[key]
                self._record_parameter(tensor, state.id, first, type(owners[key]).__name__, tuple(tied), step)

    def _record_parameter(
        self, tensor: Tensor, model: int | None, name: str, module_class: str, tied: tuple[str, ...], step: int
    ) -> Parameter:
        entity = Parameter(
            id=self._next_parameter,
            model=model,
            name=name,
            shape=() if _is_lazy(tensor) else tuple(tensor.shape),
            dtype=str(tensor.dtype).removeprefix("torch."),
            trainable=tensor.requires_grad,
            module_class=module_class,
            tied=tied,
            first_step=step,
        )
        self._next_parameter += 1
        self._parameters[id(tensor)] = (weakref.ref(tensor), entity)
        self._by_entity[entity.id] = id(tensor)
        self._recorder.entity(entity)
        return entity

    def _model_name(self, root: nn.Module, frame: FrameType | None) -> str:
        name = variable_name(root, frame) or type(root).__name__
        taken = {state.name for state in self.models.values()}
        count = 2
        unique = name
        while unique in taken:
            unique = f"{name} ({count})"
            count += 1
        return unique


class ModuleIndex:
    """The live modules of the process, told by PyTorch as they are built."""

    def __init__(self) -> None:
        self._modules: dict[int, weakref.ref[nn.Module]] = {}
        self._made: dict[int, tuple[weakref.ref[nn.Module], Site | None]] = {}  # by id(module)
        self._sites = Sites()
        self._scans = 0
        self._handles: list[Any] = []

    def install(self) -> None:
        """Hear of every parameter and submodule that a module registers, which happens while it is built."""
        hooks = nn.modules.module
        self._handles = [
            hooks.register_module_parameter_registration_hook(self._registered),
            hooks.register_module_module_registration_hook(self._registered),
        ]

    def uninstall(self) -> None:
        """Hear of nothing more."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def copied(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """`Module.__setstate__`, by which copies and unpickled modules come to life: they register nothing, and are heard of here."""

        def heard(module: nn.Module, state: Any) -> None:
            original(module, state)
            self._modules[id(module)] = weakref.ref(module)

        return heard

    def _registered(self, module: nn.Module, name: str, value: Any) -> None:
        with suppress(Exception):  # inside the user's constructor: one that is not heard of here is searched for later
            self._hear(module, value)

    def _hear(self, module: nn.Module, value: Any) -> None:
        known = self._modules.get(id(module))
        if known is None or known() is not module:  # addresses are used again
            self._modules[id(module)] = weakref.ref(module)
            self._note_site(module)
        if isinstance(value, nn.Module):  # one without parameters or parts of its own is first heard of here
            self._note_site(value)

    def _note_site(self, module: nn.Module) -> None:
        """Note where a module was made. PyTorch calls this while the user's module is built: nothing may be raised here."""
        known = self._made.get(id(module))
        if known is None or known[0]() is not module:
            site = None
            with suppress(Exception):
                site = self._sites.site(2)
            self._made[id(module)] = (weakref.ref(module), site)

    def site(self, module: nn.Module) -> Site | None:
        """The user's line that made a module, or gave it to the one it belongs to; None where that was not heard of."""
        known = self._made.get(id(module))
        return known[1] if known is not None and known[0]() is module else None

    def find_roots(self, wanted: set[int]) -> list[nn.Module]:
        """The outermost live modules that own a parameter whose `id` is wanted.

        Modules that were built before the session are found among the garbage collector's objects, as long as looking through
        those does not take too long.
        """
        self._modules = {key: ref for key, ref in self._modules.items() if ref() is not None}
        self._made = {key: made for key, made in self._made.items() if made[0]() is not None}
        known = [module for ref in self._modules.values() if (module := ref()) is not None]
        owned = {id(p) for module in known for p in module.__dict__.get("_parameters", {}).values()}
        if not wanted <= owned and self._scans < MOST_SCANS:
            self._scans += 1
            known = _collected_modules()
            self._modules.update({id(module): weakref.ref(module) for module in known})
        return outermost(known, wanted)


def _collected_modules() -> list[nn.Module]:
    """All modules the garbage collector knows. Objects that fake their class are not touched (`type`, no `isinstance`).

    A thread that builds a tuple must not run while a list of all objects refers to it (CPython refuses to resize it
    then), so threads are not switched meanwhile.
    """
    interval = sys.getswitchinterval()
    sys.setswitchinterval(SCAN_SECONDS)
    try:
        return [o for o in gc.get_objects() if issubclass(type(o), nn.Module) and "_modules" in o.__dict__]
    finally:
        sys.setswitchinterval(interval)


def outermost(modules: list[nn.Module], wanted: set[int]) -> list[nn.Module]:
    """Of these modules, those that own a wanted parameter, directly or through others, and that none of them owns."""
    parents: dict[int, list[nn.Module]] = {}
    for module in modules:
        for child in module.__dict__.get("_modules", {}).values():
            parents.setdefault(id(child), []).append(module)
    queue = [m for m in modules if any(id(p) in wanted for p in m.__dict__.get("_parameters", {}).values())]
    seen = {id(m) for m in queue}
    roots = []
    while queue:
        module = queue.pop()
        above = parents.get(id(module), [])
        if not above:
            roots.append(module)
        for parent in above:
            if id(parent) not in seen:
                seen.add(id(parent))
                queue.append(parent)
    position = {id(module): index for index, module in enumerate(modules)}
    return sorted(roots, key=lambda module: position[id(module)])


def plain_name(name: str) -> str:
    """A qualified name without the prefixes of wrappers."""
    for prefix in WRAPPER_PREFIXES:
        name = name.replace(prefix, "")
        if name == prefix.rstrip("."):
            return ""
    return name


def variable_name(value: Any, frame: FrameType | None) -> str | None:
    """The name of a variable in the user's frame that holds this very object."""
    while frame is not None and is_library(frame.f_code.co_filename):
        frame = frame.f_back
    if frame is None:
        return None
    scopes: list[dict[str, Any]] = [local_variables(frame), frame.f_globals]
    for scope in scopes:
        for name, held in list(scope.items()):
            if held is value and not name.startswith("_") and name != _self_name(frame):
                return name
    return None


def _self_name(frame: FrameType) -> str | None:
    """What a function calls its first argument: in a method of the model that is no name of the model's."""
    code = frame.f_code
    return code.co_varnames[0] if code.co_argcount else None


def _class_site(cls: type) -> Site | None:
    """Where a class of the user's own is defined (its `forward`, else None)."""
    forward = getattr(cls, "forward", None)
    code = getattr(inspect.unwrap(forward), "__code__", None) if callable(forward) else None
    if code is None or "site-packages" in code.co_filename or is_library(code.co_filename):
        return None
    return Site(code.co_filename, code.co_firstlineno, code.co_name)


def _is_lazy(tensor: Any) -> bool:
    return nn.parameter.is_lazy(tensor)


def _is_compiled(root: nn.Module) -> bool:
    compiled_class = getattr(getattr(torch, "_dynamo", None), "OptimizedModule", None) if _dynamo_loaded() else None
    for module in root.modules():
        if compiled_class is not None and isinstance(module, compiled_class):
            return True
        if module.__dict__.get("_compiled_call_impl") is not None:
            return True
    return False


def _dynamo_loaded() -> bool:
    return "torch._dynamo.eval_frame" in sys.modules
