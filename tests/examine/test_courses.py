"""Ailments in the course of a loss, and in signals beside it, that are made up: of a classifier with ten classes."""

from dataclasses import replace

import numpy as np
import pytest

from vivavoce.examine import examine
from vivavoce.examine.class_ignored import ClassIgnored
from vivavoce.record.run import Run
from vivavoce.testing.detectors import classifier
from vivavoce.testing.runs import MemorySource, make_track

STEPS = np.arange(1, 301)
RECORDED = (
    "train/loss",
    "train/function_loss",
    "step",
    "gradient_norm",
    "weight_norm",
    "update_ratio",
    "target_classes",
    "predicted_classes",
)


def run_of(course, layers=4, entities=None, more=(), **changed):
    """A run of 300 steps with this course of the loss; `changed` makes other signals anew of a track, `more` are further ones."""

    def transform(track):
        if track.name in ("train/loss", "train/function_loss"):
            return make_track(track.name, track.owner, ["loss"], STEPS, course)
        if track.name in changed:
            return make_track(track.name, track.owner, track.columns, track.steps, changed[track.name](track))
        return track

    run = classifier(steps=300, layers=layers, validation=False, transform=transform)
    kinds = (run.models, run.modules, run.parameters, run.optimizers, run.losses, run.loaders)
    found = [entity for kind in kinds for entity in kind.values()]
    tracks = [track for name in RECORDED for track in run.tracks(name)]
    return Run(MemorySource({"steps": 300}, entities(found) if entities else found, [*tracks, *more], [], []))


def wave(steps, levels, noise=0.01):
    """A loss that goes straight from level to level."""
    return np.interp(STEPS, steps, levels) + noise * np.sin(STEPS)


def slugs(verdict):
    return {finding.slug for finding in verdict.findings}


@pytest.mark.parametrize(("start", "said"), [(12.0, True), (2.4, False)])
def test_weights_so_large_that_the_run_goes_into_making_the_outputs_smaller(start, said):
    """It comes below half of chance level: from a usual start that would be coping."""
    run = run_of(wave([1, 40, 300], [start, 2.2, 0.9]), weight_norm=lambda track: 12 * track.mean)
    assert ("activation-scale" in slugs(examine(run))) == said


@pytest.mark.parametrize(("update", "said"), [(3e-4, True), (2e-3, False)])
def test_a_loss_that_falls_all_the_time_and_has_not_even_come_down_to_chance_level(update, said):
    run = run_of(wave([1, 300], [2.75, 2.45]), update_ratio=lambda track: np.full_like(track.mean, update))
    assert ("learning-rate-too-low" in slugs(examine(run))) == said


@pytest.mark.parametrize(("large", "said"), [(6, True), (1, False)])
def test_steps_so_large_that_nothing_is_learned_until_the_schedule_takes_them_away(large, said):
    """Adam with a rate of 0.2 under a warm-up: the first steps are small ones."""

    def update_ratio(track):
        values = np.full_like(track.mean, 0.03)
        values[8 : 8 + large] = 0.14
        return values

    def with_adam(entities):
        return [replace(e, class_name="Adam") if e.kind == "optimizer" else e for e in entities]

    rates = make_track(
        "learning_rate", ("optimizer", 0), [0], STEPS, np.interp(STEPS, [1, 60, 300], [1e-4, 0.2, 1e-4])[:, None]
    )
    run = run_of(wave([1, 200, 300], [2.33, 2.3, 1.85]), entities=with_adam, more=[rates], update_ratio=update_ratio)
    found = {finding.slug: finding for finding in examine(run).findings}
    assert ("learning-rate-too-high" in found) == said
    if said:
        assert "a learning rate of up to 0.2 " in found["learning-rate-too-high"].why


@pytest.mark.parametrize(("wait", "said"), [(200, True), (60, False)])
def test_layers_that_receive_nothing_hold_the_loss_up_until_they_have_moved(wait, said):
    """A deep network of sigmoids: for most of the run nothing, then it learns after all. The loss leaves 0.95 ln 10 at step 211."""
    course = wave([1, wait, 300], [2.31, 2.29, 1.4], noise=0.02)
    run = run_of(course, layers=9, gradient_norm=lambda track: track.mean * 0.1 ** (8 - np.asarray(track.columns) // 2))
    found = {finding.slug: finding for finding in examine(run).findings}
    assert ("vanishing-gradients" in found) == said
    if said:
        assert "stayed at chance level for 7" in found["vanishing-gradients"].why


@pytest.mark.parametrize(("end", "said"), [(2.304, {"label-noise", "guessing"}), (1.8, set())])
def test_a_loss_that_comes_down_to_chance_level_and_no_further(end, said):
    """It falls all the time: from where the initialisation was too sure of itself to where nothing is known."""
    primary = examine(run_of(wave([1, 300], [2.36, end], noise=0.005))).primary
    found = {primary.slug, *primary.symptoms} if primary is not None and primary.severity != "note" else set()
    assert found & {"label-noise", "guessing"} == said


@pytest.mark.parametrize(("update", "said"), [(0.15, True), (0.002, False)])
def test_a_classifier_that_had_learned_and_is_worse_than_guessing_later(update, said):
    """Only where the steps are as large as that; the loss ends below chance level, so that nothing else tells."""
    course = wave([1, 80, 160, 300], [2.33, 1.6, 2.8, 1.8], noise=0.05)
    verdict = examine(run_of(course, update_ratio=lambda track: np.full_like(track.mean, update)))
    assert ("learning-rate-too-high" in slugs(verdict)) == said
    if said:
        assert "above what guessing gives" in verdict.primary.why


@pytest.mark.parametrize("plays", [False, True])
def test_a_class_that_is_never_predicted_in_a_game_is_a_players_choice(plays):
    """A discriminator is shown real and made samples in turn, and may well be right about all of them."""

    def target_classes(track):
        return 2 * track.mean

    def predicted_classes(track):
        values = target_classes(track)
        values[:, 1] += values[:, 0]
        values[:, 0] = 0
        return values

    rivals = make_track("adversary", ("model", 0), ["confirmed"], STEPS[:20], np.ones((20, 1)))
    changed = {"target_classes": target_classes, "predicted_classes": predicted_classes}
    run = run_of(wave([1, 300], [2.35, 0.1]), more=[rivals] if plays else [], **changed)
    assert len(list(ClassIgnored().examine(run))) == (0 if plays else 1)
