"""The recorder and the reader: what goes in comes out, the same from memory and from the file."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vivavoce.record.entities import (
    KINDS,
    Clip,
    Entity,
    Loader,
    Loss,
    Model,
    Module,
    Node,
    Optimizer,
    Parameter,
    Rule,
    Site,
)
from vivavoce.record.memory import MAX_EVENTS_PER_KIND
from vivavoce.record.recorder import Recorder
from vivavoce.record.run import Run, Source
from vivavoce.record.store import StoreSource, open_run, read_meta
from vivavoce.record.tracks import Track

SITE = Site("/home/someone/train.py", 41, "main")
ENTITIES: tuple[Entity, ...] = (
    Model(id=0, name="Net (2)", class_name="Net", site=SITE, parameters=12, trainable=10, compiled=True),
    Module(id=3, model=0, name="fc1 > relu", class_name="relu", functional=True, site=SITE),
    Module(id=4, model=None, name="gelü", class_name="GELU"),
    Parameter(id=1, model=0, name="fc.weight", shape=(3, 4), dtype="float32", optimizers=(0, 1), tied=("out.weight",)),
    Parameter(id=2, model=None, name="scalar", shape=(), dtype="bfloat16", reached=False, first_step=7),
    Optimizer(
        id=0,
        class_name="AdamW",
        groups=({"learning_rate": float("inf"), "betas": [0.9, 0.999], "parameters": [1, 2]}, {"parameters": []}),
        site=SITE,
        step_site=Site("train.py", 57),
        closure=True,
    ),
    Loader(id=0, batch_size=None, shuffle=None, sampler="MySampler", dataset_size=None, batches=12, site=SITE),
    Loss(
        id=0, source="function", function="cross_entropy", site=SITE, classes=10, prediction_shape=(32, 10), models=(0,)
    ),
    Clip(id=0, function="clip_grad_norm_", threshold=1.0, norm_type=float("inf"), site=SITE, after_step=True),
    Node(id=5, op="AddmmBackward0", inputs=(1, 2), parameter=1, loss=0, site=SITE, code="loss.backward()"),
    Rule(id=0, text="prediction[0] > 3", loss=1, function="mse_loss", unfit="there is no input at hand"),
)

Make = Callable[..., Recorder]


@pytest.fixture
def make(tmp_path: Path) -> Any:
    """A function that makes recorders into tmp_path; they are closed at the end."""
    made: list[Recorder] = []

    def make_one(name: str = "run.db", meta: dict[str, Any] | None = None, **options: Any) -> Recorder:
        options.setdefault("flush_seconds", 1000.0)
        made.append(Recorder(tmp_path / name, meta, **options))
        return made[-1]

    yield make_one
    for recorder in made:
        recorder.close()


def same_track(one: Track, other: Track) -> None:
    """Equal in every field, dtypes included."""
    assert (one.name, one.owner, one.columns) == (other.name, other.owner, other.columns)
    for name in ("steps", "counts", "mean", "minimum", "maximum", "nonfinite"):
        a, b = getattr(one, name), getattr(other, name)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def same_source(one: Source, other: Source, signals: list[str], events: list[str]) -> None:
    """Equal in everything that a Run reads."""
    assert one.meta() == other.meta()
    for cls in KINDS.values():
        assert sorted(one.entities(cls), key=repr) == sorted(other.entities(cls), key=repr)
    for name in signals:
        assert len(one.tracks(name)) == len(other.tracks(name)) > 0
        for mine, theirs in zip(one.tracks(name), other.tracks(name), strict=True):
            same_track(mine, theirs)
    for kind in events:
        assert one.events(kind) == other.events(kind) != []
    assert one.findings() == other.findings()


@pytest.mark.parametrize("seed", range(12))
def test_file_and_memory_agree(make: Make, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from vivavoce.record import history

    monkeypatch.setattr(history, "MIN_ROWS", 16)
    monkeypatch.setattr(history, "PART_VALUES", 64)
    rng = np.random.default_rng(seed)
    recorder = make(meta={"command": ["viva", "run"], "budget": 0.02})
    writers = [recorder.signal("gradient_norm", ("optimizer", i), list(range(3 + i))) for i in range(2)]
    writers.append(recorder.signal("train/loss", None, ["loss"]))
    for step in range(int(rng.integers(1, 1500))):
        for writer in writers:
            row = rng.standard_normal(len(writer.columns))
            row[rng.random(len(row)) < 0.01] = np.nan
            writer.append(step, row if rng.random() < 0.5 else row.tolist())
        if rng.random() < 0.05:
            recorder.flush()
    recorder.event(3, "non-finite", what="loss", value=float("nan") if seed < 0 else "nan")
    for entity in ENTITIES:
        recorder.entity(entity)
    recorder.findings([{"slug": "guessing", "severity": "warning"}], 3)
    recorder.meta(steps=17)
    recorder.flush()
    assert recorder.path is not None
    signals, events = ["gradient_norm", "train/loss"], ["non-finite"]
    same_source(recorder.source(), StoreSource(recorder.path), signals, events)
    recorder.close()
    same_source(recorder.source(), StoreSource(recorder.path), signals, events)


@pytest.mark.parametrize("entity", ENTITIES, ids=lambda entity: f"{entity.kind}-{entity.id}")
def test_entities_come_back_as_they_were(make: Make, entity: Entity) -> None:
    recorder = make()
    recorder.entity(entity)
    recorder.close()
    assert recorder.path is not None
    assert StoreSource(recorder.path).entities(type(entity)) == [entity]
    assert recorder.source().entities(type(entity)) == [entity]


def test_every_kind_of_entity_is_tried() -> None:
    assert {entity.kind for entity in ENTITIES} == set(KINDS)


def test_a_later_entity_replaces_the_earlier(make: Make) -> None:
    recorder = make()
    for after_step in (False, True):
        recorder.entity(Clip(id=0, function="clip_grad_norm_", threshold=1.0, after_step=after_step))
        recorder.flush()
    assert recorder.path is not None
    assert open_run(recorder.path).clips[0].after_step is True


def test_arrays_of_rows_and_lists_mix_in_order(make: Make) -> None:
    recorder = make()
    writer = recorder.signal("weight_norm", ("optimizer", 0), [4, 5])
    writer.append(0, [1.0, 2.0])
    writer.extend(np.array([1, 2]), np.array([[3.0, 4.0], [5.0, 6.0]]))
    writer.append(3, np.array([7.0, 8.0], dtype=np.float32))
    (track,) = recorder.source().tracks("weight_norm")
    assert track.steps.tolist() == [0, 1, 2, 3]
    assert track.mean.tolist() == [[1, 2], [3, 4], [5, 6], [7, 8]]
    assert track.columns == (4, 5)


def test_one_writer_for_each_signal_owner_and_columns(make: Make) -> None:
    recorder = make()
    first = recorder.signal("gradient_norm", ("optimizer", 0), [0, 1])
    assert recorder.signal("gradient_norm", ("optimizer", 0), (0, 1)) is first
    assert recorder.signal("gradient_norm", ("optimizer", 1), [0, 1]) is not first
    assert recorder.signal("gradient_norm", ("optimizer", 0), [0, 1, 2]) is not first


def test_nothing_recorded_leaves_no_file(make: Make, tmp_path: Path) -> None:
    recorder = make(meta={"command": "viva run empty.py"}, flush_seconds=0.01)
    recorder.signal("train/loss", ("loss", 0), ["loss"])
    recorder.meta(steps=0)
    time.sleep(0.1)
    recorder.close()
    assert list(tmp_path.iterdir()) == []
    assert recorder.path is None
    assert not recorder.complete


def test_the_path_may_be_chosen_when_the_first_data_arrive(tmp_path: Path) -> None:
    asked: list[Path] = []

    def choose() -> Path:
        asked.append(tmp_path / "late.db")
        asked[-1].touch()
        return asked[-1]

    recorder = Recorder(choose, flush_seconds=1000)
    recorder.flush()
    assert asked == []
    recorder.event(0, "stopped", slug="guessing")
    recorder.close()
    assert asked == [tmp_path / "late.db"] == [recorder.path]


def test_the_background_thread_writes_by_itself(make: Make) -> None:
    recorder = make(flush_seconds=0.01)
    recorder.signal("train/loss", ("loss", 0), ["loss"]).append(0, [0.5])
    deadline = time.monotonic() + 60
    while not recorder.complete and time.monotonic() < deadline:
        time.sleep(0.01)
    assert recorder.path is not None
    assert open_run(recorder.path).series("train/loss").mean.tolist() == [0.5]


def test_a_closed_run_is_one_file_that_any_sqlite_reads(make: Make, tmp_path: Path) -> None:
    recorder = make()
    recorder.event(0, "stopped", slug="x")
    recorder.close()
    recorder.close()
    recorder.event(1, "stopped", slug="y")
    recorder.signal("late", None, ["x"]).append(0, [1.0])
    assert [path.name for path in tmp_path.iterdir()] == ["run.db"]
    connection = sqlite3.connect(tmp_path / "run.db")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert connection.execute("SELECT count(*) FROM event").fetchone() == (1,)
    connection.close()


def test_closing_while_someone_reads(make: Make, tmp_path: Path) -> None:
    recorder = make()
    recorder.event(0, "stopped", slug="x")
    recorder.flush()
    reader = sqlite3.connect(f"file:{tmp_path}/run.db?mode=ro", uri=True, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM event").fetchall()
    recorder.event(1, "stopped", slug="y")
    recorder.close()
    assert len(open_run(tmp_path / "run.db").events("stopped")) == 2
    reader.close()
    assert len(open_run(tmp_path / "run.db").events("stopped")) == 2


def test_a_reader_sees_one_instant_while_the_writer_goes_on(make: Make) -> None:
    recorder = make(flush_seconds=0.001)
    one, two = (recorder.signal(name, None, ["x"]) for name in ("one", "two"))
    stop = threading.Event()

    def train() -> None:
        step = 0
        while not stop.is_set():
            one.append(step, [step])
            two.append(step, [step])
            step += 1
            time.sleep(0)

    thread = threading.Thread(target=train)
    thread.start()
    recorder.flush()
    while recorder.path is None:
        recorder.flush()
    for _ in range(20):
        run = open_run(recorder.path)
        for name in ("one", "two"):
            for track in run.tracks(name):
                assert track.steps[-1] + 1 == track.counts.sum()
    stop.set()
    thread.join()


def test_a_snapshot_does_not_change(make: Make) -> None:
    recorder = make()
    writer = recorder.signal("train/loss", None, ["loss"])
    writer.append(0, [1.0])
    recorder.meta(steps=1)
    before = Run(recorder.source())
    writer.append(1, [2.0])
    recorder.event(1, "stopped", slug="x")
    recorder.entity(ENTITIES[0])
    recorder.findings([{"slug": "guessing"}], 1)
    recorder.meta(steps=2)
    recorder.flush()
    assert (before.steps, before.models, before.events("stopped"), before.live_findings) == (1, {}, [], [])
    assert before.series("train/loss").steps.tolist() == [0]


def test_findings_keep_their_first_and_last_step(make: Make) -> None:
    recorder = make()
    recorder.event(0, "stopped", slug="x")
    for step in (10, 20, 30):
        found = [{"slug": "dead-units", "why": f"at {step}"}, {"slug": "dead-units", "why": "less important"}]
        recorder.findings(found + ([{"slug": "guessing"}] if step == 20 else []), step)
        recorder.flush()
    assert recorder.path is not None
    assert open_run(recorder.path).live_findings == [
        {"slug": "dead-units", "why": "at 30", "first_seen": 10, "last_seen": 30},
        {"slug": "guessing", "first_seen": 20, "last_seen": 20},
    ]


def test_events_of_a_kind_are_limited(make: Make) -> None:
    recorder = make()
    for step in range(MAX_EVENTS_PER_KIND + 50):
        recorder.event(step, "scaler-skip", scale=65536.0)
    recorder.event(0, "stopped", slug="x")
    source = recorder.source()
    assert len(source.events("scaler-skip")) == MAX_EVENTS_PER_KIND
    assert len(source.events("stopped")) == 1


def test_facts_take_any_value(make: Make) -> None:
    recorder = make(meta={"script": Path("train.py"), "seen": {2, 1}, "scale": np.float32(0.5)})
    recorder.event(0, "stopped", slug="x")
    recorder.close()
    assert recorder.path is not None
    facts = read_meta(recorder.path)
    assert (facts["script"], facts["seen"], facts["scale"], facts["schema"]) == ("train.py", [1, 2], 0.5, 1)


def test_jobs_run_after_flushes_and_their_faults_are_told_once(tmp_path: Path) -> None:
    faults: list[tuple[str, str]] = []
    rows: list[int] = []
    threads: set[str] = set()
    recorder = Recorder(
        tmp_path / "run.db", on_fault=lambda name, error: faults.append((name, str(error))), flush_seconds=0.01
    )

    def examine(recorder: Recorder) -> None:
        threads.add(threading.current_thread().name)
        rows.append(len(recorder.source().tracks("train/loss")[0]))

    def broken(recorder: Recorder) -> None:
        raise ZeroDivisionError("no batches")

    recorder.add_job(broken)
    recorder.add_job(examine)
    recorder.signal("train/loss", None, ["loss"]).append(0, [1.0])
    deadline = time.monotonic() + 60
    while len(rows) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    recorder.close()
    assert rows[:3] == [1, 1, 1]
    assert threads == {"vivavoce recorder"}
    assert faults == [("broken", "no batches")]
    assert recorder.cpu_seconds > 0


@pytest.mark.parametrize("row", [[1.0], [1.0, 2.0, 3.0], ["a", "b"], [1.0, {}], np.zeros((1, 3)), 7])
def test_malformed_rows_are_reported_once_and_the_rest_is_kept(tmp_path: Path, row: Any) -> None:
    faults: list[str] = []
    recorder = Recorder(tmp_path / "run.db", on_fault=lambda name, error: faults.append(name), flush_seconds=1000)
    bad, good = recorder.signal("bad", None, ["x", "y"]), recorder.signal("good", None, ["x"])
    for step in range(3):
        bad.append(step, [step, step])
        bad.append(step, row)
        good.append(step, [float(step)])
        recorder.flush()
    recorder.close()
    assert faults == ["signal bad"]
    for name in ("good", "bad"):
        assert open_run(tmp_path / "run.db").series(name).mean.tolist() == [0.0, 1.0, 2.0]


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "thesis.db"
    path.write_text("years of work")
    warnings: list[str] = []
    recorder = Recorder(path, warn=warnings.append, flush_seconds=1000)
    recorder.event(0, "stopped", slug="x")
    recorder.close()
    assert path.read_text() == "years of work"
    assert len(warnings) == 1
    assert len(recorder.source().events("stopped")) == 1


def test_appending_does_not_wait_for_the_file(make: Make) -> None:
    recorder = make()
    writer = recorder.signal("train/loss", None, ["loss"])
    with recorder._file_lock, recorder._memory_lock:
        done = threading.Event()

        def train() -> None:
            writer.append(0, [1.0])
            recorder.event(0, "stopped", slug="x")
            recorder.meta(steps=1)
            recorder.entity(ENTITIES[0])
            done.set()

        threading.Thread(target=train).start()
        assert done.wait(60)


def test_two_runs_at_once_in_one_folder(tmp_path: Path) -> None:
    recorders = [Recorder(tmp_path / f"{name}.db", flush_seconds=0.005) for name in "ab"]
    for step in range(200):
        for number, recorder in enumerate(recorders):
            recorder.signal("x", None, ["x"]).append(step, [number])
        time.sleep(0.0005)
    for recorder in recorders:
        recorder.close()
    for number, name in enumerate("ab"):
        assert open_run(tmp_path / f"{name}.db").series("x").mean.tolist() == [float(number)] * 200


def test_the_process_umask_decides_who_may_read(make: Make, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        recorder = make()
        recorder.event(0, "stopped", slug="x")
        recorder.close()
    finally:
        os.umask(before)
    if os.name == "posix":
        assert (tmp_path / "run.db").stat().st_mode & 0o777 == 0o640
