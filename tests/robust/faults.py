"""Breaks one method of Viva at a time while a network trains, and prints a line of JSON about what came of it."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import io
import json
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import vivavoce
from vivavoce.attach import (
    budget,
    failures,
    graph,
    groups,
    modules,
    numbers,
    optimizer_signals,
    optimizer_state,
    readback,
    registry,
    session,
    sites,
)

LIFE = {"install", "uninstall", "fail", "fault", "finish"}  # what a session is made and ended with is not broken here
HELPERS = (
    registry.Registry,
    readback.Readback,
    failures.Failures,
    budget.Budget,
    sites.Sites,
    session.Session,
    optimizer_state.OptimizerState,
    optimizer_signals.OptimizerSignals,
    groups,
    numbers,
    modules,
    graph,
)


class InjectedError(Exception):
    """The fault."""


def train() -> str:
    """Train in a way that reaches every tap; the digest of the weights and of the generator's state."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    x = torch.randn(48, 4)
    loader = DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), batch_size=8, shuffle=True)
    for epoch in range(4):
        for inputs, labels in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(F.dropout(model(inputs), 0.1), labels)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            nn.utils.clip_grad_value_(model.parameters(), 0.5)
            scaler.step(optimizer)
            scaler.update()
        model.eval()
        with torch.no_grad():
            F.cross_entropy(model(x), (x[:, 0] > 0).long())
        model.train()
        if epoch == 2:
            (F.mse_loss(model(x), x[:, :2]) * float("nan")).backward()  # for what looks into failures; not stepped
    state = b"".join(p.detach().numpy().tobytes() for p in model.parameters()) + torch.get_rng_state().numpy().tobytes()
    return hashlib.sha256(state).hexdigest()


def targets() -> Iterator[tuple[str, Any, str]]:
    """(label, owner, attribute) of every function to break."""
    owners = [*{type(tap) for tap in session.Session().taps}, *HELPERS]
    for owner in sorted(owners, key=lambda item: item.__name__):
        for name, value in list(vars(owner).items()):
            plain = inspect.isfunction(value) and not name.startswith("__") and name not in LIFE
            if plain and value.__module__ == getattr(owner, "__module__", owner.__name__):
                yield f"{owner.__name__.rpartition('.')[2]}.{name}", owner, name


def broken(calls: list[int]) -> Callable[..., Any]:
    def fail(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        raise InjectedError("injected")

    return fail


def observe(owner: Any, name: str, expected: str, folder: str) -> dict[str, Any]:
    calls: list[int] = []
    original = vars(owner)[name]
    said = io.StringIO()
    error, same, faults = None, False, []
    setattr(owner, name, broken(calls))
    watch = vivavoce.watch(budget="50%", directory=folder)
    try:
        with contextlib.redirect_stderr(said), watch:
            same = train() == expected
        faults = [event.data["tap"] for event in watch.run.events("tap-off")] if watch.run else []
    except Exception as caught:
        error = repr(caught)
    finally:
        setattr(owner, name, original)
        with contextlib.suppress(Exception):
            watch._session.uninstall()
        with contextlib.suppress(Exception):
            watch._session.recorder.close()  # its thread would speak up in the next observation
    warned = [line for line in said.getvalue().splitlines() if line.startswith("viva ▸")]
    return {"calls": len(calls), "same": same, "error": error, "faults": faults, "warned": warned}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    plain = train()
    with tempfile.TemporaryDirectory() as folder:
        for label, owner, name in targets():
            if len(sys.argv) < 2 or label in sys.argv[1:]:
                seen = observe(owner, name, plain, str(Path(folder) / label))
                print(json.dumps({"target": label} | seen), flush=True)
