-- What PostgreSQL does its own way with calls that were made with a client token: it locks their rows.

-- name: claim_call(account, region, operation, scope, token)
-- What a client token was answered. A token that is new is taken, with no fingerprint yet, so that a second call with
-- it waits until the first is done; its row goes if the first one fails.
INSERT INTO remembered_calls ({remembered_calls})
VALUES (:account, :region, :operation, :scope, :token, '', '', (extract(epoch FROM now()) * 1000)::bigint)
ON CONFLICT (account, region, operation, scope, token) DO UPDATE SET token = excluded.token
RETURNING fingerprint, answer, made_at;

-- name: forget_calls(before, limit)
-- Some of those made before a moment. Those that another server forgets just now, or that are made again, are its.
WITH old AS MATERIALIZED (
    SELECT account, region, operation, scope, token FROM remembered_calls
    WHERE made_at < :before ORDER BY made_at LIMIT :limit FOR UPDATE SKIP LOCKED
)
DELETE FROM remembered_calls WHERE (account, region, operation, scope, token) IN (SELECT * FROM old) RETURNING 1;

-- name: correct_calls(now, limit)
-- Some of those made after a moment, by a clock that was ahead, were made at that moment.
WITH ahead AS MATERIALIZED (
    SELECT account, region, operation, scope, token FROM remembered_calls
    WHERE made_at > :now LIMIT :limit FOR UPDATE SKIP LOCKED
)
UPDATE remembered_calls SET made_at = :now
WHERE (account, region, operation, scope, token) IN (SELECT * FROM ahead) RETURNING 1;
