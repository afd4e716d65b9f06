"""Optimizers made again and again at one line: the first are recorded one by one, the others go on as the latest of them."""

import torch
from torch import nn

from vivavoce.attach.lineage import MOST_ALIKE

from .reading import gradient_norms, rows, track


def adapt(width=3, steps=2):
    """An inner loop: a model and an optimizer of its own. Returns the gradient norms of its last step."""
    model = nn.Linear(width, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.ones(2, width)).square().mean().backward()
        optimizer.step()
    return gradient_norms(model.parameters())


def test_a_bounded_number_is_recorded_and_every_step_counts(watching):
    with watching() as run:
        last = [adapt() for _ in range(MOST_ALIKE + 20)]
    assert len(run.run.optimizers) == MOST_ALIKE
    assert len(run.run.models) == MOST_ALIKE
    assert len(rows(run.run, "train/loss")) == 2 * len(last)
    heir = track(run.run, "gradient_norm", ("optimizer", MOST_ALIKE - 1))
    assert len(heir) == 2 * 21, "the latest that was recorded, and the twenty after it"
    assert list(heir.mean[-1].astype("float32")) == [torch.tensor(norm).item() for norm in last[-1]]


def test_other_shapes_are_another_network(watching):
    with watching() as run:
        for _ in range(MOST_ALIKE + 1):
            adapt()
        adapt(width=5)
    assert len(run.run.optimizers) == MOST_ALIKE + 1


def test_nothing_is_said_of_parameters_without_an_optimizer(watching):
    with watching() as run:
        for _ in range(MOST_ALIKE + 10):
            adapt()
    assert "parameters-not-optimized" not in [finding.slug for finding in run.findings]
