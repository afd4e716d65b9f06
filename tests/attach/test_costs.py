"""Multiply-adds of modules against PyTorch's own counter of operations, and what is recorded of a network."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from vivavoce.attach.costs import multiply_adds, shape_of

CASES = {
    "linear": (nn.Linear(7, 5), (torch.randn(4, 7),)),
    "linear over time": (nn.Linear(7, 5), (torch.randn(4, 3, 7),)),
    "convolution": (nn.Conv2d(6, 4, 3, stride=2, padding=1, groups=2), (torch.randn(2, 6, 9, 8),)),
    "convolution of one dimension": (nn.Conv1d(3, 5, 4, dilation=2), (torch.randn(2, 3, 20),)),
    "transposed convolution": (nn.ConvTranspose2d(6, 4, 3, stride=2, groups=2), (torch.randn(2, 6, 5, 5),)),
    "attention": (nn.MultiheadAttention(12, 3, batch_first=True), (torch.randn(2, 5, 12),) * 3),
    "attention, time first": (nn.MultiheadAttention(12, 3), (torch.randn(5, 2, 12),) * 3),
    "cross attention": (
        nn.MultiheadAttention(12, 3, kdim=6, vdim=4, batch_first=True),
        (torch.randn(2, 5, 12), torch.randn(2, 7, 6), torch.randn(2, 7, 4)),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_counter_of_pytorch_agrees(name):
    module, given = CASES[name]
    with FlopCounterMode(display=False) as counter:
        made = module(*given)
    assert multiply_adds(module, given, made) == counter.get_total_flops() / 2


RECURRENCES = (
    nn.RNN(3, 5),
    nn.GRU(3, 5, num_layers=2, bidirectional=True),
    nn.LSTM(3, 5, num_layers=3, batch_first=True),
    nn.LSTM(3, 5, num_layers=2, proj_size=2),
)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("module", RECURRENCES, ids=str)
def test_recurrences_multiply_by_each_matrix_at_each_step(module):
    given = (torch.randn(6, 4, 3),)
    matrices = sum(p.numel() for name, p in module.named_parameters() if "weight" in name)
    assert multiply_adds(module, given, module(*given)) == 6 * 4 * matrices


def test_cells_and_modules_without_matrices():
    cell, given = nn.LSTMCell(3, 5), (torch.randn(4, 3),)
    assert multiply_adds(cell, given, cell(*given)) == 4 * (3 + 5) * 4 * 5
    for module in (nn.ReLU(), nn.BatchNorm1d(3), nn.Embedding(4, 2)):
        value = (torch.tensor([1, 2]),) if isinstance(module, nn.Embedding) else given
        assert multiply_adds(module, value, module(*value)) == 0
    assert shape_of({"a": (None, torch.zeros(2, 3))}) == (2, 3)
    assert shape_of(()) == ()


class Twice(nn.Module):
    """A shared layer, called twice, and one that is never called."""

    def __init__(self):
        super().__init__()
        self.shared, self.head, self.idle = nn.Linear(4, 4), nn.Linear(4, 2), nn.Linear(9, 9)

    def forward(self, x):
        return self.head(torch.relu(self.shared(torch.relu(self.shared(x)))))


def test_what_is_recorded_of_a_network(watching):
    model = Twice()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watching(model, optimizer) as run:
        for size in (8, 8, 5):
            optimizer.zero_grad()
            F.mse_loss(model(torch.randn(size, 4)), torch.randn(size, 2)).backward()
            optimizer.step()
    found = {module.name: module for module in run.run.modules.values()}
    assert (found["shared"].calls, found["shared"].multiply_adds) == (2, 2 * 8 * 16)
    assert (found["head"].input_shape, found["head"].output_shape) == ((8, 4), (8, 2))
    assert (found["idle"].calls, found["idle"].input_shape) == (0, ())
    (data,) = run.report()["run"]["models"]
    assert [module["name"] for module in data["modules"]] == ["shared", "head", "idle"]
    assert data["multiply_adds"] == 2 * 8 * 16 + 8 * 8
    assert sum(module["parameters"] for module in data["modules"]) == data["parameters"]
