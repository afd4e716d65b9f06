"""The lab of question 5: how do you solve exploding gradients?"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from vivavoce.examine.sensitivity import initial_sensitivity
from vivavoce.examine.verdict import examine
from vivavoce.labs.figures import Figure, Line, XYPlot
from vivavoce.labs.gradients_proof import foretold, growth_claims, remedies
from vivavoce.labs.gradients_slow import warnings
from vivavoce.labs.inputs import is_file, open_store
from vivavoce.labs.lab import Context, Lab, LabError, Option, Result, Table
from vivavoce.measure.growth import OVERFLOW
from vivavoce.record.folder import list_runs
from vivavoce.record.run import Run
from vivavoce.record.tracks import Track

STORE_ENDING = ".db"
LEAST_FIT = 0.9  # R²: below this the norm does not go through time at one rate
QUESTION = 5
PATIENCE = 600.0  # seconds that a script may take


class Gradients(Lab):
    """Predicts the growth of the gradient, and tries the remedies."""

    name = "gradients"
    question = "How do you solve exploding gradients?"
    textbook = (
        "Fewer layers, a smaller batch, truncated backpropagation through time, ReLU, LSTM, gradient clipping, L1 or L2 "
        "regularisation: each is said to help."
    )
    input_help = "a script that trains, which is run and watched, or a recorded run (.db)"
    options = (
        Option("arguments", "Arguments of the script, in quotes.", metavar="'ARG …'"),
        Option("time-limit", "Seconds that the script may take.", float, PATIENCE, "SECONDS"),
    )
    examples = ("viva lab gradients", "viva lab gradients train.py --arguments '--epochs 1'")

    def prove(self, context: Context) -> Result:
        """The adding problem, on a recurrence whose gradient grows by 1.1 a step."""
        growth, growth_plot = growth_claims(context)
        told, told_table = foretold(context)
        warned, warned_plots = warnings(context)
        tried, tried_table, tried_plot = remedies(context)
        cured = [
            claim.claim.removesuffix(" cures it")
            for claim in tried
            if "cures it" in claim.claim and claim.outcome == "holds"
        ]
        answer = (
            f"Ask twice: does the training survive, and does it learn? Here both are true of {' and of '.join(cured) or 'nothing'}; "
            "the other remedies survive without learning, or do not survive. How fast the gradient grows can be read off the "
            "network before the first step."
        )
        return Result(
            answer,
            [*growth, *told, *warned, *tried],
            [tried_table, told_table],
            [growth_plot, *warned_plots, tried_plot],
            data={"remedies": [list(row) for row in tried_table.rows]},
        )

    def apply(self, source: str, context: Context) -> Result:
        """The growth recorded in a run of the user's own, and what the examination says of it."""
        path = Path(source)
        if not is_file(source):
            raise LabError(f"{source}: no such file; a script or a recorded run is expected")
        if path.suffix == STORE_ENDING:
            return report(open_store(path), path.name)
        if path.suffix != ".py":
            raise LabError(f"{source}: a Python script (.py) or a recorded run (.db) is expected")
        with tempfile.TemporaryDirectory() as folder:
            note = _watch(path, Path(folder), context)
            runs = list_runs(Path(folder))
            if not runs:
                raise LabError(f"{source} trained nothing that could be recorded{note}")
            return report(open_store(runs[0].path), path.name, note)


def _watch(script: Path, folder: Path, context: Context) -> str:
    """Run a script under `viva run`; what to add to the report."""
    try:
        arguments = shlex.split(context.options["arguments"] or "")
    except ValueError as error:
        raise LabError(f"--arguments: {error}") from None
    command = [
        sys.executable,
        "-m",
        "vivavoce",
        "run",
        "--dir",
        str(folder),
        "--quiet",
        "--no-live",
        str(script),
        *arguments,
    ]
    limit = context.options["time-limit"]
    with context.progress.task(f"running {script.name}", 1):
        try:
            done = subprocess.run(command, capture_output=True, timeout=limit, env=dict(os.environ), check=False)
        except subprocess.TimeoutExpired:
            return f" (stopped after {limit:g} s)"
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or [""]
        return f" (the script ended with exit code {done.returncode}: {last[0]})"
    return ""


def report(run: Run, name: str, note: str = "") -> Result:
    """What a run says about its gradients."""
    verdict = examine(run)
    mine = [finding for finding in verdict.findings if finding.question == QUESTION]
    tracks = [track for track in run.tracks("time_growth") if len(track)]
    parts = [_growth_sentence(run, track) for track in tracks]
    rows = [[f.slug, f.severity, f"{f.confidence:.2f}", f.why] for f in mine]
    tables = (
        [Table("Findings on gradients", ["finding", "severity", "confidence", "why"], rows, numeric=False)]
        if rows
        else []
    )
    said = "; ".join(f"{finding.title} ({finding.slug})" for finding in mine) or "nothing is wrong with its gradients"
    parts.append(_sensitivity(run))
    answer = f"{name}, {run.steps:,} steps{note}: {said}. " + " ".join(part for part in parts if part)
    data = {
        "findings": [finding.slug for finding in mine],
        "growth": [float(track.column("rate").finite.mean[0]) for track in tracks if len(track.column("rate").finite)],
    }
    figures = [figure for track in tracks if (figure := _growth_plot(run, track)) is not None]
    remedies = [f"{remedy.title}: {remedy.edit}" for finding in mine for remedy in finding.remedies]
    return Result(answer.strip(), tables=tables, figures=figures, notes=remedies, data=data)


def _growth_sentence(run: Run, track: Track) -> str:
    rate = track.column("rate").finite
    if not len(rate):
        return ""
    first, last = float(rate.mean[0]), float(rate.mean[-1])
    steps, fit = float(track.column("steps").mean[0]), float(track.column("r_squared").mean[0])
    parameter = run.parameters.get(track.owner[1]) if track.owner else None
    name = parameter.name.rpartition(".")[0] or parameter.name if parameter else "the recurrence"
    with np.errstate(over="ignore"):
        factor = float(np.exp(np.log(first) * steps))
    sentence = (
        f"On its way back through {name} the gradient is multiplied by {first:.4f} a time step at first ({factor:,.3g} over "
        f"{steps:g} steps) and by {last:.4f} at the end."
    )
    if first > 1:
        sentence += f" It would leave float32's range after {OVERFLOW / np.log(first):,.0f} time steps."
    return sentence + (f" The rate is not steady (R² {fit:.2f})." if fit < LEAST_FIT else "")


def _growth_plot(run: Run, track: Track) -> Figure | None:
    rate = track.column("rate").finite
    if len(rate) < 2:
        return None
    parameter = run.parameters.get(track.owner[1]) if track.owner else None
    name = parameter.name if parameter else "recurrence"
    line = Line(name, rate.steps.astype(np.float64), rate.mean)
    note = "Factor per time step backwards; above 1 the gradient grows."
    return XYPlot(f"growth-{track.owner[1] if track.owner else 0}", "Growth through time", note, "training step", "factor", [line])  # fmt: skip


def _sensitivity(run: Run) -> str:
    known = [s for o in run.optimizers.values() if (s := initial_sensitivity(run, o)) is not None]
    if not known:
        return ""
    worst = max(known, key=lambda s: s.value)
    return f"Before the first update a change of {worst.parameter.name} by 1 % would have changed the loss by {worst.value:,.3g} %."
