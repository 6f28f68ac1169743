-- Queries for messages, their bytes, their deliveries and their traces.
--
-- FOR UPDATE and FOR SHARE are only in the SQL for PostgreSQL. SQLite has a single writer, so a transaction that writes
-- need not lock rows.
--
-- Without statistics, SQLite would look for the deliveries of a message to an account in an index of the account, and
-- read all of its entries. The sign in `+account` keeps it from using such an index.

-- name: message(id, account)
-- Returns a message, but only if it has a delivery to the account.
SELECT {messages} FROM messages
WHERE id = :id AND EXISTS (SELECT 1 FROM deliveries WHERE message_id = :id AND {sqlite: +}account = :account);

-- name: messages_between(first, last, limit)
-- Returns messages of any account with ids in a range.
SELECT {messages} FROM messages WHERE id BETWEEN :first AND :last ORDER BY id LIMIT :limit;

-- name: add_message({messages}, first_events)
-- Adds a message: its envelope, the fields that lists show, and the first events of its trace.
INSERT INTO messages ({messages}, first_events) VALUES ({:messages}, :first_events);

-- name: deliveries_of(message_id, account)
-- Returns the deliveries of a message to one account: direct deliveries first, because 'direct' sorts before
-- 'forwarded'.
SELECT {deliveries} FROM deliveries
WHERE message_id = :message_id AND {sqlite: +}account = :account ORDER BY reason, address_key;

-- name: recipients_of(message_id)
-- Returns the ids of the email addresses to which a message has a delivery.
SELECT email_address_id FROM deliveries WHERE message_id = :message_id ORDER BY email_address_id;

-- name: delivery(message_id, email_address_id)
-- Returns one delivery, which may belong to any account.
SELECT {deliveries} FROM deliveries WHERE message_id = :message_id AND email_address_id = :email_address_id;

-- name: lock_delivery(message_id, email_address_id)
-- Returns one delivery of any account, and locks it, so that no other transaction changes it until this transaction
-- ends.
SELECT {deliveries} FROM deliveries
WHERE message_id = :message_id AND email_address_id = :email_address_id {postgres: FOR UPDATE};

-- name: lock_delivery_at(message_id, account, address_key)
-- Returns the delivery of a message to an address, and locks it. The delivery may belong to an email address that had the
-- same address and was deleted.
SELECT {deliveries} FROM deliveries
WHERE message_id = :message_id AND account = :account AND address_key = :address_key
ORDER BY kept DESC LIMIT 1 {postgres: FOR UPDATE};

-- name: add_delivery({deliveries})
-- Adds a delivery. A message can have only one delivery for each email address.
INSERT INTO deliveries ({deliveries}) VALUES ({:deliveries});

-- name: update_delivery(message_id, email_address_id, status, kept, destination)
-- Changes the status and the destination of a delivery, and whether the inbox keeps it.
UPDATE deliveries SET status = :status, kept = :kept, destination = :destination
WHERE message_id = :message_id AND email_address_id = :email_address_id;

-- name: update_statuses(status, message_ids, email_address_ids)
-- Changes the status of the deliveries whose ids are in two parallel lists.
UPDATE deliveries SET status = :status
WHERE (message_id, email_address_id) {in :message_ids, :email_address_ids};

-- name: bounces_of(message_id, email_address_id)
-- Returns the number of bounces that the server has accepted for a delivery.
SELECT bounces FROM deliveries WHERE message_id = :message_id AND email_address_id = :email_address_id;

-- name: add_bounce(message_id, email_address_id, of_failure)
-- Counts a bounce for a delivery. The query returns the number of bounces that report a failure, so that only one of
-- two concurrent bounces counts as the first.
UPDATE deliveries SET bounces = bounces + 1, bounces_of_failure = bounces_of_failure + :of_failure
WHERE message_id = :message_id AND email_address_id = :email_address_id
RETURNING bounces_of_failure;

-- name: put_given_up(message_id, email_address_id, at, because)
-- Records when and why a delivery was given up. Its status is stored by `update_delivery`.
UPDATE deliveries SET given_up_at = :at, given_up_because = :because
WHERE message_id = :message_id AND email_address_id = :email_address_id;

-- name: trace(message_id)
-- Returns the later events in the trace of a message, in order, each with the first events. If there are no later
-- events, the query returns one row, without a later event.
SELECT m.first_events, {t.trace_events}
FROM messages AS m LEFT JOIN trace_events AS t ON t.message_id = m.id
WHERE m.id = :message_id ORDER BY t.number;

-- name: add_next_trace_event(message_id, {trace_events})
-- Appends an event to the later events in the trace of a message. The caller has locked the message, so two events cannot get the same
-- number.
INSERT INTO trace_events (message_id, number, {trace_events})
SELECT :message_id, coalesce(max(number), -1) + 1, {:trace_events} FROM trace_events WHERE message_id = :message_id;

-- name: octets(message_id, start, end)
-- Returns the pieces of a message that overlap a range of its bytes, with their checksums.
SELECT start, octets, checksum FROM message_bodies
WHERE message_id = :message_id AND start < :end
  AND start >= (SELECT max(start) FROM message_bodies WHERE message_id = :message_id AND start <= :start)
ORDER BY start;

-- name: add_octets(message_id, start, octets, checksum)
-- Adds a piece of a message's bytes, as the client sent them after DATA, with its offset and its checksum. A piece is
-- never changed.
INSERT INTO message_bodies (message_id, start, octets, checksum) VALUES (:message_id, :start, :octets, :checksum);

-- name: begin_message(message_id, begun_at)
-- Records that the first piece of a message is stored, and that the message is not complete.
INSERT INTO messages_begun (message_id, begun_at) VALUES (:message_id, :begun_at);

-- name: still_begun(message_id)
-- Returns a row if the message is not complete and more pieces may follow. The lock prevents another transaction from
-- removing the stored pieces before the next piece is stored.
SELECT 1 FROM messages_begun WHERE message_id = :message_id {postgres: FOR SHARE};

-- name: end_message(message_id)
-- Removes the record of an incomplete message, because the message is complete now or was abandoned. The query returns
-- a row if there was such a record.
DELETE FROM messages_begun WHERE message_id = :message_id RETURNING 1;

-- name: trim_octets(message_id, limit)
-- Removes some pieces of an incomplete message, and returns a row for each of them.
DELETE FROM message_bodies
WHERE message_id = :message_id AND EXISTS (SELECT 1 FROM messages_begun WHERE message_id = :message_id)
  AND start IN (SELECT start FROM message_bodies WHERE message_id = :message_id ORDER BY start DESC LIMIT :limit)
RETURNING 1;

-- name: remove_octets(message_id)
-- Removes all pieces of a message that was never completed.
DELETE FROM message_bodies WHERE message_id = :message_id;

-- name: remove_spent_octets(message_ids)
-- Removes the pieces of those listed messages whose bytes no delivery or notice needs, and returns a row for each of
-- them. The caller has locked the messages. Therefore, if two deliveries of a message end at the same time, the second
-- transaction sees the result of the first. With NOT EXISTS, PostgreSQL might read all deliveries.
DELETE FROM message_bodies AS b
WHERE b.message_id {in :message_ids}
  AND (SELECT 1 FROM deliveries AS d
       WHERE d.message_id = b.message_id AND (d.kept OR d.status <> 'delivered') LIMIT 1) IS NULL
  AND (SELECT 1 FROM notices_owed AS o WHERE o.message_id = b.message_id LIMIT 1) IS NULL
  AND (SELECT 1 FROM planned_deliveries AS p WHERE p.message_id = b.message_id LIMIT 1) IS NULL
RETURNING 1;

-- name: messages_begun(before, limit)
-- Returns the incomplete messages that were begun before a time, oldest first.
SELECT message_id FROM messages_begun WHERE begun_at < :before ORDER BY begun_at LIMIT :limit;

-- name: add_planned(message_id, number, part)
-- Stores one part of the planned deliveries of a message, for a later transaction.
INSERT INTO planned_deliveries (message_id, number, part) VALUES (:message_id, :number{postgres: ::bigint}, :part);

-- name: take_planned(message_id)
-- Deletes and returns the next part of the planned deliveries of a message.
DELETE FROM planned_deliveries
WHERE message_id = :message_id
  AND number = (SELECT min(number) FROM planned_deliveries WHERE message_id = :message_id)
RETURNING part;

-- name: messages_planned(after, since, until, limit)
-- Lists messages that have planned deliveries, after an id, in the order of their ids. Messages that were accepted after
-- `since` and not after `until` are left out.
SELECT DISTINCT p.message_id
FROM planned_deliveries AS p JOIN messages AS m ON m.id = p.message_id
WHERE p.message_id > :after AND NOT (m.received_at > :since AND m.received_at <= :until)
ORDER BY p.message_id LIMIT :limit;

-- name: has_plan(message_id)
-- Returns a row if a message has planned deliveries.
SELECT 1 FROM planned_deliveries WHERE message_id = :message_id LIMIT 1;
