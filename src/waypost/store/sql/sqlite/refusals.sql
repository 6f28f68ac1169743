-- Queries for refusals that differ on SQLite, which has a single writer and needs no row locks.

-- name: forget_refusals(before, limit)
-- Removes some of the refusals that were recorded before a time. A limit keeps the transaction short, because other
-- writers wait for it.
DELETE FROM refusals WHERE number IN (
    SELECT number FROM refusals WHERE at < :before ORDER BY at, number LIMIT :limit
)
RETURNING 1;
