-- Current state: one row per living tool.
CREATE TABLE tools (
    tenant_id    TEXT    NOT NULL,
    name         TEXT    NOT NULL,
    revision     INTEGER NOT NULL CHECK (revision >= 1),
    content_hash TEXT    NOT NULL CHECK (length(content_hash) = 64),
    spec         TEXT    NOT NULL CHECK (json_valid(spec)),
    -- Milliseconds since the Unix epoch, UTC.
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, name),
    FOREIGN KEY (tenant_id, name, revision) REFERENCES tool_revisions (tenant_id, name, revision)
) STRICT;

-- One row per write, a delete's tombstone included. It outlives its tool: the next revision of a name is one more
-- than the last one here, so that a revision number never names two things.
CREATE TABLE tool_revisions (
    tenant_id    TEXT    NOT NULL,
    name         TEXT    NOT NULL,
    revision     INTEGER NOT NULL CHECK (revision >= 1),
    action       TEXT    NOT NULL CHECK (action IN ('create', 'update', 'delete', 'import')),
    content_hash TEXT    NOT NULL CHECK (length(content_hash) = 64),
    spec         TEXT    NOT NULL CHECK (json_valid(spec)),
    actor        TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, name, revision)
) STRICT;

CREATE TRIGGER tool_revisions_are_not_updated BEFORE UPDATE ON tool_revisions
BEGIN
    SELECT RAISE(ABORT, 'a revision is immutable');
END;

CREATE TRIGGER tool_revisions_are_not_deleted BEFORE DELETE ON tool_revisions
BEGIN
    SELECT RAISE(ABORT, 'a revision is immutable');
END;

-- JSON stores of the Node.js version that were taken over, so that none is taken over twice.
CREATE TABLE imports (
    source      TEXT    NOT NULL PRIMARY KEY,
    sha256      TEXT    NOT NULL,
    tools       INTEGER NOT NULL,
    imported_at INTEGER NOT NULL
) STRICT;
