-- Queries for API calls with a client token, and the recorded responses to them.

-- name: remember_call({remembered_calls})
-- Records the response to a call. It replaces the row of the claim, or an earlier response that has expired.
INSERT INTO remembered_calls ({remembered_calls}) VALUES ({:remembered_calls})
ON CONFLICT (account, region, operation, scope, token)
DO UPDATE SET fingerprint = excluded.fingerprint, answer = excluded.answer, made_at = excluded.made_at;
