-- Queries for messages and deliveries that differ on PostgreSQL.

-- name: deliveries_at(account, address_key, before, limit)
-- Returns a page of an inbox, newest first. Ids are UUIDv7, so their order is the order in which the server began to
-- receive the messages. Deliveries that were only forwarded are left out. PostgreSQL plans this query well, but SQLite
-- needs a subquery.
SELECT {d.deliveries}, {m.messages}
FROM deliveries AS d JOIN messages AS m ON m.id = d.message_id
WHERE d.account = :account AND d.address_key = :address_key AND d.message_id < :before AND d.kept
ORDER BY d.message_id DESC LIMIT :limit;

-- name: deliveries_to(account, address_key, before, limit)
-- Returns a page of all deliveries to an address, newest first, whether or not the inbox keeps them. Mail to an alias
-- is included, because it always has a delivery for the alias. PostgreSQL plans this query well, but SQLite needs a
-- subquery.
SELECT {d.deliveries}, {m.messages}
FROM deliveries AS d JOIN messages AS m ON m.id = d.message_id
WHERE d.account = :account AND d.address_key = :address_key AND d.message_id < :before
ORDER BY d.message_id DESC LIMIT :limit;

-- name: messages_with_header_id(account, header_id, limit)
-- Returns the messages that have a given Message-ID and a delivery to an account, newest first. The index contains the
-- first 64 characters of the Message-ID.
SELECT {m.messages} FROM messages AS m
WHERE left(m.header_id, 64) = left(:header_id, 64) AND m.header_id = :header_id AND m.header_id <> ''
  AND EXISTS (SELECT 1 FROM deliveries WHERE message_id = m.id AND account = :account)
ORDER BY m.id DESC LIMIT :limit;

-- name: lock_message(id)
-- Locks a message, so that transactions that change data of one message run one after the other. A transaction that
-- only refers to the message does not wait.
SELECT 1 FROM messages WHERE id = :id FOR NO KEY UPDATE;

-- name: lock_messages(ids)
-- Locks the listed messages like `lock_message`, in the order of their ids, so that transactions cannot deadlock.
SELECT 1 FROM messages WHERE id {in :ids} ORDER BY id FOR NO KEY UPDATE;

-- name: add_next_trace_events(message_ids, {trace_events})
-- Appends events to the traces of several messages. The events are in parallel lists of texts. The caller has locked the
-- messages. SQLite appends each event with `add_next_trace_event`.
INSERT INTO trace_events (message_id, number, {trace_events})
SELECT e.message_id,
       (SELECT coalesce(max(t.number), -1) FROM trace_events AS t WHERE t.message_id = e.message_id)
         + row_number() OVER (PARTITION BY e.message_id ORDER BY e.place),
       e.at::bigint, e.kind, e.detail
FROM unnest(:message_ids::text[], :at::text[], :kind::text[], :detail::text[])
  WITH ORDINALITY AS e (message_id, at, kind, detail, place);
