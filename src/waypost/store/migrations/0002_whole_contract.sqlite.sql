-- Searching, sealed access keys, and the age of remembered calls.

-- Each instance has a range of numbers for its email addresses, so that a search never walks through another's.
CREATE TABLE search_ranges (
    instance_id TEXT    NOT NULL CONSTRAINT search_ranges_one_each PRIMARY KEY
                        CONSTRAINT search_ranges_have_an_instance REFERENCES instances (id),
    number      INTEGER NOT NULL CONSTRAINT search_ranges_apart UNIQUE
) STRICT, WITHOUT ROWID;

-- The texts of an email address as they are searched: folded, so that case does not count. Indexes hold the first
-- 64 characters of a text, because a description may have 4,096.
CREATE TABLE search_entries (
    number              INTEGER NOT NULL PRIMARY KEY, -- (number of the range << 32) + a serial number
    email_address_id    TEXT    NOT NULL CONSTRAINT search_entries_one_each UNIQUE
                                CONSTRAINT search_entries_have_an_email_address REFERENCES email_addresses (id),
    address             TEXT    NOT NULL,
    display_name        TEXT    NOT NULL,
    description         TEXT    NOT NULL,
    range               INTEGER GENERATED ALWAYS AS (number >> 32) VIRTUAL,
    address_start       TEXT    GENERATED ALWAYS AS (substr(address, 1, 64)) VIRTUAL,
    display_name_start  TEXT    GENERATED ALWAYS AS (substr(display_name, 1, 64)) VIRTUAL,
    description_start   TEXT    GENERATED ALWAYS AS (substr(description, 1, 64)) VIRTUAL
) STRICT;

CREATE INDEX search_entries_by_id ON search_entries (range, email_address_id, number);
CREATE INDEX search_entries_by_address ON search_entries (range, address_start, number);
CREATE INDEX search_entries_by_display_name ON search_entries (range, display_name_start, number);
CREATE INDEX search_entries_by_description ON search_entries (range, description_start, number);

-- For CONTAINS: every three characters that follow one another in a text, and where.
CREATE VIRTUAL TABLE search_texts USING fts5 (
    address, display_name, description,
    content = 'search_entries', content_rowid = 'number', tokenize = 'trigram case_sensitive 1'
);

CREATE TRIGGER search_texts_follow_insert AFTER INSERT ON search_entries BEGIN
    INSERT INTO search_texts (rowid, address, display_name, description)
    VALUES (new.number, new.address, new.display_name, new.description);
END;

CREATE TRIGGER search_texts_follow_delete AFTER DELETE ON search_entries BEGIN
    INSERT INTO search_texts (search_texts, rowid, address, display_name, description)
    VALUES ('delete', old.number, old.address, old.display_name, old.description);
END;

CREATE TRIGGER search_texts_follow_update AFTER UPDATE ON search_entries BEGIN
    INSERT INTO search_texts (search_texts, rowid, address, display_name, description)
    VALUES ('delete', old.number, old.address, old.display_name, old.description);
    INSERT INTO search_texts (rowid, address, display_name, description)
    VALUES (new.number, new.address, new.display_name, new.description);
END;

-- `fold` is `caseless.fold`, lent to SQLite for this migration.
INSERT INTO search_ranges (instance_id, number)
SELECT id, row_number() OVER (ORDER BY created_at, id) FROM instances;

INSERT INTO search_entries (number, email_address_id, address, display_name, description)
SELECT (r.number << 32) + row_number() OVER (PARTITION BY e.instance_id ORDER BY e.created_at, e.id),
       e.id, fold(e.address), fold(coalesce(e.display_name, '')), fold(coalesce(e.description, ''))
FROM email_addresses AS e JOIN search_ranges AS r ON r.instance_id = e.instance_id;

-- The tags of an email address carry its number, so that a search for a tag stays in its instance.
ALTER TABLE tags ADD COLUMN number INTEGER;
UPDATE tags SET number = (SELECT number FROM search_entries WHERE email_address_id = resource_id);
CREATE INDEX tags_by_value ON tags (key, value, number);

CREATE TABLE access_keys (
    id                   TEXT    NOT NULL CONSTRAINT access_keys_id PRIMARY KEY,
    account              TEXT    NOT NULL,
    user_name            TEXT    NOT NULL,
    policy               TEXT    NOT NULL, -- an IAM identity policy
    active               INTEGER NOT NULL,
    created_at           INTEGER NOT NULL,
    expires_at           INTEGER,
    session_token_digest BLOB, -- SHA-256
    sealed_secret        BLOB    NOT NULL,
    CONSTRAINT access_keys_temporary CHECK ((expires_at IS NULL) = (session_token_digest IS NULL))
) STRICT, WITHOUT ROWID;

-- What is to be known of this database as a whole: that the master key is the right one, what was done once.
CREATE TABLE deployment_marks (
    name  TEXT NOT NULL CONSTRAINT deployment_marks_once PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX remembered_calls_by_age ON remembered_calls (made_at);
