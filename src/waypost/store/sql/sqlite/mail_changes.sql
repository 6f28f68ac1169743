-- Queries for the notes of the background job that differ on SQLite: it needs no locks.

-- name: keep_messages(ids)
-- Does nothing: no lock is needed, because SQLite has a single writer.
SELECT :ids;
