-- Queries for retention that differ on PostgreSQL: the search for inboxes, and the locks on messages.

-- name: inboxes(account, address_key, limit)
-- Returns the addresses with deliveries, by account. The query jumps from one address to the next through an index.
-- Therefore, its running time depends on the number of addresses, not on the amount of mail. SQLite has no LATERAL.
WITH RECURSIVE found AS (
    SELECT :account::text COLLATE "C" AS account, :address_key::text COLLATE "C" AS address_key
    UNION ALL
    SELECT n.account, n.address_key
    FROM found AS f
    CROSS JOIN LATERAL (
        SELECT account, address_key FROM deliveries
        WHERE (account, address_key) > (f.account, f.address_key) ORDER BY account, address_key LIMIT 1
    ) AS n
)
SELECT account, address_key FROM found LIMIT :limit OFFSET 1;

-- name: hold_messages(message_ids)
-- Locks the listed messages in the order of their ids, so that transactions cannot deadlock. No other transaction can
-- add deliveries to these messages meanwhile.
SELECT 1 FROM messages WHERE id {in :message_ids} ORDER BY id FOR UPDATE;
