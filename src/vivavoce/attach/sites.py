"""Finds the user's source line behind a call into PyTorch."""

from __future__ import annotations

import os
import sys
from inspect import CO_OPTIMIZED
from types import CodeType, FrameType
from typing import Any

from vivavoce.record.entities import Site

_OWN = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_LABS = os.path.join(_OWN, "labs") + os.sep  # they train as a user's script does, and can be watched like one
_TRAINERS = (  # their loops call what the user's line asked for
    *("torch", "lightning", "pytorch_lightning", "lightning_fabric", "accelerate", "transformers", "trl"),
    *("skorch", "sklearn", "ignite", "fastai", "keras", "deepspeed", "composer", "stable_baselines3"),
)
_LIBRARIES = tuple(f"{os.sep}{name}{os.sep}" for name in _TRAINERS)
_PACKAGES = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


_UNSHARED = 3  # references to a dictionary of local variables: the frame's, ours, and that of `getrefcount`

CallKey = tuple[int, int]  # identity of a call in the user's code: id of the code object, offset of the instruction


class Sites:
    """Walks up from a tap to the first frame that is neither Viva's nor a training library's.

    Code objects are looked up by `id` (hashing one reads all of it) and kept, so that no id is given out twice.
    """

    def __init__(self) -> None:
        self._foreign: dict[int, bool] = {}
        self._kept: list[CodeType] = []

    def user_frame(self, depth: int) -> FrameType | None:
        """The user's frame behind the caller `depth` levels up; None where every frame is a library's."""
        frame: FrameType | None = sys._getframe(depth + 1)
        foreign = self._foreign
        while frame is not None:
            skip = foreign.get(id(frame.f_code))
            if skip is None:
                skip = self._learn(frame.f_code)
            if not skip:
                return frame
            frame = frame.f_back
        return None

    def key(self, depth: int) -> CallKey | None:
        """Identity of the user's call `depth` levels up; cheap enough for every step."""
        frame = self.user_frame(depth + 1)
        return None if frame is None else (id(frame.f_code), frame.f_lasti)

    def site(self, depth: int) -> Site | None:
        """Place of the user's call `depth` levels up."""
        frame = self.user_frame(depth + 1)
        return None if frame is None else site_of(frame)

    def _learn(self, code: CodeType) -> bool:
        self._kept.append(code)
        skip = self._foreign[id(code)] = is_library(code.co_filename)
        return skip


def site_of(frame: FrameType) -> Site:
    """Place of a frame's current line."""
    return Site(os.path.abspath(frame.f_code.co_filename), frame.f_lineno, frame.f_code.co_name)


def local_variables(frame: FrameType) -> dict[str, Any]:
    """A copy of a frame's local variables.

    Up to Python 3.12 a function's frame keeps the dictionary that it was asked for, and with it every object in it,
    for as long as the function runs. So it is emptied, unless the function itself has asked for `locals()`.
    """
    variables = frame.f_locals
    copied = dict(variables)
    if sys.version_info < (3, 13) and frame.f_code.co_flags & CO_OPTIMIZED and sys.getrefcount(variables) <= _UNSHARED:
        variables.clear()
    return copied


def is_method_of(frame: FrameType, value: Any) -> bool:
    """Whether a frame runs a method of this very object."""
    return "self" in frame.f_code.co_varnames and local_variables(frame).get("self") is value


def is_library(filename: str) -> bool:
    """True for files of Viva but its labs, of the standard library's frozen part, and of the training libraries."""
    if filename.startswith(("<frozen", "<string", _OWN)):
        return not filename.startswith(_LABS)
    packaged = any(folder in filename for folder in _PACKAGES)
    return packaged and any(name in filename for name in _LIBRARIES)
