"""`watch`: the same machinery from inside a program, for notebooks and for one of several loops."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from vivavoce.settings import Settings, parse_budget, parse_rules, resolve

if TYPE_CHECKING:
    from vivavoce.attach.session import Outcome, Session
    from vivavoce.examine.finding import Finding
    from vivavoce.examine.verdict import Verdict
    from vivavoce.record.run import Run
    from vivavoce.report.schema import Report


class Watch:
    """A watched piece of training, made by `watch`. Use it as a context manager, or `start()` and `stop()` it."""

    def __init__(self, models: tuple[Any, ...], optimizers: tuple[Any, ...], settings: Settings) -> None:
        self._models = models
        self._optimizers = optimizers
        self._settings = settings
        self._session: Session | None = None
        self._outcome: Outcome | None = None

    def start(self) -> Self:
        """Put the taps in place. Raises RuntimeError where a session is watching already."""
        from vivavoce.attach.session import Session, current

        if current() is not None:
            raise RuntimeError("another watch is going on in this process; stop it first (`viva run` is one, too)")
        self._outcome = None
        self._session = Session(self._settings, command=["watch"])
        self._session.install()
        self._session.follow(self._models, self._optimizers)
        return self

    def stop(self, error: BaseException | None = None) -> None:
        """Take the taps out and examine what was recorded."""
        if self._session is not None and self._outcome is None:
            self._outcome = self._session.finish(None if error is None else 1, error)
            if self._outcome is None:  # nothing was trained
                self._session = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(error)

    @property
    def run(self) -> Run | None:
        """What was recorded so far; None where nothing was trained."""
        from vivavoce.record.run import Run

        if self._outcome is not None:
            return self._outcome.run
        return None if self._session is None else Run(self._session.recorder.source())

    @property
    def verdict(self) -> Verdict | None:
        """The verdict: the final one after `stop`, before it one on what was recorded so far."""
        from vivavoce.examine.verdict import examine

        if self._outcome is not None:
            return self._outcome.verdict
        return None if self.run is None else examine(self.run)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings, most important first."""
        return () if self.verdict is None else self.verdict.findings

    @property
    def path(self) -> Path | None:
        """The store, None where there is none."""
        return None if self._outcome is None else self._outcome.path

    def report(self) -> Report | None:
        """The report as data, schema version 1; None where nothing was trained."""
        from vivavoce.report.build import build_report

        run, verdict = self.run, self.verdict
        return None if run is None or verdict is None else build_report(run, verdict, self.path)

    def _repr_html_(self) -> str:
        from vivavoce.report.notebook import html_fragment

        report = self.report()
        return "<p>Vivavoce: nothing was trained.</p>" if report is None else html_fragment(report)


def watch(
    *watched: Any,
    budget: str | float | None = None,
    directory: str | Path | None = None,
    rules: Iterable[str] | None = None,
) -> Watch:
    """Watch the training inside a `with` block.

    `watched` are models (`torch.nn.Module`) and optimizers (`torch.optim.Optimizer`): where any are given, only the
    optimizers among them are followed, and those that step one of the models; without any, everything is. `budget` is the share
    of step time that watching may cost ("2%" or 0.02), `directory` the folder of the store, `rules` what predictions must
    obey, such as "prediction >= 0" (docs/findings/rule-violated.md).

    >>> with watch(model, optimizer) as run:   # doctest: +SKIP
    ...     train(model, optimizer)
    >>> run.findings                           # doctest: +SKIP

    Raises TypeError for anything that is neither a model nor an optimizer, ValueError for a bad budget or rule.
    """
    import torch

    models = tuple(item for item in watched if isinstance(item, torch.nn.Module))
    optimizers = tuple(item for item in watched if isinstance(item, torch.optim.Optimizer))
    for item in watched:
        if not isinstance(item, (torch.nn.Module, torch.optim.Optimizer)):
            raise TypeError(f"watch() takes models and optimizers, not {type(item).__name__}")
    given: dict[str, Any] = {
        "budget": None if budget is None else parse_budget(budget),
        "directory": None if directory is None else Path(directory),
        "rules": None if rules is None else parse_rules(rules),
    }
    return Watch(models, optimizers, resolve(given))
