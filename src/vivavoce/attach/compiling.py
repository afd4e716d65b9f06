"""Tap on compilers: TorchScript sees the original functions, and compiled models are left without hooks."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any

import torch

from vivavoce.attach.tap import Tap


class CompileTap(Tap):
    """Wraps `torch.compile`, `Module.compile` and `torch.jit.script`."""

    name = "compiling"

    def install(self) -> None:
        """Wrap them; something may have been compiled before."""
        if _compiled_before():
            self.session.leave_modules_alone()
        self.patches.wrap(torch, "compile", self._wrap_compile)
        self.patches.wrap(torch.nn.Module, "compile", self._wrap_compile)
        self.patches.wrap(torch.jit, "script", self._wrap_script)

    def _wrap_compile(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def compile(*args: Any, **kwargs: Any) -> Any:
            if self.on and self.session.active:
                try:
                    self.session.leave_modules_alone()
                except Exception as error:
                    self.fail(error)
            return original(*args, **kwargs)

        return compile

    def _wrap_script(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def script(*args: Any, **kwargs: Any) -> Any:
            with self.session.losses.patches.suspended():
                return original(*args, **kwargs)

        return script


def _compiled_before() -> bool:
    """Whether a compiled module is alive already: a hook on modules would make PyTorch warn and compile it again."""
    eval_frame = sys.modules.get("torch._dynamo.eval_frame")
    optimized = getattr(eval_frame, "OptimizedModule", None)
    return optimized is not None and any(type(holder) is optimized for holder in gc.get_referrers(optimized))
