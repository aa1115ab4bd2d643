-- oldest reader: 1
-- Sessions, sealed: nothing here names a key, a value or a subject. `headwater.sessions.sealing` says what the parts hold.

CREATE TABLE session (
    id BLOB NOT NULL PRIMARY KEY,
    head BLOB NOT NULL,
    deadline BLOB NOT NULL,
    sealed BLOB NOT NULL
) STRICT;

-- What is read where there is no row: a search that finds nothing takes as long as one that finds a session of usual size.
CREATE TABLE decoy (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    head BLOB NOT NULL,
    deadline BLOB NOT NULL,
    sealed BLOB NOT NULL
) STRICT;
INSERT INTO decoy (one, head, deadline, sealed) VALUES (1, zeroblob(84), zeroblob(32), zeroblob(1054));

-- The current generation of each subject and namespace that was revoked.
CREATE TABLE generation (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    scope BLOB NOT NULL UNIQUE,
    key_id INTEGER NOT NULL,
    token BLOB NOT NULL
) STRICT;
