-- Queries for refused mail.

-- name: add_refusal({refusals})
-- Adds a refusal. The database assigns the next number to it.
INSERT INTO refusals ({refusals}) VALUES ({:refusals});

-- name: refusals_of(recipient_key, since, account, other_account, limit)
-- Returns the refusals of mail for an address since a time, newest first. The refusals belong to one account or, if
-- `other_account` is empty, to this account or to no account.
SELECT {refusals} FROM refusals
WHERE recipient_key = :recipient_key AND at >= :since AND account IN (:account, :other_account)
ORDER BY at DESC, number DESC LIMIT :limit;
