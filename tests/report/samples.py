"""Runs and verdicts that the tests of the reports share, as plain data."""

import numpy as np

from vivavoce.examine.finding import Evidence, Finding, Remedy, RuledOut, Where
from vivavoce.examine.verdict import Verdict
from vivavoce.record.entities import Loader, Loss, Model, Module, Optimizer, Parameter, Site
from vivavoce.report.build import build_report
from vivavoce.testing.runs import make_run

NAMES = ["rnn.weight_ih_l0", "rnn.weight_hh_l0", "out.weight"]
STEPS = 300
NOT_FINITE_FROM = 274
SCRIPT = "/home/me/train.py"
META = {
    "run": "2026-11-22-lively-otter",
    "viva": "0.1.0",
    "command": ["train.py", "--length", "100"],
    "script": "train.py",
    "python": "3.12.1",
    "torch": "2.13.0",
    "device": "cpu",
    "started": 0.0,
    "finished": 60.0,
    "exit_code": 0,
    "steps": STEPS,
    "overhead": 0.014,
    "budget": 0.02,
}

EXPLODING = Finding(
    slug="exploding-gradients",
    severity="critical",
    confidence=0.97,
    question=5,
    title="The gradients explode",
    why="The gradient doubled every 1.6 steps from step 210 and was infinite at step 274.",
    where=Where(parameter="rnn.weight_hh_l0", first_step=210, last_step=274, file=SCRIPT, line=57),
    evidence=(
        Evidence("growth", 1.1, "per step", 1.02, "closed form"),
        Evidence("loss at the end", float("nan")),
    ),
    remedies=(
        Remedy("clip-norm", "clip the gradient norm at 0.9", "loss.backward()\nclip_grad_norm_(parameters, 0.9)"),
        Remedy("lstm", "nn.LSTM for nn.RNN", "self.rnn = nn.LSTM(2, 64)"),
    ),
    symptoms=("non-finite",),
    ruled_out=(RuledOut("bad-input", "finite, deviation 0.99"),),
    primary=True,
)
SECOND = Finding("overfitting", "warning", 0.8, 9, "It learns by heart", "The validation loss rose.")
NOTE = Finding("stopped-too-early", "note", 0.6, 9, "It stopped while improving", "The loss still fell.")


def entities():
    """One model with three parameters, its optimizer, loader and losses."""
    return [
        Loss(id=0, source="backward"),
        Loss(id=1, source="function", function="mse_loss", prediction_shape=(20, 1), site=Site(SCRIPT, 55)),
        Model(id=0, name="Adding", class_name="Adding", parameters=100, trainable=90, site=Site(SCRIPT, 10)),
        Module(id=0, model=0, name="relu", class_name="ReLU"),
        Optimizer(
            id=0,
            class_name="SGD",
            groups=({"learning_rate": 0.01, "momentum": 0.9, "parameters": [0, 1, 2]},),
            site=Site(SCRIPT, 41),
            step_site=Site(SCRIPT, 57),
        ),
        Loader(
            id=0, batch_size=20, shuffle=True, sampler="RandomSampler", dataset_size=2000, batches=100, role="train"
        ),
        *(Parameter(id=i, model=0, name=name, shape=(4, 4), dtype="float32") for i, name in enumerate(NAMES)),
    ]


def signals():
    """A run that explodes from step 210 and is NaN from step 274."""
    steps = np.arange(STEPS)
    growth = np.exp(np.maximum(steps - 210, 0) * 0.4)[:, None]
    gradients = np.array([0.3, 0.5, 0.8]) * growth
    loss = np.linspace(2.0, 1.0, STEPS)
    gradients[NOT_FINITE_FROM:], loss[NOT_FINITE_FROM:] = np.nan, np.nan
    sampled = np.arange(0, STEPS, 10)
    return {
        ("train/loss", ("loss", 0)): (["loss"], steps, loss),
        ("val/loss", ("loss", 1)): (["loss", "accuracy"], [99, 199], [[1.5, np.nan], [1.2, np.nan]]),
        ("gradient_norm", ("optimizer", 0)): ([0, 1, 2], steps, gradients),
        ("update_ratio", ("optimizer", 0)): ([0, 1, 2], sampled, np.full((len(sampled), 3), 1e-3)),
        ("learning_rate", ("optimizer", 0)): ([0], [0], [[0.01]]),
        ("activation_dead", ("model", 0)): ([0], sampled, np.full((len(sampled), 1), 0.25)),
    }


def exploding_run(**meta):
    """The run; keyword arguments replace facts about it."""
    live = [{"slug": "exploding-gradients", "first_seen": 231, "last_seen": 299}]
    return make_run(meta={**META, **meta}, entities=entities(), signals=signals(), findings=live)


def report_of(*findings, outcome="findings", reason="The gradients explode.", path=None, run=None, ruled_out=()):
    """The report of the run with these findings."""
    return build_report(run or exploding_run(), Verdict(outcome, findings, reason, ruled_out), path)


HOSTILE = "<script>alert(1)</script>\x1b[31m`|*"


def hostile_report_and_run():
    """Every string that a user's program can choose is an attack."""
    run = make_run(
        meta={**META, "run": HOSTILE, "command": HOSTILE, "script": HOSTILE, "device": HOSTILE},
        entities=[
            Loss(id=0, source="backward"),
            Loss(id=1, source="function", function=HOSTILE, site=Site(HOSTILE, 1)),
            Model(id=0, name=HOSTILE, class_name=HOSTILE),
            Module(id=0, model=0, name=HOSTILE, class_name=HOSTILE),
            Optimizer(id=0, class_name=HOSTILE, site=Site(HOSTILE, 1)),
            Loader(id=0, batch_size=1, shuffle=None, sampler=HOSTILE, dataset_size=1, batches=1, role=HOSTILE),
            Parameter(id=0, model=0, name=HOSTILE, shape=(1,), dtype="float32"),
        ],
        signals={
            ("train/loss", ("loss", 0)): (["loss"], [0, 1], [2.0, 1.0]),
            ("gradient_norm", ("optimizer", 0)): ([0], [0, 1], [1.0, 2.0]),
            ("update_ratio", ("optimizer", 0)): ([0], [0, 1], [1e-3, 1e-3]),
            ("learning_rate", ("optimizer", 0)): ([0], [0], [[0.1]]),
            ("activation_dead", ("model", 0)): ([0], [0, 1], [0.5, 0.5]),
        },
    )
    finding = Finding(
        "exploding-gradients",
        "critical",
        0.9,
        5,
        HOSTILE,
        HOSTILE,
        Where(HOSTILE, HOSTILE, 0, 1, HOSTILE, 1),
        (Evidence(HOSTILE, HOSTILE, HOSTILE, 1.0, HOSTILE),),
        (Remedy(HOSTILE, HOSTILE, HOSTILE),),
        (HOSTILE,),
        (RuledOut(HOSTILE, HOSTILE),),
        True,
    )
    return build_report(run, Verdict("findings", (finding,), HOSTILE), HOSTILE), run
