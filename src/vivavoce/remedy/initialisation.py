"""he-initialisation, xavier-initialisation, default-initialisation: start from weights of the right size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from vivavoce.examine.finding import Finding
from vivavoce.record.run import Run
from vivavoce.remedy.optimizers import optimizers_of, place
from vivavoce.remedy.remedy import Prescription
from vivavoce.remedy.snippet import Snippet

MATRICES = "(torch.nn.Linear, torch.nn.modules.conv._ConvNd)"


class Initialisation(Snippet):
    """Draws the weights anew when the optimizer is made, with random numbers that the rest of the run does not miss."""

    title: ClassVar[str]

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """For the models that the finding's optimizer trains."""
        for optimizer in optimizers_of(run, finding):
            where = place(optimizer.site, optimizer=optimizer.class_name)
            yield Prescription(self.name, finding.slug, self.title, {}, where)


class HeInitialisation(Initialisation):
    """He et al. 2015: variance 2 / fan-in, biases zero."""

    name = "he-initialisation"
    treats = (
        "symmetric-weights",
        "activation-scale",
        "exploding-gradients",
        "vanishing-gradients",
        "saturated-units",
        "dead-units",
    )
    rank = 41
    title = "draw the weights anew: He initialisation, biases zero"

    def lines(self, prescription: Prescription, models: list[str], optimizer: str) -> list[str]:
        """A loop over the linear and convolutional layers."""
        return _loop(models, MATRICES, [
            'torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")',
            "if module.bias is not None:",
            "    torch.nn.init.zeros_(module.bias)",
        ])  # fmt: skip


class XavierInitialisation(Initialisation):
    """Glorot and Bengio 2010: variance 2 / (fan-in + fan-out), biases zero."""

    name = "xavier-initialisation"
    treats = ("symmetric-weights", "activation-scale", "exploding-gradients", "saturated-units")
    rank = 42
    title = "draw the weights anew: Xavier initialisation, biases zero"

    def lines(self, prescription: Prescription, models: list[str], optimizer: str) -> list[str]:
        """A loop over the linear and convolutional layers."""
        return _loop(models, MATRICES, [
            "torch.nn.init.xavier_uniform_(module.weight)",
            "if module.bias is not None:",
            "    torch.nn.init.zeros_(module.bias)",
        ])  # fmt: skip


class DefaultInitialisation(Initialisation):
    """What PyTorch's layers start with by themselves, recurrent layers and embeddings too."""

    name = "default-initialisation"
    treats = (
        "symmetric-weights",
        "activation-scale",
        "exploding-gradients",
        "vanishing-gradients",
        "saturated-units",
        "dead-units",
    )
    rank = 40
    title = "draw the weights anew, as PyTorch's layers do by themselves"

    def lines(self, prescription: Prescription, models: list[str], optimizer: str) -> list[str]:
        """A loop over every layer that knows how to reset itself."""
        lines = ["with torch.random.fork_rng():  # the random numbers that follow stay as they were"]
        for model in models:
            lines += [
                f"    for module in {model}.modules():",
                '        if hasattr(module, "reset_parameters"):',
                "            module.reset_parameters()",
            ]
        return lines


def weights_of_relu(models: list[str], gain: str) -> list[str]:
    """Lines that draw weights for an activation of this gain: "relu" (He) or "linear" (LeCun)."""
    return _loop(models, MATRICES, [f'torch.nn.init.kaiming_normal_(module.weight, nonlinearity="{gain}")'])


def _loop(models: list[str], kinds: str, body: list[str]) -> list[str]:
    lines = ["with torch.random.fork_rng():  # the random numbers that follow stay as they were"]
    for model in models:
        lines += [f"    for module in {model}.modules():", f"        if isinstance(module, {kinds}):"]
        lines += [f"            {line}" for line in body]
    return lines
