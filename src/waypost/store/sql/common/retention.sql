-- Queries that find and remove old mail.

-- name: delivered(account, address_key, before, limit)
-- Returns a page of the deliveries that may be removed from an inbox, newest first. Queued deliveries and dead letters
-- are never among them.
SELECT d.message_id, m.received_at, m.size, d.kept
FROM deliveries AS d JOIN messages AS m ON m.id = d.message_id
WHERE d.account = :account AND d.address_key = :address_key AND d.message_id < :before AND d.status = 'delivered'
ORDER BY d.message_id DESC LIMIT :limit;

-- name: remove_delivered(message_ids, account, address_key)
-- Removes the deliveries of the listed messages from an inbox, except deliveries that have been queued again meanwhile.
-- The query returns a row for each removed delivery.
DELETE FROM deliveries
WHERE message_id {in :message_ids} AND account = :account AND address_key = :address_key AND status = 'delivered'
RETURNING message_id;

-- name: cancel_queued(message_ids, email_address_ids)
-- Removes deliveries from the queue, whatever their claims are.
DELETE FROM queue WHERE (message_id, email_address_id) {in :message_ids, :email_address_ids};

-- name: remove_deliveries(message_ids, email_address_ids)
-- Removes deliveries that are not queued.
DELETE FROM deliveries WHERE (message_id, email_address_id) {in :message_ids, :email_address_ids};

-- name: remove_traces_without_delivery(message_ids)
-- Removes the traces of those listed messages that have no delivery, before the messages themselves are removed.
DELETE FROM trace_events
WHERE message_id {in :message_ids}
  AND NOT EXISTS (SELECT 1 FROM deliveries AS d WHERE d.message_id = trace_events.message_id)
  AND NOT EXISTS (SELECT 1 FROM planned_deliveries AS p WHERE p.message_id = trace_events.message_id);

-- name: remove_messages_without_delivery(message_ids)
-- Removes those listed messages that have no delivery, and returns a row for each of them. Their bytes are removed
-- later.
DELETE FROM messages
WHERE id {in :message_ids}
  AND NOT EXISTS (SELECT 1 FROM deliveries AS d WHERE d.message_id = messages.id)
  AND NOT EXISTS (SELECT 1 FROM planned_deliveries AS p WHERE p.message_id = messages.id)
RETURNING id;
