-- Calls that were made with a client token, and what they were answered.

-- name: remember_call({remembered_calls})
-- Replaces a memory that has expired.
INSERT INTO remembered_calls ({remembered_calls}) VALUES ({:remembered_calls})
ON CONFLICT (account, region, operation, scope, token)
DO UPDATE SET fingerprint = excluded.fingerprint, answer = excluded.answer, made_at = excluded.made_at;
