-- Queries for the background job that notes new messages and events, and for what it has noted.
--
-- The sign in `+account` has the same reason as in `messages.sql`.

-- name: mail_mark(place)
-- Returns how far the job is.
SELECT message_id, at FROM mail_marks WHERE place = :place;

-- name: put_mail_mark(place, message_id, at)
-- Records how far the job is.
INSERT INTO mail_marks (place, message_id, at) VALUES (:place, :message_id, :at)
ON CONFLICT (place) DO UPDATE SET message_id = excluded.message_id, at = excluded.at;

-- name: not_noted(after, until, limit)
-- Returns the messages in a range of ids that are complete and not noted.
SELECT m.id, m.received_at FROM messages AS m
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

-- name: add_mail_entries(message_ids)
-- Notes each listed message for each account that has a delivery of it, and returns the new notes. An empty account
-- stands for a message without deliveries, which has no words in the index. The numbers of one millisecond are a range
-- of 2^20 numbers, in which a new entry gets the next number.
INSERT INTO mail_entries (number, account, message_id, is_indexed)
SELECT coalesce((SELECT max(e.number) + 1 FROM mail_entries AS e
                 WHERE e.number >= given.first AND e.number < given.first + 1048576), given.first)
       + row_number() OVER (PARTITION BY given.first ORDER BY given.message_id, given.account) - 1,
       given.account, given.message_id, given.account = ''
FROM (
    SELECT DISTINCT m.id AS message_id, coalesce(d.account, '') AS account, m.received_at * 1048576 AS first
    FROM messages AS m LEFT JOIN deliveries AS d ON d.message_id = m.id WHERE m.id {in :message_ids}
) AS given
WHERE true
ON CONFLICT DO NOTHING RETURNING message_id, account;

-- name: ways(message_ids)
-- Counts the deliveries of listed messages by the minute of acceptance and the way.
SELECT d.account, m.received_at / 60000, d.address, coalesce(d.via, ''), d.destination, count(*)
FROM messages AS m {sqlite: CROSS} JOIN deliveries AS d ON d.message_id = m.id
WHERE m.id {in :message_ids}
GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5;

-- name: events_not_noted(since, limit)
-- Returns the events of traces since a time that are not noted, in the order of their times.
SELECT t.message_id, t.number, {t.trace_events} FROM trace_events AS t
WHERE t.at >= :since AND NOT EXISTS (
    SELECT 1 FROM mail_changes AS c WHERE c.message_id = t.message_id AND c.event = t.number AND c.event >= 0
)
ORDER BY t.at, t.message_id, t.number LIMIT :limit;

-- name: add_changes(changes)
-- Notes changes, and returns those that are new. Each change is a list of its columns. The argument is a JSON text, so
-- that one statement adds all of them.
INSERT INTO mail_changes (account, message_id, email_address_id, kind, at, event)
SELECT {sqlite: json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),}
       {sqlite: json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[5]')}
       {postgres: value ->> 0, value ->> 1, value ->> 2, value ->> 3, (value ->> 4)::bigint, (value ->> 5)::bigint}
FROM {sqlite: json_each(:changes)}
     {postgres: jsonb_array_elements(:changes::jsonb) WITH ORDINALITY AS given (value, key)}
WHERE true ORDER BY key
ON CONFLICT DO NOTHING RETURNING message_id, account, event;

-- name: add_changes_of_new(message_ids, since)
-- Notes listed messages as new for each account that has a delivery of them, if they were accepted since a time.
INSERT INTO mail_changes (account, message_id, email_address_id, kind, at, event)
SELECT DISTINCT d.account, m.id, '', 'new', m.received_at, -1
FROM messages AS m {sqlite: CROSS} JOIN deliveries AS d ON d.message_id = m.id
WHERE m.id {in :message_ids} AND m.received_at > :since ORDER BY m.id, d.account;

-- name: changes(account, after, limit)
-- Returns the changes to the mail of an account after a number, in order.
SELECT number, message_id, email_address_id, kind, at FROM mail_changes
WHERE account = :account AND number > :after ORDER BY number LIMIT :limit;

-- name: last_change(account)
-- Returns the number of the last change to the mail of an account.
SELECT max(number) FROM mail_changes WHERE account = :account;

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
WHERE d.message_id {in :message_ids} AND {sqlite: +}d.account = :account
ORDER BY d.message_id, d.reason, d.address_key;

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
