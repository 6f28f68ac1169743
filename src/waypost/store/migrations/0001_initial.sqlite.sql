-- The first schema. Times are milliseconds since 1970 in UTC; ids are UUIDs as text.

CREATE TABLE instances (
    id                       TEXT    NOT NULL CONSTRAINT instances_id PRIMARY KEY,
    account                  TEXT    NOT NULL,
    region                   TEXT    NOT NULL,
    alias                    TEXT,
    alias_key                TEXT    CONSTRAINT instances_alias_is_unique UNIQUE,
    identity_management_type TEXT    NOT NULL,
    directory_id             TEXT,
    inbound_calls_enabled    INTEGER NOT NULL,
    outbound_calls_enabled   INTEGER NOT NULL,
    created_at               INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX instances_by_tenant ON instances (account, region, id);

CREATE TABLE email_addresses (
    id           TEXT    NOT NULL CONSTRAINT email_addresses_id PRIMARY KEY,
    instance_id  TEXT    NOT NULL CONSTRAINT email_addresses_have_an_instance REFERENCES instances (id),
    account      TEXT    NOT NULL,
    address      TEXT    NOT NULL,
    -- An address exists once in a deployment, because mail to it must have one owner.
    address_key  TEXT    NOT NULL CONSTRAINT email_addresses_have_one_owner UNIQUE,
    display_name TEXT,
    description  TEXT,
    created_at   INTEGER NOT NULL,
    modified_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX email_addresses_by_instance ON email_addresses (instance_id, id);

-- An alias link is two rows, one for each end, written and removed together by one statement. The primary key
-- says that an email address is in one link at most, on either side; the foreign key, that an end without its
-- counterpart cannot exist.
CREATE TABLE alias_link_ends (
    email_address_id TEXT    NOT NULL CONSTRAINT alias_link_ends_one_link_each PRIMARY KEY
                             CONSTRAINT alias_link_ends_have_an_email_address REFERENCES email_addresses (id),
    side             TEXT    NOT NULL CONSTRAINT alias_link_ends_side CHECK (side IN ('primary', 'alias')),
    other_id         TEXT    NOT NULL,
    other_side       TEXT    NOT NULL CONSTRAINT alias_link_ends_other_side CHECK (other_side IN ('primary', 'alias')),
    created_at       INTEGER NOT NULL,
    CONSTRAINT alias_link_ends_differ CHECK (side <> other_side),
    CONSTRAINT alias_link_ends_not_self CHECK (email_address_id <> other_id),
    CONSTRAINT alias_link_ends_pair UNIQUE (email_address_id, side, other_id, other_side),
    CONSTRAINT alias_link_ends_meet FOREIGN KEY (other_id, other_side, email_address_id, side)
        REFERENCES alias_link_ends (email_address_id, side, other_id, other_side)
) STRICT, WITHOUT ROWID;

-- Tags of instances and email addresses.
CREATE TABLE tags (
    resource_id TEXT NOT NULL,
    key         TEXT NOT NULL,
    value       TEXT NOT NULL,
    CONSTRAINT tags_one_value_each PRIMARY KEY (resource_id, key)
) STRICT, WITHOUT ROWID;

-- Calls made with a client token, and what they were answered.
CREATE TABLE remembered_calls (
    account     TEXT    NOT NULL,
    region      TEXT    NOT NULL,
    operation   TEXT    NOT NULL,
    scope       TEXT    NOT NULL,
    token       TEXT    NOT NULL,
    fingerprint BLOB    NOT NULL,
    answer      TEXT    NOT NULL,
    made_at     INTEGER NOT NULL,
    CONSTRAINT remembered_calls_once PRIMARY KEY (account, region, operation, scope, token)
) STRICT, WITHOUT ROWID;

CREATE TABLE messages (
    id          TEXT    NOT NULL CONSTRAINT messages_id PRIMARY KEY,
    sender      TEXT    NOT NULL,
    recipients  TEXT    NOT NULL, -- a JSON list
    helo        TEXT    NOT NULL,
    peer        TEXT    NOT NULL,
    protocol    TEXT    NOT NULL,
    received_at INTEGER NOT NULL,
    size        INTEGER NOT NULL,
    subject     TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- Apart from the messages, so that a list never reads a body.
CREATE TABLE message_bodies (
    message_id TEXT NOT NULL CONSTRAINT message_bodies_one_each PRIMARY KEY
                    CONSTRAINT message_bodies_have_a_message REFERENCES messages (id),
    raw        BLOB NOT NULL
) STRICT;

-- A delivery outlives its email address, so it carries the address and the account itself.
CREATE TABLE deliveries (
    message_id       TEXT NOT NULL CONSTRAINT deliveries_have_a_message REFERENCES messages (id),
    email_address_id TEXT NOT NULL,
    account          TEXT NOT NULL,
    address          TEXT NOT NULL,
    address_key      TEXT NOT NULL,
    reason           TEXT NOT NULL,
    sent_to          TEXT NOT NULL,
    via              TEXT,
    status           TEXT NOT NULL,
    trace_header     BLOB NOT NULL,
    CONSTRAINT deliveries_once_each PRIMARY KEY (message_id, email_address_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX deliveries_by_address ON deliveries (account, address_key, message_id);

CREATE TABLE trace_events (
    message_id TEXT    NOT NULL CONSTRAINT trace_events_have_a_message REFERENCES messages (id),
    number     INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    kind       TEXT    NOT NULL,
    detail     TEXT    NOT NULL, -- a JSON object
    CONSTRAINT trace_events_in_order PRIMARY KEY (message_id, number)
) STRICT, WITHOUT ROWID;
