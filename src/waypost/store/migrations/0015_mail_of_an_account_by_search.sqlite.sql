-- Lists of all mail of an account and of its refusals, and the text index by which mail is searched.

-- With the reason, so that a list of one reason is found in the index alone.
DROP INDEX deliveries_kept;
CREATE INDEX deliveries_kept ON deliveries (account, message_id, email_address_id, reason) WHERE kept = 1;
-- The deliveries that were only sent over a route. Mail for an inbox does not change this index.
CREATE INDEX deliveries_relayed ON deliveries (account, message_id, email_address_id, reason) WHERE kept = 0;

CREATE INDEX refusals_by_account ON refusals (account, at, number);

-- The background job notes each message with an entry for each account that has a delivery of it, after the
-- message is committed. Later it adds the words of the message. The numbers sort by the time at which messages were accepted: milliseconds since 1970, times
-- 2^20, plus a serial number.
CREATE TABLE mail_entries (
    number     INTEGER NOT NULL CONSTRAINT mail_entries_in_order PRIMARY KEY,
    account    TEXT    NOT NULL,
    message_id TEXT    NOT NULL,
    is_indexed INTEGER NOT NULL, -- whether its words are in the index
    CONSTRAINT mail_entries_once_each UNIQUE (message_id, account)
) STRICT;

CREATE INDEX mail_entries_not_indexed ON mail_entries (number) WHERE is_indexed = 0;

-- The words are stored in the index too, because SQLite before 3.43 needs them to delete an entry. The program has
-- already split the texts into words of letters and digits. The tokenizer `ascii` keeps all other characters in them.
CREATE VIRTUAL TABLE mail_words USING fts5 (
    account, sender, recipients, subject, body, columnsize = 0, tokenize = 'ascii'
);

-- As for the search for email addresses, each change merges only a few pages.
INSERT INTO mail_words (mail_words, rank) VALUES ('automerge', 0);
INSERT INTO mail_words (mail_words, rank) VALUES ('usermerge', 4);
INSERT INTO mail_words (mail_words, rank) VALUES ('crisismerge', 500);

-- How far the background job is: the message up to which it has noted messages, and the time of the last event.
CREATE TABLE mail_marks (
    place      TEXT    NOT NULL CONSTRAINT mail_marks_once PRIMARY KEY,
    message_id TEXT    NOT NULL,
    at         INTEGER
) STRICT, WITHOUT ROWID;

-- Messages and events in the order in which the job noted them, for clients that follow changes. Only the last ones are
-- kept. `event` is the number of the event in the trace; -1 for a new message, -2 for a removed delivery.
CREATE TABLE mail_changes (
    number           INTEGER NOT NULL CONSTRAINT mail_changes_in_order PRIMARY KEY AUTOINCREMENT,
    account          TEXT    NOT NULL,
    message_id       TEXT    NOT NULL,
    email_address_id TEXT    NOT NULL, -- empty for all deliveries of the message
    kind             TEXT    NOT NULL,
    at               INTEGER NOT NULL,
    event            INTEGER NOT NULL
) STRICT;

CREATE INDEX mail_changes_of_account ON mail_changes (account, number);
CREATE UNIQUE INDEX mail_changes_once ON mail_changes (message_id, event, account) WHERE event >= 0;

-- For the job, which looks for new events. The acceptance of mail adds no row to `trace_events`.
CREATE INDEX trace_events_by_time ON trace_events (at, message_id, number);

-- How many messages and deliveries there were in each minute.
CREATE TABLE mail_counts (
    account TEXT    NOT NULL,
    minute  INTEGER NOT NULL, -- since 1970
    kind    TEXT    NOT NULL,
    count   INTEGER NOT NULL,
    CONSTRAINT mail_counts_once PRIMARY KEY (account, minute, kind)
) STRICT, WITHOUT ROWID;

CREATE INDEX mail_counts_by_age ON mail_counts (minute);

-- How many deliveries took each way in each hour.
CREATE TABLE mail_flows (
    account     TEXT    NOT NULL,
    hour        INTEGER NOT NULL, -- since 1970
    address     TEXT    NOT NULL,
    alias       TEXT    NOT NULL, -- empty for mail that was sent to the address itself
    destination TEXT    NOT NULL, -- empty for the inbox
    count       INTEGER NOT NULL,
    CONSTRAINT mail_flows_once PRIMARY KEY (account, hour, address, alias, destination)
) STRICT, WITHOUT ROWID;

CREATE INDEX mail_flows_by_age ON mail_flows (hour);
