-- Queries for the sessions of the console, and for the links with which a person can sign in once.

-- name: console_session(digest)
-- Returns the session whose token has a digest, or whose previous token has it. The caller checks whether it is over.
SELECT {console_sessions} FROM console_sessions WHERE token_digest = :digest
UNION ALL SELECT {console_sessions} FROM console_sessions WHERE previous_digest = :digest LIMIT 1;

-- name: add_console_session({console_sessions})
-- Adds a session.
INSERT INTO console_sessions ({console_sessions}) VALUES ({:console_sessions});

-- name: use_console_session(id, used_at)
-- Records when a session was last used.
UPDATE console_sessions SET used_at = :used_at WHERE id = :id;

-- name: renew_console_session(id, token_digest, new_digest, now)
-- Gives a session another token, and returns a row, unless another request has done so in the meantime.
UPDATE console_sessions
SET token_digest = :new_digest, previous_digest = :token_digest, token_made_at = :now, used_at = :now
WHERE id = :id AND token_digest = :token_digest RETURNING 1;

-- name: remove_console_session(id)
-- Ends a session.
DELETE FROM console_sessions WHERE id = :id;

-- name: remove_console_sessions_of(access_key_id)
-- Ends all sessions that were opened with an access key.
DELETE FROM console_sessions WHERE access_key_id = :access_key_id;

-- name: remove_console_links_of(access_key_id)
-- Removes all links that sign in with an access key.
DELETE FROM console_links WHERE access_key_id = :access_key_id;

-- name: remove_console_sessions_over(expired_before, unused_since)
-- Removes the sessions that have expired, or that have not been used since a time.
DELETE FROM console_sessions WHERE expires_at < :expired_before OR used_at < :unused_since;

-- name: add_console_link(token_digest, access_key_id, expires_at)
-- Adds a link that signs in once.
INSERT INTO console_links (token_digest, access_key_id, expires_at) VALUES (:token_digest, :access_key_id, :expires_at);

-- name: take_console_link(token_digest)
-- Removes a link, and returns it. Of several transactions that take the same link, only one gets it.
DELETE FROM console_links WHERE token_digest = :token_digest RETURNING access_key_id, expires_at;

-- name: remove_console_links_expired(before)
-- Removes the links that expired before a time.
DELETE FROM console_links WHERE expires_at < :before;
