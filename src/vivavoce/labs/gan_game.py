"""The game between generator and critic: turns, what is noted on the way, and states from which it can go on."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vivavoce.labs.figures import Floats
from vivavoce.labs.gan_networks import Critic, Generator
from vivavoce.labs.gan_recipes import Recipe, slope_penalty
from vivavoce.labs.lab import LabError
from vivavoce.measure.rivalry import score_separation

SHOTS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)  # of the training: when samples are kept
LOOKS = 150  # looks at losses and scores on the way
SAVE_EVERY = 20.0  # seconds
STATE = 1  # version of what a checkpoint holds
LOOK_COLUMNS = ("step", "critic_loss", "generator_loss", "real_low", "real", "real_high", "made_low", "made", "made_high", "area")  # fmt: skip


@dataclass(frozen=True)
class Terms:
    """What a training is about; a checkpoint goes on only under the same terms."""

    world: str
    recipe: str
    steps: int
    batch: int
    seed: int


@dataclass
class Diary:
    """What was noted: a row of `LOOK_COLUMNS` at each look, samples of the same noise at each shot, seconds spent."""

    looks: list[list[float]] = field(default_factory=list)
    shots: list[tuple[int, Tensor]] = field(default_factory=list)
    seconds: float = 0.0

    def column(self, name: str) -> Floats:
        """One column of the looks, shape (looks,)."""
        return np.array([row[LOOK_COLUMNS.index(name)] for row in self.looks], dtype=np.float64)


@contextmanager
def _interruptions(noting: bool) -> Iterator[list[int]]:
    """Control-C is noted in the list instead of breaking a step off; where it does something at all."""
    noted: list[int] = []
    aside = threading.current_thread() is not threading.main_thread()
    if not noting or aside or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield noted
        return
    before = signal.signal(signal.SIGINT, lambda number, frame: noted.append(number))
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)


class Match:
    """Generator against critic. `real` draws so many examples with the given generator of random numbers."""

    def __init__(
        self,
        terms: Terms,
        recipe: Recipe,
        players: tuple[Generator, Critic],
        real: Callable[[int, torch.Generator], Tensor],
        random: torch.Generator,
        shown: int = 64,
    ) -> None:
        self.terms, self.recipe, self.real, self.random = terms, recipe, real, random
        self.generator, self.critic = players
        fused = {"fused": True} if next(self.critic.parameters()).device.type in ("cpu", "cuda") else {}
        self.optimizers = [
            torch.optim.Adam(player.parameters(), lr=recipe.rate, betas=recipe.betas, **fused) for player in players
        ]
        self.step = 0
        self.diary = Diary()
        self.shown = torch.randn(shown, self.generator.latent, generator=random)
        self._shots = {round(share * terms.steps) for share in SHOTS}
        self._every = max(1, terms.steps // LOOKS)

    def play(self, advance: Callable[[float], None] = lambda steps: None, checkpoint: Path | None = None) -> Diary:
        """Play to the end; `advance` is told of every step. The state is kept in `checkpoint` from time to time.

        Raises:
            KeyboardInterrupt: after the step in which Control-C was pressed, and after its state was kept.
        """
        began = saved = time.perf_counter()
        before = self.diary.seconds
        self._shoot()
        with _interruptions(checkpoint is not None) as interruptions:
            while self.step < self.terms.steps and not interruptions:
                self.turn()
                advance(1)
                self._shoot()
                self.diary.seconds = before + time.perf_counter() - began
                if checkpoint is not None and time.perf_counter() - saved > SAVE_EVERY:
                    self.save(checkpoint)
                    saved = time.perf_counter()
            if checkpoint is not None:
                self.save(checkpoint)
        if interruptions:
            raise KeyboardInterrupt
        return self.diary

    def turn(self) -> None:
        """One step: the critic's turn, or turns, and the generator's."""
        done = self.step / self.terms.steps
        for optimizer, lead in zip(self.optimizers, (self.recipe.lead, 1.0), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = self.recipe.rate * lead * self.recipe.pace(done)
        for _ in range(self.recipe.critic_steps):
            critic_loss, scores = self._critic_turn(self.recipe.weight(done))
        generator_loss = self._generator_turn()
        if self.step % self._every == 0 or self.step + 1 == self.terms.steps:
            self._look(critic_loss, generator_loss, scores)
        self.step += 1

    def _critic_turn(self, weight: float) -> tuple[Tensor, Tensor]:
        """Returns the critic's cost without the penalty, and its scores of real and made examples, (2n,)."""
        n = self.terms.batch
        with torch.no_grad():
            both = torch.cat([self.real(n, self.random), self.sample(n)])
        units: list[Tensor] | None = [] if weight and not self.recipe.penalty else None
        scores = self.critic(both, units)
        cost = loss = self.recipe.critic(scores[:n], scores[n:])
        if weight:
            slopes = self._slopes_between(both) if units is None else self.critic.slopes(units, both)
            parts = 2.0 if units is not None else 1.0  # R1 and R2, each a mean over its own batch
            loss = loss + weight * parts * slope_penalty(slopes, self.recipe.penalty or 0.0)
        self._update(1, loss)
        return cost, scores

    def _slopes_between(self, both: Tensor) -> Tensor:
        n = len(both) // 2
        mix = torch.rand(n, generator=self.random).reshape(-1, *[1] * (both.ndim - 1))
        between, units = mix * both[:n] + (1 - mix) * both[n:], []  # type: tuple[Tensor, list[Tensor]]
        self.critic(between, units)
        return self.critic.slopes(units, between)

    def _generator_turn(self) -> Tensor:
        n = self.terms.batch
        with torch.no_grad():
            real = self.critic(self.real(n, self.random))
        loss = self.recipe.generator(real, self.critic(self.sample(n)))
        self._update(0, loss)
        return loss

    def _update(self, player: int, loss: Tensor) -> None:
        optimizer = self.optimizers[player]
        optimizer.zero_grad()
        torch.autograd.backward(loss, inputs=[p for group in optimizer.param_groups for p in group["params"]])
        optimizer.step()

    def sample(self, n: int) -> Tensor:
        """`n` examples made from fresh noise."""
        made: Tensor = self.generator(torch.randn(n, self.generator.latent, generator=self.random))
        return made

    def _look(self, critic_loss: Tensor, generator_loss: Tensor, scores: Tensor) -> None:
        values = scores.detach().double().numpy()
        real, made = values[: len(values) // 2], values[len(values) // 2 :]
        bands = [*np.quantile(real, [0.25, 0.5, 0.75]), *np.quantile(made, [0.25, 0.5, 0.75])]
        row = [self.step + 1, critic_loss.item(), generator_loss.item(), *bands, score_separation(real, made).area]
        self.diary.looks.append([float(value) for value in row])
        if not np.isfinite(row).all():
            raise LabError(
                f"the training blew up at step {self.step + 1} (recipe {self.terms.recipe}); try another --seed"
            )

    def _shoot(self) -> None:
        if self.step in self._shots and all(step != self.step for step, _ in self.diary.shots):
            with torch.no_grad():
                self.diary.shots.append((self.step, self.generator(self.shown).clone()))

    # states -------------------------------------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Write the state; a file that is there is replaced at one stroke."""
        state = {
            "viva-gan": STATE,
            "terms": vars(self.terms),
            "step": self.step,
            "players": [self.generator.state_dict(), self.critic.state_dict()],
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "random": self.random.get_state(),
            "shown": self.shown,
            "looks": self.diary.looks,
            "shots": [list(shot) for shot in self.diary.shots],
            "seconds": self.diary.seconds,
        }
        part = path.with_name(f"{path.name}.part")
        try:
            torch.save(state, part)
            os.replace(part, path)
        except OSError as error:
            raise LabError(f"--checkpoint: {path}: {error.strerror or error}") from None

    def load(self, path: Path) -> None:
        """Go on from a state. Raises LabError for a file that holds none, or one of other terms."""
        state = _read(path)
        for name, wanted in vars(self.terms).items():
            if state["terms"].get(name) != wanted:
                raise LabError(
                    f"--checkpoint: {path} was made with {name} {state['terms'].get(name)!r}, not {wanted!r}; "
                    f"name another file, or give the same options"
                )
        for player, values in zip((self.generator, self.critic), state["players"], strict=True):
            player.load_state_dict(values)
        for optimizer, values in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(values)
        self.step, self.shown = state["step"], state["shown"]
        self.random.set_state(state["random"])
        self.diary = Diary(state["looks"], [(step, made) for step, made in state["shots"]], state["seconds"])


def _read(path: Path) -> dict[str, Any]:
    try:
        state = torch.load(path, weights_only=True)
    except Exception:
        raise LabError(f"--checkpoint: {path} cannot be read as a state of this lab") from None
    if not isinstance(state, dict) or state.get("viva-gan") != STATE:
        raise LabError(f"--checkpoint: {path} is no state of this lab")
    return state
