-- What PostgreSQL does its own way with refusals: what another server has locked is passed by.

-- name: forget_refusals(before, limit)
-- Some of those before a moment; not all at once, because other writers wait meanwhile.
WITH old AS MATERIALIZED (
    SELECT number FROM refusals WHERE at < :before ORDER BY at, number LIMIT :limit FOR UPDATE SKIP LOCKED
)
DELETE FROM refusals WHERE number IN (SELECT number FROM old) RETURNING 1;
