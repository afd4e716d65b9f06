"""The detectors, causes before symptoms: the order is the causal rank that the verdict sorts by."""

from __future__ import annotations

from vivavoce.examine.activation_scale import ActivationScale
from vivavoce.examine.adversaries import DiscriminatorDominates, GeneratorDominates, ModeCollapse
from vivavoce.examine.amp_underflow import AmpUnderflow
from vivavoce.examine.batch_size import BatchTooLarge, BatchTooSmall
from vivavoce.examine.beaten_by_baseline import BeatenByBaseline
from vivavoce.examine.capacity_too_small import CapacityTooSmall
from vivavoce.examine.class_ignored import ClassIgnored
from vivavoce.examine.class_imbalance import ClassImbalance
from vivavoce.examine.clipping import AlwaysClipped, ClipAfterStep
from vivavoce.examine.data_faults import BadInput, UnnormalisedInput
from vivavoce.examine.dead_units import DeadUnits
from vivavoce.examine.detector import Detector
from vivavoce.examine.exploding_gradients import ExplodingGradients
from vivavoce.examine.gradient_spikes import GradientSpikes
from vivavoce.examine.gradients_not_zeroed import GradientsNotZeroed
from vivavoce.examine.guessing import Guessing
from vivavoce.examine.label_noise import LabelNoise
from vivavoce.examine.learning_rate_too_high import LearningRateTooHigh
from vivavoce.examine.learning_rate_too_low import LearningRateTooLow
from vivavoce.examine.loss_output_mismatch import LossOutputMismatch
from vivavoce.examine.no_gradient import NoGradient
from vivavoce.examine.non_finite import NonFinite
from vivavoce.examine.optimizer_crosstalk import OptimizerCrosstalk
from vivavoce.examine.oscillating_loss import OscillatingLoss
from vivavoce.examine.output_range import OutputRange
from vivavoce.examine.overfitting import Overfitting
from vivavoce.examine.parameters_not_optimized import ParametersNotOptimized
from vivavoce.examine.rule_violated import RuleViolated
from vivavoce.examine.saturated_units import SaturatedUnits
from vivavoce.examine.stopped_too_early import StoppedTooEarly
from vivavoce.examine.stopped_too_late import StoppedTooLate
from vivavoce.examine.symmetric_weights import SymmetricWeights
from vivavoce.examine.target_broadcast import TargetBroadcast
from vivavoce.examine.train_eval_mismatch import TrainEvalMismatch
from vivavoce.examine.underfitting import Underfitting
from vivavoce.examine.unshuffled_data import UnshuffledData
from vivavoce.examine.vanishing_gradients import VanishingGradients

DETECTORS: tuple[type[Detector], ...] = (
    # the data, and the wiring
    BadInput,
    OptimizerCrosstalk,
    ParametersNotOptimized,
    GradientsNotZeroed,
    LossOutputMismatch,
    TargetBroadcast,
    OutputRange,
    ClipAfterStep,
    SymmetricWeights,
    UnnormalisedInput,
    ActivationScale,
    AmpUnderflow,
    NoGradient,
    # the size of the steps, and what comes of it
    LearningRateTooHigh,
    ExplodingGradients,
    NonFinite,
    # the state of the network, and an order of the data that brings it about
    UnshuffledData,
    DeadUnits,
    SaturatedUnits,
    GradientSpikes,
    VanishingGradients,
    AlwaysClipped,
    LearningRateTooLow,
    # the game of two networks
    DiscriminatorDominates,
    ModeCollapse,
    GeneratorDominates,
    # the data again, by what the network makes of them
    TrainEvalMismatch,
    LabelNoise,
    BatchTooLarge,
    BatchTooSmall,
    OscillatingLoss,
    # the outcome
    RuleViolated,
    CapacityTooSmall,
    Underfitting,
    Guessing,
    Overfitting,
    StoppedTooEarly,
    StoppedTooLate,
    BeatenByBaseline,
    ClassImbalance,
    ClassIgnored,
)
