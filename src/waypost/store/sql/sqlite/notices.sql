-- What SQLite does its own way with notices that are owed.

-- name: take_owed(message_id, action, limit)
-- Some of what one notice tells of, which is owed no more. There is one writer, who holds every row.
DELETE FROM notices_owed
WHERE message_id = :message_id AND action = :action AND (recipient, email_address_id) IN (
    SELECT recipient, email_address_id FROM notices_owed
    WHERE message_id = :message_id AND action = :action ORDER BY recipient, email_address_id LIMIT :limit
)
RETURNING recipient, email_address_id, owed_at, fate;

-- name: events_about(message_id, kind, address, limit)
-- The first lines of a message's trace of one kind for one address. The details of other kinds are not looked into. The
-- databases have different functions for a member of JSON.
SELECT {trace_events} FROM trace_events
WHERE message_id = :message_id AND kind = :kind
  AND CASE WHEN kind = :kind THEN json_extract(detail, '$.address') = :address END
ORDER BY number LIMIT :limit;
