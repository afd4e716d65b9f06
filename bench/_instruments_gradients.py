"""The growth of the gradient through time against autograd."""

from __future__ import annotations

from dataclasses import replace

from bench._instruments import Bar
from torch import nn

from vivavoce.labs.gradients_adder import BASELINE, make, make_batches
from vivavoce.measure.recurrence import measured_growth, predict_growth

LAB = "gradients"


def bars(quick: bool) -> list[Bar]:
    worst = 0.0
    for seed in range(2 if quick else 5):
        for kind, rho in (("relu", 1.02), ("relu", 1.1), ("tanh", 1.1)):
            model = make(replace(BASELINE, rho=rho, cell=kind), seed)
            assert isinstance(model.layer, nn.RNN)
            sequences, _ = next(make_batches(BASELINE, seed))
            found, true = predict_growth(model.layer, sequences), measured_growth(model.layer, sequences)
            worst = max(worst, abs(found.rate / true.rate - 1))
    return [Bar(LAB, "relative error of the growth rate before training", worst, 0.01, True, "autograd, float64")]
