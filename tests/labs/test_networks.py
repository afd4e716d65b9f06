"""Networks trained side by side: the same as each alone, and their gradients and optimizer against PyTorch's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vivavoce.labs.networks import Networks, Recipe, standardised

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((120, 4))
Y = np.sin(X[:, 0]) + X[:, 1]
LABELS = (Y > 0).astype(np.int64)
ALL = np.arange(120)


def build(recipes: list[Recipe], classes: int = 0, epochs: int = 4, batch: int = 32) -> Networks:
    return Networks(X, LABELS if classes else Y, classes, [ALL] * len(recipes), recipes, epochs=epochs, batch=batch)


def last(networks: Networks, epochs: int) -> np.ndarray:
    *_, (_, found) = networks.course([epochs])
    return found


@pytest.mark.parametrize("classes", [0, 2])
def test_a_step_is_pytorchs_adamw(classes: int) -> None:
    """The first network of a stack of two, with all rows in its batch in a known order, against torch.optim."""
    networks = build([Recipe(16, 1e-2, 0.1), Recipe(8, 1e-3)], classes)
    weights = [w.detach()[0].clone().requires_grad_() for w in networks._weights]
    optimizer = torch.optim.AdamW([{"params": weights[::2], "weight_decay": 0.1}, {"params": weights[1::2], "weight_decay": 0.0}], lr=1e-2)  # fmt: skip
    state = networks._random.get_state()
    steps = networks.epochs * networks.steps_per_epoch
    x = torch.from_numpy(standardised(X)(X).astype(np.float32))
    target = torch.from_numpy(LABELS) if classes else torch.from_numpy(((Y - Y.mean()) / Y.std()).astype(np.float32))
    for _ in range(3):
        networks._train()
    twin = torch.Generator()
    twin.set_state(state)
    for step in range(3):
        rows = (torch.rand(2, 32, generator=twin) * 120).long()[0]
        hidden = torch.relu(torch.relu(x[rows] @ weights[0] + weights[1]) @ weights[2] + weights[3])
        out = hidden @ weights[4] + weights[5]
        if classes:
            loss = torch.nn.functional.cross_entropy(out, target[rows])
        else:
            loss = torch.nn.functional.mse_loss(out[:, 0], target[rows]) / 2
        optimizer.zero_grad()
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * (1 - step / steps)
        optimizer.step()
    for ours, theirs in zip(networks._weights, weights, strict=True):
        torch.testing.assert_close(ours.detach()[0], theirs.detach(), atol=2e-5, rtol=1e-3)


def test_a_narrow_network_has_no_more_than_its_width() -> None:
    networks = build([Recipe(64), Recipe(3)])
    last(networks, 4)
    with torch.no_grad():
        hidden = torch.relu(torch.baddbmm(networks._weights[1], networks._scaled(networks._x.expand(2, -1, -1)), networks._weights[0])) * networks._mask  # fmt: skip
    assert (hidden[1] != 0).any(dim=0).sum() <= 3
    assert (hidden[0] != 0).any(dim=0).sum() > 32


def test_it_learns_and_gives_predictions_in_the_unit_of_the_target() -> None:
    networks = Networks(X, 100 + 10 * Y, 0, [ALL], [Recipe(32, 1e-2)], epochs=40, batch=32)
    found = last(networks, 40)[0, :, 0]
    assert np.mean((found - 100 - 10 * Y) ** 2) < 0.1 * np.var(10 * Y)


def test_it_trains_on_its_own_rows_alone() -> None:
    y = np.where(ALL < 60, 0, 1)
    networks = Networks(X, y, 2, [np.arange(60), np.arange(60, 120)], [Recipe(8, 1e-2)] * 2, epochs=20, batch=16)
    found = last(networks, 20)
    assert found.shape == (2, 120, 2)
    np.testing.assert_allclose(found.sum(axis=2), 1)
    assert found[0, :, 0].min() > 0.8
    assert found[1, :, 1].min() > 0.8


def test_gaps_become_the_mean_and_constants_no_division_by_zero() -> None:
    values = np.array([[1.0, np.nan, 5.0], [3.0, 2.0, 5.0], [np.nan, 4.0, 5.0]])
    scaled = standardised(values)(values)
    np.testing.assert_allclose(scaled, [[-1, 0, 0], [1, -1, 0], [0, 1, 0]])
    assert standardised(values)(np.array([[1e9, 0.0, 5.0]]))[0, 0] == 5.0


def test_the_same_seed_is_the_same_training() -> None:
    np.testing.assert_array_equal(last(build([Recipe(8, dropout=0.5)]), 3), last(build([Recipe(8, dropout=0.5)]), 3))
