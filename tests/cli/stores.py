"""Recorded runs for the tests of the commands that read them."""

import numpy as np

from vivavoce.record.entities import Loader, Loss, Model, Optimizer, Parameter
from vivavoce.record.recorder import Recorder

STEPS = 300
COMMON = {"viva": "0.1.0", "torch": "2.13.0", "python": "3.12.1", "device": "cpu", "budget": 0.02, "overhead": 0.01}


def record(folder, name, *, loss=None, learning_rate=0.1, started=1000.0, finished=2000.0, **meta):
    """Write a store; by default of a run whose loss falls from 2 to 0.1. Returns its path."""
    path = folder / f"{name}.db"
    folder.mkdir(exist_ok=True)
    facts = {**COMMON, "run": name, "command": ["train.py"], "script": "train.py", "started": started, "steps": STEPS}
    recorder = Recorder(path, {**facts, **({"finished": finished} if finished else {}), **meta})
    recorder.entity(Loss(id=0, source="backward"))
    recorder.entity(Model(id=0, name="Net", class_name="Net", parameters=10, trainable=10))
    recorder.entity(Parameter(id=0, model=0, name="weight", shape=(10,), dtype="float32", optimizers=(0,)))
    recorder.entity(Optimizer(id=0, class_name="SGD", groups=({"learning_rate": learning_rate, "parameters": [0]},)))
    recorder.entity(
        Loader(id=0, batch_size=20, shuffle=True, sampler="RandomSampler", dataset_size=600, batches=30, role="train")
    )
    values = np.linspace(2.0, 0.1, STEPS) if loss is None else loss
    losses = recorder.signal("train/loss", ("loss", 0), ["loss"])
    gradients = recorder.signal("gradient_norm", ("optimizer", 0), [0])
    for step, value in enumerate(values):
        losses.append(step, [float(value)])
        gradients.append(step, [1.0])
    recorder.close()
    return path


def record_broken(folder, name, **meta):
    """A run whose loss is NaN from the middle on: a critical finding."""
    loss = np.linspace(2.0, 1.0, STEPS)
    loss[STEPS // 2 :] = np.nan
    return record(folder, name, loss=loss, **meta)
