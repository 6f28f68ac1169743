-- Queries for the notes of the background job that differ on PostgreSQL: the lock on messages.

-- name: keep_messages(ids)
-- Ensures that none of the listed messages is deleted before this transaction ends. Other changes do not wait.
SELECT 1 FROM messages WHERE id {in :ids} ORDER BY id FOR KEY SHARE;
