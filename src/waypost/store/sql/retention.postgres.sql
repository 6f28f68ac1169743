-- What lets go of old mail in the PostgreSQL store.

-- name: inboxes
-- The addresses of each account that mail was delivered for. It leaps from one to the next through an index: it takes as
-- long as there are addresses, however much mail each has.
WITH RECURSIVE found AS (
    SELECT $1::text COLLATE "C" AS account, $2::text COLLATE "C" AS address_key
    UNION ALL
    SELECT n.account, n.address_key
    FROM found AS f
    CROSS JOIN LATERAL (
        SELECT account, address_key FROM deliveries
        WHERE (account, address_key) > (f.account, f.address_key) ORDER BY account, address_key LIMIT 1
    ) AS n
)
SELECT account, address_key FROM found LIMIT $3 OFFSET 1;

-- name: delivered
-- A page of what may be let go of for an address, newest first: never what is in the queue, or dead.
SELECT d.message_id, m.received_at, m.size, d.kept
FROM deliveries AS d JOIN messages AS m ON m.id = d.message_id
WHERE d.account = $1 AND d.address_key = $2 AND d.message_id < $3 AND d.status = 'delivered'
ORDER BY d.message_id DESC LIMIT $4;

-- name: hold_messages
-- In one order, so that no two transactions wait for each other. Nothing is added to them meanwhile.
SELECT 1 FROM messages WHERE id = ANY($1) ORDER BY id FOR UPDATE;

-- name: remove_delivered
-- Of the messages in a list, those that are not being sent anew by now; a row comes back for each.
DELETE FROM deliveries
WHERE message_id = ANY($1) AND account = $2 AND address_key = $3 AND status = 'delivered'
RETURNING message_id;

-- name: remove_traces_without_delivery
-- Of the messages in a list, before they go themselves.
DELETE FROM trace_events
WHERE message_id = ANY($1) AND NOT EXISTS (SELECT 1 FROM deliveries AS d WHERE d.message_id = trace_events.message_id);

-- name: remove_messages_without_delivery
-- Of those in a list; a row comes back for each. Their octets stay for a moment.
DELETE FROM messages
WHERE id = ANY($1) AND NOT EXISTS (SELECT 1 FROM deliveries AS d WHERE d.message_id = messages.id)
RETURNING id;
