-- Queries for messages and deliveries that differ on SQLite.

-- name: deliveries_at(account, address_key, before, limit)
-- Returns a page of an inbox, newest first. Ids are UUIDv7, so their order is the order in which the server began to
-- receive the messages. The subquery finds the page with the index alone, so that deliveries that were only forwarded
-- are skipped without reading their rows. PostgreSQL finds this plan by itself.
SELECT {d.deliveries}, {m.messages}
FROM (SELECT message_id, email_address_id FROM deliveries
      WHERE account = :account AND address_key = :address_key AND message_id < :before AND kept = 1
      ORDER BY message_id DESC LIMIT :limit) AS page
CROSS JOIN deliveries AS d ON d.message_id = page.message_id AND d.email_address_id = page.email_address_id
CROSS JOIN messages AS m ON m.id = d.message_id
ORDER BY d.message_id DESC;

-- name: deliveries_to(account, address_key, before, limit)
-- Returns a page of all deliveries to an address, newest first, whether or not the inbox keeps them. Mail to an alias
-- is included, because it always has a delivery for the alias. The subquery finds the page with the index alone, as in
-- `deliveries_at`.
SELECT {d.deliveries}, {m.messages}
FROM (SELECT message_id, email_address_id FROM deliveries
      WHERE account = :account AND address_key = :address_key AND message_id < :before
      ORDER BY message_id DESC LIMIT :limit) AS page
CROSS JOIN deliveries AS d ON d.message_id = page.message_id AND d.email_address_id = page.email_address_id
CROSS JOIN messages AS m ON m.id = d.message_id
ORDER BY d.message_id DESC;

-- name: messages_with_header_id(account, header_id, limit)
-- Returns the messages that have a given Message-ID and a delivery to an account, newest first. The index contains the
-- whole Message-ID.
SELECT {m.messages} FROM messages AS m
WHERE m.header_id = :header_id AND m.header_id <> ''
  AND EXISTS (SELECT 1 FROM deliveries WHERE message_id = m.id AND +account = :account)
ORDER BY m.id DESC LIMIT :limit;

-- name: lock_message(id)
-- Does nothing: no lock is needed, because SQLite has a single writer.
SELECT :id;

-- name: lock_messages(ids)
-- Does nothing, for the same reason.
SELECT :ids;
