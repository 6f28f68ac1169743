-- What PostgreSQL does its own way with the queue: pairs of ids are two arrays, and what another server has locked is
-- passed by.

-- name: take(claim, lease_until, message_ids, email_address_ids)
-- The deliveries that two lists of their ids name are somebody's until the lease ends.
UPDATE queue SET claim = :claim, due_at = :lease_until
WHERE (message_id, email_address_id) IN (SELECT * FROM unnest(:message_ids::text[], :email_address_ids::text[]));

-- name: warned(message_ids, email_address_ids)
-- Those that two lists of their ids name: once is enough.
UPDATE queue SET warn_at = NULL
WHERE (message_id, email_address_id) IN (SELECT * FROM unnest(:message_ids::text[], :email_address_ids::text[]));

-- name: correct_queued(now, due_by, limit)
-- What was queued after a moment was queued by a clock that was ahead, and is queued at that moment: what goes by it
-- comes earlier by as much, and is due by the second moment. Of what is claimed, `due_at` is the end of the lease.
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
-- What has no claim is due by a moment. It goes from one destination to the next by the index, as `waiting` does.
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
-- A lease that ends after the first moment ends at the second.
WITH ahead AS MATERIALIZED (
    SELECT message_id, email_address_id FROM queue
    WHERE claim <> '' AND due_at > :leased_by LIMIT :limit FOR UPDATE SKIP LOCKED
)
UPDATE queue SET due_at = :lease_until WHERE (message_id, email_address_id) IN (SELECT * FROM ahead)
RETURNING 1;
