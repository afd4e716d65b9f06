"""The source line that a finding points at, where its detector knows only a layer, or nothing."""

from __future__ import annotations

from dataclasses import replace

from vivavoce.examine.finding import Finding, Where
from vivavoce.examine.reading import main_optimizer
from vivavoce.record.entities import Site
from vivavoce.record.run import Run


def placed(run: Run, finding: Finding) -> Finding:
    """The finding with the line that made its layer; else that of the model, of backward(), or of the optimizer."""
    if finding.where.file is not None:
        return finding
    site = _site_of(run, finding.where)
    return finding if site is None else finding.with_(where=replace(finding.where, file=site.file, line=site.line))


def _site_of(run: Run, where: Where) -> Site | None:
    named = [
        m for m in run.modules.values() if where.layer is not None and m.name == where.layer and m.site is not None
    ]
    model = next((m for m in run.models.values() if m.site is not None), None)
    optimizer = main_optimizer(run)
    places = (*named, model, run.main_loss, optimizer)
    return next((place.site for place in places if place is not None and place.site is not None), None)
