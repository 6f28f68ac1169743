-- The queue in the SQLite store: what waits, what becomes of it, and what was refused.

-- name: waiting
-- Each destination, and when the first of its deliveries is due. It goes from one to the next by the index, so it takes
-- as long as there are destinations, however many deliveries wait for each.
WITH RECURSIVE waits (destination) AS (
    SELECT min(destination) FROM queue
    UNION ALL
    SELECT (SELECT min(q.destination) FROM queue AS q WHERE q.destination > waits.destination)
    FROM waits WHERE waits.destination IS NOT NULL
)
SELECT destination, (SELECT min(q.due_at) FROM queue AS q WHERE q.destination = waits.destination)
FROM waits WHERE destination IS NOT NULL;

-- name: queue
-- A page of what waits for an account, behind the two ids of a delivery.
SELECT d.message_id, d.email_address_id, d.account, d.address, d.address_key, d.reason, d.sent_to, d.via,
       d.status, d.trace_header, d.kept, d.destination, d.also_for,
       q.queued_at, q.due_at, q.attempts, q.claim <> '', q.because
FROM (SELECT * FROM queue
      WHERE account = ?1 AND (message_id, email_address_id) > (?2, ?3)
      ORDER BY message_id, email_address_id LIMIT ?4) AS q
CROSS JOIN deliveries AS d ON d.message_id = q.message_id AND d.email_address_id = q.email_address_id
ORDER BY q.message_id, q.email_address_id;

-- name: queue_of_destination
-- The same, of what waits for one destination.
SELECT d.message_id, d.email_address_id, d.account, d.address, d.address_key, d.reason, d.sent_to, d.via,
       d.status, d.trace_header, d.kept, d.destination, d.also_for,
       q.queued_at, q.due_at, q.attempts, q.claim <> '', q.because
FROM (SELECT * FROM queue
      WHERE account = ?1 AND destination = ?5 AND (message_id, email_address_id) > (?2, ?3)
      ORDER BY message_id, email_address_id LIMIT ?4) AS q
CROSS JOIN deliveries AS d ON d.message_id = q.message_id AND d.email_address_id = q.email_address_id
ORDER BY q.message_id, q.email_address_id;

-- name: destinations_of
-- The destinations for which something of an account waits, one by one by the index, as `waiting` does.
WITH RECURSIVE known (destination) AS (
    SELECT min(destination) FROM queue WHERE account = ?1
    UNION ALL
    SELECT (SELECT min(q.destination) FROM queue AS q WHERE q.account = ?1 AND q.destination > known.destination)
    FROM known WHERE known.destination IS NOT NULL
)
SELECT destination, (SELECT min(q.due_at) FROM queue AS q WHERE q.destination = known.destination)
FROM known WHERE destination IS NOT NULL LIMIT ?2;

-- name: queued_up_to
-- How many deliveries of an account wait for a destination, counted no further than a limit.
SELECT count(*) FROM (SELECT 1 FROM queue WHERE account = ?1 AND destination = ?2 LIMIT ?3) AS counted;

-- name: due
-- What is due for a destination, the longest due first. There is one writer, who holds them.
SELECT d.message_id, d.email_address_id, d.account, d.address, d.address_key, d.reason, d.sent_to, d.via,
       d.status, d.trace_header, d.kept, d.destination, d.also_for,
       m.id, m.sender, m.recipients, m.helo, m.peer, m.protocol, m.received_at, m.size, m.subject,
       m.body, m.tls, m.dsn, m.authserv_id, m.header_id, m.is_authentic,
       q.attempts, q.queued_at, q.claim, q.because
FROM queue AS q
CROSS JOIN deliveries AS d ON d.message_id = q.message_id AND d.email_address_id = q.email_address_id
CROSS JOIN messages AS m ON m.id = q.message_id
WHERE q.destination = ?1 AND q.due_at <= ?2
ORDER BY q.due_at, q.message_id, q.email_address_id LIMIT ?3;

-- name: overdue
-- What was queued before a moment and is not being attempted, the oldest first.
SELECT d.message_id, d.email_address_id, d.account, d.address, d.address_key, d.reason, d.sent_to, d.via,
       d.status, d.trace_header, d.kept, d.destination, d.also_for,
       q.attempts, q.queued_at, q.claim, q.because
FROM queue AS q
CROSS JOIN deliveries AS d ON d.message_id = q.message_id AND d.email_address_id = q.email_address_id
WHERE q.queued_at < ?1 AND (q.claim = '' OR q.due_at <= ?2)
ORDER BY q.queued_at, q.message_id LIMIT ?3;

-- name: late
-- What the sender is to be told of, whether it is being attempted or not.
SELECT d.message_id, d.email_address_id, d.account, d.address, d.address_key, d.reason, d.sent_to, d.via,
       d.status, d.trace_header, d.kept, d.destination, d.also_for,
       q.attempts, q.queued_at, q.claim, q.because
FROM queue AS q
CROSS JOIN deliveries AS d ON d.message_id = q.message_id AND d.email_address_id = q.email_address_id
WHERE q.warn_at <= ?1
ORDER BY q.warn_at, q.message_id LIMIT ?2;

-- name: take
-- The deliveries that two JSON lists of their ids name are somebody's until the lease ends.
UPDATE queue SET claim = ?1, due_at = ?2
WHERE (message_id, email_address_id) IN (SELECT value, json_extract(?4, '$[' || key || ']') FROM json_each(?3));

-- name: warned
-- Those that two JSON lists of their ids name: once is enough.
UPDATE queue SET warn_at = NULL
WHERE (message_id, email_address_id) IN (SELECT value, json_extract(?2, '$[' || key || ']') FROM json_each(?1));

-- name: release
-- What a claim still holds is anybody's again; a row comes back for each.
UPDATE queue SET claim = '', due_at = ?2 WHERE claim = ?1 AND claim <> '' RETURNING 1;

-- name: release_all
-- What any claim holds is anybody's again.
UPDATE queue SET claim = '', due_at = ?1 WHERE claim <> '';

-- name: renew
-- The lease ends later, for what a claim still holds; the ids of each come back.
UPDATE queue SET due_at = ?2 WHERE claim = ?1 AND claim <> '' RETURNING message_id, email_address_id;

-- name: correct_queued
-- What was queued after a moment was queued by a clock that was ahead, and is queued at that moment: what goes by it
-- comes earlier by as much, and is due by the second moment. Of what is claimed, `due_at` is the end of the lease.
UPDATE queue SET
    queued_at = ?1,
    due_at = CASE WHEN claim = '' THEN min(due_at - (queued_at - ?1), ?2) ELSE due_at END,
    warn_at = warn_at - (queued_at - ?1)
WHERE (message_id, email_address_id) IN
    (SELECT message_id, email_address_id FROM queue WHERE queued_at > ?1 ORDER BY queued_at DESC LIMIT ?3)
RETURNING 1;

-- name: correct_due
-- What has no claim is due by a moment. It goes from one destination to the next by the index, as `waiting` does.
WITH RECURSIVE waits (destination) AS (
    SELECT min(destination) FROM queue
    UNION ALL
    SELECT (SELECT min(q.destination) FROM queue AS q WHERE q.destination > waits.destination)
    FROM waits WHERE waits.destination IS NOT NULL
)
UPDATE queue SET due_at = ?1
WHERE (message_id, email_address_id) IN (
    SELECT q.message_id, q.email_address_id
    FROM waits CROSS JOIN queue AS q ON q.destination = waits.destination AND q.due_at > ?1
    WHERE q.claim = '' LIMIT ?2
)
RETURNING 1;

-- name: correct_leases
-- A lease that ends after the first moment ends at the second.
UPDATE queue SET due_at = ?2
WHERE (message_id, email_address_id) IN
    (SELECT message_id, email_address_id FROM queue WHERE claim <> '' AND due_at > ?1 LIMIT ?3)
RETURNING 1;

-- name: finish
-- A row comes back if it was still of this claim.
DELETE FROM queue WHERE message_id = ?1 AND email_address_id = ?2 AND claim = ?3 RETURNING 1;

-- name: defer
-- A row comes back if it was still of this claim.
UPDATE queue SET claim = '', due_at = ?4, attempts = attempts + 1, because = ?5
WHERE message_id = ?1 AND email_address_id = ?2 AND claim = ?3 RETURNING 1;

-- name: move
-- A row comes back if it was still of this claim.
UPDATE queue SET claim = '', destination = ?4, due_at = ?5
WHERE message_id = ?1 AND email_address_id = ?2 AND claim = ?3 RETURNING 1;

-- name: add_to_queue
-- With the message, due at once.
INSERT INTO queue (message_id, email_address_id, account, destination, due_at, claim, attempts, queued_at, warn_at)
VALUES (?1, ?2, ?3, ?4, ?5, '', 0, ?5, ?6);

-- name: enqueue
-- Once more, as if it were new; a row comes back if it did not wait already.
INSERT INTO queue (message_id, email_address_id, account, destination, due_at, claim, attempts, queued_at, warn_at)
VALUES (?1, ?2, ?3, ?4, ?5, '', 0, ?5, NULL) ON CONFLICT (message_id, email_address_id) DO NOTHING RETURNING 1;

-- name: dead_letters
-- A page of what was given up, perhaps for one address or of messages that came from a moment on.
SELECT d.message_id, d.email_address_id, d.account, d.address, d.address_key, d.reason, d.sent_to, d.via,
       d.status, d.trace_header, d.kept, d.destination, d.also_for,
       m.id, m.sender, m.recipients, m.helo, m.peer, m.protocol, m.received_at, m.size, m.subject,
       m.body, m.tls, m.dsn, m.authserv_id, m.header_id, m.is_authentic
FROM deliveries AS d CROSS JOIN messages AS m ON m.id = d.message_id
WHERE d.account = ?1 AND d.status = 'dead' AND (?2 IS NULL OR d.address_key = ?2)
  AND (?3 IS NULL OR m.received_at >= ?3) AND (d.message_id, d.email_address_id) > (?4, ?5)
ORDER BY d.message_id, d.email_address_id LIMIT ?6;

-- name: messages_with_header_id
-- Those with a Message-ID that were delivered to an account, newest first.
SELECT m.id, m.sender, m.recipients, m.helo, m.peer, m.protocol, m.received_at, m.size, m.subject,
       m.body, m.tls, m.dsn, m.authserv_id, m.header_id, m.is_authentic
FROM messages AS m
WHERE m.header_id = ?2 AND m.header_id <> ''
  AND EXISTS (SELECT 1 FROM deliveries WHERE message_id = m.id AND account = ?1)
ORDER BY m.id DESC LIMIT ?3;

-- name: messages_between
-- Those with ids in a range, whoever's they are.
SELECT id, sender, recipients, helo, peer, protocol, received_at, size, subject, body, tls, dsn, authserv_id,
       header_id, is_authentic
FROM messages WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3;

-- name: delivery
-- One delivery, whoever's it is.
SELECT message_id, email_address_id, account, address, address_key, reason, sent_to, via, status, trace_header,
       kept, destination, also_for
FROM deliveries WHERE message_id = ?1 AND email_address_id = ?2;

-- name: lock_delivery
-- The same; nobody else changes it meanwhile. There is one writer, who holds it.
SELECT message_id, email_address_id, account, address, address_key, reason, sent_to, via, status, trace_header,
       kept, destination, also_for
FROM deliveries WHERE message_id = ?1 AND email_address_id = ?2;

-- name: update_delivery
-- How far it has come.
UPDATE deliveries SET status = ?3, kept = ?4, destination = ?5 WHERE message_id = ?1 AND email_address_id = ?2;

-- name: lock_message
-- There is one writer, who holds every row.
SELECT ?1;

-- name: add_next_trace_event
-- Behind the lines that are there. The message is held, so that no two lines get one number.
INSERT INTO trace_events (message_id, number, at, kind, detail)
SELECT ?1, coalesce(max(number), -1) + 1, ?2, ?3, ?4 FROM trace_events WHERE message_id = ?1;

-- name: remove_octets_if_spent
-- A row comes back for each piece. The message is held: of two deliveries that end at once, the second sees the first.
DELETE FROM message_bodies
WHERE message_id = ?1
  AND NOT EXISTS (SELECT 1 FROM deliveries
                  WHERE message_id = ?1 AND (kept = 1 OR status <> 'delivered'))
  AND NOT EXISTS (SELECT 1 FROM notices_owed WHERE message_id = ?1)
RETURNING 1;

-- name: add_refusal
-- Mail that was refused; its number is the next.
INSERT INTO refusals (at, peer, helo, sender, recipient, recipient_key, stage, reply, detail, account)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10);

-- name: refusals_of
-- Mail for an address that was refused from a moment on, newest first: that of an account, and perhaps of nobody's.
SELECT at, peer, helo, sender, recipient, recipient_key, stage, reply, detail, account
FROM refusals WHERE recipient_key = ?1 AND at >= ?2 AND account IN (?3, ?4)
ORDER BY at DESC, number DESC LIMIT ?5;

-- name: forget_refusals
-- Some of those before a moment; not all at once, because other writers wait meanwhile.
DELETE FROM refusals WHERE number IN (SELECT number FROM refusals WHERE at < ?1 ORDER BY at, number LIMIT ?2)
RETURNING 1;
