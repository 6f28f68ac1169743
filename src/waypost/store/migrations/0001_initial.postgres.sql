-- The first schema. Times are milliseconds since 1970 in UTC; ids are UUIDs as text. Every text is compared by its
-- code points (COLLATE "C"), whatever the collation of the database.

CREATE TABLE instances (
    id                       TEXT COLLATE "C" CONSTRAINT instances_id PRIMARY KEY,
    account                  TEXT COLLATE "C" NOT NULL,
    region                   TEXT COLLATE "C" NOT NULL,
    alias                    TEXT COLLATE "C",
    alias_key                TEXT COLLATE "C" CONSTRAINT instances_alias_is_unique UNIQUE,
    identity_management_type TEXT COLLATE "C" NOT NULL,
    directory_id             TEXT COLLATE "C",
    inbound_calls_enabled    BOOLEAN NOT NULL,
    outbound_calls_enabled   BOOLEAN NOT NULL,
    created_at               BIGINT NOT NULL
);

CREATE INDEX instances_by_tenant ON instances (account, region, id);

CREATE TABLE email_addresses (
    id           TEXT COLLATE "C" CONSTRAINT email_addresses_id PRIMARY KEY,
    instance_id  TEXT COLLATE "C" NOT NULL CONSTRAINT email_addresses_have_an_instance REFERENCES instances (id),
    account      TEXT COLLATE "C" NOT NULL,
    address      TEXT COLLATE "C" NOT NULL,
    -- An address exists once in a deployment, because mail to it must have one owner.
    address_key  TEXT COLLATE "C" NOT NULL CONSTRAINT email_addresses_have_one_owner UNIQUE,
    display_name TEXT COLLATE "C",
    description  TEXT COLLATE "C",
    created_at   BIGINT NOT NULL,
    modified_at  BIGINT NOT NULL
);

CREATE INDEX email_addresses_by_instance ON email_addresses (instance_id, id);

-- An alias link is two rows, one for each end, written and removed together by one statement. The primary key
-- says that an email address is in one link at most, on either side; the foreign key, that an end without its
-- counterpart cannot exist.
CREATE TABLE alias_link_ends (
    email_address_id TEXT COLLATE "C" CONSTRAINT alias_link_ends_one_link_each PRIMARY KEY
                     CONSTRAINT alias_link_ends_have_an_email_address REFERENCES email_addresses (id),
    side             TEXT COLLATE "C" NOT NULL CONSTRAINT alias_link_ends_side CHECK (side IN ('primary', 'alias')),
    other_id         TEXT COLLATE "C" NOT NULL,
    other_side       TEXT COLLATE "C" NOT NULL
                     CONSTRAINT alias_link_ends_other_side CHECK (other_side IN ('primary', 'alias')),
    created_at       BIGINT NOT NULL,
    CONSTRAINT alias_link_ends_differ CHECK (side <> other_side),
    CONSTRAINT alias_link_ends_not_self CHECK (email_address_id <> other_id),
    CONSTRAINT alias_link_ends_pair UNIQUE (email_address_id, side, other_id, other_side),
    CONSTRAINT alias_link_ends_meet FOREIGN KEY (other_id, other_side, email_address_id, side)
        REFERENCES alias_link_ends (email_address_id, side, other_id, other_side)
);

-- For the foreign key: whose counterpart goes?
CREATE INDEX alias_link_ends_by_other ON alias_link_ends (other_id);

-- Tags of instances and email addresses.
CREATE TABLE tags (
    resource_id TEXT COLLATE "C" NOT NULL,
    key         TEXT COLLATE "C" NOT NULL,
    value       TEXT COLLATE "C" NOT NULL,
    CONSTRAINT tags_one_value_each PRIMARY KEY (resource_id, key)
);

CREATE INDEX tags_by_value ON tags (key, value, resource_id);

-- The texts of an email address as they are searched: folded, so that case does not count. Indexes hold the first
-- 64 characters of a text, because a description may have 4,096. `trigrams` are every three characters that follow
-- one another in a text, as a number with that of the text; PostgreSQL's own pg_trgm knows words alone, and would have
-- to be installed.
CREATE TABLE search_entries (
    email_address_id TEXT COLLATE "C" CONSTRAINT search_entries_one_each PRIMARY KEY
                     CONSTRAINT search_entries_have_an_email_address REFERENCES email_addresses (id),
    instance_id      TEXT COLLATE "C" NOT NULL,
    number           BIGINT GENERATED ALWAYS AS IDENTITY,
    address          TEXT COLLATE "C" NOT NULL,
    display_name     TEXT COLLATE "C" NOT NULL,
    description      TEXT COLLATE "C" NOT NULL,
    trigrams         BIGINT[] NOT NULL
);

CREATE INDEX search_entries_in_order ON search_entries (instance_id, number);
CREATE INDEX search_entries_by_address ON search_entries (instance_id, left(address, 64));
CREATE INDEX search_entries_by_display_name ON search_entries (instance_id, left(display_name, 64));
CREATE INDEX search_entries_by_description ON search_entries (instance_id, left(description, 64));
-- Each entry goes into the index by itself. With the list that PostgreSQL keeps of new entries by default, whoever
-- fills it would have to empty it in the midst of a call, and searches would have to read it.
CREATE INDEX search_entries_by_trigrams ON search_entries USING gin (trigrams) WITH (fastupdate = off);

-- Calls made with a client token, and what they were answered. A call that goes on now has no fingerprint yet.
CREATE TABLE remembered_calls (
    account     TEXT COLLATE "C" NOT NULL,
    region      TEXT COLLATE "C" NOT NULL,
    operation   TEXT COLLATE "C" NOT NULL,
    scope       TEXT COLLATE "C" NOT NULL,
    token       TEXT COLLATE "C" NOT NULL,
    fingerprint BYTEA NOT NULL,
    answer      TEXT COLLATE "C" NOT NULL,
    made_at     BIGINT NOT NULL,
    CONSTRAINT remembered_calls_once PRIMARY KEY (account, region, operation, scope, token)
);

CREATE INDEX remembered_calls_by_age ON remembered_calls (made_at);

CREATE TABLE messages (
    id          TEXT COLLATE "C" CONSTRAINT messages_id PRIMARY KEY,
    sender      TEXT COLLATE "C" NOT NULL,
    recipients  TEXT COLLATE "C" NOT NULL, -- a JSON list
    helo        TEXT COLLATE "C" NOT NULL,
    peer        TEXT COLLATE "C" NOT NULL,
    protocol    TEXT COLLATE "C" NOT NULL,
    received_at BIGINT NOT NULL,
    size        BIGINT NOT NULL,
    subject     TEXT COLLATE "C" NOT NULL
);

-- Apart from the messages, so that a list never reads a body; in pieces, so that nobody needs all of a large one.
-- Mail does not shrink much, and whoever compresses it has to do it at each reading (EXTERNAL).
CREATE TABLE message_bodies (
    message_id TEXT COLLATE "C" NOT NULL CONSTRAINT message_bodies_have_a_message REFERENCES messages (id),
    start      BIGINT NOT NULL, -- which octet of the message is the first of this piece
    octets     BYTEA NOT NULL,
    CONSTRAINT message_bodies_once_each PRIMARY KEY (message_id, start)
);

ALTER TABLE message_bodies ALTER COLUMN octets SET STORAGE EXTERNAL;

-- A delivery outlives its email address, so it carries the address and the account itself.
CREATE TABLE deliveries (
    message_id       TEXT COLLATE "C" NOT NULL CONSTRAINT deliveries_have_a_message REFERENCES messages (id),
    email_address_id TEXT COLLATE "C" NOT NULL,
    account          TEXT COLLATE "C" NOT NULL,
    address          TEXT COLLATE "C" NOT NULL,
    address_key      TEXT COLLATE "C" NOT NULL,
    reason           TEXT COLLATE "C" NOT NULL,
    sent_to          TEXT COLLATE "C" NOT NULL,
    via              TEXT COLLATE "C",
    status           TEXT COLLATE "C" NOT NULL,
    trace_header     BYTEA NOT NULL,
    CONSTRAINT deliveries_once_each PRIMARY KEY (message_id, email_address_id)
);

CREATE INDEX deliveries_by_address ON deliveries (account, address_key, message_id);

CREATE TABLE trace_events (
    message_id TEXT COLLATE "C" NOT NULL CONSTRAINT trace_events_have_a_message REFERENCES messages (id),
    number     BIGINT NOT NULL,
    at         BIGINT NOT NULL,
    kind       TEXT COLLATE "C" NOT NULL,
    detail     TEXT COLLATE "C" NOT NULL, -- a JSON object
    CONSTRAINT trace_events_in_order PRIMARY KEY (message_id, number)
);

CREATE TABLE access_keys (
    id                   TEXT COLLATE "C" CONSTRAINT access_keys_id PRIMARY KEY,
    account              TEXT COLLATE "C" NOT NULL,
    user_name            TEXT COLLATE "C" NOT NULL,
    policy               TEXT COLLATE "C" NOT NULL, -- an IAM identity policy
    active               BOOLEAN NOT NULL,
    created_at           BIGINT NOT NULL,
    expires_at           BIGINT,
    session_token_digest BYTEA, -- SHA-256
    sealed_secret        BYTEA NOT NULL,
    CONSTRAINT access_keys_temporary CHECK ((expires_at IS NULL) = (session_token_digest IS NULL))
);

-- What is to be known of this database as a whole: that the master key is the right one, what was done once, and the
-- names that transactions hold while they do what only one may do at a time.
CREATE TABLE deployment_marks (
    name  TEXT COLLATE "C" CONSTRAINT deployment_marks_once PRIMARY KEY,
    value BYTEA NOT NULL
);
