-- Vivavoce store, schema version 1. One file holds one run of one process.
-- Journal mode is WAL while the run goes on: a file whose writer was killed opens, and lacks at most the last flush.
-- The header says what the file is: application_id 0x56495641 ("VIVA"), user_version the schema version.

-- Facts about the run, one a row. Values are JSON. Keys: schema, run, viva, command, script, python, torch, device,
-- pid, rank, parent, started, finished (absent while the run goes on), exit_code, budget, overhead, steps, stopped, guard.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- Things the script made: models, modules, parameters, optimizers, loaders, losses, graph nodes, clips; rules.
-- `data` is the JSON of the dataclass of that kind in record/entities.py; a later write of the same (kind, id) replaces it.
CREATE TABLE entity (
    kind TEXT    NOT NULL,
    id   INTEGER NOT NULL,
    data TEXT    NOT NULL,
    PRIMARY KEY (kind, id)
) WITHOUT ROWID;

-- A recorded quantity: a row of numbers (one per column) at some steps. `owner` is the entity it belongs to, if any.
-- `columns` is a JSON list: labels, or the ids of the parameters or modules that the numbers belong to.
CREATE TABLE signal (
    id         INTEGER PRIMARY KEY,
    name       TEXT NOT NULL,
    owner_kind TEXT,
    owner_id   INTEGER,
    columns    TEXT NOT NULL
);

-- Rows of a signal. width 1: the rows as recorded. width w > 1: each row is a bin that stands for at most w recorded rows.
-- Blobs are little-endian: steps int64 (n), the last step of each row; counts int64 (n), recorded rows behind each row;
-- mean, minimum, maximum float64 (n × columns), over finite values; nonfinite int64 (n × columns), NULL where all are 0.
-- For width 1 only steps and mean are kept (minimum and maximum equal it; a NaN stands in it as it was).
-- The chunks of a signal, by `start`, follow one another without a gap. The first and the last rows of a signal are of
-- width 1; so are, wherever they stand (as bins of count 1), the rows with the first non-finite value of a column.
CREATE TABLE chunk (
    id        INTEGER PRIMARY KEY,
    signal    INTEGER NOT NULL REFERENCES signal (id),
    start     INTEGER NOT NULL,   -- rows of the signal recorded before this chunk
    recorded  INTEGER NOT NULL,   -- recorded rows behind this chunk
    rows      INTEGER NOT NULL,
    width     INTEGER NOT NULL,
    first     INTEGER NOT NULL,   -- step of the first row
    last      INTEGER NOT NULL,   -- step of the last row
    steps     BLOB NOT NULL,
    mean      BLOB NOT NULL,
    counts    BLOB,
    minimum   BLOB,
    maximum   BLOB,
    nonfinite BLOB
);
CREATE INDEX chunk_by_signal ON chunk (signal, start);

-- Rare happenings: epochs, non-finite values, skipped steps, taps switched off, exceptions. `data` is a JSON object.
CREATE TABLE event (
    id   INTEGER PRIMARY KEY,
    step INTEGER NOT NULL,
    time REAL    NOT NULL,        -- seconds since the run started
    kind TEXT    NOT NULL,
    data TEXT    NOT NULL
);
CREATE INDEX event_by_kind ON event (kind, step);

-- Findings of the examination while the run went on: when each slug was first and last reported. `data` is the finding's JSON.
CREATE TABLE finding (
    slug       TEXT    PRIMARY KEY,
    first_seen INTEGER NOT NULL,  -- step of the examination that first named it
    last_seen  INTEGER NOT NULL,
    data       TEXT    NOT NULL
) WITHOUT ROWID;
