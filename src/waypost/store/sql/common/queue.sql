-- Queries for the queue and for dead letters.
--
-- SQLite reads tables in the order in which a CROSS JOIN lists them, so these queries always start from an index of the
-- queue. PostgreSQL chooses the order itself, from its statistics. FOR UPDATE is only in the SQL for PostgreSQL. SQLite
-- has a single writer, so a transaction that writes need not lock rows.

-- name: waiting()
-- Returns each destination with queued deliveries, and the time when the first of them is due. The query jumps from one
-- destination to the next through the index. Therefore, its running time depends on the number of destinations, not on
-- the number of deliveries.
WITH RECURSIVE waits (destination) AS (
    SELECT min(destination) FROM queue
    UNION ALL
    SELECT (SELECT min(q.destination) FROM queue AS q WHERE q.destination > waits.destination)
    FROM waits WHERE waits.destination IS NOT NULL
)
SELECT destination, (SELECT min(q.due_at) FROM queue AS q WHERE q.destination = waits.destination)
FROM waits WHERE destination IS NOT NULL;

-- name: backlogs()
-- Returns the number of queued deliveries for each destination, and the id of the oldest message among them. The query
-- reads only the index by destination, in its order.
SELECT destination, count(*), min(message_id) FROM queue GROUP BY destination;

-- name: destinations_of(account, limit)
-- Returns the destinations for which an account has queued deliveries. The query jumps from one destination to the next
-- through the index, like `waiting`.
WITH RECURSIVE known (destination) AS (
    SELECT min(destination) FROM queue WHERE account = :account
    UNION ALL
    SELECT (SELECT min(q.destination) FROM queue AS q WHERE q.account = :account AND q.destination > known.destination)
    FROM known WHERE known.destination IS NOT NULL
)
SELECT destination, (SELECT min(q.due_at) FROM queue AS q WHERE q.destination = known.destination)
FROM known WHERE destination IS NOT NULL LIMIT :limit;

-- name: queue(account, message_id, email_address_id, limit)
-- Returns a page of an account's queued deliveries, after the delivery with two given ids.
SELECT {d.deliveries}, q.queued_at, q.due_at, q.attempts, q.claim <> '', q.because
FROM (SELECT * FROM queue
      WHERE account = :account AND (message_id, email_address_id) > (:message_id, :email_address_id)
      ORDER BY message_id, email_address_id LIMIT :limit) AS q
{sqlite: CROSS} JOIN deliveries AS d ON d.message_id = q.message_id AND d.email_address_id = q.email_address_id
ORDER BY q.message_id, q.email_address_id;

-- name: queue_of_destination(account, message_id, email_address_id, limit, destination)
-- Returns a page of an account's queued deliveries to one destination, after the delivery with two given ids.
SELECT {d.deliveries}, q.queued_at, q.due_at, q.attempts, q.claim <> '', q.because
FROM (SELECT * FROM queue
      WHERE account = :account AND destination = :destination
        AND (message_id, email_address_id) > (:message_id, :email_address_id)
      ORDER BY message_id, email_address_id LIMIT :limit) AS q
{sqlite: CROSS} JOIN deliveries AS d ON d.message_id = q.message_id AND d.email_address_id = q.email_address_id
ORDER BY q.message_id, q.email_address_id;

-- name: queued_up_to(account, destination, limit)
-- Returns the number of an account's queued deliveries to a destination, counted up to a limit.
SELECT count(*) FROM (
    SELECT 1 FROM queue WHERE account = :account AND destination = :destination LIMIT :limit
) AS counted;

-- name: due(destination, now, limit, most_octets)
-- Returns the due deliveries of a destination, in the order in which they became due, with the first bytes of small
-- messages. Rows that another transaction has locked are skipped, so two workers never get the same delivery.
SELECT {d.deliveries}, {m.messages}, b.octets, b.checksum, {q.queue}
FROM queue AS q
{sqlite: CROSS} JOIN deliveries AS d ON d.message_id = q.message_id AND d.email_address_id = q.email_address_id
{sqlite: CROSS} JOIN messages AS m ON m.id = q.message_id
LEFT JOIN message_bodies AS b ON b.message_id = m.id AND b.start = 0 AND m.size <= :most_octets
WHERE q.destination = :destination AND q.due_at <= :now
ORDER BY q.due_at, q.message_id, q.email_address_id LIMIT :limit
{postgres: FOR UPDATE OF q SKIP LOCKED};

-- name: take(claim, lease_until, message_ids, email_address_ids)
-- Claims the deliveries whose ids are in two parallel lists, until the lease ends.
UPDATE queue SET claim = :claim, due_at = :lease_until
WHERE (message_id, email_address_id) {in :message_ids, :email_address_ids};

-- name: overdue(queued_before, now, limit)
-- Returns the deliveries that were queued before a time and are not being attempted, oldest first.
SELECT {d.deliveries}, {q.queue}
FROM queue AS q
{sqlite: CROSS} JOIN deliveries AS d ON d.message_id = q.message_id AND d.email_address_id = q.email_address_id
WHERE q.queued_at < :queued_before AND (q.claim = '' OR q.due_at <= :now)
ORDER BY q.queued_at, q.message_id LIMIT :limit
{postgres: FOR UPDATE OF q SKIP LOCKED};

-- name: late(now, limit)
-- Returns the deliveries whose sender should now get a delay notice, even if they are being attempted.
SELECT {d.deliveries}, {q.queue}
FROM queue AS q
{sqlite: CROSS} JOIN deliveries AS d ON d.message_id = q.message_id AND d.email_address_id = q.email_address_id
WHERE q.warn_at <= :now
ORDER BY q.warn_at, q.message_id LIMIT :limit
{postgres: FOR UPDATE OF q SKIP LOCKED};

-- name: warned(message_ids, email_address_ids)
-- Clears the time of the delay notice for the deliveries whose ids are in two parallel lists, so that each gets one
-- notice.
UPDATE queue SET warn_at = NULL WHERE (message_id, email_address_id) {in :message_ids, :email_address_ids};

-- name: release(claim, due_at)
-- Releases the deliveries that still have a claim, and returns a row for each of them.
UPDATE queue SET claim = '', due_at = :due_at WHERE claim = :claim AND claim <> '' RETURNING 1;

-- name: release_all(due_at)
-- Releases all claimed deliveries.
UPDATE queue SET claim = '', due_at = :due_at WHERE claim <> '';

-- name: renew(claim, lease_until)
-- Extends the lease of the deliveries that still have a claim, and returns their ids.
UPDATE queue SET due_at = :lease_until WHERE claim = :claim AND claim <> '' RETURNING message_id, email_address_id;

-- name: finish(message_id, email_address_id, claim)
-- Removes a delivery from the queue, and returns a row if the delivery still had this claim.
DELETE FROM queue
WHERE message_id = :message_id AND email_address_id = :email_address_id AND claim = :claim RETURNING 1;

-- name: finish_all(message_ids, email_address_ids, claims)
-- Removes several deliveries from the queue, and returns the ids and the claims of those that still had their claim. The
-- parameters are three parallel lists.
DELETE FROM queue
WHERE (message_id, email_address_id, claim) {in :message_ids, :email_address_ids, :claims}
RETURNING message_id, email_address_id, claim;

-- name: defer(message_id, email_address_id, claim, due_at, because)
-- Releases a delivery after a failed attempt, and returns a row if the delivery still had this claim.
UPDATE queue SET claim = '', due_at = :due_at, attempts = attempts + 1, because = :because
WHERE message_id = :message_id AND email_address_id = :email_address_id AND claim = :claim RETURNING 1;

-- name: move(message_id, email_address_id, claim, destination, due_at)
-- Releases a delivery and changes its destination, and returns a row if the delivery still had this claim.
UPDATE queue SET claim = '', destination = :destination, due_at = :due_at
WHERE message_id = :message_id AND email_address_id = :email_address_id AND claim = :claim RETURNING 1;

-- name: add_to_queue(message_id, email_address_id, account, destination, queued_at, warn_at)
-- Queues a delivery of a new message. It is due immediately.
INSERT INTO queue (message_id, email_address_id, account, destination, due_at, claim, attempts, queued_at, warn_at)
VALUES (:message_id, :email_address_id, :account, :destination, :queued_at, '', 0, :queued_at, :warn_at);

-- name: enqueue(message_id, email_address_id, account, destination, queued_at)
-- Queues an existing delivery as if it were new, and returns a row if it was not already queued.
INSERT INTO queue (message_id, email_address_id, account, destination, due_at, claim, attempts, queued_at, warn_at)
VALUES (:message_id, :email_address_id, :account, :destination, :queued_at, '', 0, :queued_at, NULL)
ON CONFLICT (message_id, email_address_id) DO NOTHING RETURNING 1;

-- name: dead_up_to(account, address_key, received_from, limit)
-- Returns the number of an account's dead letters, counted up to a limit. The conditions are those of `dead_letters`.
-- Without statistics, SQLite would prefer a larger index.
SELECT count(*) FROM (
    SELECT 1 FROM deliveries AS d {sqlite: INDEXED BY deliveries_dead}
    WHERE d.account = :account AND d.status = 'dead'
      AND (:address_key{postgres: ::text} IS NULL OR d.address_key = :address_key)
      AND (:received_from{postgres: ::bigint} IS NULL
           OR (SELECT received_at FROM messages AS m WHERE m.id = d.message_id) >= :received_from)
    LIMIT :limit
) AS counted;

-- name: dead_account(after)
-- Returns the first account after the given one that has a dead letter; NULL if there is none. It reads one index entry.
SELECT min(account) FROM deliveries{sqlite:  INDEXED BY deliveries_dead} WHERE status = 'dead' AND account > :after;

-- name: dead_destinations(account, limit)
-- Returns the destinations of an account's dead letters.
SELECT DISTINCT destination FROM deliveries{sqlite:  INDEXED BY deliveries_dead}
WHERE account = :account AND status = 'dead' LIMIT :limit;

-- name: dead_letters(account, address_key, received_from, given_up_before, before_id, destination, message_id, email_address_id, limit)
-- Returns a page of an account's dead letters. It can be limited to one address, to one destination, to messages that
-- were received since a time, and to deliveries that were given up before a time. A delivery without this time was given
-- up by an older version, and counts from its arrival. `before_id` is greater than the ids of all messages that arrived
-- before `given_up_before`, so that the query need not read later ones. PostgreSQL needs a type cast for a parameter
-- that is only compared with NULL.
SELECT {d.deliveries}, {m.messages}, d.given_up_at, d.given_up_because
FROM deliveries AS d {sqlite: INDEXED BY deliveries_dead CROSS} JOIN messages AS m ON m.id = d.message_id
WHERE d.account = :account AND d.status = 'dead'
  AND (:address_key{postgres: ::text} IS NULL OR d.address_key = :address_key)
  AND (:received_from{postgres: ::bigint} IS NULL OR m.received_at >= :received_from)
  AND (:given_up_before{postgres: ::bigint} IS NULL OR coalesce(d.given_up_at, m.received_at) < :given_up_before)
  AND d.message_id < :before_id
  AND (:destination{postgres: ::text} IS NULL OR d.destination = :destination)
  AND (d.message_id, d.email_address_id) > (:message_id, :email_address_id)
ORDER BY d.message_id, d.email_address_id LIMIT :limit;
