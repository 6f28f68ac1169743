-- Queries for calls with a client token that differ on SQLite, which has a single writer and needs no row locks.

-- name: claim_call(account, region, operation, scope, token)
-- Returns the recorded response for a client token. The query needs no lock, because SQLite has a single writer.
SELECT fingerprint, answer, made_at FROM remembered_calls
WHERE account = :account AND region = :region AND operation = :operation AND scope = :scope AND token = :token;

-- name: forget_calls(before, limit)
-- Removes some of the records that were made before a time. A limit keeps the transaction short, because other writers
-- wait for it.
DELETE FROM remembered_calls WHERE (account, region, operation, scope, token) IN (
    SELECT account, region, operation, scope, token FROM remembered_calls
    WHERE made_at < :before ORDER BY made_at LIMIT :limit
) RETURNING 1;

-- name: correct_calls(now, limit)
-- Sets the time of some records to the current time if it is in the future. They were recorded while a clock was ahead.
UPDATE remembered_calls SET made_at = :now WHERE (account, region, operation, scope, token) IN (
    SELECT account, region, operation, scope, token FROM remembered_calls WHERE made_at > :now LIMIT :limit
) RETURNING 1;
