"""Gradients that were not cleared between steps: flagged where they are, silent in every way of clearing them."""

from pathlib import Path

import pytest
import torch
from torch import nn

from .reading import rows

STEPS = 6


def pair():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    return model, torch.optim.SGD(model.parameters(), lr=0.01)


def loss_of(model):
    return model(torch.randn(4, 3)).square().mean()


def stale(run, optimizer=0):
    return [row[1] for _, row in rows(run, "step", ("optimizer", optimizer))]


def test_missing_zero_grad_is_flagged_every_step(watching):
    model, optimizer = pair()
    with watching(model, optimizer) as run:
        for _ in range(STEPS):
            loss_of(model).backward()
            optimizer.step()
    assert stale(run.run) == [0.0] + [1.0] * (STEPS - 1)


def _by_hand_none(model, optimizer):
    for p in model.parameters():
        p.grad = None


def _by_hand_zero(model, optimizer):
    for p in model.parameters():
        if p.grad is not None:
            p.grad.zero_()


def _by_hand_data(model, optimizer):
    for p in model.parameters():
        if p.grad is not None:
            p.grad.data.zero_()


CLEARINGS = {
    "optimizer": lambda model, optimizer: optimizer.zero_grad(),
    "to zero": lambda model, optimizer: optimizer.zero_grad(set_to_none=False),
    "module": lambda model, optimizer: model.zero_grad(),
    "module to zero": lambda model, optimizer: model.zero_grad(set_to_none=False),
    "None by hand": _by_hand_none,
    "zero by hand": _by_hand_zero,
    "data zero by hand": _by_hand_data,
}


@pytest.mark.parametrize("place", ["start", "middle", "end"])
@pytest.mark.parametrize("clearing", CLEARINGS)
def test_silent_where_cleared(watching, clearing, place):
    model, optimizer = pair()
    clear = CLEARINGS[clearing]
    with watching() as run:
        for _ in range(STEPS):
            if place == "start":
                clear(model, optimizer)
            loss = loss_of(model)
            if place == "middle":
                clear(model, optimizer)
            loss.backward()
            optimizer.step()
            if place == "end":
                clear(model, optimizer)
    assert stale(run.run) == [0.0] * STEPS


@pytest.mark.parametrize("to_none", [True, False])
def test_silent_for_accumulation(watching, to_none):
    model, optimizer = pair()
    with watching(model, optimizer) as run:
        for i in range(4 * STEPS):
            loss_of(model).backward()
            if i % 4 == 3:
                optimizer.step()
                optimizer.zero_grad(set_to_none=to_none)
    assert stale(run.run) == [0.0] * STEPS


def test_accumulation_without_clearing_is_flagged(watching):
    model, optimizer = pair()
    with watching(model, optimizer) as run:
        for i in range(4 * STEPS):
            loss_of(model).backward()
            if i % 4 == 3:
                optimizer.step()
    assert stale(run.run) == [0.0] + [1.0] * (STEPS - 1)


@pytest.mark.parametrize("order", ["critic first", "generator first"])
@pytest.mark.parametrize("to_none", [True, False])
def test_silent_for_adversaries(watching, order, to_none):
    generator, critic = nn.Linear(2, 2), nn.Linear(2, 1)
    of_generator = torch.optim.SGD(generator.parameters(), lr=0.01)
    of_critic = torch.optim.SGD(critic.parameters(), lr=0.01)

    def critic_turn():
        of_critic.zero_grad(set_to_none=to_none)
        (critic(torch.randn(4, 2)).mean() - critic(generator(torch.randn(4, 2)).detach()).mean()).backward()
        of_critic.step()

    def generator_turn():
        of_generator.zero_grad(set_to_none=to_none)
        critic(generator(torch.randn(4, 2))).mean().backward()
        of_generator.step()

    turns = [critic_turn, generator_turn] if order == "critic first" else [generator_turn, critic_turn]
    with watching(of_generator, of_critic) as run:
        for _ in range(STEPS):
            for turn in turns:
                turn()
    assert stale(run.run, 0) == stale(run.run, 1) == [0.0] * STEPS


def test_a_critic_that_is_never_cleared_is_flagged(watching):
    generator, critic = nn.Linear(2, 2), nn.Linear(2, 1)
    of_generator = torch.optim.SGD(generator.parameters(), lr=0.01)
    of_critic = torch.optim.SGD(critic.parameters(), lr=0.01)
    with watching(of_generator, of_critic) as run:
        for _ in range(STEPS):
            critic(generator(torch.randn(4, 2)).detach()).square().mean().backward()
            of_critic.step()
            of_generator.zero_grad()
            critic(generator(torch.randn(4, 2))).mean().backward()
            of_generator.step()
    assert stale(run.run, 0) == [0.0] * STEPS
    assert stale(run.run, 1)[2:] == [1.0] * (STEPS - 2)


def test_silent_for_lbfgs(watching):
    model = nn.Linear(3, 1)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=4)
    inputs, targets = torch.randn(20, 3), torch.randn(20, 1)

    def closure():
        optimizer.zero_grad()
        loss = (model(inputs) - targets).square().mean()
        loss.backward()
        return loss

    with watching() as run:
        for _ in range(STEPS):
            optimizer.step(closure)
    assert stale(run.run) == [0.0] * STEPS


def test_where_gradients_are_cleared_is_noted(watching):
    model, optimizer = pair()
    with watching(model, optimizer) as run:
        for _ in range(3):
            optimizer.zero_grad()
            loss_of(model).backward()
            optimizer.step()
    entity = run.run.optimizers[0]
    source = Path(__file__).read_text().splitlines()
    assert entity.zero_grad_site.file == __file__
    assert source[entity.zero_grad_site.line - 1].strip() == "optimizer.zero_grad()"
    assert source[entity.step_site.line - 1].strip() == "optimizer.step()"
