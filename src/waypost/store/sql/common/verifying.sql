-- Queries that find rows which break a rule of the data. Constraints of the schema enforce most of these rules, but a
-- damaged file, a damaged disk or a foreign program can still break them. Each query of a rule returns one column: the id
-- of what is wrong. An id of a delivery consists of the ids of the message and of the email address. The queries read
-- whole tables, so only `waypost verify` runs them.

-- name: addresses_without_instance()
-- Returns the email addresses whose instance is missing.
SELECT e.id FROM email_addresses AS e
WHERE NOT EXISTS (SELECT 1 FROM instances AS i WHERE i.id = e.instance_id) ORDER BY e.id;

-- name: links_without_address()
-- Returns the ids of missing email addresses that have an alias link.
SELECT l.email_address_id FROM alias_link_ends AS l
WHERE NOT EXISTS (SELECT 1 FROM email_addresses AS e WHERE e.id = l.email_address_id) ORDER BY l.email_address_id;

-- name: links_not_of_two()
-- Returns the email addresses whose alias link is not a link of exactly one primary and one alias, which name each
-- other. An address of a chain, or a second alias of a primary, is named by an address that it does not name itself.
SELECT l.email_address_id FROM alias_link_ends AS l
WHERE NOT EXISTS (
    SELECT 1 FROM alias_link_ends AS o
    WHERE o.email_address_id = l.other_id AND o.other_id = l.email_address_id
      AND o.side = l.other_side AND o.other_side = l.side AND o.side <> l.side
) ORDER BY l.email_address_id;

-- name: links_between_instances()
-- Returns the email addresses that are linked to an address of another instance.
SELECT l.email_address_id FROM alias_link_ends AS l
JOIN email_addresses AS e ON e.id = l.email_address_id
JOIN email_addresses AS o ON o.id = l.other_id
WHERE e.instance_id <> o.instance_id ORDER BY l.email_address_id;

-- name: messages_without_octets()
-- Returns the messages whose bytes are missing although a delivery, a notice or a planned delivery still needs them.
SELECT m.id FROM messages AS m
WHERE m.size > 0
  AND NOT EXISTS (SELECT 1 FROM message_bodies AS b WHERE b.message_id = m.id)
  AND (EXISTS (SELECT 1 FROM deliveries AS d WHERE d.message_id = m.id AND (d.kept OR d.status <> 'delivered'))
       OR EXISTS (SELECT 1 FROM notices_owed AS o WHERE o.message_id = m.id)
       OR EXISTS (SELECT 1 FROM planned_deliveries AS p WHERE p.message_id = m.id))
ORDER BY m.id;

-- name: messages_with_wrong_octets()
-- Returns the messages whose pieces do not follow one another from the first byte to the last, or that have another
-- size than the message. The length of a piece is stored, so that no piece is read.
SELECT message_id FROM (
    SELECT b.message_id, m.size, b.start, length(b.octets) AS length,
           sum(length(b.octets)) OVER (PARTITION BY b.message_id ORDER BY b.start) AS until,
           sum(length(b.octets)) OVER (PARTITION BY b.message_id) AS total
    FROM message_bodies AS b JOIN messages AS m ON m.id = b.message_id
) AS pieces
WHERE start + length <> until OR total <> size
GROUP BY message_id ORDER BY message_id;

-- name: octets_without_message()
-- Returns the ids of missing messages that have bytes. Messages that are being received, and those whose bytes are being
-- removed, are in `messages_begun`.
SELECT b.message_id FROM message_bodies AS b
WHERE NOT EXISTS (SELECT 1 FROM messages AS m WHERE m.id = b.message_id)
  AND NOT EXISTS (SELECT 1 FROM messages_begun AS g WHERE g.message_id = b.message_id)
GROUP BY b.message_id ORDER BY b.message_id;

-- name: deliveries_without_message()
-- Returns the deliveries whose message is missing.
SELECT d.message_id || '.' || d.email_address_id FROM deliveries AS d
WHERE NOT EXISTS (SELECT 1 FROM messages AS m WHERE m.id = d.message_id) ORDER BY 1;

-- name: events_without_message()
-- Returns the ids of missing messages that have a trace.
SELECT t.message_id FROM trace_events AS t
WHERE NOT EXISTS (SELECT 1 FROM messages AS m WHERE m.id = t.message_id) GROUP BY t.message_id ORDER BY t.message_id;

-- name: plans_without_message()
-- Returns the ids of missing messages that have planned deliveries.
SELECT p.message_id FROM planned_deliveries AS p
WHERE NOT EXISTS (SELECT 1 FROM messages AS m WHERE m.id = p.message_id) GROUP BY p.message_id ORDER BY p.message_id;

-- name: queue_without_message()
-- Returns the entries of the queue whose message is missing.
SELECT q.message_id || '.' || q.email_address_id FROM queue AS q
WHERE NOT EXISTS (SELECT 1 FROM messages AS m WHERE m.id = q.message_id) ORDER BY 1;

-- name: queue_without_delivery()
-- Returns the entries of the queue whose delivery is missing, or has another status than 'queued'.
SELECT q.message_id || '.' || q.email_address_id FROM queue AS q
WHERE NOT EXISTS (
    SELECT 1 FROM deliveries AS d
    WHERE d.message_id = q.message_id AND d.email_address_id = q.email_address_id AND d.status = 'queued'
) ORDER BY 1;

-- name: deliveries_without_queue()
-- Returns the deliveries that have the status 'queued' but are not in the queue, so that nobody would attempt them.
SELECT d.message_id || '.' || d.email_address_id FROM deliveries AS d
WHERE d.status = 'queued' AND NOT EXISTS (
    SELECT 1 FROM queue AS q WHERE q.message_id = d.message_id AND q.email_address_id = d.email_address_id
) ORDER BY 1;

-- name: pieces_with_checksums(message_id, start, limit)
-- Returns some pieces of messages that have checksums, after the piece with the given id and offset.
SELECT message_id, start, octets, checksum FROM message_bodies
WHERE (message_id, start) > (:message_id, :start) AND checksum IS NOT NULL
ORDER BY message_id, start LIMIT :limit;
