-- What lets go of old mail.

-- name: delivered(account, address_key, before, limit)
-- A page of what may be let go of for an address, newest first: never what is in the queue, or dead.
SELECT d.message_id, m.received_at, m.size, d.kept
FROM deliveries AS d JOIN messages AS m ON m.id = d.message_id
WHERE d.account = :account AND d.address_key = :address_key AND d.message_id < :before AND d.status = 'delivered'
ORDER BY d.message_id DESC LIMIT :limit;

-- name: remove_delivered(message_ids, account, address_key)
-- Of the messages in a list, those that are not being sent anew by now; a row comes back for each.
DELETE FROM deliveries
WHERE message_id {in :message_ids} AND account = :account AND address_key = :address_key AND status = 'delivered'
RETURNING message_id;

-- name: remove_traces_without_delivery(message_ids)
-- Of the messages in a list, before they go themselves.
DELETE FROM trace_events
WHERE message_id {in :message_ids}
  AND NOT EXISTS (SELECT 1 FROM deliveries AS d WHERE d.message_id = trace_events.message_id);

-- name: remove_messages_without_delivery(message_ids)
-- Of those in a list; a row comes back for each. Their octets stay for a moment.
DELETE FROM messages
WHERE id {in :message_ids} AND NOT EXISTS (SELECT 1 FROM deliveries AS d WHERE d.message_id = messages.id)
RETURNING id;
