-- Queries for the text index, by which mail is searched. The words are in `mail_words`, which SQLite reads with FTS5, and
-- PostgreSQL with a GIN index on a tsvector.

-- name: search_mail(account, match, before, oldest, reason, status, limit)
-- Returns a page of the messages whose words match, newest first, each with the first of its deliveries to the account
-- that meets the conditions. The subquery finds the page by numbers, which sort by time.
SELECT {d.deliveries}, {m.messages}, page.number
FROM (
    SELECT {sqlite: w.rowid}{postgres: w.number} AS number FROM mail_words AS w
    WHERE {sqlite: w.mail_words MATCH :match}{postgres: w.words @@ :match::tsquery}
        AND {sqlite: w.rowid}{postgres: w.number} < :before AND {sqlite: w.rowid}{postgres: w.number} >= :oldest
        AND EXISTS (
            SELECT 1 FROM mail_entries AS e
            {sqlite: CROSS} JOIN deliveries AS k ON k.message_id = e.message_id AND k.account = e.account
            WHERE e.number = {sqlite: w.rowid}{postgres: w.number} AND e.account = :account
                AND (:reason{postgres: ::text} IS NULL OR k.reason = :reason)
                AND (:status{postgres: ::text} IS NULL OR k.status = :status)
        )
    ORDER BY {sqlite: w.rowid}{postgres: w.number} DESC LIMIT :limit
) AS page
{sqlite: CROSS} JOIN mail_entries AS e ON e.number = page.number
{sqlite: CROSS} JOIN deliveries AS d ON d.message_id = e.message_id AND d.email_address_id = (
    SELECT k.email_address_id FROM deliveries AS k
    WHERE k.message_id = e.message_id AND k.account = e.account
        AND (:reason{postgres: ::text} IS NULL OR k.reason = :reason)
        AND (:status{postgres: ::text} IS NULL OR k.status = :status)
    ORDER BY k.reason, k.address_key LIMIT 1
)
{sqlite: CROSS} JOIN messages AS m ON m.id = d.message_id
ORDER BY page.number DESC;

-- name: index_mark()
-- Returns how far the index is.
SELECT message_id, received_at FROM mail_index_mark;

-- name: put_index_mark(message_id, received_at)
-- Records how far the index is.
INSERT INTO mail_index_mark (place, message_id, received_at) VALUES ('index', :message_id, :received_at)
ON CONFLICT (place) DO UPDATE SET message_id = excluded.message_id, received_at = excluded.received_at;

-- name: not_indexed(after, until, limit)
-- Returns the messages in a range of ids that are complete and not indexed.
SELECT {m.messages} FROM messages AS m
WHERE m.id > :after AND m.id <= :until
    AND NOT EXISTS (SELECT 1 FROM mail_entries AS e WHERE e.message_id = m.id)
    AND NOT EXISTS (SELECT 1 FROM planned_deliveries AS p WHERE p.message_id = m.id)
ORDER BY m.id LIMIT :limit;

-- name: id_beyond(after, skipped)
-- Returns the id of the message that comes some messages after an id.
SELECT id FROM messages WHERE id > :after ORDER BY id LIMIT 1 OFFSET :skipped;

-- name: recipients_in(message_ids)
-- Returns the accounts and recipients of the deliveries of the listed messages.
SELECT message_id, account, address || ' ' || sent_to || ' ' || coalesce(via, '') FROM deliveries
WHERE message_id {in :message_ids} ORDER BY message_id, account, email_address_id;

-- name: add_mail_entry(account, message_id, first, last)
-- Adds an entry, and returns its number: the next in a range. The range contains the numbers of one millisecond. Nothing
-- is added if the index has the entry, or if the account no longer has a delivery of the message. An empty account stands
-- for a message without deliveries.
INSERT INTO mail_entries (number, account, message_id)
SELECT coalesce((SELECT max(number) + 1 FROM mail_entries WHERE number >= :first AND number <= :last), :first),
       :account, :message_id
WHERE CASE WHEN :account = '' THEN EXISTS (SELECT 1 FROM messages AS m WHERE m.id = :message_id)
           ELSE EXISTS (SELECT 1 FROM deliveries AS d WHERE d.message_id = :message_id AND d.account = :account) END
ON CONFLICT DO NOTHING RETURNING number;

-- name: remove_words_without_delivery(message_ids)
-- Removes the words of those listed messages that an account has no delivery of.
DELETE FROM mail_words WHERE {sqlite: rowid}{postgres: number} IN (
    SELECT e.number FROM mail_entries AS e
    WHERE e.message_id {in :message_ids} AND NOT EXISTS (
        SELECT 1 FROM deliveries AS d WHERE d.message_id = e.message_id AND d.account = e.account
    )
);

-- name: remove_entries_without_delivery(message_ids)
-- Removes the entries of those listed messages that an account has no delivery of.
DELETE FROM mail_entries
WHERE message_id {in :message_ids} AND NOT EXISTS (
    SELECT 1 FROM deliveries AS d WHERE d.message_id = mail_entries.message_id AND d.account = mail_entries.account
);
