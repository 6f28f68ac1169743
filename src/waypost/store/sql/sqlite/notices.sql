-- What SQLite does its own way with notices that are owed.

-- name: take_owed(message_id, action, limit)
-- Some of what one notice tells of, which is owed no more. There is one writer, who holds every row.
DELETE FROM notices_owed
WHERE message_id = :message_id AND action = :action AND (recipient, email_address_id) IN (
    SELECT recipient, email_address_id FROM notices_owed
    WHERE message_id = :message_id AND action = :action ORDER BY recipient, email_address_id LIMIT :limit
)
RETURNING recipient, email_address_id, owed_at, fate;
