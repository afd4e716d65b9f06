"""Styles that need care: closures, scalers, optimizers of the user's own, compiled networks, several files."""

from __future__ import annotations

import gc
import sys

import pytest
import scripts
import torch
import trials

from vivavoce.remedy.catalogue import by_name
from vivavoce.remedy.remedy import Edit, Prescription, Words

HEAD = """
import torch
from torch import nn

torch.manual_seed(0)
x = torch.randn(64, 5)
y = (x[:, 0] * x[:, 1] > 0).long()
model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2))
"""
TAIL = """
final = torch.cat([p.detach().flatten() for p in model.parameters()])
score = float(loss)
"""
CLOSURE = (
    HEAD
    + """
optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5)
def closure():
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    return loss
for step in range(4):
    loss = optimizer.step(closure)
"""
    + TAIL
)
SCALER = (
    HEAD
    + """
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
scaler = torch.amp.GradScaler("cpu")
for step in range(12):
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
"""
    + TAIL
)
OWN_CLASS = (
    HEAD
    + """
class Plain(torch.optim.Optimizer):
    def __init__(self, params, lr=0.1):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                p -= group["lr"] * p.grad

optimizer = Plain(model.parameters(), lr=1.0)
for step in range(12):
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
"""
    + TAIL
)
COMPILED = (
    HEAD.replace("nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2))", "Net()").replace(
        "torch.manual_seed(0)",
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(5, 8), nn.Linear(8, 2)

    def forward(self, x):
        return self.b(torch.tanh(self.a(x)))

torch.manual_seed(0)""",
    )
    + """
fast = torch.compile(model, backend="eager")
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
for step in range(6):
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(fast(x), y)
    loss.backward()
    optimizer.step()
"""
    + TAIL
)


def tried(name, slug, text, tmp_path, at="optimizer = "):
    path = trials.write(tmp_path / "sick", text)
    sick = trials.run_plainly(path)
    run = trials.record(path, tmp_path / "store")
    found = trials.prescriptions(name, run, slug, path, trials.line_of(text, at))
    assert found
    return path, sick, found[0]


@pytest.mark.parametrize("name", ["clip-norm", "lower-learning-rate"])
@pytest.mark.parametrize("text", [SCALER, OWN_CLASS], ids=["scaler", "own class"])
def test_scalers_and_classes_of_the_users_own(name, text, tmp_path):
    path, sick, prescription = tried(name, "exploding-gradients", text, tmp_path)
    live = trials.run_live(path, prescription)
    patched = trials.run_plainly(trials.patched(path, prescription, tmp_path / "patched"))
    assert trials.same(live.final, patched.final)
    assert not trials.same(live.final, sick.final)


def test_a_closure_is_clipped_live_and_left_to_a_person_in_the_source(tmp_path):
    path, sick, prescription = tried("clip-norm", "exploding-gradients", CLOSURE, tmp_path)
    small = Prescription(**{**vars(prescription), "numbers": {"max_norm": 1e-3}})
    assert not trials.same(trials.run_live(path, small).final, sick.final)
    assert isinstance(by_name("clip-norm").edit(small, {path: CLOSURE}), Words)


def test_the_rate_of_an_optimizer_with_a_closure(tmp_path):
    path, sick, prescription = tried("lower-learning-rate", "exploding-gradients", CLOSURE, tmp_path)
    live = trials.run_live(path, prescription)
    assert trials.same(live.final, trials.run_plainly(trials.patched(path, prescription, tmp_path / "patched")).final)
    assert not trials.same(live.final, sick.final)


def test_functions_inside_a_compiled_network(tmp_path):
    path, sick, prescription = tried("relu", "vanishing-gradients", COMPILED, tmp_path)
    torch._dynamo.reset()
    live = trials.run_live(path, prescription)
    torch._dynamo.reset()
    patched = trials.run_plainly(trials.patched(path, prescription, tmp_path / "patched"))
    assert trials.same(live.final, patched.final)
    assert not trials.same(live.final, sick.final)
    forget_compiled_networks()


def forget_compiled_networks():
    """While one lives, sessions leave modules alone: those of the tests that follow. The compiler keeps scripts' names."""
    torch._dynamo.reset()
    kind = torch._dynamo.eval_frame.OptimizedModule
    for network in [holder for holder in gc.get_referrers(kind) if type(holder) is kind]:
        for names in gc.get_referrers(network):
            for name in [key for key, value in names.items() if value is network] if isinstance(names, dict) else ():
                del names[name]
    gc.collect()


def test_a_model_in_another_file_than_the_training(tmp_path, monkeypatch):
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "small_model_of_a_test.py").write_text(
        "import torch\nfrom torch import nn\n\n\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.a, self.b = nn.Linear(5, 8), nn.Linear(8, 2)\n\n    def forward(self, x):\n"
        "        return torch.softmax(self.b(torch.tanh(self.a(x))), dim=1)\n"
    )
    text = HEAD.replace("nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2))", "Net()").replace(
        "from torch import nn\n", "from torch import nn\nfrom small_model_of_a_test import Net\n"
    )
    text += (
        "optimizer = torch.optim.SGD(model.parameters(), lr=0.5)\nfor step in range(8):\n    optimizer.zero_grad()\n"
    )
    text += "    loss = nn.functional.cross_entropy(model(x), y)\n    loss.backward()\n    optimizer.step()\n" + TAIL
    monkeypatch.syspath_prepend(str(folder))
    path = trials.write(folder, text)
    sick = trials.run_plainly(path)
    run = trials.record(path, tmp_path / "store")
    line = trials.line_of(text, "cross_entropy")
    (prescription,) = trials.prescriptions("match-output", run, "loss-output-mismatch", path, line)
    live = trials.run_live(path, prescription)
    module = folder / "small_model_of_a_test.py"
    result = by_name("match-output").edit(prescription, {path: text, module: module.read_text()})
    assert isinstance(result, Edit)
    assert set(result.files) == {module}
    module.write_text(result.files[module])
    monkeypatch.delitem(sys.modules, "small_model_of_a_test")
    patched = trials.run_plainly(path)
    monkeypatch.delitem(sys.modules, "small_model_of_a_test")
    assert trials.same(live.final, patched.final)
    assert not trials.same(live.final, sick.final)


def test_of_two_rates_far_too_high_and_far_too_low_each_gets_a_usual_one(tmp_path):
    text = scripts.ADVERSARIES.replace("G.parameters(), lr=1e-3", "G.parameters(), lr=1e-6")
    text = text.replace("D.parameters(), lr=1e-3", "D.parameters(), lr=0.5")
    path = trials.write(tmp_path, text)
    run = trials.record(path, tmp_path / "store")
    line = trials.line_of(text, "opt_d = torch")
    first = trials.prescriptions("lower-learning-rate", run, "learning-rate-too-high", path, line)[0]
    assert first.title.startswith("a usual learning rate for each")
    (also,) = first.where["also"]
    critic, generator = first.numbers["lr"], also["numbers"]["lr"]
    assert 1e-4 < critic < 1e-2
    assert critic / 5 < generator < critic
