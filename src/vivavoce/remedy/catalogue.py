"""The remedies, and the order in which they are tried for each finding."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

from vivavoce.examine.finding import Finding
from vivavoce.record.run import Run
from vivavoce.remedy.activation import Gelu, LeakyRelu, Relu, Selu
from vivavoce.remedy.adam import Adam
from vivavoce.remedy.adversaries import (
    FasterDiscriminator,
    FasterGenerator,
    GradientPenalty,
    OwnParameters,
    SlowerDiscriminator,
    SlowerGenerator,
    SpectralNorm,
)
from vivavoce.remedy.balanced_sampler import BalancedSampler
from vivavoce.remedy.batch_size import LargerBatch, SmallerBatch
from vivavoce.remedy.clear_before_backward import ClearBeforeBackward
from vivavoce.remedy.clip_norm import ClipNorm
from vivavoce.remedy.clipping import ClipBeforeStep, RaiseThreshold
from vivavoce.remedy.decays import SlowerSchedule
from vivavoce.remedy.dropout import Dropout, LessRegularisation
from vivavoce.remedy.evaluation import EvalMode
from vivavoce.remedy.graph import MissingStep, Reattach
from vivavoce.remedy.guard import GuardOperation
from vivavoce.remedy.initialisation import DefaultInitialisation, HeInitialisation, XavierInitialisation
from vivavoce.remedy.inputs import CleanData, CleanInput, NormaliseInput
from vivavoce.remedy.layers import Normalisation, Residual
from vivavoce.remedy.loss_argument import ClassWeights, LabelSmoothing
from vivavoce.remedy.lower_learning_rate import LowerLearningRate
from vivavoce.remedy.lower_momentum import LowerMomentum
from vivavoce.remedy.match_loss import MatchLoss
from vivavoce.remedy.match_operands import MatchOperands
from vivavoce.remedy.match_shapes import MatchShapes
from vivavoce.remedy.minimise import Minimise
from vivavoce.remedy.network_size import FewerLayers, LargerNetwork, SmallerNetwork, WiderLayer
from vivavoce.remedy.optimize_all import OptimizeAll
from vivavoce.remedy.output_layer import LinearOutput, MatchOutput
from vivavoce.remedy.penalties import L1
from vivavoce.remedy.precision import Bfloat16, FullPrecision, GradScaler
from vivavoce.remedy.raise_learning_rate import RaiseLearningRate
from vivavoce.remedy.recurrence import GruForRnn, LstmForRnn
from vivavoce.remedy.remedy import Prescription, Remedy
from vivavoce.remedy.running_statistics import LayerNorm, StatisticsMomentum
from vivavoce.remedy.schedules import Schedule, WarmUp
from vivavoce.remedy.shuffle import Shuffle
from vivavoce.remedy.shuffle_slices import ShuffleSlices
from vivavoce.remedy.training_length import EarlyStopping, LongerTraining
from vivavoce.remedy.truncation import TruncateBackpropagation
from vivavoce.remedy.unfreeze import Unfreeze
from vivavoce.remedy.weight_decay import WeightDecay
from vivavoce.remedy.zero_grad import ZeroGrad

REMEDIES: tuple[Remedy, ...] = (
    Gelu(),
    LeakyRelu(),
    Relu(),
    Selu(),
    Adam(),
    FasterDiscriminator(),
    FasterGenerator(),
    GradientPenalty(),
    OwnParameters(),
    SlowerDiscriminator(),
    SlowerGenerator(),
    SpectralNorm(),
    BalancedSampler(),
    LargerBatch(),
    SmallerBatch(),
    ClearBeforeBackward(),
    ClipNorm(),
    ClipBeforeStep(),
    RaiseThreshold(),
    SlowerSchedule(),
    Dropout(),
    LessRegularisation(),
    EvalMode(),
    MissingStep(),
    Reattach(),
    GuardOperation(),
    DefaultInitialisation(),
    HeInitialisation(),
    XavierInitialisation(),
    CleanData(),
    CleanInput(),
    NormaliseInput(),
    Normalisation(),
    Residual(),
    ClassWeights(),
    LabelSmoothing(),
    LowerLearningRate(),
    LowerMomentum(),
    MatchLoss(),
    MatchOperands(),
    Minimise(),
    MatchShapes(),
    FewerLayers(),
    LargerNetwork(),
    SmallerNetwork(),
    WiderLayer(),
    OptimizeAll(),
    LinearOutput(),
    MatchOutput(),
    L1(),
    Bfloat16(),
    FullPrecision(),
    GradScaler(),
    RaiseLearningRate(),
    GruForRnn(),
    LstmForRnn(),
    LayerNorm(),
    StatisticsMomentum(),
    Schedule(),
    WarmUp(),
    Shuffle(),
    ShuffleSlices(),
    EarlyStopping(),
    LongerTraining(),
    TruncateBackpropagation(),
    Unfreeze(),
    WeightDecay(),
    ZeroGrad(),
)

_BY_NAME = {remedy.name: remedy for remedy in REMEDIES}

# The order in which remedies are tried for a finding: causes that an edit removes first, then what is cheap and keeps
# the network as it is, then what changes it.
ORDER: dict[str, tuple[str, ...]] = {
    "parameters-not-optimized": ("missing-step", "optimize-all", "unfreeze"),
    "no-gradient": ("clear-before-backward", "reattach", "unfreeze", "missing-step", "optimize-all"),
    "symmetric-weights": ("default-initialisation", "he-initialisation", "xavier-initialisation"),
    "activation-scale": (
        "default-initialisation",
        "he-initialisation",
        "normalise-input",
        "xavier-initialisation",
        "relu",
        "normalisation",
        "adam",
        "selu",
        "residual",
        "fewer-layers",
    ),
    "loss-output-mismatch": ("minimise", "match-output", "match-loss"),
    "output-range": ("linear-output",),
    "target-broadcast": ("match-shapes", "match-operands"),
    "mode-collapse": (
        "slower-generator",
        "lower-learning-rate",
        "gradient-penalty",
        "spectral-norm",
        "raise-learning-rate",
    ),
    "discriminator-dominates": (
        "slower-discriminator",
        "faster-generator",
        "gradient-penalty",
        "spectral-norm",
        "lower-learning-rate",
        "raise-learning-rate",
    ),
    "generator-dominates": (
        "faster-discriminator",
        "slower-generator",
        "gradient-penalty",
        "lower-learning-rate",
        "raise-learning-rate",
    ),
    "optimizer-crosstalk": ("own-parameters",),
    "capacity-too-small": ("wider-layer", "larger-network", "longer-training"),
    "exploding-gradients": (
        "clip-norm",
        "lower-momentum",
        "lower-learning-rate",
        "warm-up",
        "lstm-for-rnn",
        "gru-for-rnn",
        "truncate-backpropagation",
        "default-initialisation",
        "he-initialisation",
        "xavier-initialisation",
        "relu",
        "normalisation",
        "fewer-layers",
        "smaller-batch",
        "weight-decay",
        "l1",
    ),
    "gradient-spikes": (
        "clip-norm",
        "lower-momentum",
        "lower-learning-rate",
        "warm-up",
        "schedule",
        "larger-batch",
        "weight-decay",
    ),
    "non-finite": ("guard-operation", "clean-data", "lower-learning-rate", "clip-norm", "bfloat16", "full-precision"),
    "vanishing-gradients": (
        "relu",
        "selu",
        "default-initialisation",
        "he-initialisation",
        "normalisation",
        "residual",
        "lstm-for-rnn",
        "gru-for-rnn",
        "truncate-backpropagation",
        "adam",
        "fewer-layers",
    ),
    "saturated-units": (
        "default-initialisation",
        "xavier-initialisation",
        "normalise-input",
        "relu",
        "selu",
        "he-initialisation",
        "normalisation",
        "residual",
        "gelu",
        "lower-learning-rate",
        "lstm-for-rnn",
        "gru-for-rnn",
        "fewer-layers",
    ),
    "dead-units": (
        "lower-learning-rate",
        "default-initialisation",
        "leaky-relu",
        "gelu",
        "he-initialisation",
        "normalise-input",
        "warm-up",
    ),
    "clip-after-step": ("clip-before-step",),
    "always-clipped": ("raise-threshold", "adam", "raise-learning-rate"),
    "learning-rate-too-high": (
        "lower-momentum",
        "lower-learning-rate",
        "slower-generator",
        "slower-discriminator",
        "warm-up",
        "clip-norm",
        "adam",
        "schedule",
    ),
    "learning-rate-too-low": (
        "slower-schedule",
        "raise-learning-rate",
        "faster-generator",
        "adam",
        "raise-threshold",
        "longer-training",
    ),
    "batch-too-small": ("larger-batch", "lower-learning-rate", "schedule", "layer-norm"),
    "batch-too-large": ("smaller-batch", "longer-training"),
    "gradients-not-zeroed": ("zero-grad",),
    "class-ignored": ("class-weights", "balanced-sampler", "shuffle", "shuffle-slices"),
    "class-imbalance": ("class-weights", "balanced-sampler"),
    "label-noise": ("label-smoothing",),
    "unshuffled-data": ("shuffle", "shuffle-slices"),
    "oscillating-loss": (
        "lower-momentum",
        "lower-learning-rate",
        "schedule",
        "adam",
        "larger-batch",
        "shuffle",
        "shuffle-slices",
    ),
    "overfitting": (
        "early-stopping",
        "weight-decay",
        "dropout",
        "smaller-network",
        "label-smoothing",
        "l1",
        "eval-mode",
    ),
    "underfitting": (
        "less-regularisation",
        "raise-learning-rate",
        "larger-network",
        "longer-training",
        "adam",
        "relu",
        "reattach",
        "unfreeze",
    ),
    "guessing": ("raise-learning-rate", "adam", "less-regularisation", "larger-network", "unfreeze"),
    "stopped-too-early": ("longer-training", "raise-learning-rate"),
    "stopped-too-late": ("early-stopping", "weight-decay", "dropout", "smaller-network", "l1"),
    "train-eval-mismatch": ("eval-mode", "momentum", "layer-norm", "less-regularisation"),
    "unnormalised-input": ("normalise-input",),
    "bad-input": ("clean-data", "clean-input"),
    "amp-underflow": ("grad-scaler", "bfloat16", "full-precision"),
}


def by_name(name: str) -> Remedy:
    """The remedy of a name. Raises KeyError where there is none."""
    return _BY_NAME[name]


def plan(run: Run, findings: Sequence[Finding]) -> list[Prescription]:
    """What to try on a run: for each finding, the most important first, its remedies in their order; nothing twice."""
    planned: dict[str, Prescription] = {}
    for finding in findings:
        for name in ORDER.get(finding.slug, ()):
            for prescription in _prescribed(by_name(name), run, finding):
                planned.setdefault(_key(prescription), prescription)
    return list(planned.values())


def _prescribed(remedy: Remedy, run: Run, finding: Finding) -> list[Prescription]:
    """A remedy's prescriptions; none where it fails on a source that it does not understand: the others go on."""
    try:
        return list(remedy.prescribe(run, finding))
    except Exception as error:
        warnings.warn(f"{remedy.name} could not be prescribed: {type(error).__name__}: {error}", stacklevel=2)
        return []


def _key(prescription: Prescription) -> str:
    """What a trial of it would do: the finding and the title do not matter."""
    return repr((prescription.remedy, _frozen(prescription.numbers), _frozen(prescription.where)))


def _frozen(values: Mapping[str, object]) -> list[tuple[str, str]]:
    return sorted((key, repr(value)) for key, value in values.items())
