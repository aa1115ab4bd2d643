-- oldest reader: 1
-- One shard as last saved. All of it can be rebuilt from the log.
CREATE TABLE shard (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    epoch INTEGER NOT NULL,
    log_base INTEGER NOT NULL,
    applied INTEGER NOT NULL,
    commits_after INTEGER NOT NULL
);

CREATE TABLE dirty (
    urgency INTEGER PRIMARY KEY,
    pages BLOB NOT NULL
);

CREATE TABLE pages (
    number INTEGER PRIMARY KEY,
    node BLOB NOT NULL
);

CREATE TABLE marks (
    resource TEXT PRIMARY KEY NOT NULL,
    mark BLOB NOT NULL
) WITHOUT ROWID;
