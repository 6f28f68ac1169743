-- What PostgreSQL does its own way with notices that are owed.

-- name: take_owed(message_id, action, limit)
-- Some of what one notice tells of, which is owed no more. They are locked first, in their order.
WITH taken AS MATERIALIZED (
    SELECT recipient, email_address_id FROM notices_owed
    WHERE message_id = :message_id AND action = :action ORDER BY recipient, email_address_id LIMIT :limit FOR UPDATE
)
DELETE FROM notices_owed
WHERE message_id = :message_id AND action = :action AND (recipient, email_address_id) IN (SELECT * FROM taken)
RETURNING recipient, email_address_id, owed_at, fate;

-- name: events_about(message_id, kind, address, limit)
-- The first lines of a message's trace of one kind for one address. The details of other kinds are not looked into. The
-- databases have different functions for a member of JSON.
SELECT {trace_events} FROM trace_events
WHERE message_id = :message_id AND kind = :kind
  AND CASE WHEN kind = :kind THEN detail::json ->> 'address' = :address END
ORDER BY number LIMIT :limit;
