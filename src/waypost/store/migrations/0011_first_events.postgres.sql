-- The events with which a trace begins, which are known when the message is accepted, are one value in the message's
-- row. To write them as rows of `trace_events` took more time than to write the message. Traces that are here already
-- stay where they are: they have no first events.

ALTER TABLE messages ADD COLUMN first_events TEXT NOT NULL DEFAULT ''; -- a JSON list of [at, kind, detail]
