-- Queries for retention that differ on SQLite: the search for inboxes, and the locks on messages, which SQLite does not
-- need.

-- name: inboxes(account, address_key, limit)
-- Returns the addresses with deliveries, by account. The query jumps from one address to the next through an index.
-- Therefore, its running time depends on the number of addresses, not on the amount of mail. Two subqueries find the
-- next address of the same account and the first address of the next account. If the query compared pairs of account
-- and address, SQLite would read all mail of the current address.
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
-- Does nothing: no lock is needed, because SQLite has a single writer.
SELECT :message_ids;
