"""Live trials are watched runs: taps and remedies do not get into each other's way, whichever comes first."""

from __future__ import annotations

import pytest
import torch
import trials
from test_live_equals_patched import CASES

import vivavoce
from vivavoce.remedy import live
from vivavoce.remedy.catalogue import by_name
from vivavoce.remedy.remedy import RemedyError

WRAPPING = ("lower-learning-rate", "adam", "clip-norm", "zero-grad", "relu", "lstm-for-rnn", "match-output", "match-shapes",
            "shuffle", "dropout", "normalisation", "l1", "clip-before-step", "optimize-all", "reattach", "warm-up",
            "label-smoothing", "gradient-penalty", "truncate-backpropagation", "he-initialisation")  # fmt: skip


def first(name):
    return next(case for case in CASES if case.remedy == name)


@pytest.mark.parametrize("name", WRAPPING)
def test_a_watched_trial_ends_as_one_that_nobody_watches(name, tmp_path):
    case = first(name)
    path = trials.write(tmp_path / "sick", case.text)
    run = trials.record(path, tmp_path / "store")
    line = trials.line_of(case.text, case.at) if case.at else None
    prescription = trials.prescriptions(name, run, case.slug, path, line, case.layer)[0]
    alone = trials.run_live(path, prescription)
    try:
        with vivavoce.watch(directory=tmp_path / "after", budget=0.5) as watch:
            by_name(name).apply(prescription)
            applied_last = trials.run_plainly(path)
    finally:
        live.undo()
    try:
        by_name(name).apply(prescription)
        with vivavoce.watch(directory=tmp_path / "before", budget=0.5) as other:
            applied_first = trials.run_plainly(path)
    finally:
        live.undo()
    assert trials.same(alone.final, applied_last.final)
    assert trials.same(alone.final, applied_first.final)
    for seen in (watch, other):
        assert seen.run is not None
        assert seen.run.events("tap-off") == []
        assert seen.run.steps > 0


def test_nothing_stays_behind(tmp_path):
    before = {name: vars(torch.nn.functional)[name] for name in ("cross_entropy", "relu", "dropout")}
    steps = torch.optim.Optimizer.__init__, torch.nn.Linear.__init__, torch.autograd.backward
    case = first("match-output")
    path = trials.write(tmp_path / "sick", case.text)
    plain = trials.run_plainly(path)
    run = trials.record(path, tmp_path / "store")
    line = trials.line_of(case.text, case.at)
    for name in ("match-output", "lower-learning-rate", "clip-norm", "dropout"):
        for prescription in trials.prescriptions(name, run, by_name(name).treats[0], path, line)[:1]:
            trials.run_live(path, prescription)
    assert {name: vars(torch.nn.functional)[name] for name in before} == before
    assert steps == (torch.optim.Optimizer.__init__, torch.nn.Linear.__init__, torch.autograd.backward)
    assert trials.same(trials.run_plainly(path).final, plain.final)


def test_a_trial_in_a_copy_of_the_folder_is_treated_too(tmp_path):
    for name in ("longer-training", "lower-learning-rate", "relu"):
        case = first(name)
        path = trials.write(tmp_path / name / "sick", case.text)
        run = trials.record(path, tmp_path / name / "store")
        line = trials.line_of(case.text, case.at)
        prescription = trials.prescriptions(name, run, case.slug, path, line)[0]
        here = trials.run_live(path, prescription)
        copy = trials.write(tmp_path / name / "copy", case.text)
        assert trials.same(trials.run_live(copy, prescription).final, here.final)


def test_a_place_that_cannot_be_reached_is_refused_with_a_reason(tmp_path):
    case = first("optimize-all")
    path = trials.write(tmp_path / "sick", case.text)
    run = trials.record(path, tmp_path / "store")
    prescription = trials.prescriptions("optimize-all", run, case.slug, path, trials.line_of(case.text, case.at))[0]
    path.write_text("x = 1\n")
    with pytest.raises(RemedyError, match="no call at line"):
        by_name("optimize-all").apply(prescription)
    path.unlink()
    with pytest.raises(RemedyError, match="cannot be read"):
        by_name("optimize-all").apply(prescription)


def test_a_trial_reads_its_own_copy_of_the_source(tmp_path, monkeypatch):
    """On top of another remedy the lines are those of the patched file, not of the user's."""
    from vivavoce.remedy import source

    case = first("match-output")
    path = trials.write(tmp_path / "user", case.text)
    longer = trials.write(tmp_path / "copy", "# one line more\n" + case.text)
    run = trials.record(longer, tmp_path / "store")
    line = trials.line_of(longer.read_text(), case.at)
    found = trials.prescriptions("match-output", run, case.slug, longer, line)[0]
    there = trials.run_live(longer, found)
    users = type(found)(found.remedy, found.finding, found.title, found.numbers, {**found.where, "file": str(path)})
    monkeypatch.setattr(source, "_copies", {})
    source.look_in({str(path.parent): str(longer.parent)})
    assert trials.same(trials.run_live(longer, users).final, there.final)


def test_the_critic_is_known_by_the_source_where_no_sample_was_taken(tmp_path):
    from vivavoce.remedy.adversaries import players

    case = first("gradient-penalty")
    path = trials.write(tmp_path / "sick", case.text)
    run = trials.record(path, tmp_path / "store")
    run._tracks["adversary"] = []
    generator, discriminator = players(run)
    assert generator is not None
    assert discriminator is not None
    lines = [trials.line_of(case.text, "opt_g = torch"), trials.line_of(case.text, "opt_d = torch")]
    assert [o.site.line for o in (generator, discriminator) if o.site is not None] == lines
