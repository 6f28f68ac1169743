-- Queries for lists of all mail of an account.
--
-- The query of each list finds the places of a page in an index: the ids of the message and the email address of each
-- delivery. SQLite reads tables in the order in which a CROSS JOIN lists them. PostgreSQL needs a type cast for a
-- parameter that is only compared with NULL.

-- part: in_page
-- The conditions of a page for the rows `k`. The time comes last, because it needs a look-up for each row.
AND (k.message_id, k.email_address_id) < (:before, :before_email_address_id) AND k.message_id >= :oldest_id
AND (:until{postgres: ::bigint} IS NULL
     OR (SELECT received_at FROM messages AS r WHERE r.id = k.message_id) < :until)

-- part: order_of_page
ORDER BY k.message_id DESC, k.email_address_id DESC LIMIT :limit

-- name: mailbox(account, before, before_email_address_id, oldest_id, until, limit)
-- Returns a page of all deliveries of an account, newest first: the newest of those of each reason.
SELECT message_id, email_address_id FROM (
    SELECT * FROM (
        SELECT k.message_id, k.email_address_id FROM deliveries AS k
        WHERE k.account = :account AND k.reason = 'direct' {+in_page}
        {+order_of_page}
    ) AS direct
    UNION ALL
    SELECT * FROM (
        SELECT k.message_id, k.email_address_id FROM deliveries AS k
        WHERE k.account = :account AND k.reason = 'forwarded' {+in_page}
        {+order_of_page}
    ) AS forwarded
    UNION ALL
    SELECT * FROM (
        SELECT k.message_id, k.email_address_id FROM deliveries AS k
        WHERE k.account = :account AND k.reason = 'notice' {+in_page}
        {+order_of_page}
    ) AS notices
    UNION ALL
    SELECT * FROM (
        SELECT k.message_id, k.email_address_id FROM deliveries AS k
        WHERE k.account = :account AND k.reason = 'returned' {+in_page}
        {+order_of_page}
    ) AS returned
) AS page
ORDER BY message_id DESC, email_address_id DESC LIMIT :limit;

-- name: mailbox_of_reason(account, before, before_email_address_id, oldest_id, until, limit, reason)
-- Returns a page of the deliveries of one reason, newest first.
SELECT k.message_id, k.email_address_id FROM deliveries AS k
WHERE k.account = :account AND k.reason = :reason {+in_page}
{+order_of_page};

-- name: mailbox_of_address(account, before, before_email_address_id, oldest_id, until, limit, address_key)
-- Returns a page of the deliveries to one address, newest first.
SELECT k.message_id, k.email_address_id FROM deliveries AS k
WHERE k.account = :account AND k.address_key = :address_key AND k.message_id <= :before {+in_page}
{+order_of_page};

-- name: mailbox_of_address_and_reason(account, before, before_email_address_id, oldest_id, until, limit, address_key, reason)
-- Returns a page of the deliveries of one reason to one address, newest first.
SELECT k.message_id, k.email_address_id FROM deliveries AS k
WHERE k.account = :account AND k.address_key = :address_key AND k.reason = :reason AND k.message_id <= :before
  {+in_page}
{+order_of_page};

-- name: mailbox_dead(account, before, before_email_address_id, oldest_id, until, limit, address_key, reason)
-- Returns a page of the dead letters of an account, newest first. An empty address key stands for all addresses.
SELECT k.message_id, k.email_address_id FROM deliveries AS k {sqlite: INDEXED BY deliveries_dead}
WHERE k.account = :account AND k.status = 'dead'
  AND (:address_key = '' OR k.address_key = :address_key)
  AND (:reason{postgres: ::text} IS NULL OR k.reason = :reason)
  {+in_page}
{+order_of_page};

-- name: mailbox_waiting(account, before, before_email_address_id, oldest_id, until, limit, address_key, reason)
-- Returns a page of the queued deliveries of an account, newest first. An empty address key stands for all addresses.
SELECT k.message_id, k.email_address_id FROM queue AS k
WHERE k.account = :account
  AND (:address_key = '' AND :reason{postgres: ::text} IS NULL OR EXISTS (
      SELECT 1 FROM deliveries AS q WHERE q.message_id = k.message_id AND q.email_address_id = k.email_address_id
          AND (:address_key = '' OR q.address_key = :address_key)
          AND (:reason{postgres: ::text} IS NULL OR q.reason = :reason)
  ))
  {+in_page}
{+order_of_page};

-- name: deliveries_in(message_ids, email_address_ids)
-- Returns the deliveries at some places, each with its message, newest first.
SELECT {d.deliveries}, {m.messages} FROM deliveries AS d {sqlite: CROSS} JOIN messages AS m ON m.id = d.message_id
WHERE (d.message_id, d.email_address_id) {in :message_ids, :email_address_ids}
ORDER BY d.message_id DESC, d.email_address_id DESC;

-- name: listed_in(message_ids, email_address_ids)
-- Returns what a list shows of the deliveries at some places, newest first.
SELECT {+listed} FROM deliveries AS d {sqlite: CROSS} JOIN messages AS m ON m.id = d.message_id
WHERE (d.message_id, d.email_address_id) {in :message_ids, :email_address_ids}
ORDER BY d.message_id DESC, d.reason, d.address_key;

-- name: listed(account, message_ids, limit)
-- Returns what a list shows of the deliveries of the listed messages to an account.
SELECT {+listed} FROM deliveries AS d {sqlite: CROSS} JOIN messages AS m ON m.id = d.message_id
WHERE d.message_id {in :message_ids} AND {sqlite: +}d.account = :account
ORDER BY d.message_id DESC, d.reason, d.address_key LIMIT :limit;

-- part: listed
m.id, m.sender, m.subject, m.received_at, d.address, d.address_key, d.via, d.reason, d.status

-- name: accepted_since(first, last, since, limit)
-- Returns the ids in a range, without the last, of messages that were accepted at or after a time, newest first.
SELECT id FROM messages WHERE id >= :first AND id < :last AND received_at >= :since ORDER BY id DESC LIMIT :limit;

-- name: refusals_in(account, other_account, before_at, before, since, limit)
-- Returns a page of the refusals of one account or, if `other_account` is empty, of this account and of no account,
-- with their numbers, newest first.
SELECT {refusals}, number FROM (
    SELECT * FROM (
        SELECT * FROM refusals WHERE account = :account AND (at, number) < (:before_at, :before) AND at >= :since
        ORDER BY at DESC, number DESC LIMIT :limit
    ) AS own
    UNION
    SELECT * FROM (
        SELECT * FROM refusals WHERE account = :other_account AND (at, number) < (:before_at, :before) AND at >= :since
        ORDER BY at DESC, number DESC LIMIT :limit
    ) AS others
) AS found ORDER BY at DESC, number DESC LIMIT :limit;
