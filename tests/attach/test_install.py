"""Taps come out as they went in: every patched attribute is the original again, and no hook is left."""

import functools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import optimizer as optimizer_module
from torch.utils import data

from vivavoce.attach.losses import FUNCTIONS
from vivavoce.attach.patches import Patches
from vivavoce.attach.session import Session, current
from vivavoce.record.run import Run
from vivavoce.settings import Settings
from vivavoce.testing.taps import take_everything

PLACES = [
    *((F, name) for name in FUNCTIONS),
    (torch.autograd, "backward"),
    (torch.optim.Optimizer, "__init__"),
    (torch.optim.Optimizer, "zero_grad"),
    (nn.Module, "zero_grad"),
    (nn.Module, "compile"),
    (data.DataLoader, "__init__"),
    (data.DataLoader, "__iter__"),
    (data.dataloader._BaseDataLoaderIter, "__next__"),
    (torch.amp.grad_scaler.GradScaler, "scale"),
    (torch.amp.grad_scaler.GradScaler, "step"),
    (torch.nn.utils, "clip_grad_norm_"),
    (torch.nn.utils, "clip_grad_value_"),
    (torch.nn.utils.clip_grad, "clip_grad_norm_"),
    (torch.nn.utils.clip_grad, "clip_grad_value_"),
    (torch, "compile"),
    (torch.jit, "script"),
]
HOOKS = [
    getattr(nn.modules.module, name)
    for name in dir(nn.modules.module)
    if name.startswith("_global_") and isinstance(getattr(nn.modules.module, name), dict)
] + [optimizer_module._global_optimizer_pre_hooks, optimizer_module._global_optimizer_post_hooks]


def standing():
    """What stands in each place, in the owner's own dictionary."""
    return [vars(owner).get(name) for owner, name in PLACES]


@pytest.fixture
def session(tmp_path):
    session = Session(Settings(budget=0.5, directory=tmp_path))
    take_everything(session)
    yield session
    session.uninstall()
    session.recorder.close()
    assert session.faults == []


def train(steps=3, model=None, optimizer=None):
    model = model or nn.Linear(3, 1)
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.1)
    loader = data.DataLoader(data.TensorDataset(torch.randn(steps, 3)), batch_size=1)
    for (inputs,) in loader:
        optimizer.zero_grad()
        F.mse_loss(model(inputs), torch.zeros(1, 1)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model, optimizer


def run_of(session):
    return Run(session.recorder.source())


def test_everything_is_put_back(session):
    before, hooks = standing(), [dict(h) for h in HOOKS]
    assert hooks
    session.install()
    assert all(a is not b for a, b in zip(standing(), before, strict=True)), "a place of the list is not patched"
    train()
    session.uninstall()
    assert all(a is b for a, b in zip(standing(), before, strict=True))
    assert [dict(h) for h in HOOKS] == hooks
    assert not torch.is_anomaly_enabled()
    assert current() is None


def test_put_back_in_the_middle_of_a_sample(session):
    hooks = [dict(h) for h in HOOKS]
    session.install()
    assert torch.is_anomaly_enabled()
    nn.Linear(3, 1)(torch.randn(2, 3)).mean().backward()
    session.uninstall()
    assert [dict(h) for h in HOOKS] == hooks
    assert not torch.is_anomaly_enabled()


def test_installing_twice_is_installing_once(session):
    before = standing()
    session.install()
    session.install()
    session.uninstall()
    assert all(a is b for a, b in zip(standing(), before, strict=True))
    session.uninstall()


def test_installed_again_it_goes_on_with_the_same_record(session):
    session.install()
    model, optimizer = train(3)
    session.uninstall()
    train(5, model, optimizer)  # nobody looks
    session.install()
    train(2, model, optimizer)
    session.uninstall()
    (track,) = run_of(session).tracks("gradient_norm")
    assert track.steps.tolist() == [1, 2, 3, 4, 5]
    assert len(run_of(session).optimizers) == len(run_of(session).models) == 1


def test_a_wrapper_of_somebody_else_survives(session):
    before = {place: vars(place[0]).get(place[1]) for place in PLACES}
    calls = []

    def foreign(owner, name):
        inner = getattr(owner, name)

        @functools.wraps(inner)
        def wrapper(*args, **kwargs):
            calls.append(name)
            return inner(*args, **kwargs)

        setattr(owner, name, wrapper)
        return wrapper

    session.install()
    theirs = {place: foreign(*place) for place in (*PLACES[: len(FUNCTIONS) + 1], (torch.nn.utils, "clip_grad_norm_"))}
    try:
        model, optimizer = train(2)
        session.uninstall()
        assert all(getattr(*place) is wrapper for place, wrapper in theirs.items())
        train(4)
        session.install()
        assert all(getattr(*place) is wrapper for place, wrapper in theirs.items())
        calls.clear()
        train(2, model, optimizer)
        assert calls.count("clip_grad_norm_") == calls.count("mse_loss") == calls.count("backward") == 2
        session.uninstall()
    finally:
        for place in theirs:
            setattr(*place, before[place])
    run = run_of(session)
    assert session.step == 4
    assert [len(track) for track in run.tracks("clip")] == [4]
    assert sum(len(track) for track in run.tracks("train/loss")) == 4


class Owner:
    pass


def test_patches_alone():
    owner, patches = Owner(), Patches()
    Owner.method = original = lambda self: 1
    patches.wrap(Owner, "method", lambda inner: lambda self: inner(self) + 1)
    patches.wrap(Owner, "missing", lambda inner: inner)
    assert owner.method() == 2
    with patches.suspended():
        assert Owner.method is original
    assert owner.method() == 2
    with pytest.raises(KeyError), patches.suspended():
        raise KeyError
    assert owner.method() == 2
    patches.restore()
    assert Owner.method is original
    assert not hasattr(Owner, "missing")


def test_an_inherited_attribute_is_not_left_on_the_child():
    class Child(Owner):
        pass

    Owner.method = lambda self: 1
    patches = Patches()
    patches.wrap(Child, "method", lambda inner: lambda self: inner(self) + 1)
    assert Child().method() == 2
    patches.restore()
    assert "method" not in vars(Child)
    assert Child().method() == 1


def test_suspended_leaves_the_wrapper_of_somebody_else():
    patches = Patches()
    Owner.method = lambda self: 1
    patches.wrap(Owner, "method", lambda inner: lambda self: inner(self) + 1)
    ours = Owner.method
    Owner.method = theirs = lambda self: ours(self) * 10
    with patches.suspended():
        assert Owner.method is theirs
    assert Owner.method is theirs
    patches.restore()
    assert Owner.method is theirs
    patches.wrap(Owner, "method", lambda inner: lambda self: inner(self) + 100)
    assert Owner().method() == 20
    patches.restore()


def test_random_numbers_are_not_drawn(session):
    import random

    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    session.install()
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    weight = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        F.mse_loss(weight * 2, torch.zeros(3)).backward()
        optimizer.step()
    session.uninstall()
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (np.random.get_state()[1].tolist(), random.getstate())


@pytest.mark.parametrize(
    ("file", "library"),
    [
        ("/env/lib/python3.12/site-packages/skorch/net.py", True),
        ("/env/lib/python3.12/site-packages/pytorch_lightning/loops/optimization/automatic.py", True),
        ("/env/lib/python3.12/site-packages/my_own_package/train.py", False),
        ("/home/me/skorch/train.py", False),
    ],
)
def test_lines_of_training_libraries_are_not_the_users(file, library):
    from vivavoce.attach.sites import is_library

    assert is_library(file) is library
