-- Lists of all mail of an account and of its refusals, and the text index by which mail is searched.

-- With the reason, so that a list of one reason is found in the index alone.
DROP INDEX deliveries_kept;
CREATE INDEX deliveries_kept ON deliveries (account, message_id, email_address_id, reason) WHERE kept;
-- The deliveries that were only sent over a route. Mail for an inbox does not change this index.
CREATE INDEX deliveries_relayed ON deliveries (account, message_id, email_address_id, reason) WHERE NOT kept;

CREATE INDEX refusals_by_account ON refusals (account, number);

-- The text index has an entry for each account that has a delivery of a message. A background job writes it after the
-- message is committed. The numbers sort by the time at which messages were accepted: milliseconds since 1970, times
-- 2^20, plus a serial number.
CREATE TABLE mail_entries (
    number     BIGINT NOT NULL CONSTRAINT mail_entries_in_order PRIMARY KEY,
    account    TEXT COLLATE "C" NOT NULL,
    message_id TEXT COLLATE "C" NOT NULL,
    CONSTRAINT mail_entries_once_each UNIQUE (message_id, account)
);

-- The weight of a word is the part of the message in which it is: A for the sender, B for the recipients, C for the
-- subject, D for the text. The program builds the vector, because the parsers of PostgreSQL depend on its locale.
CREATE TABLE mail_words (
    number BIGINT NOT NULL CONSTRAINT mail_words_once_each PRIMARY KEY,
    words  TSVECTOR NOT NULL
);

CREATE INDEX mail_words_by_word ON mail_words USING gin (words) WITH (fastupdate = off);

-- How far the index is.
CREATE TABLE mail_index_mark (
    place       TEXT COLLATE "C" NOT NULL CONSTRAINT mail_index_mark_once PRIMARY KEY,
    message_id  TEXT COLLATE "C" NOT NULL,
    received_at BIGINT
);
