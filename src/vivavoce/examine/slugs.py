"""The public names of all findings: stable, each with the question of the exam it belongs to and a title for people."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Slug:
    """Name, question (1 … 9; 0 for data and machines) and title of an ailment."""

    name: str
    question: int
    title: str


_TABLE: tuple[tuple[str, int, str], ...] = (
    ("guessing", 1, "The network does no better than guessing"),
    ("beaten-by-baseline", 1, "A simpler model does at least as well"),
    ("rule-violated", 2, "The predictions break a rule they must obey"),
    ("parameters-not-optimized", 2, "No optimizer holds parameters that receive gradients"),
    ("no-gradient", 2, "Parameters in the optimizer never receive a gradient"),
    ("symmetric-weights", 2, "Units start identical and stay identical"),
    ("activation-scale", 2, "Activations grow or shrink from layer to layer at initialisation"),
    ("loss-output-mismatch", 2, "The output layer and the loss do not fit together"),
    ("output-range", 2, "The outputs cannot reach the targets"),
    ("target-broadcast", 2, "Predictions and targets are broadcast against each other"),
    ("mode-collapse", 3, "The generator produces too few kinds of samples"),
    ("discriminator-dominates", 3, "The discriminator wins, the generator learns nothing"),
    ("generator-dominates", 3, "The generator wins, the discriminator learns nothing"),
    ("optimizer-crosstalk", 3, "One network's optimizer moves the other network"),
    ("capacity-too-small", 4, "The network is too small for the error that is asked for"),
    ("target-discontinuous", 4, "The target jumps: no continuous network can follow"),
    ("exploding-gradients", 5, "The gradients explode"),
    ("vanishing-gradients", 5, "The gradients vanish on the way to the first layers"),
    ("gradient-spikes", 5, "Single steps have gradients far out of the ordinary"),
    ("non-finite", 5, "Values became NaN or infinite"),
    ("dead-units", 5, "Units never activate"),
    ("saturated-units", 5, "Units are saturated: their gradient is nearly zero"),
    ("clip-after-step", 5, "Gradients are clipped after the step that used them"),
    ("always-clipped", 5, "Clipping sets the size of every step"),
    ("learning-rate-too-high", 6, "The learning rate is too high"),
    ("learning-rate-too-low", 6, "The learning rate is too low"),
    ("batch-too-small", 6, "The batch is too small: the gradient is mostly noise"),
    ("batch-too-large", 6, "The batch is too large: examples are wasted"),
    ("gradients-not-zeroed", 6, "Gradients are never cleared between steps"),
    ("class-ignored", 7, "A class is never predicted"),
    ("classes-confused", 7, "Two classes are taken for each other"),
    ("class-imbalance", 7, "Some classes are much rarer than others"),
    ("label-noise", 7, "Some labels look wrong"),
    ("unshuffled-data", 8, "The data come in the same or in a sorted order"),
    ("oscillating-loss", 8, "The loss oscillates instead of falling"),
    ("spectral-bias", 8, "Some frequencies of the target are not learned"),
    ("overfitting", 9, "The network learns the training data by heart"),
    ("underfitting", 9, "The network fits not even the training data"),
    ("stopped-too-early", 9, "The training stopped while it was still improving"),
    ("stopped-too-late", 9, "The training went on after its best point"),
    ("train-eval-mismatch", 9, "The network behaves differently in training and evaluation mode"),
    ("unnormalised-input", 0, "The inputs are not normalised"),
    ("bad-input", 0, "The inputs are broken: NaN, infinite or constant"),
    ("replicas-diverged", 0, "The replicas of a distributed training differ"),
    ("amp-underflow", 0, "Gradients underflow in half precision"),
)

SLUGS: dict[str, Slug] = {name: Slug(name, question, title) for name, question, title in _TABLE}
