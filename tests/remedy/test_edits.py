"""Edits change their place and nothing else."""

from __future__ import annotations

import difflib
from pathlib import Path

import libcst as cst
import pytest

from vivavoce.remedy.catalogue import by_name
from vivavoce.remedy.changes import CannotEditError, Changes
from vivavoce.remedy.optimizers import models_in, parameters_argument
from vivavoce.remedy.remedy import Edit, Prescription, Words
from vivavoce.remedy.source import Source

PATH = Path("/home/user/train.py")


def edit(name, text, numbers=None, **where):
    prescription = Prescription(name, "guessing", "", numbers or {}, {"file": str(PATH), **where})
    return by_name(name).edit(prescription, {PATH: text})


def new_text(name, text, numbers=None, **where):
    result = edit(name, text, numbers, **where)
    assert isinstance(result, Edit), result
    return result.files[PATH]


def changed(before, after):
    lines = difflib.ndiff(before.splitlines(keepends=True), after.splitlines(keepends=True))
    return [line for line in lines if line[0] in "+-"]


LOOP = """import torch
from torch import optim

optimizer = optim.SGD(model.parameters(), lr=0.1)   # a rate
for x, y in data:
\tloss = model(x).sum() ;  loss.backward()
\toptimizer.step()  # go
"""


def test_the_rest_stays_byte_for_byte():
    after = new_text("lower-learning-rate", LOOP, {"lr": 0.01}, line=4, optimizer="SGD")
    assert after == LOOP.replace("lr=0.1", "lr=0.01")


def test_a_number_used_for_nothing_else_is_changed_where_it_is_written():
    text = "RATE = 0.1  # of all\n" + LOOP.replace("lr=0.1", "lr=RATE")
    assert new_text("lower-learning-rate", text, {"lr": 0.01}, line=5, optimizer="SGD") == text.replace("0.1 ", "0.01 ")


def test_a_number_used_elsewhere_is_changed_at_the_call():
    text = "RATE = 0.1\nwarm(RATE)\n" + LOOP.replace("lr=0.1", "lr=RATE")
    after = new_text("lower-learning-rate", text, {"lr": 0.01}, line=6, optimizer="SGD")
    assert after == text.replace("lr=RATE", "lr=0.01")


def test_an_argument_that_is_missing_is_added():
    text = LOOP.replace(", lr=0.1", "")
    after = new_text("lower-learning-rate", text, {"lr": 0.01}, line=4, optimizer="SGD")
    assert after == text.replace("parameters())", "parameters(), lr=0.01)")


def test_an_argument_is_added_on_a_line_of_its_own_where_the_others_have_one():
    text = "from torch.optim import SGD\no = SGD(\n    m.parameters(),\n    lr=0.1,\n)\n"
    after = new_text("weight-decay", text, {"weight_decay": 0.01}, line=2, optimizer="SGD")
    assert after == text.replace("    lr=0.1,\n", "    lr=0.1,\n    weight_decay=0.01,\n")


def test_arguments_out_of_a_dictionary_get_words():
    text = LOOP.replace("lr=0.1", "**options")
    result = edit("lower-learning-rate", text, {"lr": 0.01}, line=4, optimizer="SGD")
    assert isinstance(result, Words)
    assert "dictionary" in result.because
    assert result.line == 4


def test_an_optimizer_chosen_by_name_can_still_be_given_a_rate():
    text = LOOP.replace("optim.SGD(", "getattr(optim, name)(")
    after = new_text("lower-learning-rate", text, {"lr": 0.01}, line=4, optimizer="SGD")
    assert after == text.replace("lr=0.1", "lr=0.01")


def test_adam_drops_what_it_does_not_have():
    text = LOOP.replace("lr=0.1", "lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=True")
    after = new_text("adam", text, {"lr": 0.001}, line=4, optimizer="SGD")
    assert "optim.Adam(model.parameters(), lr=0.001, weight_decay=1e-4)   # a rate" in after


def test_adam_is_imported_where_the_class_was_imported_by_name():
    text = "from torch.optim import SGD\n\no = SGD(m.parameters(), 0.1)\n"
    assert new_text("adam", text, {"lr": 0.001}, line=3, optimizer="SGD") == (
        "from torch.optim import SGD\nfrom torch.optim import Adam\n\no = Adam(m.parameters(), lr=0.001)\n"
    )


def test_a_line_among_others_is_kept_on_it():
    after = new_text("zero-grad", LOOP, line=7)
    assert after == LOOP.replace(";  loss.backward()", ";  optimizer.zero_grad(); loss.backward()")


def test_clipping_stands_before_the_step_with_its_indentation():
    after = new_text("clip-norm", LOOP, {"max_norm": 2.0}, line=7, made={"file": str(PATH), "line": 4}, optimizer="SGD")
    assert changed(LOOP, after) == ["+ \ttorch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)\n"]


def test_clipping_with_a_scaler_unscales_first():
    text = LOOP.replace("optimizer.step()", "scaler.step(optimizer)")
    after = new_text("clip-norm", text, {"max_norm": 2.0}, line=7, made={"file": str(PATH), "line": 4}, optimizer="SGD")
    assert [line.strip() for line in changed(text, after)] == [
        "+ \tscaler.unscale_(optimizer)",
        "+ \ttorch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)",
    ]


def test_clipping_inside_a_closure_is_left_to_a_person():
    result = edit("clip-norm", LOOP.replace("step()", "step(closure)"), {"max_norm": 2.0}, line=7)
    assert isinstance(result, Words)
    assert "closure" in result.because


def test_clipping_names_the_optimizers_own_where_the_model_is_not_known():
    text = "import torch\n\ndef fit(optimizer):\n    optimizer.step()\n"
    after = new_text("clip-norm", text, {"max_norm": 2.0}, line=4, made={})
    assert 'clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 2.0)' in after


def test_windows_line_ends_stay():
    text = LOOP.replace("\n", "\r\n")
    after = new_text("clip-norm", text, {"max_norm": 2.0}, line=7, made={"file": str(PATH), "line": 4}, optimizer="SGD")
    assert after.count("\r\n") == after.count("\n") == text.count("\n") + 1


def test_a_file_without_a_last_line_end():
    text = "import torch\no = torch.optim.SGD(m.parameters(), 0.1)"
    after = new_text("warm-up", text, {"total_iters": 5}, line=2, optimizer="SGD")
    assert after.startswith(text + "\n")
    compile(after, "train.py", "exec")


def test_a_torch_that_is_missing_is_imported_behind_the_other_imports():
    text = '"""A script."""\nfrom __future__ import annotations\nfrom torch.optim import SGD\n\no = SGD(m.parameters(), 0.1)\n'
    after = new_text("unfreeze", text, line=5, optimizer="SGD")
    assert after.splitlines()[:4] == [*text.splitlines()[:3], "import torch"]


def test_functional_and_method_activations_are_replaced():
    text = (
        "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n\nclass N(nn.Module):\n    def forward(self, x):\n"
        "        x = torch.tanh(self.a(x))\n        x = F.sigmoid(self.b(x)) + x.sigmoid()\n"
        "        gate = torch.sigmoid(x) * x\n        return torch.sigmoid(self.c(x))\n"
    )
    after = new_text("relu", text, kinds=["tanh", "sigmoid"], made={})
    assert "x = torch.relu(self.a(x))" in after
    assert "x = F.relu(self.b(x)) + torch.nn.functional.relu(x)" in after
    assert "gate = torch.sigmoid(x) * x" in after, "a gate stays"
    assert "return torch.sigmoid(self.c(x))" in after, "an output stays"


def test_a_class_that_is_handed_about_is_replaced_by_name():
    text = "from torch import nn\n\ndef block(act=nn.Tanh):\n    return nn.Sequential(nn.Linear(2, 2), act(), nn.Linear(2, 2))\n"
    assert "act=nn.ReLU)" in new_text("relu", text, kinds=["tanh"], made={})


def test_a_block_without_gradients_moves_to_the_left():
    text = (
        "import torch\n\nclass N(torch.nn.Module):\n    def forward(self, x):\n        with torch.no_grad():\n"
        "            x = self.a(x)  # kept\n\n            x = self.b(x,\n                       1)\n        return x\n"
    )
    source = Source(PATH, text)
    end = list(source.end_place(source.all(cst.With)[0]))
    after = new_text("reattach", text, line=5, end=end, lines=[])
    assert after == (
        "import torch\n\nclass N(torch.nn.Module):\n    def forward(self, x):\n"
        "        x = self.a(x)  # kept\n\n        x = self.b(x,\n                   1)\n        return x\n"
    )


def test_the_number_of_epochs_is_found_behind_functions_and_wrappers():
    text = (
        "from tqdm import tqdm\nEPOCHS = 5\n\ndef step(b):\n    loss.backward()\n    optimizer.step()\n\n"
        "def fit():\n    for epoch in tqdm(range(EPOCHS)):\n        for b in data:\n            step(b)\n\nfit()\n"
    )
    assert new_text("longer-training", text, {"factor": 3.0}, line=6) == text.replace("EPOCHS = 5", "EPOCHS = 15")


def test_a_singular_operation_is_guarded_once():
    text = "import torch\n\nloss = -(torch.log(p) + x / (y - z)).mean()\n"
    after = new_text("guard-operation", text, {"small": 1e-8}, line=3, lines=[3])
    assert after == text.replace("log(p)", "log(p.clamp_min(1e-08))").replace("/ (y - z)", "/ ((y - z) + 1e-08)")


def test_changes_that_meet_are_refused():
    source = Source(PATH, "f(g(1))\n")
    outer, inner = source.all(cst.Call)
    changes = Changes(source)
    changes.replace(outer, "h()")
    changes.replace(inner, "2")
    with pytest.raises(CannotEditError, match="same place"):
        changes.text()


def test_an_edit_that_would_not_compile_is_refused():
    source = Source(PATH, "f(1)\n")
    changes = Changes(source)
    changes.replace(source.all(cst.Call)[0], "f(")
    with pytest.raises(CannotEditError, match="compile"):
        changes.text()


def test_of_several_phases_the_one_behind_the_optimizer_is_made_longer():
    text = (
        "def fit(model, optimizer, steps):\n    for step in range(steps):\n        loss.backward()\n        optimizer.step()\n\n"
        "first = SGD(model.parameters())\nfit(model, first, 100)\nsecond = SGD(model.parameters())\nfit(model, second, 20)\n"
    )
    after = new_text("longer-training", text, {"factor": 3.0}, line=4, made=8)
    assert after == text.replace("second, 20", "second, 60")


@pytest.mark.parametrize(
    ("given", "models"),
    [
        ("model.parameters()", ["model"]),
        ("model[4].parameters()", ["model"]),
        ("[*net.a.parameters(), *net.b.parameters()]", ["net"]),
        ("[{'params': a.parameters()}, {'params': b.parameters(), 'lr': 1}]", ["a", "b"]),
        ("filter(lambda p: p.requires_grad, self.net.parameters())", ["self.net"]),
        ("[model[4].bias]", ["model"]),
        ("Net(1).parameters()", []),
        ("weights", ["model"]),
        ("groups(model, 0.1)", ["model"]),
    ],
)
def test_the_model_is_told_from_what_the_optimizer_is_given(given, models):
    text = f"weights = [p for p in model.parameters()]\nSGD({given})\nmodel(x)\n"
    source = Source(PATH, text)
    call = next(call for call in source.all(cst.Call) if source.code(call.func) == "SGD")
    assert models_in(source, parameters_argument(call)) == models


def test_a_norm_that_divides_is_guarded_once_and_a_logged_variance_in_both_places():
    text = "import torch\n\nloss = z / z.norm(dim=1) + torch.log(v) + e / v\n"
    after = new_text("guard-operation", text, {"small": 0.001}, line=3, lines=[3])
    assert after.endswith(
        "loss = z / (z.norm(dim=1) + 0.001) + torch.log(v.clamp_min(0.001)) + e / v.clamp_min(0.001)\n"
    )
