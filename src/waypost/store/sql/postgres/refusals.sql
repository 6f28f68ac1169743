-- Queries for refusals that differ on PostgreSQL: rows that another server has locked are skipped.

-- name: forget_refusals(before, limit)
-- Removes some of the refusals that were recorded before a time. A limit keeps the transaction short, because other
-- writers wait for it.
WITH old AS MATERIALIZED (
    SELECT number FROM refusals WHERE at < :before ORDER BY at, number LIMIT :limit FOR UPDATE SKIP LOCKED
)
DELETE FROM refusals WHERE number IN (SELECT number FROM old) RETURNING 1;
