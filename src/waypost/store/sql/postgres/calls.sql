-- Queries for calls with a client token that differ on PostgreSQL, because it locks single rows.

-- name: claim_call(account, region, operation, scope, token)
-- Locks a client token, and returns the recorded response. For a new token, a row with an empty fingerprint is
-- inserted, so that a second call with the same token waits until the first call ends. If the first call fails, this
-- row is rolled back.
INSERT INTO remembered_calls ({remembered_calls})
VALUES (:account, :region, :operation, :scope, :token, '', '', (extract(epoch FROM now()) * 1000)::bigint)
ON CONFLICT (account, region, operation, scope, token) DO UPDATE SET token = excluded.token
RETURNING fingerprint, answer, made_at;

-- name: forget_calls(before, limit)
-- Removes some of the records that were made before a time. Rows that another transaction has locked are skipped,
-- because another server may be removing or replacing these rows.
WITH old AS MATERIALIZED (
    SELECT account, region, operation, scope, token FROM remembered_calls
    WHERE made_at < :before ORDER BY made_at LIMIT :limit FOR UPDATE SKIP LOCKED
)
DELETE FROM remembered_calls WHERE (account, region, operation, scope, token) IN (SELECT * FROM old) RETURNING 1;

-- name: correct_calls(now, limit)
-- Sets the time of some records to the current time if it is in the future. They were recorded while a clock was ahead.
WITH ahead AS MATERIALIZED (
    SELECT account, region, operation, scope, token FROM remembered_calls
    WHERE made_at > :now LIMIT :limit FOR UPDATE SKIP LOCKED
)
UPDATE remembered_calls SET made_at = :now
WHERE (account, region, operation, scope, token) IN (SELECT * FROM ahead) RETURNING 1;
