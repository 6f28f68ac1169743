-- What SQLite does its own way with refusals: it has one writer, who holds every row.

-- name: forget_refusals(before, limit)
-- Some of those before a moment; not all at once, because other writers wait meanwhile.
DELETE FROM refusals WHERE number IN (
    SELECT number FROM refusals WHERE at < :before ORDER BY at, number LIMIT :limit
)
RETURNING 1;
