-- Notices that are owed: written down with what they are about, and sent by a transaction of their own.

-- Where a primary was addressed itself, so that it did not get the copy of its alias: the alias, as the sender wrote it.
ALTER TABLE deliveries ADD COLUMN also_for TEXT COLLATE "C" NOT NULL DEFAULT '';

-- Why the last attempt failed, so that nobody has to look through a whole trace for it.
ALTER TABLE queue ADD COLUMN because TEXT COLLATE "C" NOT NULL DEFAULT '';

-- What a sender is to be told of a recipient, or the owner of an email address of a loop. What the owner is told has no
-- recipient. A row is here until the notice is written, or the trace says why there is none.
CREATE TABLE notices_owed (
    message_id       TEXT COLLATE "C" NOT NULL,
    action           TEXT COLLATE "C" NOT NULL,
    recipient        TEXT COLLATE "C" NOT NULL, -- as the sender wrote it
    email_address_id TEXT COLLATE "C" NOT NULL, -- whose delivery it is about
    owed_at          BIGINT NOT NULL,
    fate             TEXT COLLATE "C" NOT NULL, -- a JSON object
    CONSTRAINT notices_owed_once_each PRIMARY KEY (message_id, action, recipient, email_address_id)
);

CREATE INDEX notices_owed_by_age ON notices_owed (owed_at, message_id, action);
