"""Activations against NumPy, and everything that may go on in a sampled step without noticing Viva."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from vivavoce.attach import modules

from .reading import line_here, rows, track

LABELS = ("mean", "std", "zero", "dead", "saturated", "nonfinite")


def step(model, optimizer, inputs):
    optimizer.zero_grad()
    model(inputs).square().mean().backward()
    optimizer.step()


def sgd(model, lr=0.1):
    return torch.optim.SGD(model.parameters(), lr=lr)


def activation(run, name, at=0):
    """The numbers of one module's output in a sampled step, by label."""
    found = {}
    for label in LABELS:
        for t in run.tracks(f"activation_{label}"):
            for column, row in zip(t.columns, t.mean[at], strict=True):
                if run.modules[column].name == name:
                    found[label] = row
    return found


def expected(output, rectifier=False, squash=None):
    """The same numbers from the output itself, by NumPy. Units are columns."""
    y = output.detach().double().numpy()
    units = np.moveaxis(y, 1, -1).reshape(-1, y.shape[1])
    limits = {"tanh": np.abs(y) > 0.99, "sigmoid": (y < 0.01) | (y > 0.99), None: None}[squash]
    return {
        "mean": y.mean(),
        "std": y.std(),
        "zero": (y == 0).mean(),
        "dead": (units.max(0) <= 0).mean() if rectifier else np.nan,
        "saturated": np.nan if limits is None else limits.mean(),
        "nonfinite": (~np.isfinite(y)).sum(),
    }


def assert_activation(found, wanted):
    assert set(found) == set(wanted)
    np.testing.assert_allclose([found[k] for k in LABELS], [wanted[k] for k in LABELS], rtol=1e-4, atol=1e-6)


def test_layers_against_numpy(watching):
    model = nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 8), nn.Tanh(), nn.Linear(8, 4), nn.Sigmoid())
    with torch.no_grad():
        model[0].bias[:3] = -100.0  # three dead units
        model[2].weight *= 20
        model[4].weight *= 50
    optimizer, inputs = sgd(model), torch.randn(32, 6)
    outputs = [inputs]
    for layer in model:
        outputs.append(layer(outputs[-1]))
    with watching(model, optimizer) as run:
        step(model, optimizer, inputs)
    for i, (rectifier, squash) in enumerate(
        [(False, None), (True, None), (False, None), (False, "tanh"), (False, None), (False, "sigmoid")]
    ):
        assert_activation(activation(run.run, str(i)), expected(outputs[i + 1], rectifier, squash))
    assert activation(run.run, "1")["dead"] == pytest.approx(np.mean(outputs[2].detach().numpy().max(0) <= 0))
    assert activation(run.run, "3")["saturated"] > 0.1


def test_convolutions_have_their_units_in_the_channels(watching):
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 2, 3))
    with torch.no_grad():
        model[0].bias[1] = -100.0
    optimizer, inputs = sgd(model), torch.randn(4, 3, 8, 8)
    output = model[1](model[0](inputs))
    with watching(model, optimizer) as run:
        step(model, optimizer, inputs)
    assert_activation(activation(run.run, "1"), expected(output, rectifier=True))
    assert activation(run.run, "1")["dead"] == pytest.approx(0.2)


def test_small_batches_say_nothing_of_dead_units(watching):
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 1))
    optimizer = sgd(model)
    with watching(model, optimizer) as run:
        step(model, optimizer, torch.randn(4, 3))
    assert np.isnan(activation(run.run, "1")["dead"])


def test_the_input_of_a_model(watching):
    model = nn.Linear(4, 2)
    optimizer, inputs = sgd(model), torch.randn(20, 4) * 3 + 1
    inputs[:, 2] = 7.0
    with watching(model, optimizer) as run:
        step(model, optimizer, inputs)
    x = inputs.double()
    wanted = [x.mean(), x.std(unbiased=False), x.min(), x.max(), 0, 0.25]
    assert rows(run.run, "input")[0][1] == pytest.approx([float(v) for v in wanted], rel=1e-5)


class Functional(nn.Module):
    line = None

    def __init__(self, kind):
        super().__init__()
        self.kind, self.first, self.second = kind, nn.Linear(6, 8), nn.Linear(8, 2)

    def forward(self, x):
        type(self).line = line_here(1)
        y = {"F.relu": F.relu, "relu": torch.Tensor.relu, "torch.tanh": torch.tanh, "sigmoid": torch.sigmoid}[
            self.kind
        ](self.first(x))
        return self.second(y)


@pytest.mark.parametrize(
    ("kind", "name"), [("F.relu", "relu"), ("relu", "relu"), ("torch.tanh", "tanh"), ("sigmoid", "sigmoid")]
)
def test_activations_called_as_functions(watching, kind, name):
    model = Functional(kind)
    optimizer, inputs = sgd(model), torch.randn(32, 6) * 3
    output = getattr(torch, name)(model.first(inputs))
    with watching(model, optimizer) as run:
        step(model, optimizer, inputs)
    wanted = expected(output, rectifier=name == "relu", squash=None if name == "relu" else name)
    assert_activation(activation(run.run, f"first > {name}"), wanted)
    (module,) = [m for m in run.run.modules.values() if m.functional]
    assert (module.site.file, module.site.line) == (__file__, Functional.line)


@pytest.mark.parametrize("inplace", [False, True])
def test_activation_modules_are_not_found_twice(watching, inplace):
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1), nn.Sigmoid())
    optimizer = sgd(model)
    with watching(model, optimizer) as run:
        for _ in range(3):
            step(model, optimizer, torch.randn(16, 6))
    assert not any(m.functional for m in run.run.modules.values())


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoints_are_not_recomputed_for_us(watching, reentrant):
    calls = []

    class Counted(nn.Linear):
        def forward(self, x):
            calls.append(1)
            return F.relu(super().forward(x))

    inner, head = Counted(6, 6), nn.Linear(6, 1)
    model = nn.Sequential(inner, head)
    optimizer = sgd(model)

    def train():
        calls.clear()
        for _ in range(3):
            optimizer.zero_grad()
            x = torch.randn(8, 6, requires_grad=True)
            head(checkpoint(inner, x, use_reentrant=reentrant)).square().mean().backward()
            optimizer.step()
        return len(calls)

    plain = train()
    with watching(model, optimizer) as run:
        assert train() == plain == 6
    assert run.run.steps == 3


def test_copies_and_pickles_carry_nothing_of_ours(watching):
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))
    optimizer = sgd(model)
    inside = {}
    with watching(model, optimizer) as run:
        assert run._session.modules._handle is not None  # the step is being sampled
        output = model(torch.randn(16, 6)).mean()
        inside["copy"] = copy.deepcopy(model)
        inside["pickle"] = pickle.dumps(model)
        inside["optimizer"] = pickle.dumps(optimizer)
        stream = io.BytesIO()
        torch.save(model, stream)
        inside["saved"] = stream.getvalue()
        output.backward()
        optimizer.step()
        step(inside["copy"], sgd(inside["copy"]), torch.randn(16, 6))
    assert run.run.steps
    assert all(b"vivavoce" not in inside[k] for k in ("pickle", "saved", "optimizer"))
    for module in inside["copy"].modules():
        hooks = {k: len(v) for k, v in vars(module).items() if "hooks" in k}
        assert sum(hooks.values()) == 0


@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated:DeprecationWarning")
def test_traces_and_scripts(watching):
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
    optimizer, x = sgd(model), torch.randn(16, 6)

    def loss(y: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return F.mse_loss(F.relu(y), target)

    plain = str(torch.jit.trace(model, x).graph)
    with watching(model, optimizer):
        step(model, optimizer, x)
        traced = torch.jit.trace(model, x)
        assert torch.equal(traced(x), model(x))
        scripted = torch.jit.script(loss)
        assert torch.equal(scripted(x, x), loss(x, x))
        assert torch.equal(torch.jit.script(model)(x), model(x))
        graph = torch.fx.symbolic_trace(model)
        assert torch.equal(graph(x), model(x))
        assert [node.op for node in graph.graph.nodes].count("call_module") == 3
        step(model, optimizer, x)
    assert sorted(line.split(" : ")[-1] for line in plain.splitlines() if "aten::" in line) == sorted(
        line.split(" : ")[-1] for line in str(traced.graph).splitlines() if "aten::" in line
    )


def test_function_transforms(watching):
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))
    optimizer, x = sgd(model), torch.randn(16, 6)
    parameters = dict(model.named_parameters())

    def loss(p, row):
        return F.mse_loss(torch.func.functional_call(model, p, (row,)), torch.zeros(1))

    def results():
        per_example = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, x)
        jacobian = torch.func.jacrev(lambda row: model(row))(x[0])
        return [*per_example.values(), jacobian]

    plain = results()
    with watching(model, optimizer) as run:
        watched = results()
        step(model, optimizer, x)
        results()
    assert all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))
    assert run.run.steps == 1


def test_floating_point_operations_are_not_ours(watching):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    optimizer = sgd(model)

    def count():
        with FlopCounterMode(display=False) as counter:
            step(model, optimizer, torch.randn(4, 3, 8, 8))
        return counter.get_total_flops()

    plain = count()
    with watching(model, optimizer):
        assert [count(), count()] == [plain, plain]


def test_fake_tensors_do_no_harm(watching):
    from torch._subclasses.fake_tensor import FakeTensorMode

    with watching() as run, FakeTensorMode():
        model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
        optimizer = sgd(model)
        for _ in range(2):
            optimizer.zero_grad()
            F.cross_entropy(model(torch.randn(4, 6)), torch.zeros(4, dtype=torch.long)).backward()
            optimizer.step()
    assert run.run.steps == 2


def test_a_long_roll_out_ends_the_sample(watching, monkeypatch):
    monkeypatch.setattr(modules, "MOST_CALLS", 50)
    model = nn.Linear(2, 2)
    optimizer, x = sgd(model), torch.randn(1, 2)
    with watching(model, optimizer) as run:
        for _ in range(60):
            model(x)
        assert run._session.modules._handle is None
        assert not torch.is_anomaly_enabled()


def test_modules_that_nobody_optimizes_are_left_out(watching):
    model, stranger = nn.Linear(3, 1), nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    optimizer = sgd(model)
    with watching() as run:
        step(model, optimizer, torch.randn(8, 3))
        optimizer.zero_grad()
        model(stranger(torch.randn(8, 3)).detach()).mean().backward()
        optimizer.step()
    assert {m.class_name for m in run.run.modules.values() if not m.functional} == {"Linear"}
    assert track(run.run, "activation_mean").columns == (0,)


@pytest.mark.parametrize("last", [nn.Identity(), nn.Softmax(1), nn.LogSoftmax(1)])
def test_how_sure_a_model_is_when_it_is_evaluated(watching, last):
    """The largest probability, whether the answers are logits, probabilities or their logarithms."""
    model = nn.Sequential(nn.Linear(6, 4), last)
    optimizer, x = sgd(model, 0.0), torch.randn(50, 6)
    with watching(model, optimizer) as run:
        step(model, optimizer, torch.randn(8, 6))
        model.eval()
        with torch.no_grad():
            model(x)
            model(-x)  # of one evaluation the first answer counts
        model.train()
        step(model, optimizer, torch.randn(8, 6))
        assert not nn.modules.module._global_forward_hooks or run._session.modules._handle is not None
    (found,) = rows(run.run, "val/sureness")
    wanted = model[0](x).softmax(1).amax(1).mean().item()
    assert found[1] == pytest.approx([wanted, 50], rel=1e-5)
    assert [row[1] for _, row in rows(run.run, "sureness")] == [8, 8]


def test_how_sure_a_model_of_yes_and_no_is(watching):
    model = nn.Linear(6, 1)
    optimizer, x = sgd(model, 0.0), torch.randn(50, 6)
    with watching(model, optimizer) as run:
        step(model, optimizer, torch.randn(8, 6))
        model.eval()
        model(x)
    yes = model(x).sigmoid()
    (found,) = rows(run.run, "val/sureness")
    assert found[1] == pytest.approx([torch.maximum(yes, 1 - yes).mean().item(), 50], rel=1e-5)
