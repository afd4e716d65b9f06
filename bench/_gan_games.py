"""Small GANs, healthy and sick, as users write them: every common loss and schedule. `play` trains one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

BATCH = 128
LATENT = 8


@dataclass(frozen=True)
class GanGame:
    """One training. `expected` are the findings of question 3 that name what is wrong; none for a healthy one."""

    name: str
    expected: tuple[str, ...] = ()
    data: str = "ring"
    loss: str = "vanilla"
    order: str = (
        "d-g"  # g-d, joint (two losses in one backward), joined (real and made in one call), helper, no-grad, critic5
    )
    steps: int = 1500
    g_rate: float = 1e-3
    d_rate: float = 1e-3
    betas: tuple[float, float] = (0.5, 0.999)
    penalty: float = 0.0
    width: int = 64
    critic_width: int = 64
    noise: float = 1.0
    crosstalk: bool = False
    also: tuple[str, ...] = field(default=())  # findings of other questions that are right, too


def real_data(name: str) -> Callable[[int], Tensor]:
    if name == "digits":
        table = torch.from_numpy(load_digits().data / 8 - 1).float()
        return lambda n: table[torch.randint(0, len(table), (n,))]
    if name == "ring":
        angles = torch.arange(8) * math.pi / 4
        centres, deviation = 2 * torch.stack([angles.cos(), angles.sin()], 1), 0.1
    else:
        axis = torch.arange(-2.0, 3.0)
        centres, deviation = torch.cartesian_prod(axis, axis), 0.08
    return lambda n: centres[torch.randint(0, len(centres), (n,))] + deviation * torch.randn(n, 2)


def network(*sizes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, o in itertools.pairwise(sizes):
        layers += [nn.Linear(i, o), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers[:-1])


def critic_loss(kind: str, real: Tensor, made: Tensor) -> Tensor:
    if kind in ("vanilla", "minimax"):
        ones, zeros = torch.ones_like(real), torch.zeros_like(made)
        return F.binary_cross_entropy_with_logits(real, ones) + F.binary_cross_entropy_with_logits(made, zeros)
    if kind == "least-squares":
        return 0.5 * ((real - 1) ** 2).mean() + 0.5 * (made**2).mean()
    if kind == "hinge":
        return F.relu(1 - real).mean() + F.relu(1 + made).mean()
    if kind == "relativistic":
        return F.softplus(made - real).mean()
    return made.mean() - real.mean()


def generator_loss(kind: str, real: Tensor, made: Tensor) -> Tensor:
    if kind == "vanilla":
        return F.binary_cross_entropy_with_logits(made, torch.ones_like(made))
    if kind == "minimax":
        return -F.softplus(made).mean()
    if kind == "least-squares":
        return 0.5 * ((made - 1) ** 2).mean()
    if kind == "relativistic":
        return F.softplus(real - made).mean()
    return -made.mean()


def slope(critic: nn.Module, x: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    (slopes,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return slopes.flatten(1).norm(dim=1)


def penalty(game: GanGame, critic: nn.Module, real: Tensor, made: Tensor) -> Tensor:
    if game.loss == "wasserstein":
        mix = torch.rand(len(real), 1)
        return ((slope(critic, mix * real + (1 - mix) * made) - 1) ** 2).mean()
    return 0.5 * ((slope(critic, real) ** 2).mean() + (slope(critic, made) ** 2).mean())


class Players:
    def __init__(self, game: GanGame, seed: int) -> None:
        torch.manual_seed(seed)
        self.game = game
        self.sample = real_data(game.data)
        size = self.sample(1).shape[1]
        self.generator = network(LATENT, game.width, game.width, size)
        if game.data == "digits":
            self.generator.append(nn.Tanh())
        self.discriminator = network(size, game.critic_width, game.critic_width, 1)
        held = [*self.generator.parameters(), *(self.discriminator.parameters() if game.crosstalk else ())]
        self.g_optimizer = torch.optim.Adam(held, lr=game.g_rate, betas=game.betas)
        self.d_optimizer = torch.optim.Adam(self.discriminator.parameters(), lr=game.d_rate, betas=game.betas)

    def make(self) -> Tensor:
        return self.generator(self.game.noise * torch.randn(BATCH, LATENT))

    def critic_cost(self) -> Tensor:
        game, real = self.game, self.sample(BATCH)
        if game.order == "no-grad":
            with torch.no_grad():
                made = self.make()
        else:
            made = self.make().detach()
        if game.order == "joined":
            on_real, on_made = self.discriminator(torch.cat([real, made])).chunk(2)
        else:
            on_made, on_real = self.discriminator(made), self.discriminator(real)
        cost = critic_loss(game.loss, on_real, on_made)
        return cost + game.penalty * penalty(game, self.discriminator, real, made) if game.penalty else cost

    def generator_cost(self) -> Tensor:
        made = self.make()
        if self.game.loss != "relativistic":
            return generator_loss(self.game.loss, made, self.discriminator(made))
        if self.game.order == "joined":
            on_real, on_made = self.discriminator(torch.cat([self.sample(BATCH), made])).chunk(2)
            return generator_loss(self.game.loss, on_real, on_made)
        return generator_loss(self.game.loss, self.discriminator(self.sample(BATCH)), self.discriminator(made))

    def clamp(self) -> None:
        if self.game.loss == "wasserstein-clamp":
            for parameter in self.discriminator.parameters():
                parameter.data.clamp_(-0.1, 0.1)


def play(game: GanGame, seed: int) -> Players:
    players = Players(game, seed)
    turn = {"joint": joint, "helper": helped, "g-d": generator_first}.get(game.order, critic_first)
    for _ in range(game.steps):
        turn(players)
        players.clamp()
    return players


def critic_first(p: Players) -> None:
    for _ in range(5 if p.game.order == "critic5" else 1):
        p.d_optimizer.zero_grad()
        p.critic_cost().backward()
        p.d_optimizer.step()
    p.g_optimizer.zero_grad()
    p.generator_cost().backward()
    p.g_optimizer.step()


def generator_first(p: Players) -> None:
    p.g_optimizer.zero_grad()
    p.generator_cost().backward()
    p.g_optimizer.step()
    p.d_optimizer.zero_grad()
    p.critic_cost().backward()
    p.d_optimizer.step()


def helped(p: Players) -> None:
    for cost, optimizer in ((p.critic_cost, p.d_optimizer), (p.generator_cost, p.g_optimizer)):
        optimizer.zero_grad()
        cost().backward()
        optimizer.step()


def joint(p: Players) -> None:
    """Both losses in one backward call: the generator's through a discriminator whose weights are held fixed."""
    p.d_optimizer.zero_grad()
    p.g_optimizer.zero_grad()
    cost = p.critic_cost()
    p.discriminator.requires_grad_(False)
    own = p.generator_cost()
    p.discriminator.requires_grad_(True)
    (cost + own).backward()
    p.d_optimizer.step()
    p.g_optimizer.step()


DOMINANCE = ("discriminator-dominates", "mode-collapse", "learning-rate-too-low")
COLLAPSE = ("mode-collapse", "generator-dominates", "discriminator-dominates", "learning-rate-too-high")
SOFT = {"loss": "relativistic", "penalty": 0.5, "betas": (0.0, 0.99)}

HEALTHY = (
    GanGame("relativistic, ring", **SOFT),
    GanGame("relativistic, grid", data="grid", steps=3000, **SOFT),
    GanGame("relativistic, joined calls", order="joined", **SOFT),
    GanGame("relativistic, digits", data="digits", width=128, critic_width=128, steps=1000, **SOFT),
    GanGame("relativistic, one helper for both", order="helper", **SOFT),
    GanGame("vanilla with R1 and R2", penalty=0.5),
    GanGame("vanilla with R1 and R2, generator first", penalty=0.5, order="g-d"),
    GanGame("vanilla with R1 and R2, joined calls", penalty=0.5, order="joined"),
    GanGame("vanilla with R1 and R2, two losses in one backward", penalty=0.5, order="joint"),
    GanGame("vanilla with R1 and R2, made without gradient", penalty=0.5, order="no-grad"),
    GanGame("WGAN-GP, five critic steps", loss="wasserstein", penalty=1.0, order="critic5", steps=600, betas=(0.5, 0.9)),
    GanGame("WGAN-GP, one helper for both", loss="wasserstein", penalty=1.0, order="helper", betas=(0.5, 0.9)),
    GanGame("WGAN with clamped weights", loss="wasserstein-clamp", order="critic5", steps=1000, betas=(0.5, 0.9)),
    GanGame("hinge with R1 and R2", loss="hinge", penalty=0.5),
    GanGame("least squares with R1 and R2", loss="least-squares", penalty=0.2),
    GanGame("vanilla with R1 and R2, digits", data="digits", penalty=0.5, width=128, critic_width=128, steps=1000),
)  # fmt: skip
SICK = (
    GanGame("discriminator 100 × as fast", DOMINANCE, g_rate=1e-5, d_rate=1e-3),
    GanGame("discriminator 1000 × as fast, hinge", DOMINANCE, loss="hinge", g_rate=3e-6, d_rate=3e-3),
    GanGame("generator hardly learns, digits", DOMINANCE, data="digits", g_rate=1e-6, d_rate=2e-3, steps=1000),
    GanGame("minimax, discriminator ahead", DOMINANCE, loss="minimax", g_rate=1e-5, d_rate=3e-3),
    GanGame("generator hardly learns, joined calls", DOMINANCE, g_rate=1e-6, d_rate=2e-3, order="joined"),
    GanGame("generator hardly learns, two losses in one backward", DOMINANCE, g_rate=1e-6, d_rate=2e-3, order="joint"),
    GanGame("generator hardly learns, WGAN-GP", DOMINANCE, loss="wasserstein", penalty=1.0, g_rate=1e-6, betas=(0.5, 0.9)),
    GanGame("generator 100 × as fast", COLLAPSE, g_rate=0.1),
    GanGame("noise too small to matter", COLLAPSE, noise=1e-4),
    GanGame("noise too small to matter, digits", COLLAPSE, data="digits", noise=1e-4, steps=1000),
    GanGame("noise too small to matter, joined calls", COLLAPSE, noise=1e-4, order="joined"),
    GanGame("noise too small to matter, two losses in one backward", COLLAPSE, noise=1e-4, order="joint"),
    GanGame("noise too small to matter, WGAN-GP", COLLAPSE, noise=1e-4, loss="wasserstein", penalty=1.0, betas=(0.5, 0.9)),
    GanGame("vanilla on the grid", ("mode-collapse",), data="grid", steps=5000, g_rate=2e-3),
    GanGame("discriminator hardly learns", ("generator-dominates", "learning-rate-too-low", "mode-collapse"), d_rate=1e-7),
    GanGame("discriminator of one unit", ("generator-dominates", "mode-collapse"), critic_width=1, d_rate=1e-4),
    GanGame("generator's optimizer holds both", ("optimizer-crosstalk",), crosstalk=True),
    GanGame("generator's optimizer holds both, one helper", ("optimizer-crosstalk",), crosstalk=True, order="helper"),
)  # fmt: skip
