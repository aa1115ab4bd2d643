-- oldest reader: 1
CREATE TABLE streams (
    name TEXT PRIMARY KEY,
    policy TEXT NOT NULL,
    age_ms_max INTEGER,
    bytes_max INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE partitions (
    id INTEGER PRIMARY KEY,
    stream TEXT NOT NULL REFERENCES streams (name),
    number INTEGER NOT NULL,
    first INTEGER NOT NULL DEFAULT 0,        -- above every offset that was trimmed
    next INTEGER NOT NULL DEFAULT 0,         -- the offset of the next record; never falls, also when everything is trimmed
    bytes INTEGER NOT NULL DEFAULT 0,
    time_ms_max INTEGER NOT NULL DEFAULT 0,  -- latest time that a record has stated
    appended_ms INTEGER NOT NULL DEFAULT 0,  -- when the last record was taken
    UNIQUE (stream, number)
) STRICT;

-- Appending goes to the right end of each partition's range of slots. The value stands last, so that the other columns are read
-- without walking through the overflow pages of a long value.
CREATE TABLE records (
    slot INTEGER PRIMARY KEY,                -- partition id * 2^42 + offset
    time_ms INTEGER NOT NULL,
    time_ms_max INTEGER NOT NULL,            -- running maximum of time_ms: rises with the slot, so a time is found by bisection
    appended_ms INTEGER NOT NULL,
    checksum INTEGER NOT NULL,               -- CRC-32 of slot, times, key, headers and value
    key BLOB,
    headers BLOB,
    value BLOB
) STRICT;

-- Compacted streams: which record of a key is the newest, and which records were replaced and wait to be removed.
CREATE TABLE newest (
    partition_id INTEGER NOT NULL,
    key BLOB NOT NULL,
    slot INTEGER NOT NULL,
    tombstone_ms INTEGER,                    -- when a tombstone was taken, NULL for a record with a value
    PRIMARY KEY (partition_id, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX newest_tombstones ON newest (tombstone_ms) WHERE tombstone_ms IS NOT NULL;

CREATE TABLE replaced (slot INTEGER PRIMARY KEY) STRICT;

CREATE TABLE owners (
    name TEXT PRIMARY KEY,
    epoch INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE consumer_groups (
    name TEXT PRIMARY KEY,
    idle_ms INTEGER NOT NULL DEFAULT 0,
    expelled INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE progress (
    group_name TEXT NOT NULL REFERENCES consumer_groups (name),
    partition_id INTEGER NOT NULL REFERENCES partitions (id),
    finished INTEGER NOT NULL,               -- everything up to and including this offset is finished
    PRIMARY KEY (group_name, partition_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX progress_by_partition ON progress (partition_id);
