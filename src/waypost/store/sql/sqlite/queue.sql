-- What SQLite does its own way with the queue: pairs of ids are two JSON lists, and its one writer holds every row.

-- name: take(claim, lease_until, message_ids, email_address_ids)
-- The deliveries that two lists of their ids name are somebody's until the lease ends.
UPDATE queue SET claim = :claim, due_at = :lease_until
WHERE (message_id, email_address_id) IN (
    SELECT value, json_extract(:email_address_ids, '$[' || key || ']') FROM json_each(:message_ids)
);

-- name: warned(message_ids, email_address_ids)
-- Those that two lists of their ids name: once is enough.
UPDATE queue SET warn_at = NULL
WHERE (message_id, email_address_id) IN (
    SELECT value, json_extract(:email_address_ids, '$[' || key || ']') FROM json_each(:message_ids)
);

-- name: correct_queued(now, due_by, limit)
-- What was queued after a moment was queued by a clock that was ahead, and is queued at that moment: what goes by it
-- comes earlier by as much, and is due by the second moment. Of what is claimed, `due_at` is the end of the lease.
UPDATE queue SET
    queued_at = :now,
    due_at = CASE WHEN claim = '' THEN min(due_at - (queued_at - :now), :due_by) ELSE due_at END,
    warn_at = warn_at - (queued_at - :now)
WHERE (message_id, email_address_id) IN
    (SELECT message_id, email_address_id FROM queue WHERE queued_at > :now ORDER BY queued_at DESC LIMIT :limit)
RETURNING 1;

-- name: correct_due(due_by, limit)
-- What has no claim is due by a moment. It goes from one destination to the next by the index, as `waiting` does.
WITH RECURSIVE waits (destination) AS (
    SELECT min(destination) FROM queue
    UNION ALL
    SELECT (SELECT min(q.destination) FROM queue AS q WHERE q.destination > waits.destination)
    FROM waits WHERE waits.destination IS NOT NULL
)
UPDATE queue SET due_at = :due_by
WHERE (message_id, email_address_id) IN (
    SELECT q.message_id, q.email_address_id
    FROM waits CROSS JOIN queue AS q ON q.destination = waits.destination AND q.due_at > :due_by
    WHERE q.claim = '' LIMIT :limit
)
RETURNING 1;

-- name: correct_leases(leased_by, lease_until, limit)
-- A lease that ends after the first moment ends at the second.
UPDATE queue SET due_at = :lease_until
WHERE (message_id, email_address_id) IN
    (SELECT message_id, email_address_id FROM queue WHERE claim <> '' AND due_at > :leased_by LIMIT :limit)
RETURNING 1;
