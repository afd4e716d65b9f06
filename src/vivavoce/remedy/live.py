"""How remedies take hold of PyTorch in the process of a trial: wrappers that act at one place of the user's source.

PyTorch is imported inside the functions: the module itself can be read without it.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

from vivavoce.attach.patches import Patches
from vivavoce.attach.sites import Sites, is_method_of, local_variables

patches = Patches()  # of all remedies that were applied in this process
_handles: list[Any] = []
_sites = Sites()


def undo() -> None:
    """Take every applied remedy out again; for tests, a trial ends with its process."""
    patches.restore()
    while _handles:
        _handles.pop().remove()


def keep(handle: Any) -> None:
    """Remember a hook's handle, so that `undo` can remove it."""
    _handles.append(handle)


def wrap(owner: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Replace `owner.name` by `make(original)`."""
    original = getattr(owner, name)
    patches.replace(owner, name, functools.wraps(original)(make(original)))


# places ---------------------------------------------------------------------------------------------------------------


def caller(depth: int, constructed: Any = None) -> FrameType | None:
    """The user's frame behind the caller `depth` levels up; not one of the methods of the object that is being made."""
    frame = _sites.user_frame(depth + 1)
    while frame is not None and constructed is not None and is_method_of(frame, constructed):
        frame = frame.f_back
    return frame


def same_file(file: str, other: str) -> bool:
    """Whether two names are of the same source: a trial may run in a copy of the user's folder."""
    return file == other or os.path.basename(file) == os.path.basename(other)


def is_at(frame: FrameType | None, where: Mapping[str, Any]) -> bool:
    """Whether a frame now runs the line of a prescription's place."""
    return (
        frame is not None and frame.f_lineno == where.get("line") and same_file(frame.f_code.co_filename, where["file"])
    )


_ends: dict[tuple[int, int], tuple[int, int] | None] = {}  # by identity of the code object and instruction
_kept: list[CodeType] = []  # so that no identity is given out twice


def end_place(frame: FrameType) -> tuple[int, int] | None:
    """Line and column (in bytes) at which the expression ends that a frame is now evaluating."""
    key = (id(frame.f_code), frame.f_lasti)
    if key not in _ends:
        _kept.append(frame.f_code)
        positions = next(itertools.islice(frame.f_code.co_positions(), frame.f_lasti // 2, None), None)
        known = positions is not None and positions[1] is not None and positions[3] is not None
        _ends[key] = (positions[1], positions[3]) if known else None  # type: ignore[index, assignment]
    return _ends[key]


class Places:
    """Calls in the user's source, told by where they end: `Source.end_place` of each."""

    def __init__(self, file: str, ends: Iterable[tuple[int, int]]) -> None:
        self.file = file
        self.ends = frozenset(ends)

    def hold(self, frame: FrameType | None) -> bool:
        """Whether a frame is now making one of these calls."""
        return frame is not None and same_file(frame.f_code.co_filename, self.file) and end_place(frame) in self.ends


def evaluate(frame: FrameType, expression: str) -> Any:
    """The value of an expression in the user's frame."""
    return eval(expression, {**frame.f_globals, **local_variables(frame)})  # one scope, which comprehensions see too


# optimizers -----------------------------------------------------------------------------------------------------------


def on_optimizer(where: Mapping[str, Any], change: Callable[[Any, list[Any], dict[str, Any], FrameType], None]) -> None:
    """Call `change(optimizer, parameter groups or tensors, defaults, frame)` before the optimizer of a place is built.

    Both may be changed in place. Every optimizer, of the user's own too, goes through this constructor.
    """
    from torch import Tensor
    from torch.optim import Optimizer

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def init(optimizer: Any, params: Any, defaults: dict[str, Any]) -> None:
            frame = caller(1, optimizer)
            if frame is not None and is_at(frame, where):
                given = [params] if isinstance(params, Tensor) else list(params)
                change(optimizer, given, defaults, frame)
                params = given
            original(optimizer, params, defaults)

        return init

    wrap(Optimizer, "__init__", make)


def give_parameters(where: Mapping[str, Any], expression: str) -> None:
    """Have the optimizer of a place hold what an expression of the user's frame collects."""

    def change(optimizer: Any, params: list[Any], defaults: dict[str, Any], frame: FrameType) -> None:
        params[:] = list(evaluate(frame, expression))

    on_optimizer(where, change)


def after_optimizer(where: Mapping[str, Any], act: Callable[[Any, FrameType], None]) -> None:
    """Call `act(optimizer, frame)` once the optimizer of a place is built, whatever its class adds."""
    from torch.optim import Optimizer

    depth = [0]

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def init(optimizer: Any, *args: Any, **kwargs: Any) -> None:
            depth[0] += 1
            try:
                original(optimizer, *args, **kwargs)
            finally:
                depth[0] -= 1
            frame = caller(1, optimizer) if depth[0] == 0 else None
            if frame is not None and is_at(frame, where):
                act(optimizer, frame)

        return init

    for cls in [Optimizer, *_subclasses(Optimizer)]:
        if "__init__" in vars(cls):
            wrap(cls, "__init__", make)


def _subclasses(cls: type[Any]) -> Iterator[type[Any]]:
    children: list[type[Any]] = cls.__subclasses__()
    for below in children:
        yield below
        yield from _subclasses(below)


class Held:
    """The optimizers that were made at a place."""

    def __init__(self, where: Mapping[str, Any]) -> None:
        self._ids: set[int] = set()
        on_optimizer(where, lambda optimizer, *_: self._ids.add(id(optimizer)))

    def __contains__(self, optimizer: Any) -> bool:
        return id(optimizer) in self._ids


def before_step(act: Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]) -> None:
    """Call `act(optimizer, args, kwargs)` before each step of any optimizer, ahead of whatever else listens."""
    from torch.optim import optimizer as module

    handle = module.register_optimizer_step_pre_hook(act)
    hooks: Any = module._global_optimizer_pre_hooks
    hooks.move_to_end(handle.id, last=False)
    keep(handle)


def after_step(act: Callable[[Any], None]) -> None:
    """Call `act(optimizer)` after each step of any optimizer, when everyone else has heard of it."""
    from torch.optim import optimizer as module

    keep(module.register_optimizer_step_post_hook(lambda optimizer, args, kwargs: act(optimizer)))


# everything else ------------------------------------------------------------------------------------------------------


def on_backward(change: Callable[[Any, FrameType | None], Any]) -> None:
    """Let `change(loss, frame)` give the tensor that `backward` starts from."""
    import torch

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
            return original(change(tensors, caller(1)), *args, **kwargs)

        return backward

    wrap(torch.autograd, "backward", make)


def on_construction(cls: type, places: Callable[[FrameType | None], bool], build: Callable[..., None]) -> None:
    """Call `build(original, object, *args, **kwargs)` in place of `cls.__init__` where the object is made at a place."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def init(made: Any, *args: Any, **kwargs: Any) -> None:
            if type(made) is cls and places(caller(1, made)):
                build(original, made, *args, **kwargs)
            else:
                original(made, *args, **kwargs)

        return init

    wrap(cls, "__init__", make)


def on_function(
    owners: Iterable[Any], name: str, places: Callable[[FrameType | None], bool], replace: Callable[..., Any]
) -> None:
    """Call `replace(original, *args, **kwargs)` for a function where it is called at a place."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def function(*args: Any, **kwargs: Any) -> Any:
            if places(caller(1)):
                return replace(original, *args, **kwargs)
            return original(*args, **kwargs)

        return function

    for owner in owners:
        if getattr(owner, name, None) is not None:
            wrap(owner, name, make)


@contextmanager
def own_random_numbers() -> Iterator[None]:
    """Random numbers that are drawn inside do not change those that the script draws later."""
    import torch

    with torch.random.fork_rng():
        yield
