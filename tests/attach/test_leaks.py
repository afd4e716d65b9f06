"""What the script drops is freed while a session is on."""

import gc
import weakref

import torch
from torch import nn
from torch.nn import functional as F

from vivavoce.attach.optimizer_state import OptimizerState


class Batch(torch.Tensor):
    """A tensor that can be watched for its end."""


def alive(*references):
    gc.collect()
    return [reference() is not None for reference in references]


def step(model, optimizer, inputs):
    optimizer.zero_grad()
    loss = F.mse_loss(torch.tanh(model(inputs)), torch.zeros(len(inputs), 2))
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss


def test_models_and_optimizers(watching):
    with watching() as run:
        model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        optimizer = torch.optim.Adam(model.parameters())
        for _ in range(3):
            step(model, optimizer, torch.randn(8, 3))
        references = [weakref.ref(o) for o in (model, optimizer, *model.parameters(), *model.modules())]
        del model, optimizer
        assert not any(alive(*references))
    assert len(run.run.parameters) == 4


def test_an_optimizer_that_is_collected_while_viva_looks_at_all_of_them(watching, monkeypatch):
    """The garbage collector runs wherever objects are made, in the midst of a loop of Viva's too."""

    def in_a_cycle():
        model = nn.Linear(3, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        step(model, optimizer, torch.randn(8, 3))
        optimizer.myself = optimizer
        return weakref.ref(optimizer)

    original = OptimizerState.backward_begins

    def collecting(state):
        gc.collect()
        original(state)

    gc.disable()
    try:
        with watching() as run:
            model = nn.Linear(3, 2)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            step(model, optimizer, torch.randn(8, 3))
            others = in_a_cycle(), in_a_cycle()
            assert all(other() is not None for other in others)
            monkeypatch.setattr(OptimizerState, "backward_begins", collecting)
            step(model, optimizer, torch.randn(8, 3))
            assert not any(other() is not None for other in others)
    finally:
        gc.enable()
    assert [event.data for event in run.run.events("tap-off")] == []


def test_losses_graphs_and_batches(watching):
    with watching():
        model = nn.Linear(3, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            inputs = torch.randn(8, 3)
            loss = step(model, optimizer, inputs)
            references = weakref.ref(inputs), weakref.ref(loss)  # the graph holds the inputs
            del inputs, loss
            assert not any(alive(*references))


def test_gradients_that_were_cleared(watching):
    with watching():
        model = nn.Linear(3, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        step(model, optimizer, torch.randn(8, 3))
        references = [weakref.ref(p.grad) for p in model.parameters()]
        optimizer.zero_grad()
        assert not any(alive(*references))


def test_a_loss_without_backward(watching):
    with watching():
        model = nn.Linear(3, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        step(model, optimizer, torch.randn(8, 3))
        targets = torch.zeros(8, 2)
        loss = F.mse_loss(model(torch.randn(8, 3)), targets)
        references = weakref.ref(loss), weakref.ref(targets)
        del loss, targets
        assert not any(alive(*references))


def test_a_backward_that_fails(watching):
    class Failing(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            raise RuntimeError("no way back")

    with watching():
        model = nn.Linear(3, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        hidden = torch.randn(1, 3)
        for _ in range(12):
            hidden = torch.tanh(F.linear(hidden, torch.eye(3)) + model.weight[:1])
        torch.autograd.set_detect_anomaly(False)
        loss = Failing.apply(hidden).sum()
        try:
            loss.backward()
        except RuntimeError:
            pass
        reference = weakref.ref(loss)
        del loss, hidden
        gc.collect()
        step(model, optimizer, torch.randn(8, 3))
        assert not any(alive(reference))


def test_new_leaves_for_ever(watching):
    """Attacks on inputs make a new leaf each time: all but the latest must go."""
    with watching() as run:
        references = []
        for _ in range(60):
            leaf = torch.ones(3, requires_grad=True)
            for _ in range(2):
                leaf.square().sum().backward()
                leaf.data.add_(leaf.grad, alpha=-0.1)
                leaf.grad = None
            references.append(weakref.ref(leaf))
        del leaf
        assert sum(alive(*references)) <= 2
    assert len(run.run.parameters) <= 40


def test_local_variables_of_a_running_function(watching):
    """Asking a frame for its variables must not keep what the function has deleted, nor empty its `locals()`."""
    with watching() as run:
        model = nn.Linear(3, 2)
        mine = locals()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        step(model, optimizer, torch.randn(8, 3))
        assert mine["model"] is model
    assert run.run.models[0].name == "model"


def test_a_session_that_is_over(watching):
    with watching() as run:
        model = nn.Linear(3, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        step(model, optimizer, torch.randn(8, 3))
    reference = weakref.ref(run._session.optimizers)
    run._session = None
    del optimizer
    assert not any(alive(reference))


def test_a_session_that_is_over_though_its_optimizer_lives_on(watching):
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watching() as run:
        step(model, optimizer, torch.randn(8, 3))
    reference = weakref.ref(run._session.optimizers)
    run._session = None
    assert not any(alive(reference))
