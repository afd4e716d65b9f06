"""Gradient clipping: the norm before, the threshold, the order of calls, both public names."""

import math

import pytest
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_

from .reading import gradient_norms, line_here, rows, track

NAMES = {
    "torch.nn.utils": lambda: torch.nn.utils.clip_grad_norm_,
    "torch.nn.utils.clip_grad": lambda: torch.nn.utils.clip_grad.clip_grad_norm_,
}


def setup():
    model = nn.Linear(4, 2)
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def backward(model, optimizer):
    optimizer.zero_grad()
    model(torch.randn(8, 4)).square().mean().backward()


@pytest.mark.parametrize("name", NAMES)
def test_the_norm_before_is_the_one_returned(watching, name):
    model, optimizer = setup()
    totals, after = [], []
    with watching(model, optimizer) as run:
        clip = NAMES[name]()
        for _ in range(4):
            backward(model, optimizer)
            totals.append(float(clip(model.parameters(), 0.01)))
            after.append(gradient_norms(model.parameters()))
            optimizer.step()
    assert [row[0] for _, row in rows(run.run, "clip")] == pytest.approx(totals)
    assert track(run.run, "gradient_norm").mean[0].tolist() == pytest.approx(after[0], rel=1e-4)
    (entity,) = run.run.clips.values()
    assert (entity.function, entity.threshold, entity.norm_type) == ("clip_grad_norm_", 0.01, 2.0)
    assert not entity.after_step


@pytest.mark.parametrize(
    ("arguments", "options", "threshold", "norm_type"),
    [((), {"max_norm": 3.0}, 3.0, 2.0), ((1,), {"norm_type": math.inf}, 1.0, math.inf), ((2.0, 1.0), {}, 2.0, 1.0)],
)
def test_arguments(watching, arguments, options, threshold, norm_type):
    model, optimizer = setup()
    with watching(model, optimizer) as run:
        here = line_here()
        backward(model, optimizer)
        total = torch.nn.utils.clip_grad_norm_(model.parameters(), *arguments, **options)
        optimizer.step()
    (entity,) = run.run.clips.values()
    assert (entity.threshold, entity.norm_type) == (threshold, norm_type)
    assert (entity.site.file, entity.site.line) == (__file__, here + 2)
    assert rows(run.run, "clip") == [(1, [pytest.approx(float(total))])]


def test_clipping_by_value(watching):
    model, optimizer = setup()
    with watching(model, optimizer) as run:
        backward(model, optimizer)
        torch.nn.utils.clip_grad_value_(model.parameters(), clip_value=0.02)
        optimizer.step()
    (entity,) = run.run.clips.values()
    assert (entity.function, entity.threshold) == ("clip_grad_value_", 0.02)
    assert run.run.tracks("clip") == [] or len(track(run.run, "clip")) == 0


def test_clipping_after_the_step_comes_too_late(watching):
    model, optimizer = setup()
    with watching(model, optimizer) as run:
        for _ in range(3):
            backward(model, optimizer)
            optimizer.step()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    assert [clip.after_step for clip in run.run.clips.values()] == [True]


def test_clipping_before_the_first_backward_is_not_too_late(watching):
    model, optimizer = setup()
    with watching(model, optimizer) as run:
        for _ in range(3):
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            backward(model, optimizer)
            optimizer.step()
    assert not next(iter(run.run.clips.values())).after_step


def test_two_networks(watching):
    (first, first_optimizer), (second, second_optimizer) = setup(), setup()
    with watching(first, second) as run:
        for _ in range(3):
            for model, optimizer in ((first, first_optimizer), (second, second_optimizer)):
                backward(model, optimizer)
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
    assert [clip.after_step for clip in run.run.clips.values()] == [False]


def test_a_name_imported_before_the_session(watching):
    """`from torch.nn.utils import clip_grad_norm_` above: the gradients are clipped all the same."""
    model, optimizer = setup()
    with watching(model, optimizer) as run:
        backward(model, optimizer)
        clip_grad_norm_(model.parameters(), 0.001)
        optimizer.step()
    total = math.sqrt(sum(v**2 for v in rows(run.run, "gradient_norm")[0][1]))
    assert total == pytest.approx(0.001, rel=1e-2)


def test_a_name_imported_inside_the_session(watching):
    model, optimizer = setup()
    with watching(model, optimizer) as run:
        from torch.nn.utils import clip_grad_norm_ as clip

        backward(model, optimizer)
        clip(model.parameters(), 0.5)
        optimizer.step()
    assert len(run.run.clips) == 1


def test_an_error_in_clipping_is_the_users(watching):
    model, optimizer = setup()
    with watching(model, optimizer) as run:
        backward(model, optimizer)
        model.weight.grad[0, 0] = math.nan
        with pytest.raises(RuntimeError, match="non-finite"):
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, error_if_nonfinite=True)
    assert len(run.run.clips) == 0
