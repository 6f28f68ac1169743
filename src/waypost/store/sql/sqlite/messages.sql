-- What SQLite does its own way with messages and deliveries.

-- name: deliveries_at(account, address_key, before, limit)
-- A page of an inbox, newest first: ids are UUIDv7, so their order is that in which messages began to come in. The page is
-- found by the index alone, so that whatever was only sent on is skipped there; PostgreSQL finds that out by itself.
SELECT {d.deliveries}, {m.messages}
FROM (SELECT message_id, email_address_id FROM deliveries
      WHERE account = :account AND address_key = :address_key AND message_id < :before AND kept = 1
      ORDER BY message_id DESC LIMIT :limit) AS page
CROSS JOIN deliveries AS d ON d.message_id = page.message_id AND d.email_address_id = page.email_address_id
CROSS JOIN messages AS m ON m.id = d.message_id
ORDER BY d.message_id DESC;

-- name: deliveries_kept(account, before, before_email_address_id, limit)
-- A page of all inboxes of an account, newest first; the copies of one message are in the order of their email addresses.
-- The page is found by the index alone, as above.
SELECT {d.deliveries}, {m.messages}
FROM (SELECT message_id, email_address_id FROM deliveries
      WHERE account = :account AND kept = 1 AND (message_id, email_address_id) < (:before, :before_email_address_id)
      ORDER BY message_id DESC, email_address_id DESC LIMIT :limit) AS page
CROSS JOIN deliveries AS d ON d.message_id = page.message_id AND d.email_address_id = page.email_address_id
CROSS JOIN messages AS m ON m.id = d.message_id
ORDER BY d.message_id DESC, d.email_address_id DESC;

-- name: deliveries_to(account, address_key, before, limit)
-- A page of all that came to an address, newest first, in its inbox or not. Mail to an alias is there, too: it always
-- has a delivery of its own. The page is found by the index alone, as above.
SELECT {d.deliveries}, {m.messages}
FROM (SELECT message_id, email_address_id FROM deliveries
      WHERE account = :account AND address_key = :address_key AND message_id < :before
      ORDER BY message_id DESC LIMIT :limit) AS page
CROSS JOIN deliveries AS d ON d.message_id = page.message_id AND d.email_address_id = page.email_address_id
CROSS JOIN messages AS m ON m.id = d.message_id
ORDER BY d.message_id DESC;

-- name: messages_with_header_id(account, header_id, limit)
-- Those with a Message-ID that were delivered to an account, newest first. The index has all of it.
SELECT {m.messages} FROM messages AS m
WHERE m.header_id = :header_id AND m.header_id <> ''
  AND EXISTS (SELECT 1 FROM deliveries WHERE message_id = m.id AND account = :account)
ORDER BY m.id DESC LIMIT :limit;

-- name: lock_message(id)
-- There is one writer, who holds every row.
SELECT :id;
