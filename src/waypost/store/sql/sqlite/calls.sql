-- What SQLite does its own way with calls that were made with a client token: it has one writer, who holds every row.

-- name: claim_call(account, region, operation, scope, token)
-- What a client token was answered. There is one writer, who holds it.
SELECT fingerprint, answer, made_at FROM remembered_calls
WHERE account = :account AND region = :region AND operation = :operation AND scope = :scope AND token = :token;

-- name: forget_calls(before, limit)
-- Some of those made before a moment; not all at once, because other writers wait meanwhile.
DELETE FROM remembered_calls WHERE (account, region, operation, scope, token) IN (
    SELECT account, region, operation, scope, token FROM remembered_calls
    WHERE made_at < :before ORDER BY made_at LIMIT :limit
) RETURNING 1;

-- name: correct_calls(now, limit)
-- Some of those made after a moment, by a clock that was ahead, were made at that moment.
UPDATE remembered_calls SET made_at = :now WHERE (account, region, operation, scope, token) IN (
    SELECT account, region, operation, scope, token FROM remembered_calls WHERE made_at > :now LIMIT :limit
) RETURNING 1;
