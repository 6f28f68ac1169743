-- Queries that a server for tests runs to forget everything that was made since its first start. Each deletes the rows
-- of one table, in an order that keeps the foreign keys valid.

-- name: forget_all_queued()
-- Removes the queue.
DELETE FROM queue;

-- name: forget_all_notices()
-- Removes the notices that are due.
DELETE FROM notices_owed;

-- name: forget_all_plans()
-- Removes the planned deliveries.
DELETE FROM planned_deliveries;

-- name: forget_all_deliveries()
-- Removes the deliveries.
DELETE FROM deliveries;

-- name: forget_all_events()
-- Removes the events of all traces.
DELETE FROM trace_events;

-- name: forget_all_octets()
-- Removes the octets of all messages.
DELETE FROM message_bodies;

-- name: forget_all_transfers()
-- Removes the messages whose transfer is in progress.
DELETE FROM messages_begun;

-- name: forget_all_messages()
-- Removes the messages.
DELETE FROM messages;

-- name: forget_all_refusals()
-- Removes the refusals.
DELETE FROM refusals;

-- name: forget_all_words()
-- Removes the words of all mail from the text index.
DELETE FROM mail_words;

-- name: forget_all_entries()
-- Removes the notes of messages.
DELETE FROM mail_entries;

-- name: forget_all_changes()
-- Removes the changes. Later changes have greater numbers, so clients that follow the changes can continue.
DELETE FROM mail_changes;

-- name: forget_all_counts()
-- Removes the counts of minutes.
DELETE FROM mail_counts;

-- name: forget_all_flows()
-- Removes the counts of ways.
DELETE FROM mail_flows;

-- name: forget_all_marks()
-- Removes how far the job that notes mail is.
DELETE FROM mail_marks;

-- name: forget_all_links()
-- Removes the alias links.
DELETE FROM alias_link_ends;

-- name: forget_all_search_entries()
-- Removes the entries with which email addresses are searched.
DELETE FROM search_entries;

-- name: forget_all_email_addresses()
-- Removes the email addresses.
DELETE FROM email_addresses;

-- name: forget_all_tags()
-- Removes the tags.
DELETE FROM tags;

-- name: forget_all_calls()
-- Removes the client tokens.
DELETE FROM remembered_calls;

-- name: forget_other_instances(kept, deleted_at)
-- Marks all other instances as deleted. The background job removes their rows.
UPDATE instances SET deleted_at = :deleted_at, alias_key = NULL WHERE id <> :kept AND deleted_at IS NULL;

-- name: forget_other_keys(kept)
-- Removes all other access keys.
DELETE FROM access_keys WHERE id <> :kept;
