-- Queries for due notices that differ on SQLite.

-- name: take_owed(message_id, action, limit)
-- Removes and returns some recipients of one due notice. No lock is needed, because SQLite has a single writer.
DELETE FROM notices_owed
WHERE message_id = :message_id AND action = :action AND (recipient, email_address_id) IN (
    SELECT recipient, email_address_id FROM notices_owed
    WHERE message_id = :message_id AND action = :action ORDER BY recipient, email_address_id LIMIT :limit
)
RETURNING recipient, email_address_id, owed_at, fate;
