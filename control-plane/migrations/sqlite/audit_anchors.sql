-- How far each chain of the audit log has come; never back. In a file of its own, and run whenever it is opened.
CREATE TABLE IF NOT EXISTS audit_anchors (
    chain TEXT    NOT NULL PRIMARY KEY,
    -- The files that the chain is in: their id, and the host and path where they are.
    log   TEXT    NOT NULL,
    place TEXT    NOT NULL,
    seq   INTEGER NOT NULL CHECK (seq >= 1),
    mac   TEXT    NOT NULL,
    at    TEXT    NOT NULL
) STRICT;

CREATE TRIGGER IF NOT EXISTS audit_anchors_are_not_taken_back BEFORE UPDATE ON audit_anchors
WHEN NEW.seq <= OLD.seq
BEGIN
    SELECT RAISE(ABORT, 'an anchor is not taken back');
END;

CREATE TRIGGER IF NOT EXISTS audit_anchors_are_kept BEFORE DELETE ON audit_anchors
BEGIN
    SELECT RAISE(ABORT, 'an anchor is kept');
END;
