"""Compiled models: the same graphs, the same number of them, and no recompilation."""

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter
from torch.nn import functional as F

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*torch.jit.*")


def train(fullgraph, whole_loss, steps=4):
    """Train a compiled model; returns its final weights and the numbers of frames, operations and graph breaks."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    counter = CompileCounter()

    def loss_of(inputs, targets):
        return F.cross_entropy(model(inputs), targets)

    compiled = torch.compile(loss_of if whole_loss else model, backend=counter, fullgraph=fullgraph)
    for _ in range(steps):
        inputs, targets = torch.randn(8, 4), torch.randint(3, (8,))
        optimizer.zero_grad()
        loss = compiled(inputs, targets) if whole_loss else F.cross_entropy(compiled(inputs), targets)
        loss.backward()
        optimizer.step()
    breaks = dict(torch._dynamo.utils.counters["graph_break"])
    recompiles = dict(torch._dynamo.utils.counters["recompiles"])
    return [p.detach().clone() for p in model.parameters()], (counter.frame_count, counter.op_count, breaks, recompiles)


@pytest.mark.parametrize("whole_loss", [False, True])
@pytest.mark.parametrize("fullgraph", [False, True])
def test_compiled_training(watching, fullgraph, whole_loss):
    plain_weights, plain = train(fullgraph, whole_loss)
    with watching() as run:
        weights, watched = train(fullgraph, whole_loss)
    assert watched == plain
    assert all(torch.equal(a, b) for a, b in zip(plain_weights, weights, strict=True))
    assert run.run.steps == 4
    assert sorted(p.name for p in run.run.parameters.values()) == ["0.bias", "0.weight", "3.bias", "3.weight"]


def test_a_model_compiled_before_the_watch_is_not_compiled_again(watching):
    torch._dynamo.reset()
    model, counter = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1)), CompileCounter()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    compiled = torch.compile(model, backend=counter)

    def step():
        optimizer.zero_grad()
        compiled(torch.randn(8, 4)).square().mean().backward()
        optimizer.step()

    step()
    frames = counter.frame_count
    with watching(compiled, optimizer) as run:
        for _ in range(3):
            step()
        assert run._session.modules._handle is None
    step()
    assert counter.frame_count == frames
    assert run.run.models[0].compiled
