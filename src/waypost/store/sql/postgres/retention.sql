-- How PostgreSQL finds the inboxes in which old mail may be, and holds messages.

-- name: inboxes(account, address_key, limit)
-- The addresses of each account that mail was delivered for. It leaps from one to the next through an index: it takes as
-- long as there are addresses, however much mail each has. SQLite has no LATERAL.
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
-- In one order, so that no two transactions wait for each other. Nothing is added to them meanwhile.
SELECT 1 FROM messages WHERE id {in :message_ids} ORDER BY id FOR UPDATE;
