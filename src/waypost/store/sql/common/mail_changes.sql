-- Queries for the background job that notes new messages and events, and for what it has noted.

-- name: mail_mark(place)
-- Returns how far the job is.
SELECT message_id, at FROM mail_marks WHERE place = :place;

-- name: put_mail_mark(place, message_id, at)
-- Records how far the job is.
INSERT INTO mail_marks (place, message_id, at) VALUES (:place, :message_id, :at)
ON CONFLICT (place) DO UPDATE SET message_id = excluded.message_id, at = excluded.at;

-- name: not_noted(after, until, limit)
-- Returns the messages in a range of ids that are complete and not noted.
SELECT {m.messages} FROM messages AS m
WHERE m.id > :after AND m.id <= :until
    AND NOT EXISTS (SELECT 1 FROM mail_entries AS e WHERE e.message_id = m.id)
    AND NOT EXISTS (SELECT 1 FROM planned_deliveries AS p WHERE p.message_id = m.id)
ORDER BY m.id LIMIT :limit;

-- name: id_beyond(after, skipped)
-- Returns the id of the message that comes some messages after an id.
SELECT id FROM messages WHERE id > :after ORDER BY id LIMIT 1 OFFSET :skipped;

-- name: deliveries_noted(message_ids)
-- Returns what the job needs to know about the deliveries of the listed messages.
SELECT message_id, account, email_address_id, address, sent_to, coalesce(via, ''), destination FROM deliveries
WHERE message_id {in :message_ids} ORDER BY message_id, account, email_address_id;

-- name: add_mail_entry(account, message_id, first, last)
-- Notes a message for an account, and returns the number of the entry: the next in a range. The range contains the
-- numbers of one millisecond. Nothing is added if the message is noted already, or if the account no longer has a
-- delivery of it. An empty account stands for a message without deliveries, which has no words in the index.
INSERT INTO mail_entries (number, account, message_id, is_indexed)
SELECT coalesce((SELECT max(number) + 1 FROM mail_entries WHERE number >= :first AND number <= :last), :first),
       :account, :message_id, :account = ''
WHERE CASE WHEN :account = '' THEN EXISTS (SELECT 1 FROM messages AS m WHERE m.id = :message_id)
           ELSE EXISTS (SELECT 1 FROM deliveries AS d WHERE d.message_id = :message_id AND d.account = :account) END
ON CONFLICT DO NOTHING RETURNING number;

-- name: events_not_noted(since, limit)
-- Returns the events of traces since a time that are not noted, in the order of their times.
SELECT t.message_id, t.number, {t.trace_events} FROM trace_events AS t
WHERE t.at >= :since AND NOT EXISTS (
    SELECT 1 FROM mail_changes AS c WHERE c.message_id = t.message_id AND c.event = t.number AND c.event >= 0
)
ORDER BY t.at, t.message_id, t.number LIMIT :limit;

-- name: add_change(account, message_id, email_address_id, kind, at, event)
-- Notes a change, and returns a row if it is new.
INSERT INTO mail_changes (account, message_id, email_address_id, kind, at, event)
VALUES (:account, :message_id, :email_address_id, :kind, :at, :event)
ON CONFLICT DO NOTHING RETURNING 1;

-- name: changes(account, after, limit)
-- Returns the changes to the mail of an account after a number, in order.
SELECT number, message_id, email_address_id, kind, at FROM mail_changes
WHERE account = :account AND number > :after ORDER BY number LIMIT :limit;

-- name: change_bounds()
-- Returns the numbers of the first and the last change that are kept.
SELECT (SELECT min(number) FROM mail_changes), (SELECT max(number) FROM mail_changes);

-- name: prune_changes(kept, limit)
-- Removes some of the oldest changes, so that only a number of changes is kept.
DELETE FROM mail_changes WHERE number IN (
    SELECT number FROM mail_changes
    WHERE number <= (SELECT max(number) FROM mail_changes) - :kept ORDER BY number LIMIT :limit
)
RETURNING 1;

-- name: deliveries_listed(account, message_ids)
-- Returns the deliveries of the listed messages to an account.
SELECT {d.deliveries}, {m.messages} FROM deliveries AS d {sqlite: CROSS} JOIN messages AS m ON m.id = d.message_id
WHERE d.message_id {in :message_ids} AND d.account = :account ORDER BY d.message_id, d.reason, d.address_key;

-- name: add_mail_count(account, minute, kind, count)
-- Adds to the count of a minute.
INSERT INTO mail_counts (account, minute, kind, count) VALUES (:account, :minute, :kind, :count)
ON CONFLICT (account, minute, kind) DO UPDATE SET count = mail_counts.count + excluded.count;

-- name: add_mail_flow(account, hour, address, alias, destination, count)
-- Adds to the count of a way in an hour.
INSERT INTO mail_flows (account, hour, address, alias, destination, count)
VALUES (:account, :hour, :address, :alias, :destination, :count)
ON CONFLICT (account, hour, address, alias, destination) DO UPDATE SET count = mail_flows.count + excluded.count;

-- name: mail_counts(account, since)
-- Returns the counts of each minute since a minute.
SELECT minute, kind, count FROM mail_counts WHERE account = :account AND minute >= :since ORDER BY minute, kind;

-- name: refusal_counts(account, other_account, since)
-- Returns the number of refusals in each minute since a time, of one account or, if `other_account` is empty, of this
-- account and of no account.
SELECT at / 60000, count(*) FROM refusals WHERE account IN (:account, :other_account) AND at >= :since
GROUP BY 1 ORDER BY 1;

-- name: mail_flows(account, since, limit)
-- Returns the ways that most deliveries took since an hour.
SELECT address, alias, destination, sum(count){postgres: ::bigint} FROM mail_flows
WHERE account = :account AND hour >= :since
GROUP BY address, alias, destination ORDER BY 4 DESC, address, alias, destination LIMIT :limit;

-- name: destination_counts(account, since, limit)
-- Returns the number of deliveries to each destination in each hour, since an hour.
SELECT destination, hour, sum(count){postgres: ::bigint} FROM mail_flows
WHERE account = :account AND hour >= :since
GROUP BY destination, hour ORDER BY 3 DESC, destination, hour LIMIT :limit;

-- name: forget_mail_counts(before, limit)
-- Removes some of the counts of minutes before a minute.
DELETE FROM mail_counts WHERE (account, minute, kind) IN (
    SELECT account, minute, kind FROM mail_counts WHERE minute < :before ORDER BY minute LIMIT :limit
)
RETURNING 1;

-- name: forget_mail_flows(before, limit)
-- Removes some of the counts of hours before an hour.
DELETE FROM mail_flows WHERE (account, hour, address, alias, destination) IN (
    SELECT account, hour, address, alias, destination FROM mail_flows WHERE hour < :before ORDER BY hour LIMIT :limit
)
RETURNING 1;
