"""What a critic is shown: which batch is made is found out without being told, and the numbers are those of the instruments."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from vivavoce.attach.rivalry import COLUMNS, Rivals, thinned
from vivavoce.measure import energy_distance, relative_diversity, sample_quality, score_separation

N = 48


@pytest.fixture
def players() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    generator = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 2))
    return generator, nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))


class Seen:
    """The calls of a step, told to `Rivals` as the module tap tells them."""

    def __init__(self, generator: nn.Module, critic: nn.Module) -> None:
        self.rivals = Rivals()
        self.generator, self.critic = generator, critic

    def make(self) -> torch.Tensor:
        noise = torch.randn(N, 3)
        made = self.generator(noise)
        with torch.no_grad():
            self.rivals.called(0, noise, made)
            self.rivals.put_out(0, made)
        return made

    def judge(self, x: torch.Tensor) -> torch.Tensor:
        scores = self.critic(x)
        with torch.no_grad():
            self.rivals.called(1, x, scores)
            self.rivals.put_out(1, scores)
        return scores

    def row(self) -> dict[str, float]:
        rows = self.rivals.rows()
        assert set(rows) == {1}, "the generator is no critic"
        row = dict(zip(COLUMNS, rows[1].tolist(), strict=True))
        assert row["maker"] in (0, -1), "no other model has made anything"
        return row


def expected(real: torch.Tensor, made: torch.Tensor, critic: nn.Module) -> dict[str, float]:
    with torch.no_grad():
        area = score_separation(critic(real), critic(made)).area
    quality = sample_quality(real, made.detach(), 3)
    return {
        "separation": max(area, 1 - area),
        "distance": energy_distance(real, made),
        "coverage": quality.coverage,
        "precision": quality.precision,
    }


def real_batch() -> torch.Tensor:
    return torch.randn(N, 2) + 0.5


@pytest.mark.parametrize("order", ["detached", "no gradient", "real last", "joined", "joined, made first"])
def test_the_critics_own_step_is_enough(players: tuple[nn.Module, nn.Module], order: str) -> None:
    seen = Seen(*players)
    real = real_batch()
    if order == "no gradient":
        with torch.no_grad():
            made = seen.make()
    else:
        made = seen.make().detach()
    if order == "joined":
        seen.judge(torch.cat([real, made]))
    elif order == "joined, made first":
        seen.judge(torch.cat([made, real]))
    else:
        for batch in (made, real) if order == "real last" else (real, made):
            seen.judge(batch)
    row = seen.row()
    assert row["confirmed"] == 1
    for name, value in expected(real, made, players[1]).items():
        assert row[name] == pytest.approx(value, rel=1e-4, abs=1e-5), name
    assert row["made_spread"] / row["real_spread"] == pytest.approx(relative_diversity(made, real), rel=1e-4)


def test_a_batch_half_way_is_not_taken_for_data(players: tuple[nn.Module, nn.Module]) -> None:
    seen = Seen(*players)
    real, made = real_batch() + 4, seen.make()
    mix = torch.rand(N, 1)
    seen.judge((mix * real + (1 - mix) * made.detach()).requires_grad_())
    seen.judge(made.detach())
    seen.judge(real)
    seen.judge(seen.make())
    row = seen.row()
    assert row["separation"] == pytest.approx(expected(real, made, players[1])["separation"], rel=1e-4)
    assert row["real_spread"] == pytest.approx(torch.pdist(real).mean().item(), rel=1e-5)


def test_augmented_samples_are_told_from_data_by_their_distance(players: tuple[nn.Module, nn.Module]) -> None:
    seen = Seen(*players)
    real = real_batch() + 3
    seen.judge(seen.make().detach() + 0.01)  # what was put out is not what is shown
    seen.judge(real)
    seen.judge(seen.make() + 0.01)
    row = seen.row()
    assert row["confirmed"] == 0
    assert row["real_spread"] == pytest.approx(torch.pdist(real).mean().item(), rel=1e-5)


def test_a_network_that_sees_data_alone_is_no_critic(players: tuple[nn.Module, nn.Module]) -> None:
    seen = Seen(*players)
    seen.judge(real_batch())
    seen.judge(real_batch())
    assert seen.rivals.rows() == {}


def test_a_network_on_top_of_another_is_no_critic(players: tuple[nn.Module, nn.Module]) -> None:
    seen = Seen(*players)
    seen.judge(seen.make())
    seen.judge(seen.make())
    assert seen.rivals.rows() == {}


def test_data_of_the_same_shape_as_outputs_are_not_taken_for_made(players: tuple[nn.Module, nn.Module]) -> None:
    seen = Seen(*players)
    seen.make()
    seen.judge(real_batch())
    seen.judge(real_batch())
    row = seen.row()
    assert math.isnan(row["distance"])
    assert row["confirmed"] == 0


def test_pictures_are_thinned_evenly() -> None:
    pictures = torch.arange(2 * 3 * 64 * 64, dtype=torch.float32).reshape(2, 3, 64, 64)
    rows = thinned(pictures)
    assert rows.shape == (2, 1024)
    assert np.unique(np.diff(rows[0].numpy())).tolist() == [12]


def test_too_few_examples_have_no_neighbourhoods(players: tuple[nn.Module, nn.Module]) -> None:
    rivals = Rivals()
    made = players[0](torch.randn(8, 3))
    rivals.put_out(0, made)
    for x in (torch.randn(8, 2), made):
        rivals.called(1, x, players[1](x))
    row = dict(zip(COLUMNS, rivals.rows()[1].tolist(), strict=True))
    assert math.isnan(row["coverage"])
    assert math.isfinite(row["separation"])
