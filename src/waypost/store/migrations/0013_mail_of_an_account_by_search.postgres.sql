-- Lists of all mail of an account and of its refusals, and the text index by which mail is searched.

-- With the reason, so that a list of one reason is found in the index alone.
DROP INDEX deliveries_kept;
CREATE INDEX deliveries_kept ON deliveries (account, message_id, email_address_id, reason) WHERE kept;
-- The deliveries that were only sent over a route. Mail for an inbox does not change this index.
CREATE INDEX deliveries_relayed ON deliveries (account, message_id, email_address_id, reason) WHERE NOT kept;

CREATE INDEX refusals_by_account ON refusals (account, at, number);

-- The background job notes each message with an entry for each account that has a delivery of it, after the
-- message is committed. Later it adds the words of the message. The numbers sort by the time at which messages were accepted: milliseconds since 1970, times
-- 2^20, plus a serial number.
CREATE TABLE mail_entries (
    number     BIGINT NOT NULL CONSTRAINT mail_entries_in_order PRIMARY KEY,
    account    TEXT COLLATE "C" NOT NULL,
    message_id TEXT COLLATE "C" NOT NULL,
    is_indexed BOOLEAN NOT NULL, -- whether its words are in the index
    CONSTRAINT mail_entries_once_each UNIQUE (message_id, account)
);

CREATE INDEX mail_entries_not_indexed ON mail_entries (number) WHERE NOT is_indexed;

-- The weight of a word is the part of the message in which it is: A for the sender, B for the recipients, C for the
-- subject, D for the text. The program builds the vector, because the parsers of PostgreSQL depend on its locale.
CREATE TABLE mail_words (
    number BIGINT NOT NULL CONSTRAINT mail_words_once_each PRIMARY KEY,
    words  TSVECTOR NOT NULL
);

CREATE INDEX mail_words_by_word ON mail_words USING gin (words) WITH (fastupdate = off);

-- How far the background job is: the message up to which it has noted messages, and the time of the last event.
CREATE TABLE mail_marks (
    place      TEXT COLLATE "C" NOT NULL CONSTRAINT mail_marks_once PRIMARY KEY,
    message_id TEXT COLLATE "C" NOT NULL,
    at         BIGINT
);

-- Messages and events in the order in which the job noted them, for clients that follow changes. Only the last ones are
-- kept. `event` is the number of the event in the trace; -1 for a new message, -2 for a removed delivery.
CREATE TABLE mail_changes (
    number           BIGINT GENERATED ALWAYS AS IDENTITY CONSTRAINT mail_changes_in_order PRIMARY KEY,
    account          TEXT COLLATE "C" NOT NULL,
    message_id       TEXT COLLATE "C" NOT NULL,
    email_address_id TEXT COLLATE "C" NOT NULL, -- empty for all deliveries of the message
    kind             TEXT COLLATE "C" NOT NULL,
    at               BIGINT NOT NULL,
    event            BIGINT NOT NULL
);

CREATE INDEX mail_changes_of_account ON mail_changes (account, number);
CREATE UNIQUE INDEX mail_changes_once ON mail_changes (message_id, event, account) WHERE event >= 0;

-- For the job, which looks for new events. The acceptance of mail adds no row to `trace_events`.
CREATE INDEX trace_events_by_time ON trace_events (at, message_id, number);

-- How many messages and deliveries there were in each minute.
CREATE TABLE mail_counts (
    account TEXT COLLATE "C" NOT NULL,
    minute  BIGINT NOT NULL, -- since 1970
    kind    TEXT COLLATE "C" NOT NULL,
    count   BIGINT NOT NULL,
    CONSTRAINT mail_counts_once PRIMARY KEY (account, minute, kind)
);

CREATE INDEX mail_counts_by_age ON mail_counts (minute);

-- How many deliveries took each way in each hour.
CREATE TABLE mail_flows (
    account     TEXT COLLATE "C" NOT NULL,
    hour        BIGINT NOT NULL, -- since 1970
    address     TEXT COLLATE "C" NOT NULL,
    alias       TEXT COLLATE "C" NOT NULL, -- empty for mail that was sent to the address itself
    destination TEXT COLLATE "C" NOT NULL, -- empty for the inbox
    count       BIGINT NOT NULL,
    CONSTRAINT mail_flows_once PRIMARY KEY (account, hour, address, alias, destination)
);

CREATE INDEX mail_flows_by_age ON mail_flows (hour);
