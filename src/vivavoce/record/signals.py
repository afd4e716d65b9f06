"""The catalogue of recorded signals: the contract between the taps that emit them and the detectors that read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class SignalSpec:
    """What a signal is. `owner` is the kind of entity it belongs to; `columns` its labels, or what its ids mean."""

    name: str
    owner: str | None
    columns: tuple[str, ...] | Literal["parameters", "modules", "groups", "classes"]
    when: Literal["every step", "every call", "sampled steps", "each pass", "each epoch"]
    unit: str
    meaning: str


SIGNALS: tuple[SignalSpec, ...] = (
    SignalSpec(
        "train/loss",
        "loss",
        ("loss",),
        "every call",
        "",
        "raw value of the tensor given to backward(), one row a call; owner: the backward site",
    ),
    SignalSpec(
        "step",
        "optimizer",
        ("backward_calls", "stale", "seconds"),
        "every step",
        "",
        "backward_calls since the last step; stale: 1 where gradients of before the last step were still there when "
        "the first of them began, else 0; seconds of wall time since the optimizer's last step (Viva's own cost taken off)",
    ),
    SignalSpec(
        "learning_rate",
        "optimizer",
        "groups",
        "every step",
        "",
        "learning rate of each parameter group; a row is written where it changes, and at the first step",
    ),
    SignalSpec(
        "gradient_norm",
        "optimizer",
        "parameters",
        "every step",
        "L2 norm",
        "norm of each parameter's gradient as step() finds it (after clipping, unscaled); NaN where a gradient holds "
        "one; -1 where a parameter has no gradient (grad is None). Spaced on very small networks",
    ),
    SignalSpec(
        "weight_norm",
        "optimizer",
        "parameters",
        "sampled steps",
        "L2 norm",
        "norm of each parameter before the step",
    ),
    SignalSpec(
        "update_ratio",
        "optimizer",
        "parameters",
        "sampled steps",
        "",
        "norm of the step's change over the norm of the parameter before it, ‖Δw‖/‖w‖; 0 where nothing changed; "
        "NaN where the parameter was all zero",
    ),
    SignalSpec("activation_mean", "model", "modules", "sampled steps", "", "mean of a module's output"),
    SignalSpec("activation_std", "model", "modules", "sampled steps", "", "standard deviation of a module's output"),
    SignalSpec("activation_zero", "model", "modules", "sampled steps", "fraction", "exact zeros in a module's output"),
    SignalSpec(
        "activation_dead",
        "model",
        "modules",
        "sampled steps",
        "fraction of units",
        "units (channels or features) of a rectifying activation that are zero or less for every example of the batch; "
        "NaN for other modules and for batches of fewer than 8 values a unit",
    ),
    SignalSpec(
        "activation_saturated",
        "model",
        "modules",
        "sampled steps",
        "fraction",
        "outputs of tanh with |y| > 0.99, of sigmoid with y < 0.01 or y > 0.99; NaN for other modules",
    ),
    SignalSpec(
        "activation_nonfinite",
        "model",
        "modules",
        "sampled steps",
        "count",
        "NaN or infinite values in a module's output (of those looked at)",
    ),
    SignalSpec(
        "time_growth",
        "parameter",
        ("rate", "steps", "r_squared", "first_norm", "last_norm"),
        "sampled steps",
        "factor per time step",
        "growth of the gradient on its way back through a recurrence: factor per step backwards in time (least squares "
        "through log norm against time), time steps spanned, R², norm at the last and at the first time step; owner: "
        "the recurrent weight",
    ),
    SignalSpec(
        "input",
        "model",
        ("mean", "std", "min", "max", "nonfinite", "constant_features"),
        "sampled steps",
        "",
        "the model's first floating-point input; constant_features: fraction of features that do not vary over the batch",
    ),
    SignalSpec(
        "val/input",
        "model",
        ("mean", "std", "min", "max", "nonfinite", "constant_features"),
        "each pass",
        "",
        "the same of the first input that a model is given after its eval() was called (at most 50 a second); the step is the coming one",
    ),
    SignalSpec(
        "sureness",
        "model",
        ("sureness", "examples"),
        "sampled steps",
        "probability",
        "a model's answer in training, taken for logits (N, classes) or (N,): the mean over the examples of the largest probability",
    ),
    SignalSpec(
        "val/sureness",
        "model",
        ("sureness", "examples"),
        "each pass",
        "probability",
        "the same of the answer to the first input that a model is given after its eval() was called",
    ),
    SignalSpec(
        "prediction",
        "loss",
        ("mean", "std", "min", "max", "batch_std"),
        "sampled steps",
        "",
        "predictions given to a loss function in training; batch_std: mean over outputs of the standard deviation over "
        "the batch (0 where the network says the same for every example)",
    ),
    SignalSpec(
        "target",
        "loss",
        ("mean", "std", "min", "max", "batch_std"),
        "sampled steps",
        "",
        "targets given to a loss function in training",
    ),
    SignalSpec(
        "train/constant",
        "loss",
        ("loss",),
        "sampled steps",
        "loss",
        "what the batch would lose if every prediction were the mean of its targets; of absolute and Huber losses, and of "
        "mean errors written by hand",
    ),
    SignalSpec(
        "train/accuracy",
        "loss",
        ("accuracy",),
        "sampled steps",
        "fraction",
        "right argmax (or sign, for binary) in the training batch; owner: the loss function's site",
    ),
    SignalSpec(
        "target_classes",
        "loss",
        "classes",
        "sampled steps",
        "count",
        "targets of each class in a training batch (up to 1,000 classes)",
    ),
    SignalSpec(
        "predicted_classes",
        "loss",
        "classes",
        "sampled steps",
        "count",
        "argmax predictions of each class in a training batch",
    ),
    SignalSpec(
        "label_doubt",
        "loss",
        ("wrong", "rank", "sure_wrong", "surest_wrong", "examples", "errors"),
        "sampled steps",
        "fraction",
        "of a training batch with class indices or yes and no for targets: wrong examples; mean rank of their labels among the "
        "other classes (0 the runner-up, 0.5 any class, 1 the least probable; NaN without errors or where there are only two); "
        "wrong ones among the half and the quarter of the batch that the network is surest of; examples and errors counted",
    ),
    SignalSpec(
        "equal_units",
        "optimizer",
        "parameters",
        "sampled steps",
        "fraction of units",
        "rows of a weight that equal its first row but for rounding, before the step (of the first 128), or columns, if those are more and no "
        "module holds it; NaN for what is no weight",
    ),
    SignalSpec(
        "gradient_lag",
        "optimizer",
        ("product", "gradient_square", "mean_square"),
        "sampled steps",
        "",
        "product of the gradient with the mean of the gradients before it (momentum, brought to weight 1), and the "
        "squares of both; only of optimizers that keep such a mean",
    ),
    SignalSpec(
        "norm_shift",
        "model",
        "modules",
        "sampled steps",
        "deviations",
        "batch normalisation: root mean square over channels of the batch's mean less the mean kept for evaluation, in units "
        "of the deviation kept",
    ),
    SignalSpec(
        "norm_scale",
        "model",
        "modules",
        "sampled steps",
        "factor",
        "batch normalisation: factor (1 or more) between the sums over channels of the batch's variance and of the one kept",
    ),
    SignalSpec(
        "norm_forwards",
        "model",
        "modules",
        "sampled steps",
        "count",
        "batches that a batch normalisation has counted in training mode (num_batches_tracked)",
    ),
    SignalSpec(
        "adversary",
        "model",
        (
            "made_spread",
            "given_low",
            "given_high",
            "separation",
            "real_spread",
            "distance",
            "coverage",
            "precision",
            "confirmed",
            "maker",
        ),
        "sampled steps",
        "",
        "of a model that is called both with what another network made (its input carries a graph, or is what a model put out "
        "in this step) and with data: mean distance between examples made, lowest and highest such spread among the inputs "
        "without a graph, the area under the ROC curve (0.5 … 1) of its scores of made and real, mean distance between "
        "real examples, energy distance of made from real (0 equal … 1), shares of real neighbourhoods that hold a made example "
        "and of made examples in real neighbourhoods, 1 where a batch without a graph was recognised as made, "
        "and the id of the model that made it, -1 where that is not known",
    ),
    SignalSpec(
        "rule",
        "rule",
        ("broken", "checked", "worst", "targets_broken", "targets_checked"),
        "sampled steps",
        "count",
        "examples (or outputs of them) of a training batch that break a rule of the user's, those looked at, the worst violation; and "
        "the targets that break it themselves (NaN where it cannot be asked of them)",
    ),
    SignalSpec(
        "val/rule",
        "rule",
        ("broken", "checked", "worst", "targets_broken", "targets_checked"),
        "each pass",
        "count",
        "the same of the first batches of a validation pass, a row each",
    ),
    SignalSpec(
        "val/loss",
        "loss",
        ("loss", "deviation", "batches", "examples", "accuracy"),
        "each pass",
        "",
        "one row a validation pass (loss-function calls without gradient, or of a model in eval mode, between two "
        "training steps): example-weighted mean loss, its standard deviation over batches, batches, examples, accuracy "
        "(NaN where not a classification); owner: the loss function's site",
    ),
    SignalSpec(
        "val/constant",
        "loss",
        ("loss", "difference", "error", "share"),
        "each pass",
        "",
        "of a validation pass with a plain cross-entropy or squared error: the loss of the constant that is best on these "
        "very examples, the network's mean loss less that, its standard error over the batches (NaN of a single one), and "
        "the share of the commonest class (NaN where there are none)",
    ),
    SignalSpec(
        "val/dropout",
        "loss",
        ("share",),
        "each pass",
        "fraction",
        "the largest share that a dropout layer in training mode drops during a validation pass without gradients over two "
        "training batches or more; 0 where none does",
    ),
    SignalSpec(
        "train/function_loss",
        "loss",
        ("loss",),
        "every call",
        "",
        "value of a loss function called in training; owner: the loss function's site. Equals train/loss where the "
        "script passes it to backward() unchanged",
    ),
    SignalSpec(
        "clip",
        "clip",
        ("norm_before",),
        "every call",
        "L2 norm",
        "total norm that clip_grad_norm_ found, before it scaled the gradients",
    ),
    SignalSpec(
        "epoch",
        "loader",
        ("batches",),
        "each epoch",
        "",
        "a finished or broken-off pass over a data loader: batches it delivered",
    ),
)

EVENTS: dict[str, str] = {
    "non-finite": "a NaN or infinity: {what: loss | gradient | weight | input, loss?: id, parameters?: [id], op?: str, "
    "module?: id, file?, line?, code?, finite_before: bool, value: nan | inf}",
    "scaler-skip": "GradScaler found non-finite gradients and skipped a step: {scale}",
    "exception": "the script ended with an exception: {type, message, file?, line?}",
    "tap-off": "a tap was switched off after an internal error: {tap, error}",
    "first-step-state": "parameters that had a gradient at the first step: {optimizer, without_gradient: [parameter ids]}",
    "unheld": "weights that a loss reaches and no optimizer holds, and their L2 norms: {parameters: [ids], norms: []}",
    "unreached": "parameters that require a gradient but that no loss's graph has reached: {parameters: [ids]}",
    "unmoved": "parameters that an optimizer holds and that did not change in a sampled step: {optimizer, parameters: [ids]}",
    "preflight": "results of --preflight: {steps, seconds, checks: [{name, status: ok | suspicious | failed | unchecked, why, "
    "slug?, layer?, numbers: {name: value}}]}",
    "black-box": "the last steps before a failure: {reason: non-finite | exception | stopped, rows: [{step, loss, gradient_norm, "
    "learning_rate}], batch?: {loader, index, epoch}, random: [{step, torch, devices?, python, numpy?}]}",
    "replay": "a non-finite step repeated on a copy: {of: step, what: loss | gradient, reproduced: bool, because?, op?, detail?, "
    "module?: id, layer?, file?, line?, code?}",
    "stopped": "Viva ended the run because of --stop-on: {slug}",
    "guard": "an act of --guard, with its reason: {act: clip | rewind | lower-learning-rate | skip-batch | gave-up, why, optimizer?: id, "
    "norm?, to?: the norm before and after, to_step?: step whose start it went back to, factor?: on the script's learning rate}",
    "gradients-cleared": "zero_grad was called: {optimizer?: id, model?: id, file, line}; first time at each place only",
    "frozen": "a module's parameters have requires_grad False: {parameters: [ids], graph_cut: bool}",
}
