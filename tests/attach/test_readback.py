"""Deferred delivery, as on a device, gives the same rows in the same order as delivery at once."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from vivavoce.attach import readback
from vivavoce.attach.readback import Readback

SIGNALS = (
    "gradient_norm",
    "weight_norm",
    "update_ratio",
    "val/loss",
    "activation_mean",
    "prediction",
    "target_classes",
)


class Event:
    """Becomes true at the second query, like a copy that takes a while."""

    def __init__(self):
        self.asked = 0

    def query(self):
        self.asked += 1
        return self.asked > 1

    def synchronize(self):
        self.asked = 2


class Deferred(Readback):
    def read(self, values, deliver):
        self._waiting.append((values.to(torch.float32), deliver))


@pytest.fixture
def slow(monkeypatch):
    monkeypatch.setattr(readback, "_copy_to_host", lambda device, values: (Event(), values.clone()))


def train(watching, deferred):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    optimizer = torch.optim.Adam(model.parameters())
    with watching(model, optimizer) as run:
        if deferred:
            run._session.readback = Deferred()
        for step in range(40):
            optimizer.zero_grad()
            F.cross_entropy(model(torch.randn(8, 4)), torch.randint(3, (8,))).backward()
            optimizer.step()
            if step % 10 == 9:
                with torch.no_grad():
                    F.cross_entropy(model(torch.randn(8, 4)), torch.randint(3, (8,)))
    return run.run


def test_the_same_rows_in_the_same_order(watching, slow):
    at_once, deferred = train(watching, False), train(watching, True)
    for name in SIGNALS:
        first, second = at_once.tracks(name), deferred.tracks(name)
        assert len(first) == len(second) == 1, name
        assert first[0].columns == second[0].columns
        assert first[0].steps.tolist() == second[0].steps.tolist(), name
        assert first[0].mean == pytest.approx(second[0].mean, rel=1e-6, nan_ok=True), name


def test_delivery_waits_for_its_event_and_keeps_the_order(slow):
    reader, got = Deferred(), []
    for i in range(3):
        reader.read(torch.tensor([float(i), -float(i)]), got.append)
    for _ in range(readback.FLUSH_STEPS - 1):
        reader.tick()
    assert got == []
    reader.tick()  # starts the copy and asks once
    assert got == []
    reader.tick()
    assert got == [[0.0, -0.0], [1.0, -1.0], [2.0, -2.0]]


def test_drain_delivers_everything(slow):
    reader, got = Deferred(), []
    for i in range(5):
        reader.read(torch.tensor([float(i)]), got.append)
        for _ in range(readback.FLUSH_STEPS // 2):
            reader.tick()
    reader.drain()
    assert got == [[float(i)] for i in range(5)]


def test_a_cpu_tensor_is_delivered_at_once():
    got = []
    Readback().read(torch.tensor([1.5, 2.5]), got.append)
    assert got == [[1.5, 2.5]]


def test_tensors_without_data_are_not_delivered():
    got = []
    reader = Readback()
    reader.read(torch.empty(2, device="meta"), got.append)
    reader.drain()
    assert got == []
