-- oldest reader: 1
-- The index of accepted events: a projection of the log, rebuilt from it when this file is lost.

-- One row per event; `keys` are its keys of 16 bytes each, its id's first. Ordered as events fall out of the window.
CREATE TABLE event (
    time_ms INTEGER NOT NULL,
    n INTEGER NOT NULL,
    keys BLOB NOT NULL,
    PRIMARY KEY (time_ms, n)
) STRICT, WITHOUT ROWID;

-- Where a key was last seen.
CREATE TABLE seen (
    key BLOB PRIMARY KEY,
    time_ms INTEGER NOT NULL,
    n INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Every event of a partition up to this offset is in the index, or was.
CREATE TABLE covered (
    stream TEXT NOT NULL,
    number INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (stream, number)
) STRICT, WITHOUT ROWID;

-- One row: events held, and the next `n`.
CREATE TABLE state (
    held INTEGER NOT NULL,
    next_n INTEGER NOT NULL
) STRICT;
INSERT INTO state (held, next_n) VALUES (0, 0);
