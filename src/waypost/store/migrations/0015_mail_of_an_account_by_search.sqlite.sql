-- Lists of all mail of an account and of its refusals, and the text index by which mail is searched.

-- With the reason, so that a list of one reason is found in the index alone.
DROP INDEX deliveries_kept;
CREATE INDEX deliveries_kept ON deliveries (account, message_id, email_address_id, reason) WHERE kept = 1;
-- The deliveries that were only sent over a route. Mail for an inbox does not change this index.
CREATE INDEX deliveries_relayed ON deliveries (account, message_id, email_address_id, reason) WHERE kept = 0;

CREATE INDEX refusals_by_account ON refusals (account, number);

-- The text index has an entry for each account that has a delivery of a message. A background job writes it after the
-- message is committed. The numbers sort by the time at which messages were accepted: milliseconds since 1970, times
-- 2^20, plus a serial number.
CREATE TABLE mail_entries (
    number     INTEGER NOT NULL CONSTRAINT mail_entries_in_order PRIMARY KEY,
    account    TEXT    NOT NULL,
    message_id TEXT    NOT NULL,
    CONSTRAINT mail_entries_once_each UNIQUE (message_id, account)
) STRICT;

-- The words are stored in the index too, because SQLite before 3.43 needs them to delete an entry. The program has
-- already split the texts into words of letters and digits. The tokenizer `ascii` keeps all other characters in them.
CREATE VIRTUAL TABLE mail_words USING fts5 (
    account, sender, recipients, subject, body, columnsize = 0, tokenize = 'ascii'
);

-- As for the search for email addresses, each change merges only a few pages.
INSERT INTO mail_words (mail_words, rank) VALUES ('automerge', 0);
INSERT INTO mail_words (mail_words, rank) VALUES ('usermerge', 4);
INSERT INTO mail_words (mail_words, rank) VALUES ('crisismerge', 500);

-- How far the index is.
CREATE TABLE mail_index_mark (
    place       TEXT NOT NULL CONSTRAINT mail_index_mark_once PRIMARY KEY,
    message_id  TEXT NOT NULL,
    received_at INTEGER
) STRICT, WITHOUT ROWID;
