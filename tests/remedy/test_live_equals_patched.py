"""A live trial and the patched script, run plainly, end with the same weights, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import scripts
import trials

from vivavoce.remedy.catalogue import REMEDIES


@dataclass(frozen=True)
class Case:
    """A remedy on a script. `changes` make the fault: (old, new) texts; `at` is part of the line of the finding."""

    remedy: str
    slug: str
    script: str
    at: str | None = None
    changes: tuple[tuple[str, str], ...] = ()
    layer: str | None = None
    better: bool = False  # the score must fall
    choice: int = 0  # which of the prescriptions
    draws: bool = False  # the patched script makes a network less, and so draws other random numbers

    @property
    def text(self) -> str:
        text = getattr(scripts, self.script)
        for old, new in self.changes:
            assert text.count(old) == 1, (self, old)
            text = text.replace(old, new)
        return text


MADE = "torch.optim."
NO_ZERO = ("    optimizer.zero_grad()\n", "")
ZEROS = ("optimizer = torch", "for p in model.parameters():\n    nn.init.zeros_(p)\noptimizer = torch")
LOOSE = (
    "        self.criterion = nn",
    "        for p in model.parameters():\n            nn.init.constant_(p, 0.02)\n        self.criterion = nn",
)
APART = (
    ("self.G.parameters(), lr=1e-3", "self.G.parameters(), lr=1e-6"),
    ("self.D.parameters(), lr=1e-3", "self.D.parameters(), lr=0.5"),
)
CASES = [
    Case("zero-grad", "gradients-not-zeroed", "PLAIN", "optimizer.step", (NO_ZERO,), better=True),
    Case("zero-grad", "gradients-not-zeroed", "CLASSES", "optimizer.step", (("                self.optimizer.zero_grad()\n", ""),)),
    Case("zero-grad", "gradients-not-zeroed", "ADVERSARIES", "opt_d.step", (("        self.opt_d.zero_grad()\n", ""), ("        self.opt_g.zero_grad()\n", ""))),
    Case("optimize-all", "parameters-not-optimized", "PLAIN", MADE, (("SGD(model.parameters()", "SGD(model[4].parameters()"),), better=True),
    Case("optimize-all", "parameters-not-optimized", "CLASSES", "self.optimizer = SGD", (("self.model.parameters(),", "Net(cfg).parameters(),"),), better=True, draws=True),
    Case("optimize-all", "parameters-not-optimized", "FUNCTIONS", "optim.Adam", (("optim.Adam(model.parameters(), lr", "optim.Adam([{'params': model[2].parameters()}], lr"),)),
    Case("optimize-all", "parameters-not-optimized", "PLAIN", MADE, (("model.parameters(), lr=0.1, momentum=0.9)", "model[4].parameters(), lr=0.1, momentum=0.9)\nmodel[4] = nn.Linear(16, 2)"),), better=True),
    Case("optimize-all", "parameters-not-optimized", "CLASSES", "self.optimizer = SGD", (("self.second = nn.Linear(cfg.width, cfg.width)", "self.second = [nn.Linear(cfg.width, cfg.width) for _ in range(2)]"), ("self.drop(self.second(x).sigmoid())", "self.drop(self.second[1](self.second[0](x)).sigmoid())"))),
    Case("own-parameters", "optimizer-crosstalk", "ADVERSARIES", "opt_g = torch", (("Adam(self.G.parameters(), lr", "Adam([*self.G.parameters(), *self.D.parameters()], lr"),)),
    Case("own-parameters", "optimizer-crosstalk", "ADVERSARIES", "opt_d = torch", (("Adam(self.D.parameters(), lr", "Adam([*self.D.parameters(), *self.G.parameters()], lr"), ("2)).detach()", "2))"))),
    Case("missing-step", "parameters-not-optimized", "ADVERSARIES", "opt_g = torch", (("        self.opt_d.step()\n", ""),)),
    Case("unfreeze", "no-gradient", "PLAIN", MADE, (("optimizer = torch", "model[0].requires_grad_(False)\noptimizer = torch"),), better=True),
    Case("reattach", "no-gradient", "CLASSES", "self.optimizer = SGD", (("return self.last(x)", "return self.last(x.detach())"),)),
    Case("reattach", "no-gradient", "CLASSES", "self.optimizer = SGD", (("        x = torch.sigmoid(self.first(x))\n        x = self.drop", "        with torch.no_grad():\n            x = torch.sigmoid(self.first(x))\n        x = self.drop"),)),
    Case("reattach", "no-gradient", "SLICED", "optimizer = torch", (("torch.tanh(encoder(batch))", "torch.tanh(encoder(batch).detach())"),), better=True),
    Case("clear-before-backward", "no-gradient", "PLAIN", MADE, (("    optimizer.zero_grad()\n    loss.backward()\n", "    loss.backward()\n    optimizer.zero_grad()\n"),), better=True),
    Case("clear-before-backward", "no-gradient", "CLASSES", "self.optimizer = SGD", (("                self.optimizer.zero_grad()\n", ""), ("loss.backward()\n", "loss.backward(); self.optimizer.zero_grad()\n")),),
    Case("match-output", "loss-output-mismatch", "PLAIN", "F.cross", (("nn.Linear(16, 2))", "nn.Linear(16, 2), nn.Softmax(dim=1))"),), better=True),
    Case("match-output", "loss-output-mismatch", "CLASSES", "loss = self.criterion", (("return self.last(x)", "return F.softmax(self.last(x), dim=1)"),)),
    Case("match-output", "loss-output-mismatch", "CLASSES", "loss = self.criterion", (("return self.last(x)", "return self.last(x).softmax(dim=1)"),)),
    Case("match-loss", "loss-output-mismatch", "PLAIN", "F.cross", (("nn.Linear(16, 2))", "nn.Linear(16, 2), nn.Softmax(dim=1))"),)),
    Case("match-loss", "loss-output-mismatch", "CLASSES", "loss = self.criterion", (("return self.last(x)", "return F.softmax(self.last(x), dim=1)"),)),
    Case("match-loss", "loss-output-mismatch", "PLAIN", "F.nll", (("F.cross_entropy", "F.nll_loss"),)),
    Case("match-loss", "loss-output-mismatch", "NORMALISED", "_with_logits(model(features)", (("nn.Linear(8, 1))", "nn.Linear(8, 1), nn.Sigmoid())"),)),
    Case("minimise", "loss-output-mismatch", "PLAIN", "F.cross", (("F.cross_entropy(", "-F.cross_entropy("),)),
    Case("minimise", "loss-output-mismatch", "PLAIN", "F.cross", (("loss.backward()", "(-loss).backward()"),), better=True),
    Case("minimise", "loss-output-mismatch", "PLAIN", MADE, (("momentum=0.9", "momentum=0.9, maximize=True"),), better=True),
    Case("linear-output", "output-range", "FUNCTIONS", "loss = loss_function", better=True),
    Case("match-shapes", "target-broadcast", "FUNCTIONS", "loss = loss_function", (("keepdim=True", "keepdim=False"),)),
    Case("match-shapes", "target-broadcast", "RECURRENT", "mse_loss", (("y = x[:, 0, :1]", "y = x[:, 0, 0]"),)),
    Case("match-operands", "target-broadcast", "SLICED", "prediction - target", (("y = x.sum(1, keepdim=True)", "y = x.sum(1)"),), better=True),
    Case("shuffle", "unshuffled-data", "CLASSES", "loader = DataLoader"),
    Case("shuffle-slices", "unshuffled-data", "SLICED", None),
    Case("lower-learning-rate", "learning-rate-too-high", "PLAIN", MADE, (("lr=0.1", "lr=300.0"),), better=True),
    Case("lower-learning-rate", "learning-rate-too-high", "CLASSES", "self.optimizer = SGD", (("lr: float = 0.05", "lr: float = 50.0"),), better=True),
    Case("raise-learning-rate", "learning-rate-too-low", "FUNCTIONS", "optim.Adam", (("default=0.01", "default=1e-7"),), better=True),
    Case("raise-learning-rate", "learning-rate-too-low", "RECURRENT", MADE, (("lr=1e-2", "lr=1e-7"),)),
    Case("lower-learning-rate", "learning-rate-too-high", "BY_HAND", None, (("lr = 0.1", "lr = 5.0"),), better=True),
    Case("raise-learning-rate", "learning-rate-too-low", "BY_HAND", None, (("lr = 0.1", "lr = 1e-6"),), better=True),
    Case("zero-grad", "gradients-not-zeroed", "BY_HAND", None, (("            p.grad.zero_()\n", ""), ("lr = 0.1", "lr = 0.4")), better=True),
    Case("lower-learning-rate", "learning-rate-too-high", "TWO_RATES", "slow = torch", better=True),
    Case("raise-learning-rate", "learning-rate-too-low", "PLAIN", MADE, (("for step", "cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-6, total_steps=30)\nfor step"), ("optimizer.step()\n", "optimizer.step()\n    cycle.step()\n")), better=True),
    Case("raise-learning-rate", "learning-rate-too-low", "PLAIN", MADE, (("lr=0.1", "lr=1e-6"), ("for step", "warm = torch.optim.lr_scheduler.LinearLR(optimizer, 0.01, total_iters=5)\nfor step"), ("optimizer.step()\n", "optimizer.step()\n    warm.step()\n")), better=True),
    Case("lower-momentum", "learning-rate-too-high", "CLASSES", "self.optimizer = SGD", (("momentum: float = 0.9", "momentum: float = 0.999"),)),
    Case("adam", "learning-rate-too-low", "PLAIN", MADE, (("lr=0.1", "lr=1e-6"),), better=True),
    Case("adam", "learning-rate-too-low", "CLASSES", "self.optimizer = SGD"),
    Case("weight-decay", "overfitting", "PLAIN", MADE),
    Case("weight-decay", "overfitting", "FUNCTIONS", "optim.Adam"),
    Case("warm-up", "learning-rate-too-high", "PLAIN", MADE),
    Case("warm-up", "learning-rate-too-high", "CLASSES", "self.optimizer = SGD"),
    Case("schedule", "oscillating-loss", "PLAIN", MADE),
    Case("slower-schedule", "learning-rate-too-low", "SINGULAR", MADE, (("sigmoid(100 * model", "sigmoid(model"),)),
    Case("clip-norm", "exploding-gradients", "PLAIN", "optimizer.step"),
    Case("clip-norm", "exploding-gradients", "CLASSES", "optimizer.step"),
    Case("clip-norm", "exploding-gradients", "FUNCTIONS", "optimizer.step"),
    Case("clip-before-step", "clip-after-step", "RECURRENT", "clip_grad", (("    torch.nn.utils.clip_grad_norm_(model.parameters(), 1e-4)\n    optimizer.step()", "    optimizer.step()\n    torch.nn.utils.clip_grad_norm_(model.parameters(), 1e-4)"),)),
    Case("raise-threshold", "always-clipped", "RECURRENT", "clip_grad"),
    Case("default-initialisation", "symmetric-weights", "PLAIN", MADE, (ZEROS,), better=True),
    Case("default-initialisation", "symmetric-weights", "CLASSES", "self.optimizer = SGD", (LOOSE,)),
    Case("default-initialisation", "exploding-gradients", "RECURRENT", MADE),
    Case("he-initialisation", "symmetric-weights", "PLAIN", MADE, (ZEROS,), better=True),
    Case("xavier-initialisation", "saturated-units", "CLASSES", "self.optimizer = SGD", (LOOSE,)),
    Case("relu", "vanishing-gradients", "PLAIN", MADE),
    Case("relu", "vanishing-gradients", "CLASSES", "self.optimizer = SGD"),
    Case("relu", "vanishing-gradients", "DEEP", MADE, better=True),
    Case("selu", "vanishing-gradients", "DEEP", MADE, better=True),
    Case("leaky-relu", "dead-units", "FUNCTIONS", "optim.Adam"),
    Case("leaky-relu", "dead-units", "CLASSES", "self.optimizer = SGD", (("x = torch.sigmoid(self.first(x))", "x = F.relu(self.first(x))"),)),
    Case("gelu", "dead-units", "PLAIN", MADE),
    Case("lstm-for-rnn", "exploding-gradients", "RECURRENT", MADE),
    Case("gru-for-rnn", "exploding-gradients", "RECURRENT", MADE, (("out, _ = self.rnn(x)", "out, h = self.rnn(x, torch.zeros(1, len(x), 10))"), ("self.head(out[:, -1])", "self.head(h[-1])"))),
    Case("truncate-backpropagation", "exploding-gradients", "RECURRENT", MADE),
    Case("normalisation", "vanishing-gradients", "CLASSES", "self.optimizer = SGD"),
    Case("normalisation", "vanishing-gradients", "DEEP", MADE),
    Case("residual", "vanishing-gradients", "CLASSES", "self.optimizer = SGD"),
    Case("residual", "vanishing-gradients", "DEEP", MADE),
    Case("fewer-layers", "vanishing-gradients", "DEEP", MADE),
    Case("smaller-batch", "batch-too-large", "SLICED", None),
    Case("larger-batch", "batch-too-small", "SLICED", None, (("range(0, len(x), 16)", "range(0, len(x), batch)"), ("i : i + 16]), y[i : i + 16]", "i : i + batch]), y[i : i + batch]"), ("optimizer = ", "batch = 16\noptimizer = "))),
    Case("smaller-batch", "batch-too-large", "CLASSES", "self.optimizer = SGD", (("batch_size: int = 16", "batch_size: int = 96"),)),
    Case("larger-batch", "batch-too-small", "CLASSES", "self.optimizer = SGD"),
    Case("l1", "overfitting", "PLAIN", MADE),
    Case("l1", "overfitting", "CLASSES", "self.optimizer = SGD"),
    Case("dropout", "overfitting", "PLAIN", MADE),
    Case("dropout", "overfitting", "CLASSES", "self.optimizer = SGD"),
    Case("less-regularisation", "underfitting", "CLASSES", "self.optimizer = SGD"),
    Case("early-stopping", "overfitting", "CLASSES", "self.optimizer = SGD"),
    Case("longer-training", "stopped-too-early", "PLAIN", MADE, better=True),
    Case("longer-training", "stopped-too-early", "CLASSES", "self.optimizer = SGD"),
    Case("longer-training", "stopped-too-early", "FUNCTIONS", "optim.Adam", better=True),
    Case("larger-network", "underfitting", "CLASSES", "self.optimizer = SGD"),
    Case("larger-network", "underfitting", "PLAIN", MADE),
    Case("smaller-network", "overfitting", "CLASSES", "self.optimizer = SGD"),
    Case("wider-layer", "capacity-too-small", "FUNCTIONS", "optim.Adam", layer="0"),
    Case("eval-mode", "train-eval-mismatch", "NORMALISED", MADE),
    Case("momentum", "train-eval-mismatch", "NORMALISED", MADE),
    Case("layer-norm", "train-eval-mismatch", "NORMALISED", MADE, (("final = torch.cat([final, model[1].running_mean])\n", ""),)),
    Case("normalise-input", "unnormalised-input", "NORMALISED", MADE),
    Case("normalise-input", "unnormalised-input", "CLASSES", "self.optimizer = SGD", (("x = torch.randn(96, 6)", "x = 1000 * torch.randn(96, 6) + 500"),)),
    Case("normalise-input", "unnormalised-input", "CLASSES", "self.optimizer = SGD", (("self.first(x)", "self.first(1000 * x + 500)"),), choice=1),
    Case("clean-input", "bad-input", "PLAIN", MADE, (("y = (x[:, 0]", "x[3, 2] = float('nan')\ny = (x[:, 0]"),), better=True),
    Case("clean-input", "bad-input", "FUNCTIONS", "optim.Adam", (("    y = x.sum(1, keepdim=True) + 3", "    x[3, 2] = float('nan')\n    y = x.sum(1, keepdim=True) + 3"),), choice=1, better=True),
    Case("clean-data", "bad-input", "CLASSES", "self.optimizer = SGD", (("cfg = Config()", "cfg = Config()\nx[40, 2] = float('nan')"),), better=True),
    Case("class-weights", "class-imbalance", "CLASSES", "self.optimizer = SGD"),
    Case("class-weights", "class-imbalance", "PLAIN", MADE),
    Case("balanced-sampler", "class-imbalance", "CLASSES", "self.optimizer = SGD"),
    Case("label-smoothing", "label-noise", "PLAIN", MADE),
    Case("label-smoothing", "label-noise", "CLASSES", "self.optimizer = SGD"),
    Case("guard-operation", "non-finite", "SINGULAR", "loss = -(y", better=True),
    Case("guard-operation", "non-finite", "SINGULAR", "loss.backward", better=True),
    Case("full-precision", "amp-underflow", "HALF", MADE),
    Case("bfloat16", "amp-underflow", "HALF", MADE),
    Case("grad-scaler", "amp-underflow", "HALF", MADE),
    Case("slower-discriminator", "discriminator-dominates", "ADVERSARIES", "opt_d = torch"),
    Case("faster-discriminator", "generator-dominates", "ADVERSARIES", "opt_d = torch"),
    Case("lower-learning-rate", "learning-rate-too-high", "ADVERSARIES", "opt_d = torch", APART),
    Case("raise-learning-rate", "learning-rate-too-low", "GROUPS", "optimizer = torch", better=True),
    Case("longer-training", "stopped-too-early", "GROUPS", "optimizer.step", better=True),
    Case("zero-grad", "gradients-not-zeroed", "ESTIMATOR", "self.optimizer_.step", better=True),
    Case("match-operands", "target-broadcast", "ESTIMATOR", "loss = (", (("y = x[:, :1] - x[:, 1:2]", "y = x[:, 0] - x[:, 1]"),), better=True),
    Case("slower-generator", "mode-collapse", "ADVERSARIES", "opt_g = torch"),
    Case("faster-generator", "discriminator-dominates", "ADVERSARIES", "opt_g = torch"),
    Case("spectral-norm", "discriminator-dominates", "ADVERSARIES", "opt_d = torch"),
    Case("gradient-penalty", "discriminator-dominates", "ADVERSARIES", "opt_d = torch"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.remedy}-{case.script.lower()}")
def test_live_equals_patched(case, tmp_path):
    path = trials.write(tmp_path / "sick", case.text)
    sick = trials.run_plainly(path)
    run = trials.record(path, tmp_path / "store")
    line = trials.line_of(case.text, case.at) if case.at else None
    found = trials.prescriptions(case.remedy, run, case.slug, path, line, case.layer)
    assert len(found) > case.choice, "nothing is prescribed"
    prescription = found[case.choice]
    patched = trials.run_plainly(trials.patched(path, prescription, tmp_path / "patched"))
    live = trials.run_live(path, prescription)
    if case.draws:
        assert live.score < sick.score
    else:
        assert trials.same(live.final, patched.final), prescription
        assert live.score == pytest.approx(patched.score, nan_ok=True, rel=0, abs=0)
    assert not trials.same(live.final, sick.final), "the remedy does nothing"
    if case.better:
        assert not patched.score >= sick.score, (sick.score, patched.score)


def test_every_remedy_is_tried():
    assert {case.remedy for case in CASES} == {remedy.name for remedy in REMEDIES}
