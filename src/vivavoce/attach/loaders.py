"""Tap on data loaders: batch size, order, and where epochs begin and end."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch.utils import data

from vivavoce.attach.budget import now
from vivavoce.attach.sites import is_method_of
from vivavoce.attach.tap import Tap
from vivavoce.record.entities import Loader

if TYPE_CHECKING:
    from vivavoce.attach.session import Session
    from vivavoce.record.recorder import SignalWriter


class LoaderState:
    """A data loader and how it is used."""

    __slots__ = ("batches", "entity", "signal", "streak", "trained")

    def __init__(self, entity: Loader, signal: SignalWriter) -> None:
        self.entity = entity
        self.signal = signal
        self.trained = False
        self.batches = 0  # of the pass that goes on
        self.streak = 0  # backward calls in a row, in this pass, each of which came after a batch of this loader


class LoaderTap(Tap):
    """Wraps the iterators of `torch.utils.data.DataLoader`."""

    name = "loaders"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._by_loader: weakref.WeakKeyDictionary[Any, LoaderState] = weakref.WeakKeyDictionary()
        self._by_iterator: dict[int, LoaderState] = {}
        self._feeding: list[LoaderState] = []  # whose batches came after the last backward call, the latest last

    def install(self) -> None:
        """Wrap the making of an iterator and its next batch."""
        self.patches.wrap(data.DataLoader, "__init__", self._wrap_init)
        self.patches.wrap(data.DataLoader, "__iter__", self._wrap_iter)
        self.patches.wrap(data.dataloader._BaseDataLoaderIter, "__next__", self._wrap_next)

    def _wrap_init(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def init(loader: Any, *args: Any, **kwargs: Any) -> None:
            original(loader, *args, **kwargs)
            if self.on and self.session.active:
                try:
                    self._state(loader)
                except Exception as error:
                    self.fail(error)

        return init

    def _wrap_iter(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def iterate(loader: Any) -> Any:
            iterator = original(loader)
            if self.on and self.session.active:
                try:
                    self._begin(loader, iterator)
                except Exception as error:
                    self.fail(error)
            return iterator

        return iterate

    def _wrap_next(self, original: Callable[..., Any]) -> Callable[..., Any]:
        by_iterator = self._by_iterator

        def next_batch(iterator: Any) -> Any:
            try:
                batch = original(iterator)
            except StopIteration:
                self._end(iterator)
                raise
            state = by_iterator.get(id(iterator))
            if state is not None:
                state.batches += 1
                feeding = self._feeding
                if not feeding or feeding[-1] is not state:
                    self._feeding = [other for other in feeding if other is not state] + [state]
            return batch

        return next_batch

    def states(self) -> list[LoaderState]:
        """What is known of the data loaders that are alive."""
        return list({id(s): s for s in (*self._by_loader.values(), *self._by_iterator.values())}.values())

    def _state(self, loader: Any) -> LoaderState:
        state = self._by_loader.get(loader)
        if state is None:
            id = self.session.take_loader_id()
            entity = describe(loader, id)
            frame = self.session.sites.user_frame(2)
            while frame is not None and is_method_of(frame, loader):
                frame = frame.f_back
            entity = replace(entity, site=self.session.site_of(frame))
            signal = self.session.recorder.signal("epoch", ("loader", id), ("batches",))
            state = self._by_loader[loader] = LoaderState(entity, signal)
        return state

    def _begin(self, loader: Any, iterator: Any) -> None:
        started = now()
        state = self._state(loader)
        if state.batches:  # the pass before was broken off
            self._close(state)
        for key in [key for key, other in self._by_iterator.items() if other is state]:
            del self._by_iterator[key]
        self._by_iterator[id(iterator)] = state
        self.session.recorder.entity(state.entity)
        self.session.budget.charge(now() - started)

    def _end(self, iterator: Any) -> None:
        try:
            state = self._by_iterator.get(id(iterator))
            if state is not None and state.batches:
                self._close(state)
                self._feeding = [other for other in self._feeding if other is not state]
        except Exception as error:
            self.fail(error)

    def _close(self, state: LoaderState) -> None:
        state.signal.append(self.session.step, (float(state.batches),))
        state.batches = state.streak = 0
        if state.entity.role is None:
            state.entity = replace(state.entity, role="train" if state.trained else "validation")
            self.session.recorder.entity(state.entity)

    def backward_begins(self) -> None:
        """A backward call starts: the loader that gave the last batch is a training loader.

        So is one that goes along with it, a batch a step: several loaders may be read side by side.
        """
        feeding = self._feeding
        if not feeding:
            return
        last, self._feeding = feeding[-1], []
        for state in feeding:
            state.streak += 1
            if not state.trained and (state is last or state.streak > 1):
                state.trained = True
                state.entity = replace(state.entity, role="train")
                self.session.recorder.entity(state.entity)


def describe(loader: Any, id: int) -> Loader:
    """The facts of a data loader that can be had without drawing from it."""
    batch_sampler = getattr(loader, "batch_sampler", None)
    sampler = getattr(batch_sampler, "sampler", None) or getattr(loader, "sampler", None)
    return Loader(
        id=id,
        batch_size=loader.batch_size if loader.batch_size is not None else getattr(batch_sampler, "batch_size", None),
        shuffle=_shuffles(loader, sampler, batch_sampler),
        sampler=type(sampler).__name__,
        dataset_size=_length(getattr(loader, "dataset", None)),
        batches=None if isinstance(loader.dataset, data.IterableDataset) else _length(loader),
        workers=loader.num_workers,
        drop_last=bool(getattr(loader, "drop_last", False)),
    )


def _shuffles(loader: Any, sampler: Any, batch_sampler: Any) -> bool | None:
    if isinstance(loader.dataset, data.IterableDataset):
        return None
    if batch_sampler is not None and type(batch_sampler) is not data.BatchSampler:
        return None
    if type(sampler) is data.SequentialSampler:
        return False
    if isinstance(sampler, (data.RandomSampler, data.SubsetRandomSampler, data.WeightedRandomSampler)):
        return True
    shuffle = getattr(sampler, "shuffle", None)
    return shuffle if isinstance(shuffle, bool) else None


def _length(sized: Any) -> int | None:
    try:
        return len(sized)
    except (TypeError, NotImplementedError, AttributeError):
        return None
