-- What SMTP extensions say of a message, and bodies that come in piece by piece.

ALTER TABLE messages ADD COLUMN body TEXT COLLATE "C" NOT NULL DEFAULT '8BITMIME'; -- the BODY parameter of MAIL
ALTER TABLE messages ADD COLUMN tls  TEXT COLLATE "C" NOT NULL DEFAULT '';         -- version and cipher; empty in clear
ALTER TABLE messages ADD COLUMN dsn  TEXT COLLATE "C" NOT NULL DEFAULT '';         -- RET, ENVID, NOTIFY, ORCPT as a JSON object
-- Under which name results of authentication in it would be ours; empty where a server of ours handed it over.
ALTER TABLE messages ADD COLUMN authserv_id TEXT COLLATE "C" NOT NULL DEFAULT '';

-- Pieces are kept before the message is, so that a slow sender holds no memory.
ALTER TABLE message_bodies DROP CONSTRAINT message_bodies_have_a_message;

-- Messages that are coming in: their pieces so far belong to no message yet.
CREATE TABLE messages_begun (
    message_id TEXT COLLATE "C" CONSTRAINT messages_begun_once PRIMARY KEY,
    begun_at   BIGINT NOT NULL
);

CREATE INDEX messages_begun_by_age ON messages_begun (begun_at);
