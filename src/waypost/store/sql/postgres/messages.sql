-- What PostgreSQL does its own way with messages and deliveries.

-- name: deliveries_at(account, address_key, before, limit)
-- A page of an inbox, newest first: ids are UUIDv7, so their order is that in which messages began to come in. What
-- was only sent on is not in it. SQLite has to be told how to find the page.
SELECT {d.deliveries}, {m.messages}
FROM deliveries AS d JOIN messages AS m ON m.id = d.message_id
WHERE d.account = :account AND d.address_key = :address_key AND d.message_id < :before AND d.kept
ORDER BY d.message_id DESC LIMIT :limit;

-- name: deliveries_kept(account, before, before_email_address_id, limit)
-- A page of all inboxes of an account, newest first; the copies of one message are in the order of their email addresses.
-- SQLite has to be told how to find the page.
SELECT {d.deliveries}, {m.messages}
FROM deliveries AS d JOIN messages AS m ON m.id = d.message_id
WHERE d.account = :account AND d.kept AND (d.message_id, d.email_address_id) < (:before, :before_email_address_id)
ORDER BY d.message_id DESC, d.email_address_id DESC LIMIT :limit;

-- name: deliveries_to(account, address_key, before, limit)
-- A page of all that came to an address, newest first, in its inbox or not. Mail to an alias is there, too: it always
-- has a delivery of its own. SQLite has to be told how to find the page.
SELECT {d.deliveries}, {m.messages}
FROM deliveries AS d JOIN messages AS m ON m.id = d.message_id
WHERE d.account = :account AND d.address_key = :address_key AND d.message_id < :before
ORDER BY d.message_id DESC LIMIT :limit;

-- name: messages_with_header_id(account, header_id, limit)
-- Those with a Message-ID that were delivered to an account, newest first. The index has its first 64 characters.
SELECT {m.messages} FROM messages AS m
WHERE left(m.header_id, 64) = left(:header_id, 64) AND m.header_id = :header_id AND m.header_id <> ''
  AND EXISTS (SELECT 1 FROM deliveries WHERE message_id = m.id AND account = :account)
ORDER BY m.id DESC LIMIT :limit;

-- name: lock_message(id)
-- So that those who change what belongs to one message do it in turn. Whoever only refers to it does not wait.
SELECT 1 FROM messages WHERE id = :id FOR NO KEY UPDATE;
