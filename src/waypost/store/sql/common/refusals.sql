-- Queries for refused mail.

-- name: add_refusal({refusals})
-- Adds a refusal. The database assigns the next number to it.
INSERT INTO refusals ({refusals}) VALUES ({:refusals});

-- name: refusals_of(recipient_key, since, account, other_account, limit)
-- Returns refusals of mail for an address since a time, newest first. They are the refusals of one account and, if
-- `other_account` is empty, also those of no account.
SELECT {refusals} FROM refusals
WHERE recipient_key = :recipient_key AND at >= :since AND account IN (:account, :other_account)
ORDER BY at DESC, number DESC LIMIT :limit;
