"""`vivavoce.watch` itself: arguments, nesting, what it shows before, during and after, exceptions."""

import os

import pytest
import torch
from torch import nn

import vivavoce
from vivavoce.attach.session import current
from vivavoce.record.store import open_run


def pair():
    model = nn.Linear(3, 1)
    return model, torch.optim.SGD(model.parameters(), lr=0.01)


def step(model, optimizer):
    optimizer.zero_grad()
    model(torch.randn(8, 3)).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize("wrong", [3, "model", None, nn.Linear, [nn.Linear(1, 1)]])
def test_wrong_arguments(wrong):
    with pytest.raises(TypeError, match=type(wrong).__name__):
        vivavoce.watch(wrong)


@pytest.mark.parametrize("budget", ["200%", 0, -0.1, "much", 2.0])
def test_wrong_budgets(budget):
    with pytest.raises(ValueError, match=r"lies outside|is not a share"):
        vivavoce.watch(budget=budget)
    assert current() is None


def test_nested_watches_are_refused(tmp_path):
    with vivavoce.watch(directory=tmp_path) as outer:
        with pytest.raises(RuntimeError, match="another watch"), vivavoce.watch(directory=tmp_path):
            pass
        assert current() is outer._session
        step(*pair())
    assert outer.run.steps == 1
    assert current() is None


def test_only_the_given_optimizer_is_followed(watching):
    (model, optimizer), (other, other_optimizer) = pair(), pair()
    with watching(optimizer) as run:
        for _ in range(4):
            step(other, other_optimizer)
            step(model, optimizer)
    (track,) = run.run.tracks("gradient_norm")
    assert track.steps.tolist() == [1, 2, 3, 4]
    assert len(run.run.optimizers) == 1
    assert {run.run.parameters[id].name for id in track.columns} == {"weight", "bias"}


def test_a_model_brings_its_optimizer_made_later(watching):
    model, (other, other_optimizer) = nn.Linear(3, 1), pair()
    with watching(model) as run:
        optimizer = torch.optim.Adam(model.parameters())
        for _ in range(3):
            step(other, other_optimizer)
            step(model, optimizer)
    assert [o.class_name for o in run.run.optimizers.values() if o.step_site] == ["Adam"]
    assert run.run.steps == 3


def test_models_are_named_by_their_variables(tmp_path):
    encoder, optimizer = pair()
    with vivavoce.watch(encoder, optimizer, directory=tmp_path) as run:
        step(encoder, optimizer)
    assert run.run.models[0].name == "encoder"


def test_before_during_and_after(tmp_path):
    model, optimizer = pair()
    run = vivavoce.watch(model, optimizer, directory=tmp_path)
    assert (run.run, run.verdict, run.findings, run.path, run.report()) == (None, None, (), None, None)
    assert "nothing was trained" in run._repr_html_()
    with run as entered:
        assert entered is run
        for _ in range(5):
            step(model, optimizer)
        assert run.run.steps in (0, 5)  # steps are told at each flush
        assert run.findings == run.verdict.findings
        assert "<" in run._repr_html_()
    assert run.run.steps == 5
    assert run.path.parent == tmp_path
    assert open_run(run.path).steps == 5
    assert run.report()["run"]["steps"] == 5
    assert "<" in run._repr_html_()
    run.stop()
    assert run.run.steps == 5


def test_nothing_was_trained(tmp_path):
    with vivavoce.watch(directory=tmp_path) as run:
        nn.Linear(3, 1)(torch.randn(2, 3))
    assert (run.run, run.findings, run.path) == (None, (), None)
    assert "nothing was trained" in run._repr_html_()
    assert os.listdir(tmp_path) == []


def test_used_twice(tmp_path):
    model, optimizer = pair()
    run = vivavoce.watch(model, optimizer, directory=tmp_path)
    for steps in (2, 3):
        with run:
            for _ in range(steps):
                step(model, optimizer)
        assert run.run.steps == steps
        assert current() is None
    assert len(list(tmp_path.glob("*.db"))) == 2


def test_exceptions_pass_through(tmp_path):
    model, optimizer = pair()
    run = vivavoce.watch(model, optimizer, directory=tmp_path)

    def fail():
        with run:
            step(model, optimizer)
            raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        fail()
    assert current() is None
    (event,) = run.run.events("exception")
    assert (event.data["type"], event.data["file"]) == ("KeyError", __file__)
    assert run.run.meta["exit_code"] == 1
    assert run.run.steps == 1


def test_start_and_stop(tmp_path):
    model, optimizer = pair()
    run = vivavoce.watch(model, optimizer, directory=tmp_path).start()
    step(model, optimizer)
    run.stop()
    assert run.run.steps == 1
