-- Queries for the queue that differ on PostgreSQL: rows that another server has locked are skipped.

-- name: correct_queued(now, due_by, limit)
-- Corrects deliveries whose queue time is in the future, because a clock was ahead. The queue time becomes the current
-- time. The times of the next attempt and of the delay notice move back by the same amount, and the next attempt is due
-- by `due_by`. For a claimed delivery, `due_at` is the end of the lease and does not change.
WITH ahead AS MATERIALIZED (
    SELECT message_id, email_address_id FROM queue
    WHERE queued_at > :now ORDER BY queued_at DESC LIMIT :limit FOR UPDATE SKIP LOCKED
)
UPDATE queue SET
    queued_at = :now,
    due_at = CASE WHEN claim = '' THEN least(due_at - (queued_at - :now), :due_by) ELSE due_at END,
    warn_at = warn_at - (queued_at - :now)
WHERE (message_id, email_address_id) IN (SELECT * FROM ahead)
RETURNING 1;

-- name: correct_due(due_by, limit)
-- Makes unclaimed deliveries due at `due_by` if they are due later. The query jumps from one destination to the next
-- through the index, like `waiting`.
WITH RECURSIVE waits (destination) AS (
    SELECT min(destination) FROM queue
    UNION ALL
    SELECT (SELECT min(q.destination) FROM queue AS q WHERE q.destination > waits.destination)
    FROM waits WHERE waits.destination IS NOT NULL
), ahead AS MATERIALIZED (
    SELECT q.message_id, q.email_address_id
    FROM waits JOIN queue AS q ON q.destination = waits.destination AND q.due_at > :due_by
    WHERE q.claim = '' LIMIT :limit FOR UPDATE OF q SKIP LOCKED
)
UPDATE queue SET due_at = :due_by WHERE (message_id, email_address_id) IN (SELECT * FROM ahead)
RETURNING 1;

-- name: correct_leases(leased_by, lease_until, limit)
-- Ends leases at `lease_until` if they end after `leased_by`.
WITH ahead AS MATERIALIZED (
    SELECT message_id, email_address_id FROM queue
    WHERE claim <> '' AND due_at > :leased_by LIMIT :limit FOR UPDATE SKIP LOCKED
)
UPDATE queue SET due_at = :lease_until WHERE (message_id, email_address_id) IN (SELECT * FROM ahead)
RETURNING 1;
