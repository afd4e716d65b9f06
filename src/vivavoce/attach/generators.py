"""The states of all random number generators of a process: kept, restored, and written down."""

from __future__ import annotations

import base64
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


class States:
    """The states of the generators of torch (CPU and devices in use), NumPy's global one and Python's, as they are now.

    Reading a state draws nothing. A device that the script has not used is not touched.
    """

    def __init__(self) -> None:
        self.torch = torch.get_rng_state()
        self.devices: list[Tensor] = torch.cuda.get_rng_state_all() if cuda_in_use() else []
        self.python = random.getstate()
        self.numpy: Any = None
        numpy_random = sys.modules.get("numpy.random")
        if numpy_random is not None:
            self.numpy = numpy_random.get_state()

    def restore(self) -> None:
        """Put every generator back to where it was."""
        torch.set_rng_state(self.torch)
        if self.devices:
            torch.cuda.set_rng_state_all(self.devices)
        random.setstate(self.python)
        if self.numpy is not None:
            sys.modules["numpy.random"].set_state(self.numpy)

    def to_json(self) -> dict[str, Any]:
        """The states as text: bytes in base64, as `torch.set_rng_state` takes them; Python's and NumPy's as 32-bit words.

        `python` and `numpy` hold `words` (624 little-endian uint32) and `position`. A Gaussian number that Python or
        NumPy had in store is left out.
        """
        data: dict[str, Any] = {"torch": _text(self.torch.numpy().tobytes())}
        if self.devices:
            data["devices"] = [_text(state.cpu().numpy().tobytes()) for state in self.devices]
        *words, position = self.python[1]
        data["python"] = {"words": _text(_packed(words)), "position": position}
        if self.numpy is not None and self.numpy[0] == "MT19937":
            data["numpy"] = {"words": _text(_packed(self.numpy[1].tolist())), "position": int(self.numpy[2])}
        return data


def cuda_in_use() -> bool:
    """Whether the script has used a CUDA device so far."""
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


@contextmanager
def untouched() -> Iterator[None]:
    """Random numbers drawn inside the block are not missing from the script's afterwards."""
    states = States()
    try:
        yield
    finally:
        states.restore()


def _packed(words: list[int]) -> bytes:
    return b"".join(word.to_bytes(4, "little") for word in words)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
