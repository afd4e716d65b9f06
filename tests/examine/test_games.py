"""Games of two networks: from plain signals, and real ones under the taps in every schedule that users write."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import vivavoce
from vivavoce.examine.adversaries import DiscriminatorDominates, GeneratorDominates, ModeCollapse
from vivavoce.examine.finding import Finding
from vivavoce.examine.game import game_of
from vivavoce.examine.guessing import Guessing
from vivavoce.record.entities import Loss, Model, Optimizer, Parameter, Site
from vivavoce.testing.runs import make_run

STEPS = 200
OLD = ("made_spread", "given_low", "given_high", "separation")
NEW = (*OLD, "real_spread", "distance", "coverage", "precision", "confirmed", "maker")


def game(columns=NEW, losses=2, optimizers=2, critic_update=1e-3, **levels):
    """A run with an adversary signal; a level is a number, or first and last ones of a straight line."""
    usual = {"made_spread": 1.0, "given_low": 0.98, "given_high": 1.0, "separation": 0.7, "real_spread": 1.0,
             "distance": 0.01, "coverage": 0.8, "precision": 0.8, "confirmed": 1.0, "maker": 0.0}  # fmt: skip
    when = np.arange(1, STEPS + 1)
    values = [np.linspace(*np.broadcast_to((usual | levels)[name], 2), 20) for name in columns]
    parameters = [
        Parameter(id=i, model=i, name="0.weight", shape=(8, 8), dtype="float32", module_class="Linear", optimizers=(i,), reached=True)
        for i in (0, 1)
    ]  # fmt: skip
    entities = [
        *(
            Model(id=i, name=name, class_name=name, parameters=64, site=Site("gan.py", 3))
            for i, name in enumerate("GD")
        ),
        *parameters,
        *(
            Optimizer(
                id=i,
                class_name="Adam",
                groups=({"learning_rate": 1e-3, "parameters": [i]},),
                site=Site("gan.py", 7 + i),
            )
            for i in range(optimizers)
        ),
        *(Loss(id=i, source="backward", site=Site("gan.py", 20 + i)) for i in range(losses)),
    ]
    signals = {("adversary", ("model", 1)): (list(columns), when[::10], np.stack(values, 1))}
    for i in range(optimizers):
        signals[("gradient_norm", ("optimizer", i))] = ([min(i, 1)], when, np.ones(STEPS))
        signals[("weight_norm", ("optimizer", i))] = ([min(i, 1)], when, np.ones(STEPS))
        signals[("update_ratio", ("optimizer", i))] = ([min(i, 1)], when, np.full(STEPS, critic_update if i else 1e-3))
        signals[("step", ("optimizer", i))] = (["backward_calls", "stale", "seconds"], when, np.ones((STEPS, 3)))
    for i in range(losses):
        signals[("train/loss", ("loss", i))] = (["loss"], when, 0.7 + 0.01 * np.sin(when))
    return make_run(entities=entities, signals=signals)


def found(detector, run):
    (result,) = detector().examine(run)
    return result


@pytest.mark.parametrize("columns", [OLD, NEW], ids=["older store", "new store"])
def test_a_healthy_game_is_none_of_the_three(columns):
    for detector in (ModeCollapse, DiscriminatorDominates, GeneratorDominates):
        assert not isinstance(found(detector, game(columns)), Finding)


@pytest.mark.parametrize("columns", [OLD, NEW], ids=["older store", "new store"])
def test_samples_all_alike_are_a_collapse_unless_their_variety_grows(columns):
    alike = {"made_spread": 0.1, "given_low": 0.1}
    finding = found(ModeCollapse, game(columns, **alike))
    assert finding.severity == "critical"
    assert "G makes nearly the same thing" in finding.why
    assert {remedy.slug for remedy in finding.remedies} >= {"gradient-penalty", "relativistic-loss", "slower-generator"}
    assert "Adam(…, lr=0.00025)" in finding.remedies[-1].edit
    assert "gan.py:7" in finding.remedies[-1].edit
    growing = {"made_spread": (0.02, 0.3), "given_low": (0.02, 0.3)}
    assert not isinstance(found(ModeCollapse, game(columns, distance=(0.5, 0.05), **growing)), Finding)


def test_variety_that_grows_from_nothing_to_nearly_nothing_is_no_hope():
    for levels in ({"distance": (0.4, 0.5)}, {"made_spread": (0.0005, 0.001), "distance": (0.5, 0.1)}):
        run = game(**{"made_spread": (0.005, 0.03), "given_low": (0.005, 0.03)} | levels)
        assert isinstance(found(ModeCollapse, run), Finding)


def test_modes_left_out_show_in_the_neighbourhoods():
    finding = found(ModeCollapse, game(coverage=0.3, precision=0.9))
    assert finding.severity == "warning"
    assert "30% of the data" in finding.why
    assert not isinstance(found(ModeCollapse, game(coverage=0.05, precision=0.1)), Finding), (
        "samples that lie nowhere tell nothing"
    )


def test_a_critic_that_never_errs_dominates_unless_the_generator_comes_nearer():
    finding = found(DiscriminatorDominates, game(separation=1.0, distance=0.4))
    assert finding.where.layer == "D"
    assert {remedy.slug for remedy in finding.remedies} == {"slower-discriminator", "gradient-penalty", "spectral-norm"}
    assert "gan.py:8" in finding.remedies[0].edit
    assert "nearer" in found(DiscriminatorDominates, game(separation=1.0, distance=(0.5, 0.05))).because


def test_a_critic_that_tells_one_repeated_sample_apart_is_no_winner():
    run = game(separation=1.0, distance=0.4, made_spread=0.001, given_low=0.001)
    assert not isinstance(found(DiscriminatorDominates, run), Finding)
    assert isinstance(found(ModeCollapse, run), Finding)


def test_a_critic_that_sees_nothing_although_there_is_something_to_see():
    assert isinstance(found(GeneratorDominates, game(separation=0.51, distance=0.2)), Finding)
    assert isinstance(found(GeneratorDominates, game(separation=0.51, made_spread=0.6)), Finding)
    assert not isinstance(found(GeneratorDominates, game(separation=0.51)), Finding), "an honourable draw"


def test_a_critic_that_stands_still_is_the_cause_of_what_the_generator_does():
    lost = {"separation": 1.0, "distance": 0.6, "made_spread": 0.1, "given_low": 0.1}
    finding = found(GeneratorDominates, game(critic_update=1e-8, **lost))
    assert "D hardly move" in finding.why
    assert "lr=0.1" in finding.remedies[0].edit
    for detector in (ModeCollapse, DiscriminatorDominates):
        assert "hardly move" in found(detector, game(critic_update=1e-8, **lost)).because
    assert isinstance(found(ModeCollapse, game(**lost)), Finding)


def test_a_generator_that_runs_away_is_not_dominated():
    run = game(separation=1.0, distance=(0.2, 0.9))
    assert not isinstance(found(DiscriminatorDominates, run), Finding)
    assert "runs away" in found(GeneratorDominates, run).title
    wide = game(separation=1.0, distance=0.8, made_spread=9.0, given_high=9.0)
    assert not isinstance(found(DiscriminatorDominates, wide), Finding)
    assert "9.0 × as spread" in found(GeneratorDominates, wide).why


def test_coverage_that_still_grows_has_lost_nothing():
    slow = game(coverage=(0.04, 0.06), precision=0.9, distance=(0.05, 0.03))  # one point a class: it will not get there
    assert isinstance(found(ModeCollapse, slow), Finding)
    assert not isinstance(found(ModeCollapse, game(coverage=(0.05, 0.35), precision=0.9)), Finding)
    nearer = game(coverage=0.2, precision=0.66, distance=(0.6, 0.1), made_spread=0.45, given_low=0.45)  # a young DCGAN
    assert not isinstance(found(ModeCollapse, nearer), Finding)


@pytest.mark.parametrize(
    ("change", "plays"),
    [
        ({}, True),
        ({"losses": 1}, True),  # both losses in one backward call, or one helper that calls it for both
        ({"losses": 1, "confirmed": 0.0}, False),
        ({"confirmed": 0.0}, True),
        ({"optimizers": 3, "losses": 3}, True),
        ({"optimizers": 3, "losses": 3, "maker": -1.0}, False),  # whose is the third?
        ({"optimizers": 1, "losses": 1}, False),  # a reversed gradient: nobody's pace to change
    ],
)
def test_what_counts_as_a_game(change, plays):
    assert (game_of(game(**change)) is not None) == plays


@pytest.mark.parametrize(("confirmed", "silent"), [(1.0, True), (0.0, False)])
def test_a_discriminator_at_chance_does_not_guess(confirmed, silent):
    """One optimizer and a reversed gradient; the loss stays at ln 2."""
    plain = game(optimizers=1, losses=1, confirmed=confirmed)
    site = replace(plain.losses[0], source="function", function="binary_cross_entropy_with_logits", reduction="mean")
    entities = [*plain.models.values(), *plain.parameters.values(), *plain.optimizers.values(), site]
    tracks = [track for name in ("adversary", "gradient_norm", "step") for track in plain.tracks(name)]
    when = np.arange(1, STEPS + 1)
    signals = {(track.name, track.owner): (list(track.columns), track.steps, track.mean) for track in tracks}
    for name in ("train/loss", "train/function_loss"):
        signals[(name, ("loss", 0))] = (["loss"], when, math.log(2) + 0.002 * np.sin(when))
    signals[("target", ("loss", 0))] = (["mean", "std", "low", "high"], when, np.tile([0.5, 0.5, 0, 1], (STEPS, 1)))
    run = make_run(entities=entities, signals=signals)
    assert (not list(Guessing().examine(run))) == silent


def test_rows_without_numbers_do_not_count():
    """A generator that is called with noise as large as what it makes looks like a critic for a moment."""
    run = game(**{name: math.nan for name in NEW if name != "confirmed"})
    assert game_of(run) is None


def rare(last=128, when=(1, 2, 4, 8, 16, 32, 64, 128), **levels):
    """A run of 200 steps whose samples come at doubling distances."""
    run = game(**levels)
    track = run.tracks("adversary")[0]
    when = np.array([step for step in when if step <= last])
    values = np.stack([np.interp(when, track.steps, track.column(name).mean) for name in track.columns], 1)
    entities = [*run.models.values(), *run.parameters.values(), *run.optimizers.values(), *run.losses.values()]
    signals = {("adversary", ("model", 1)): (list(track.columns), when, values)}
    for name in ("gradient_norm", "step", "train/loss"):
        for other in run.tracks(name):
            signals[(name, other.owner)] = (list(other.columns), other.steps, other.mean)
    return make_run(entities=entities, signals=signals)


def test_a_short_run_is_judged_by_what_all_its_later_samples_show():
    lost = {"separation": 1.0, "distance": 0.4}
    finding = found(DiscriminatorDominates, rare(**lost))
    assert "After an eighth of the run" in finding.why
    assert finding.where.first_step == STEPS // 8
    assert isinstance(found(ModeCollapse, rare(made_spread=0.1, given_low=0.1)), Finding)
    assert game_of(rare(last=64, **lost)) is None, "nothing seen of the second half"
    assert game_of(rare(when=(1, 3, 6, 13, 26, 50, 97), **lost)), "97, and the next would have been 194"
    for better in ({"separation": (1.0, 0.9)}, {"distance": (0.4, 0.05)}):
        assert not isinstance(found(DiscriminatorDominates, rare(**lost | better)), Finding)
    assert not isinstance(found(ModeCollapse, rare(made_spread=(0.05, 0.6), given_low=(0.05, 0.6))), Finding)
    assert not list(GeneratorDominates().examine(rare(separation=0.51, distance=0.2)))


# ---- real games under the taps ------------------------------------------------------------------------------------------


def network(*sizes):
    layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.LeakyReLU(0.2))]
    return nn.Sequential(*layers[:-1])


def play(order, steps=260, noise=1.0):
    """A ring of eight, learned with R1 on both sides."""
    centres = torch.arange(8) * math.pi / 4
    centres = 2 * torch.stack([centres.cos(), centres.sin()], 1)
    generator, critic = network(4, 48, 48, 2), network(2, 48, 48, 1)
    ours = torch.optim.Adam(generator.parameters(), 2e-3, betas=(0.0, 0.99))
    theirs = torch.optim.Adam(critic.parameters(), 2e-3, betas=(0.0, 0.99))
    make = lambda: generator(noise * torch.randn(64, 4))  # noqa: E731
    for _ in range(steps):
        real = centres[torch.randint(0, 8, (64,))] + 0.1 * torch.randn(64, 2)
        made = make().detach()
        both = torch.cat([real, made]).requires_grad_()
        scores = critic(both) if order == "joined" else torch.cat([critic(made), critic(real)]).flip(0)
        slope = torch.autograd.grad(critic(both).sum(), both, create_graph=True)[0] if order != "joined" else None
        if slope is None:
            slope = torch.autograd.grad(scores.sum(), both, create_graph=True)[0]
        cost = F.softplus(-scores[:64]).mean() + F.softplus(scores[64:]).mean() + 0.1 * slope.square().sum(1).mean()
        if order == "one backward":
            critic.requires_grad_(False)
            own = F.softplus(-critic(make())).mean()
            critic.requires_grad_(True)
            ours.zero_grad()
            theirs.zero_grad()
            (cost + own).backward()
            theirs.step()
            ours.step()
            continue
        theirs.zero_grad()
        cost.backward()
        theirs.step()
        ours.zero_grad()
        F.softplus(-critic(make())).mean().backward()
        ours.step()


@pytest.mark.parametrize("order", ["apart", "joined", "one backward"])
@pytest.mark.parametrize("noise", [1.0, 1e-4], ids=["healthy", "collapsed"])
def test_a_game_is_recognised_in_every_schedule(tmp_path, order, noise):
    torch.manual_seed(0)
    watch = vivavoce.watch(directory=tmp_path, budget=0.5)
    with watch:
        play(order, noise=noise)
    state = game_of(watch.run)
    assert state is not None
    assert state.critic.id != state.generator.id
    said = {finding.slug for finding in watch.findings if finding.severity != "note"}
    if noise == 1.0:
        assert state.diversity > 0.7
        assert said == set()
    else:
        assert state.diversity < 0.1
        assert "mode-collapse" in said | {slug for finding in watch.findings for slug in finding.symptoms}


def test_of_three_optimizers_the_pair_that_plays_is_judged(tmp_path):
    """An adversarial autoencoder: the critic judges codes, and the decoder, whose output is bounded, has no part in it."""
    torch.manual_seed(0)
    data = torch.rand(256, 8)
    encoder, critic = network(8, 24, 2), network(2, 24, 1)
    decoder = nn.Sequential(nn.Linear(2, 8), nn.Sigmoid())
    ours, rebuilt, theirs = (torch.optim.Adam(net.parameters(), 2e-3) for net in (encoder, decoder, critic))
    watch = vivavoce.watch(directory=tmp_path, budget=0.5)
    with watch:
        for _ in range(150):
            x = data[torch.randint(0, 256, (64,))]
            code = encoder(x)
            ours.zero_grad()
            rebuilt.zero_grad()
            (F.mse_loss(decoder(code), x) + 0.1 * F.softplus(-critic(code)).mean()).backward()
            ours.step()
            rebuilt.step()
            theirs.zero_grad()
            cost = F.softplus(-critic(3 * torch.randn(64, 2))).mean() + F.softplus(critic(code.detach())).mean()
            cost.backward()
            theirs.step()
    state = game_of(watch.run)
    assert state is not None
    assert (state.critic.parameters, state.generator.parameters) == tuple(
        sum(p.numel() for p in net.parameters()) for net in (critic, encoder)
    )
    assert "output-range" not in {finding.slug for finding in watch.findings}
