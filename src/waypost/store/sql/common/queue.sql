-- The queue: what waits and what becomes of it; and what was given up.
--
-- SQLite reads tables in the order of CROSS JOIN, here always from the index of the queue; PostgreSQL knows how long each
-- is, and has no such JOIN. Where PostgreSQL is told FOR UPDATE, SQLite is told nothing: it has one writer, who holds
-- every row.

-- name: waiting()
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

-- name: destinations_of(account, limit)
-- The destinations for which something of an account waits, one by one by the index, as `waiting` does.
WITH RECURSIVE known (destination) AS (
    SELECT min(destination) FROM queue WHERE account = :account
    UNION ALL
    SELECT (SELECT min(q.destination) FROM queue AS q WHERE q.account = :account AND q.destination > known.destination)
    FROM known WHERE known.destination IS NOT NULL
)
SELECT destination, (SELECT min(q.due_at) FROM queue AS q WHERE q.destination = known.destination)
FROM known WHERE destination IS NOT NULL LIMIT :limit;

-- name: queue(account, message_id, email_address_id, limit)
-- A page of what waits for an account, behind the two ids of a delivery.
SELECT {d.deliveries}, q.queued_at, q.due_at, q.attempts, q.claim <> '', q.because
FROM (SELECT * FROM queue
      WHERE account = :account AND (message_id, email_address_id) > (:message_id, :email_address_id)
      ORDER BY message_id, email_address_id LIMIT :limit) AS q
{sqlite: CROSS} JOIN deliveries AS d ON d.message_id = q.message_id AND d.email_address_id = q.email_address_id
ORDER BY q.message_id, q.email_address_id;

-- name: queue_of_destination(account, message_id, email_address_id, limit, destination)
-- The same, of what waits for one destination.
SELECT {d.deliveries}, q.queued_at, q.due_at, q.attempts, q.claim <> '', q.because
FROM (SELECT * FROM queue
      WHERE account = :account AND destination = :destination
        AND (message_id, email_address_id) > (:message_id, :email_address_id)
      ORDER BY message_id, email_address_id LIMIT :limit) AS q
{sqlite: CROSS} JOIN deliveries AS d ON d.message_id = q.message_id AND d.email_address_id = q.email_address_id
ORDER BY q.message_id, q.email_address_id;

-- name: queued_up_to(account, destination, limit)
-- How many deliveries of an account wait for a destination, counted no further than a limit.
SELECT count(*) FROM (
    SELECT 1 FROM queue WHERE account = :account AND destination = :destination LIMIT :limit
) AS counted;

-- name: due(destination, now, limit)
-- What is due for a destination, the longest due first. Nobody else gets them, who asks at the same time.
SELECT {d.deliveries}, {m.messages}, {q.queue}
FROM queue AS q
{sqlite: CROSS} JOIN deliveries AS d ON d.message_id = q.message_id AND d.email_address_id = q.email_address_id
{sqlite: CROSS} JOIN messages AS m ON m.id = q.message_id
WHERE q.destination = :destination AND q.due_at <= :now
ORDER BY q.due_at, q.message_id, q.email_address_id LIMIT :limit
{postgres: FOR UPDATE OF q SKIP LOCKED};

-- name: overdue(queued_before, now, limit)
-- What was queued before a moment and is not being attempted, the oldest first.
SELECT {d.deliveries}, {q.queue}
FROM queue AS q
{sqlite: CROSS} JOIN deliveries AS d ON d.message_id = q.message_id AND d.email_address_id = q.email_address_id
WHERE q.queued_at < :queued_before AND (q.claim = '' OR q.due_at <= :now)
ORDER BY q.queued_at, q.message_id LIMIT :limit
{postgres: FOR UPDATE OF q SKIP LOCKED};

-- name: late(now, limit)
-- What the sender is to be told of, whether it is being attempted or not.
SELECT {d.deliveries}, {q.queue}
FROM queue AS q
{sqlite: CROSS} JOIN deliveries AS d ON d.message_id = q.message_id AND d.email_address_id = q.email_address_id
WHERE q.warn_at <= :now
ORDER BY q.warn_at, q.message_id LIMIT :limit
{postgres: FOR UPDATE OF q SKIP LOCKED};

-- name: release(claim, due_at)
-- What a claim still holds is anybody's again; a row comes back for each.
UPDATE queue SET claim = '', due_at = :due_at WHERE claim = :claim AND claim <> '' RETURNING 1;

-- name: release_all(due_at)
-- What any claim holds is anybody's again.
UPDATE queue SET claim = '', due_at = :due_at WHERE claim <> '';

-- name: renew(claim, lease_until)
-- The lease ends later, for what a claim still holds; the ids of each come back.
UPDATE queue SET due_at = :lease_until WHERE claim = :claim AND claim <> '' RETURNING message_id, email_address_id;

-- name: finish(message_id, email_address_id, claim)
-- A row comes back if it was still of this claim.
DELETE FROM queue
WHERE message_id = :message_id AND email_address_id = :email_address_id AND claim = :claim RETURNING 1;

-- name: defer(message_id, email_address_id, claim, due_at, because)
-- A row comes back if it was still of this claim.
UPDATE queue SET claim = '', due_at = :due_at, attempts = attempts + 1, because = :because
WHERE message_id = :message_id AND email_address_id = :email_address_id AND claim = :claim RETURNING 1;

-- name: move(message_id, email_address_id, claim, destination, due_at)
-- A row comes back if it was still of this claim.
UPDATE queue SET claim = '', destination = :destination, due_at = :due_at
WHERE message_id = :message_id AND email_address_id = :email_address_id AND claim = :claim RETURNING 1;

-- name: add_to_queue(message_id, email_address_id, account, destination, queued_at, warn_at)
-- With the message, due at once.
INSERT INTO queue (message_id, email_address_id, account, destination, due_at, claim, attempts, queued_at, warn_at)
VALUES (:message_id, :email_address_id, :account, :destination, :queued_at, '', 0, :queued_at, :warn_at);

-- name: enqueue(message_id, email_address_id, account, destination, queued_at)
-- Once more, as if it were new; a row comes back if it did not wait already.
INSERT INTO queue (message_id, email_address_id, account, destination, due_at, claim, attempts, queued_at, warn_at)
VALUES (:message_id, :email_address_id, :account, :destination, :queued_at, '', 0, :queued_at, NULL)
ON CONFLICT (message_id, email_address_id) DO NOTHING RETURNING 1;

-- name: dead_letters(account, address_key, received_from, message_id, email_address_id, limit)
-- A page of what was given up, perhaps for one address or of messages that came from a moment on. PostgreSQL has to be
-- told of what type a parameter is that is compared with nothing.
SELECT {d.deliveries}, {m.messages}
FROM deliveries AS d {sqlite: CROSS} JOIN messages AS m ON m.id = d.message_id
WHERE d.account = :account AND d.status = 'dead'
  AND (:address_key{postgres: ::text} IS NULL OR d.address_key = :address_key)
  AND (:received_from{postgres: ::bigint} IS NULL OR m.received_at >= :received_from)
  AND (d.message_id, d.email_address_id) > (:message_id, :email_address_id)
ORDER BY d.message_id, d.email_address_id LIMIT :limit;
