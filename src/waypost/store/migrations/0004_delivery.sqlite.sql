-- Delivery beyond the inbox: the queue, where mail is routed to, and what was refused.

-- SQLite takes a new constraint with a new column alone; this one is of a column that was there before.
ALTER TABLE deliveries ADD COLUMN kept INTEGER NOT NULL DEFAULT 1 -- whether the copy is in the inbox
    CONSTRAINT deliveries_status CHECK (status IN ('queued', 'delivered', 'dead'));
ALTER TABLE deliveries ADD COLUMN destination TEXT NOT NULL DEFAULT ''; -- empty for the inbox alone

-- With `kept`, so that an inbox is listed without a look at all that was only sent on.
DROP INDEX deliveries_by_address;
CREATE INDEX deliveries_by_address ON deliveries (account, address_key, message_id, kept);
CREATE INDEX deliveries_dead ON deliveries (account, message_id, email_address_id) WHERE status = 'dead';

ALTER TABLE messages ADD COLUMN header_id    TEXT    NOT NULL DEFAULT ''; -- its Message-ID field
ALTER TABLE messages ADD COLUMN is_authentic INTEGER NOT NULL DEFAULT 0;
CREATE INDEX messages_by_header_id ON messages (header_id, id) WHERE header_id <> '';

-- Deliveries that wait, or are being attempted. While claimed, `due_at` is the end of the lease: one that ran out is
-- simply due again. Whoever records an outcome must still have the claim.
CREATE TABLE queue (
    message_id       TEXT    NOT NULL,
    email_address_id TEXT    NOT NULL,
    account          TEXT    NOT NULL,
    destination      TEXT    NOT NULL,
    due_at           INTEGER NOT NULL,
    claim            TEXT    NOT NULL,
    attempts         INTEGER NOT NULL CONSTRAINT queue_attempts CHECK (attempts >= 0),
    queued_at        INTEGER NOT NULL,
    warn_at          INTEGER, -- until the sender was told that it is late
    CONSTRAINT queue_once_each PRIMARY KEY (message_id, email_address_id),
    CONSTRAINT queue_has_a_delivery FOREIGN KEY (message_id, email_address_id)
        REFERENCES deliveries (message_id, email_address_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX queue_by_destination ON queue (destination, due_at, message_id, email_address_id);
CREATE INDEX queue_by_claim ON queue (claim) WHERE claim <> '';
CREATE INDEX queue_by_age ON queue (queued_at);
CREATE INDEX queue_by_warning ON queue (warn_at) WHERE warn_at IS NOT NULL;
CREATE INDEX queue_by_account ON queue (account, message_id, email_address_id);
CREATE INDEX queue_by_account_and_destination ON queue (account, destination, message_id, email_address_id);

-- Mail that was refused, for whoever asks where it is.
CREATE TABLE refusals (
    number        INTEGER NOT NULL CONSTRAINT refusals_in_order PRIMARY KEY,
    at            INTEGER NOT NULL,
    peer          TEXT    NOT NULL,
    helo          TEXT    NOT NULL,
    sender        TEXT    NOT NULL,
    recipient     TEXT    NOT NULL,
    recipient_key TEXT    NOT NULL,
    stage         TEXT    NOT NULL CONSTRAINT refusals_stage CHECK (stage IN ('mail', 'rcpt', 'message')),
    reply         TEXT    NOT NULL,
    detail        TEXT    NOT NULL -- a JSON object
) STRICT;

CREATE INDEX refusals_by_recipient ON refusals (recipient_key, at, number);
CREATE INDEX refusals_by_age ON refusals (at);

-- The routes that were set by command, in their order.
CREATE TABLE routes (
    number         INTEGER NOT NULL CONSTRAINT routes_in_order PRIMARY KEY,
    match          TEXT    NOT NULL,
    target         TEXT    NOT NULL,
    keep           INTEGER NOT NULL,
    tls            TEXT    NOT NULL,
    user_name      TEXT    NOT NULL,
    sealed_secret  BLOB    NOT NULL,
    rewrite_sender INTEGER NOT NULL,
    allow_private  INTEGER NOT NULL,
    connections    INTEGER NOT NULL,
    fault          TEXT
) STRICT;
