-- What senders and owners are owed: notices that are not written yet (PostgreSQL).

-- name: add_owed
-- Once for each delivery and recipient; what came of the last attempt counts.
INSERT INTO notices_owed (message_id, action, recipient, email_address_id, owed_at, fate)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (message_id, action, recipient, email_address_id) DO UPDATE SET fate = excluded.fate;

-- name: owed
-- The next notice to write, of the few that are owed for the longest. One waits for a while, so that it can tell of all
-- recipients at once: until no delivery of its message is being attempted, or will be soon. What tells of a success does
-- not wait for copies that an alias has forwarded.
WITH few AS (
    SELECT message_id, action, owed_at FROM notices_owed ORDER BY owed_at, message_id, action LIMIT $4
)
SELECT o.message_id, o.action
FROM (SELECT message_id, action, min(owed_at) AS owed_at FROM few GROUP BY message_id, action) AS o
WHERE o.owed_at <= $3 OR o.owed_at > $1 OR NOT EXISTS (
    SELECT 1 FROM queue AS q
    JOIN deliveries AS d ON d.message_id = q.message_id AND d.email_address_id = q.email_address_id
    WHERE q.message_id = o.message_id
      AND (q.claim <> '' OR q.due_at <= $2 OR q.warn_at <= $1)
      AND (o.action IN ('failed', 'delayed') OR d.reason = 'direct')
)
ORDER BY o.owed_at, o.message_id, o.action LIMIT 1;

-- name: take_owed
-- Some of what one notice tells of, which is owed no more.
WITH taken AS MATERIALIZED (
    SELECT recipient, email_address_id FROM notices_owed
    WHERE message_id = $1 AND action = $2 ORDER BY recipient, email_address_id LIMIT $3 FOR UPDATE
)
DELETE FROM notices_owed
WHERE message_id = $1 AND action = $2 AND (recipient, email_address_id) IN (SELECT * FROM taken)
RETURNING recipient, email_address_id, owed_at, fate;

-- name: events_about
-- The first lines of a message's trace of one kind for one address. The details of other kinds are not looked into.
SELECT at, kind, detail FROM trace_events
WHERE message_id = $1 AND kind = $2 AND CASE WHEN kind = $2 THEN detail::json ->> 'address' = $3 END
ORDER BY number LIMIT $4;
