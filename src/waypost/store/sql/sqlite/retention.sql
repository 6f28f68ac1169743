-- How SQLite finds the inboxes in which old mail may be.

-- name: inboxes(account, address_key, limit)
-- The addresses of each account that mail was delivered for. It leaps from one to the next through an index: it takes as
-- long as there are addresses, however much mail each has. The next one of the account, and the first of the next
-- account, are asked for apart: for the greater of two pairs SQLite would go through all the mail of this address.
WITH RECURSIVE found (account, address_key) AS (
    SELECT :account, :address_key
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
    LIMIT :limit + 1
)
SELECT account, address_key FROM found LIMIT -1 OFFSET 1;

-- name: hold_messages(message_ids)
-- There is one writer, who holds every row.
SELECT :message_ids;
