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

-- name: not_indexed(limit)
-- Returns messages whose words are not in the index, newest first, with the numbers and accounts of their entries.
SELECT {m.messages}, e.number, e.account FROM mail_entries AS e
{sqlite: CROSS} JOIN messages AS m ON m.id = e.message_id
WHERE {sqlite: e.is_indexed = 0}{postgres: NOT e.is_indexed} ORDER BY e.number DESC LIMIT :limit;

-- name: oldest_not_indexed()
-- Returns the number of the oldest entry whose words are not in the index.
SELECT min(number) FROM mail_entries WHERE {sqlite: is_indexed = 0}{postgres: NOT is_indexed};

-- name: mark_indexed(number)
-- Records that the words of an entry are in the index. Returns no row if this was recorded before, or if the entry was
-- removed.
UPDATE mail_entries SET is_indexed = {sqlite: 1}{postgres: true}
WHERE number = :number AND {sqlite: is_indexed = 0}{postgres: NOT is_indexed} RETURNING 1;

-- name: remove_entries_without_delivery(message_ids)
-- Removes the entries of those listed messages that an account has no delivery of, and returns their numbers.
DELETE FROM mail_entries
WHERE message_id {in :message_ids} AND NOT EXISTS (
    SELECT 1 FROM deliveries AS d
    WHERE d.message_id = mail_entries.message_id AND {sqlite: +}d.account = mail_entries.account
)
RETURNING number;

-- name: remove_mail_words(number)
-- Removes the words of an entry. The entry is removed first, so that no other transaction can add words to it.
DELETE FROM mail_words WHERE {sqlite: rowid}{postgres: number} = :number;
