-- What SMTP extensions say of a message, and bodies that come in piece by piece.

ALTER TABLE messages ADD COLUMN body TEXT NOT NULL DEFAULT '8BITMIME'; -- the BODY parameter of MAIL
ALTER TABLE messages ADD COLUMN tls  TEXT NOT NULL DEFAULT '';         -- version and cipher; empty in clear
ALTER TABLE messages ADD COLUMN dsn  TEXT NOT NULL DEFAULT '';         -- RET, ENVID, NOTIFY, ORCPT as a JSON object
-- Under which name results of authentication in it would be ours; empty where a server of ours handed it over.
ALTER TABLE messages ADD COLUMN authserv_id TEXT NOT NULL DEFAULT '';

-- In pieces, so that nobody needs all of a large one; kept before the message is, so that a slow sender holds no memory.
CREATE TABLE message_pieces (
    message_id TEXT    NOT NULL,
    start      INTEGER NOT NULL, -- which octet of the message is the first of this piece
    octets     BLOB    NOT NULL,
    CONSTRAINT message_bodies_once_each PRIMARY KEY (message_id, start)
) STRICT;

INSERT INTO message_pieces (message_id, start, octets) SELECT message_id, 0, raw FROM message_bodies;
DROP TABLE message_bodies;
ALTER TABLE message_pieces RENAME TO message_bodies;

-- Messages that are coming in: their pieces so far belong to no message yet.
CREATE TABLE messages_begun (
    message_id TEXT    NOT NULL CONSTRAINT messages_begun_once PRIMARY KEY,
    begun_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX messages_begun_by_age ON messages_begun (begun_at);
