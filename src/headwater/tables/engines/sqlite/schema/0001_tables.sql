-- oldest reader: 1
-- Declared tables and their rows. Keys that are BLOBs are made in `headwater.tables.engines.sqlite.keys`: comparing them compares rows.

-- What is on record. `incarnation` is never used twice.
CREATE TABLE declaration (
    incarnation INTEGER PRIMARY KEY AUTOINCREMENT,
    storage_group TEXT NOT NULL,
    name TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    next_column_id INTEGER NOT NULL,
    column_ids BLOB NOT NULL,                -- MessagePack: name to id
    schema BLOB NOT NULL,
    UNIQUE (storage_group, name)
) STRICT;

-- The rows of one domain in one table. Without an incarnation it has been dropped and is being emptied.
CREATE TABLE space (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    incarnation INTEGER REFERENCES declaration (incarnation),
    domain TEXT NOT NULL,
    rows INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    trimmed INTEGER NOT NULL DEFAULT 0       -- the last change that is no longer there
) STRICT;
CREATE UNIQUE INDEX space_by_domain ON space (incarnation, domain);

-- Every row of every table, static rows too. `data` is MessagePack, as `headwater.tables.rows` has it.
CREATE TABLE row (
    key BLOB NOT NULL PRIMARY KEY,           -- space, partition, then nothing more for the static row or the clustering key
    data BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- What each partition takes, only of tables with range columns: elsewhere a partition is one row.
CREATE TABLE partition (
    key BLOB NOT NULL PRIMARY KEY,           -- space, partition
    rows INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- When the first thing in a row expires, only of rows in which anything does.
CREATE TABLE expiry (
    at_s INTEGER NOT NULL,
    key BLOB NOT NULL,
    PRIMARY KEY (at_s, key)
) STRICT, WITHOUT ROWID;

-- The change streams, written with what they tell of. Not WITHOUT ROWID, nor are outcomes: a search in such a table reads every large value
-- that it compares its key with from one end to the other, which others then wait for.
CREATE TABLE change (
    space INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (space, sequence)
) STRICT;

-- What came of writes with a `write_id`.
CREATE TABLE outcome (
    key BLOB NOT NULL PRIMARY KEY,           -- space, partition, write_id
    at_ms INTEGER NOT NULL,
    digest BLOB NOT NULL,
    data BLOB NOT NULL
) STRICT;
CREATE INDEX outcome_by_age ON outcome (at_ms, key);

-- Numbers that are never given twice: `revision` is above every revision and sequence given so far, `epoch` is the last one given.
CREATE TABLE counter (
    name TEXT NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO counter (name, value) VALUES ('revision', 0), ('epoch', 0);

-- Positions of change streams that were given by a file which a restored one has replaced: those above `after`, up to `until`.
CREATE TABLE lost (
    after INTEGER NOT NULL PRIMARY KEY,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What signs the tokens of pages; made with the file.
CREATE TABLE secret (
    name TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
