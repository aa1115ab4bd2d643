-- oldest reader: 1
-- Bodies under the SHA-256 of their content, compressed with zstd. Nothing here says which body is current: commit records do.
CREATE TABLE bodies (
    hash BLOB PRIMARY KEY NOT NULL,
    content BLOB NOT NULL
);

-- From which revision of which page a body was rendered, so that it is found when that revision is hidden.
CREATE TABLE body_sources (
    wiki TEXT NOT NULL,
    page INTEGER NOT NULL,
    rev INTEGER NOT NULL,
    hash BLOB NOT NULL,
    PRIMARY KEY (wiki, page, rev, hash)
) WITHOUT ROWID;

CREATE INDEX body_sources_by_hash ON body_sources (hash);
