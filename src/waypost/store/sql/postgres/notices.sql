-- Queries for due notices that differ on PostgreSQL.

-- name: take_owed(message_id, action, limit)
-- Removes and returns some recipients of one due notice. The query locks their rows first, in a fixed order.
WITH taken AS MATERIALIZED (
    SELECT recipient, email_address_id FROM notices_owed
    WHERE message_id = :message_id AND action = :action ORDER BY recipient, email_address_id LIMIT :limit FOR UPDATE
)
DELETE FROM notices_owed
WHERE message_id = :message_id AND action = :action AND (recipient, email_address_id) IN (SELECT * FROM taken)
RETURNING recipient, email_address_id, owed_at, fate;
