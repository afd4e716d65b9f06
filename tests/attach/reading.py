"""Reads a run the way the tests want it: by names, as plain numbers."""

import inspect
import math

import numpy as np
import torch


def track(run, name, owner=None):
    """The only track of a signal (of an owner)."""
    found = [t for t in run.tracks(name) if owner is None or t.owner == owner]
    assert len(found) == 1, f"{len(found)} tracks of {name}: {[(t.owner, t.columns) for t in found]}"
    return found[0]


def rows(run, name, owner=None):
    """(step, row) of a signal, in the order recorded."""
    t = track(run, name, owner)
    assert (t.counts == 1).all()
    return [(int(step), list(row)) for step, row in zip(t.steps, t.mean, strict=True)]


def names(run, t):
    """The parameters' names of a track's columns."""
    return [run.parameters[id].name for id in t.columns]


def norm(tensor):
    """L2 norm in double precision; -1 for None."""
    if tensor is None:
        return -1.0
    tensor = tensor.detach()
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    wide = tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)
    return math.sqrt(float((wide.abs() ** 2).sum()))


def gradient_norms(parameters):
    return [norm(p.grad) for p in parameters]


def line_here(offset=0):
    """Line of the caller, plus an offset."""
    return inspect.currentframe().f_back.f_lineno + offset


def assert_rows(t, expected, rtol=1e-5, steps=None):
    expected = np.array(expected, dtype=float)
    assert t.mean.shape == expected.shape
    np.testing.assert_allclose(t.mean, expected, rtol=rtol, atol=1e-9)
    assert list(t.steps) == list(steps if steps is not None else range(1, len(expected) + 1))
