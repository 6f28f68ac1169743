-- The sessions of people who have signed in to the console, and the links with which they can sign in once. They are in
-- the database, so that all processes of a server know them. A token itself is never stored, only its SHA-256 digest.

CREATE TABLE console_sessions (
    id              TEXT    NOT NULL CONSTRAINT console_sessions_id PRIMARY KEY,
    access_key_id   TEXT    NOT NULL,
    token_digest    BLOB    NOT NULL CONSTRAINT console_sessions_token UNIQUE,
    previous_digest BLOB, -- of the token before the last change, which remains valid for a moment
    token_made_at   INTEGER NOT NULL,
    opened_at       INTEGER NOT NULL,
    used_at         INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX console_sessions_by_previous ON console_sessions (previous_digest) WHERE previous_digest IS NOT NULL;
CREATE INDEX console_sessions_by_key ON console_sessions (access_key_id);

CREATE TABLE console_links (
    token_digest  BLOB    NOT NULL CONSTRAINT console_links_once PRIMARY KEY,
    access_key_id TEXT    NOT NULL,
    expires_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
