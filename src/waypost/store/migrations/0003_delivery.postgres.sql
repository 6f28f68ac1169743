-- Delivery beyond the inbox: the queue, where mail is routed to, and what was refused.

ALTER TABLE deliveries ADD COLUMN kept BOOLEAN NOT NULL DEFAULT true; -- whether the copy is in the inbox
ALTER TABLE deliveries ADD COLUMN destination TEXT COLLATE "C" NOT NULL DEFAULT ''; -- empty for the inbox alone
ALTER TABLE deliveries ADD CONSTRAINT deliveries_status CHECK (status IN ('queued', 'delivered', 'dead'));

-- With `kept`, so that an inbox is listed without a look at all that was only sent on.
DROP INDEX deliveries_by_address;
CREATE INDEX deliveries_by_address ON deliveries (account, address_key, message_id, kept);
CREATE INDEX deliveries_dead ON deliveries (account, message_id, email_address_id) WHERE status = 'dead';

ALTER TABLE messages ADD COLUMN header_id    TEXT COLLATE "C" NOT NULL DEFAULT ''; -- its Message-ID field
ALTER TABLE messages ADD COLUMN is_authentic BOOLEAN NOT NULL DEFAULT false;
-- By the beginning of it: the sender chooses how long it is, and what is in an index may not be as long as a line.
CREATE INDEX messages_by_header_id ON messages (left(header_id, 64), id) WHERE header_id <> '';

-- Deliveries that wait, or are being attempted. While claimed, `due_at` is the end of the lease: one that ran out is
-- simply due again. Whoever records an outcome must still have the claim.
CREATE TABLE queue (
    message_id       TEXT COLLATE "C" NOT NULL,
    email_address_id TEXT COLLATE "C" NOT NULL,
    account          TEXT COLLATE "C" NOT NULL,
    destination      TEXT COLLATE "C" NOT NULL,
    due_at           BIGINT NOT NULL,
    claim            TEXT COLLATE "C" NOT NULL,
    attempts         BIGINT NOT NULL CONSTRAINT queue_attempts CHECK (attempts >= 0),
    queued_at        BIGINT NOT NULL,
    warn_at          BIGINT, -- until the sender was told that it is late
    CONSTRAINT queue_once_each PRIMARY KEY (message_id, email_address_id),
    CONSTRAINT queue_has_a_delivery FOREIGN KEY (message_id, email_address_id)
        REFERENCES deliveries (message_id, email_address_id)
);

CREATE INDEX queue_by_destination ON queue (destination, due_at, message_id, email_address_id);
CREATE INDEX queue_by_claim ON queue (claim) WHERE claim <> '';
CREATE INDEX queue_by_age ON queue (queued_at);
CREATE INDEX queue_by_warning ON queue (warn_at) WHERE warn_at IS NOT NULL;
CREATE INDEX queue_by_account ON queue (account, message_id, email_address_id);
CREATE INDEX queue_by_account_and_destination ON queue (account, destination, message_id, email_address_id);

-- Mail that was refused, for whoever asks where it is.
CREATE TABLE refusals (
    number        BIGINT GENERATED ALWAYS AS IDENTITY CONSTRAINT refusals_in_order PRIMARY KEY,
    at            BIGINT NOT NULL,
    peer          TEXT COLLATE "C" NOT NULL,
    helo          TEXT COLLATE "C" NOT NULL,
    sender        TEXT COLLATE "C" NOT NULL,
    recipient     TEXT COLLATE "C" NOT NULL,
    recipient_key TEXT COLLATE "C" NOT NULL,
    stage         TEXT COLLATE "C" NOT NULL CONSTRAINT refusals_stage CHECK (stage IN ('mail', 'rcpt', 'message')),
    reply         TEXT COLLATE "C" NOT NULL,
    detail        TEXT COLLATE "C" NOT NULL -- a JSON object
);

CREATE INDEX refusals_by_recipient ON refusals (recipient_key, at, number);
CREATE INDEX refusals_by_age ON refusals (at);

-- The routes that were set by command, in their order.
CREATE TABLE routes (
    number         BIGINT CONSTRAINT routes_in_order PRIMARY KEY,
    match          TEXT COLLATE "C" NOT NULL,
    target         TEXT COLLATE "C" NOT NULL,
    keep           BOOLEAN NOT NULL,
    tls            TEXT COLLATE "C" NOT NULL,
    user_name      TEXT COLLATE "C" NOT NULL,
    sealed_secret  BYTEA NOT NULL,
    rewrite_sender BOOLEAN NOT NULL,
    allow_private  BOOLEAN NOT NULL,
    connections    BIGINT NOT NULL,
    fault          TEXT COLLATE "C"
);
