-- Mail that was refused, for whoever asks where it is.

-- name: add_refusal({refusals})
-- Mail that was refused; its number is the next.
INSERT INTO refusals ({refusals}) VALUES ({:refusals});

-- name: refusals_of(recipient_key, since, account, other_account, limit)
-- Mail for an address that was refused from a moment on, newest first: that of an account, and perhaps of nobody's.
SELECT {refusals} FROM refusals
WHERE recipient_key = :recipient_key AND at >= :since AND account IN (:account, :other_account)
ORDER BY at DESC, number DESC LIMIT :limit;
