-- What rules and lists need to know of a delivery has columns: which bounces came for it, and why it was given up. The
-- trace was searched for that until now; what it says of mail that is here already is taken from it once.

ALTER TABLE deliveries ADD COLUMN bounces INTEGER NOT NULL DEFAULT 0; -- how many were taken for it
ALTER TABLE deliveries ADD COLUMN bounces_of_failure INTEGER NOT NULL DEFAULT 0; -- how many of them said that it failed
ALTER TABLE deliveries ADD COLUMN given_up_at BIGINT; -- the last time
ALTER TABLE deliveries ADD COLUMN given_up_because TEXT COLLATE "C" NOT NULL DEFAULT '';

-- Half characters and the character NUL, which JSON can write and no text of PostgreSQL can hold, are replaced first.
UPDATE deliveries SET bounces = found.bounces, bounces_of_failure = found.of_failure
FROM (
    SELECT message_id, detail ->> 'address' AS address, count(*) AS bounces,
           count(*) FILTER (WHERE detail ->> 'action' = 'failed') AS of_failure
    FROM (
        SELECT message_id, regexp_replace(
            detail,
            '\\u0000|\\ud[89ab][0-9a-f]{2}(?!\\ud[c-f])|(?<!\\ud[89ab][0-9a-f]{2})\\ud[c-f][0-9a-f]{2}', '\\ufffd', 'g'
        )::json AS detail
        FROM trace_events WHERE kind = 'late bounce'
    ) AS events
    GROUP BY 1, 2
) AS found
WHERE found.message_id = deliveries.message_id AND found.address = deliveries.address;

-- Of several times the last one counts.
UPDATE deliveries SET given_up_at = found.at, given_up_because = left(coalesce(found.because, ''), 1000)
FROM (
    SELECT DISTINCT ON (message_id, detail ->> 'address')
           message_id, detail ->> 'address' AS address, at, detail ->> 'because' AS because
    FROM (
        SELECT message_id, number, at, regexp_replace(
            detail,
            '\\u0000|\\ud[89ab][0-9a-f]{2}(?!\\ud[c-f])|(?<!\\ud[89ab][0-9a-f]{2})\\ud[c-f][0-9a-f]{2}', '\\ufffd', 'g'
        )::json AS detail
        FROM trace_events WHERE kind = 'dead'
    ) AS events
    ORDER BY message_id, detail ->> 'address', number DESC
) AS found
WHERE found.message_id = deliveries.message_id AND found.address = deliveries.address;
