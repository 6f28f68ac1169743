-- What lets go of old mail in the SQLite store.

-- name: inboxes
-- The addresses of each account that mail was delivered for. It leaps from one to the next through an index: it takes as
-- long as there are addresses, however much mail each has. The next one of the account, and the first of the next
-- account, are asked for apart: for the greater of two pairs SQLite would go through all the mail of this address.
WITH RECURSIVE found (account, address_key) AS (
    SELECT ?1, ?2
    UNION ALL
    SELECT d.account, d.address_key
    FROM found AS f
    CROSS JOIN deliveries AS d ON (d.message_id, d.email_address_id) = (
        SELECT message_id, email_address_id FROM (
            SELECT * FROM (
                SELECT account, address_key, message_id, email_address_id FROM deliveries
                WHERE account = f.account AND address_key > f.address_key ORDER BY address_key LIMIT 1
            )
            UNION ALL
            SELECT * FROM (
                SELECT account, address_key, message_id, email_address_id FROM deliveries
                WHERE account > f.account ORDER BY account, address_key LIMIT 1
            )
        ) ORDER BY account, address_key LIMIT 1
    )
    LIMIT ?3 + 1
)
SELECT account, address_key FROM found LIMIT -1 OFFSET 1;

-- name: delivered
-- A page of what may be let go of for an address, newest first: never what is in the queue, or dead.
SELECT d.message_id, m.received_at, m.size, d.kept
FROM deliveries AS d JOIN messages AS m ON m.id = d.message_id
WHERE d.account = ?1 AND d.address_key = ?2 AND d.message_id < ?3 AND d.status = 'delivered'
ORDER BY d.message_id DESC LIMIT ?4;

-- name: hold_messages
-- There is one writer, who holds every row.
SELECT ?;

-- name: remove_delivered
-- Of the messages in a JSON list, those that are not being sent anew by now; a row comes back for each.
DELETE FROM deliveries
WHERE message_id IN (SELECT value FROM json_each(?1)) AND account = ?2 AND address_key = ?3 AND status = 'delivered'
RETURNING message_id;

-- name: remove_traces_without_delivery
-- Of the messages in a JSON list, before they go themselves.
DELETE FROM trace_events
WHERE message_id IN (SELECT value FROM json_each(?1))
  AND NOT EXISTS (SELECT 1 FROM deliveries AS d WHERE d.message_id = trace_events.message_id);

-- name: remove_messages_without_delivery
-- Of those in a JSON list; a row comes back for each. Their octets stay for a moment.
DELETE FROM messages
WHERE id IN (SELECT value FROM json_each(?1))
  AND NOT EXISTS (SELECT 1 FROM deliveries AS d WHERE d.message_id = messages.id)
RETURNING id;
