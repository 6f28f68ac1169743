-- Messages, their octets, their deliveries and their traces.
--
-- Where PostgreSQL is told FOR UPDATE or FOR SHARE, SQLite is told nothing: it has one writer, who holds every row.

-- name: message(id, account)
-- A message, only for an account that had a delivery of it.
SELECT {messages} FROM messages
WHERE id = :id AND EXISTS (SELECT 1 FROM deliveries WHERE message_id = :id AND account = :account);

-- name: messages_between(first, last, limit)
-- Those with ids in a range, whoever's they are.
SELECT {messages} FROM messages WHERE id BETWEEN :first AND :last ORDER BY id LIMIT :limit;

-- name: add_message({messages})
-- The envelope and what lists show.
INSERT INTO messages ({messages}) VALUES ({:messages});

-- name: deliveries_of(message_id, account)
-- The deliveries of a message to one account; the direct ones first, as they were decided.
SELECT {deliveries} FROM deliveries WHERE message_id = :message_id AND account = :account ORDER BY reason, address_key;

-- name: all_deliveries_of(message_id)
-- The same, whoever's they are.
SELECT {deliveries} FROM deliveries WHERE message_id = :message_id ORDER BY reason, address_key;

-- name: delivery(message_id, email_address_id)
-- One delivery, whoever's it is.
SELECT {deliveries} FROM deliveries WHERE message_id = :message_id AND email_address_id = :email_address_id;

-- name: lock_delivery(message_id, email_address_id)
-- The same; nobody else changes it until the transaction ends.
SELECT {deliveries} FROM deliveries
WHERE message_id = :message_id AND email_address_id = :email_address_id {postgres: FOR UPDATE};

-- name: add_delivery({deliveries})
-- One for each email address; a second for the same one is refused.
INSERT INTO deliveries ({deliveries}) VALUES ({:deliveries});

-- name: update_delivery(message_id, email_address_id, status, kept, destination)
-- How far it has come.
UPDATE deliveries SET status = :status, kept = :kept, destination = :destination
WHERE message_id = :message_id AND email_address_id = :email_address_id;

-- name: trace(message_id)
-- What happened to a message, in order.
SELECT {trace_events} FROM trace_events WHERE message_id = :message_id ORDER BY number;

-- name: add_trace_event(message_id, number, {trace_events})
-- The next line of a message's trace.
INSERT INTO trace_events (message_id, number, {trace_events}) VALUES (:message_id, :number, {:trace_events});

-- name: add_next_trace_event(message_id, {trace_events})
-- Behind the lines that are there. The message is held, so that no two lines get one number.
INSERT INTO trace_events (message_id, number, {trace_events})
SELECT :message_id, coalesce(max(number), -1) + 1, {:trace_events} FROM trace_events WHERE message_id = :message_id;

-- name: octets(message_id, start, end)
-- The pieces of a message that reach into a part of it.
SELECT start, octets FROM message_bodies
WHERE message_id = :message_id AND start < :end
  AND start >= (SELECT max(start) FROM message_bodies WHERE message_id = :message_id AND start <= :start)
ORDER BY start;

-- name: add_octets(message_id, start, octets)
-- A piece of the bytes as sent after DATA, and where it begins; never changed.
INSERT INTO message_bodies (message_id, start, octets) VALUES (:message_id, :start, :octets);

-- name: begin_message(message_id, begun_at)
-- Pieces of it are here, and no message yet.
INSERT INTO messages_begun (message_id, begun_at) VALUES (:message_id, :begun_at);

-- name: still_begun(message_id)
-- A row if more pieces of it may come; nobody lets go of it before this one is here.
SELECT 1 FROM messages_begun WHERE message_id = :message_id {postgres: FOR SHARE};

-- name: end_message(message_id)
-- It is a message now, or never will be; a row comes back if it had been begun.
DELETE FROM messages_begun WHERE message_id = :message_id RETURNING 1;

-- name: trim_octets(message_id, limit)
-- Some pieces of a message that is none yet; a row comes back for each.
DELETE FROM message_bodies
WHERE message_id = :message_id AND EXISTS (SELECT 1 FROM messages_begun WHERE message_id = :message_id)
  AND start IN (SELECT start FROM message_bodies WHERE message_id = :message_id ORDER BY start DESC LIMIT :limit)
RETURNING 1;

-- name: remove_octets(message_id)
-- The pieces of a message that will never be one.
DELETE FROM message_bodies WHERE message_id = :message_id;

-- name: remove_octets_if_spent(message_id)
-- A row comes back for each piece. The message is held: of two deliveries that end at once, the second sees the first.
DELETE FROM message_bodies
WHERE message_id = :message_id
  AND NOT EXISTS (SELECT 1 FROM deliveries WHERE message_id = :message_id AND (kept OR status <> 'delivered'))
  AND NOT EXISTS (SELECT 1 FROM notices_owed WHERE message_id = :message_id)
RETURNING 1;

-- name: messages_begun(before, limit)
-- Those that were begun before a moment, the oldest first.
SELECT message_id FROM messages_begun WHERE begun_at < :before ORDER BY begun_at LIMIT :limit;
