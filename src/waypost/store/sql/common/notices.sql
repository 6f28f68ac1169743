-- Queries for notices to senders and owners that are due but not written yet.

-- name: add_owed(message_id, action, recipient, email_address_id, owed_at, fate)
-- Records a due notice once for each delivery and recipient. If it is recorded again, it gets the newer outcome of the
-- delivery.
INSERT INTO notices_owed (message_id, action, recipient, email_address_id, owed_at, fate)
VALUES (:message_id, :action, :recipient, :email_address_id, :owed_at, :fate)
ON CONFLICT (message_id, action, recipient, email_address_id) DO UPDATE SET fate = excluded.fate;

-- name: owed(now, soon, owed_before, limit)
-- Returns the next notice to write, among the recipients whose notices have been due for the longest time. A notice
-- waits while a delivery of its message is being attempted or is due soon, so that one notice can report on all
-- recipients. A notice about a success does not wait for forwarded copies. While a message has planned deliveries, all
-- of its notices wait: otherwise, their number would reveal which primary an alias has. SQLite reads tables in the order
-- in which a CROSS JOIN lists them.
WITH few AS (
    SELECT message_id, action, owed_at FROM notices_owed ORDER BY owed_at, message_id, action LIMIT :limit
)
SELECT o.message_id, o.action
FROM (SELECT message_id, action, min(owed_at) AS owed_at FROM few GROUP BY message_id, action) AS o
WHERE NOT EXISTS (SELECT 1 FROM planned_deliveries AS p WHERE p.message_id = o.message_id)
  AND (o.owed_at <= :owed_before OR o.owed_at > :now OR NOT EXISTS (
    SELECT 1 FROM queue AS q
    {sqlite: CROSS} JOIN deliveries AS d ON d.message_id = q.message_id AND d.email_address_id = q.email_address_id
    WHERE q.message_id = o.message_id
      AND (q.claim <> '' OR q.due_at <= :soon OR q.warn_at <= :now)
      AND (o.action IN ('failed', 'delayed') OR d.reason = 'direct')
))
ORDER BY o.owed_at, o.message_id, o.action LIMIT 1;
