-- Queries for the text index, by which mail is searched. The words are in `mail_words`, which SQLite reads with FTS5, and
-- PostgreSQL with a GIN index on a tsvector.

-- part: that_matches
-- The conditions of a page of results for the words `w`. With `OFFSET 0`, PostgreSQL looks up the deliveries of each match.
-- It would otherwise read all deliveries of the account first, because it cannot know how many matches are enough.
{sqlite: w.mail_words MATCH :match}{postgres: w.words @@ :match::tsquery}
AND {sqlite: w.rowid}{postgres: w.number} < :before AND {sqlite: w.rowid}{postgres: w.number} >= :oldest
AND (:reason{postgres: ::text} IS NULL AND :status{postgres: ::text} IS NULL OR EXISTS (
    SELECT 1 FROM mail_entries AS e
    {sqlite: CROSS} JOIN deliveries AS k ON k.message_id = e.message_id AND {sqlite: +}k.account = e.account
    WHERE e.number = {sqlite: w.rowid}{postgres: w.number} AND e.account = :account
        AND (:reason{postgres: ::text} IS NULL OR k.reason = :reason)
        AND (:status{postgres: ::text} IS NULL OR k.status = :status)
    {postgres: OFFSET 0}
))

-- part: rows_of_results
-- The deliveries and messages of a page of results: of each message the first delivery that meets the conditions.
{sqlite: CROSS} JOIN mail_entries AS e ON e.number = page.number AND {sqlite: +}e.account = :account
{sqlite: CROSS} JOIN deliveries AS d ON d.message_id = e.message_id AND d.email_address_id = (
    SELECT k.email_address_id FROM deliveries AS k
    WHERE k.message_id = e.message_id AND {sqlite: +}k.account = e.account
        AND (:reason{postgres: ::text} IS NULL OR k.reason = :reason)
        AND (:status{postgres: ::text} IS NULL OR k.status = :status)
    ORDER BY k.reason, k.address_key LIMIT 1
)
{sqlite: CROSS} JOIN messages AS m ON m.id = d.message_id
ORDER BY page.number DESC

-- name: search_mail(account, match, before, oldest, reason, status, limit)
-- Returns a page of the messages whose words match, newest first, each with the first of its deliveries to the account
-- that meets the conditions. The subquery finds the page by numbers, which sort by time. PostgreSQL must use the index of
-- words: the `+ 0` keeps it from comparing all entries with the words, one by one, in the order of their numbers.
SELECT {d.deliveries}, {m.messages}, page.number
FROM (
    SELECT {sqlite: w.rowid}{postgres: w.number} AS number FROM mail_words AS w WHERE {+that_matches}
    ORDER BY {sqlite: w.rowid}{postgres: w.number + 0} DESC LIMIT :limit
) AS page
{+rows_of_results};

-- name: search_few(account, match, before, oldest, reason, status, limit, numbers)
-- Returns the same as `search_mail`, but only from the listed entries.
SELECT {d.deliveries}, {m.messages}, page.number
FROM (
    SELECT {sqlite: w.rowid}{postgres: w.number} AS number
    FROM {sqlite: json_each(:numbers) AS n CROSS JOIN} mail_words AS w
    WHERE {sqlite: w.rowid = CAST(n.value AS INTEGER)}{postgres: w.number = ANY (:numbers::text[]::bigint[])}
        AND {+that_matches}
    ORDER BY {sqlite: w.rowid}{postgres: w.number} DESC LIMIT :limit
) AS page
{+rows_of_results};

-- name: numbers_of_reason(account, limit, reason)
-- Returns the numbers of the entries of some deliveries of one reason; NULL for each that is not noted.
SELECT e.number FROM (
    SELECT message_id FROM deliveries WHERE account = :account AND reason = :reason ORDER BY message_id DESC LIMIT :limit
) AS k
LEFT JOIN mail_entries AS e ON e.message_id = k.message_id AND e.account = :account;

-- name: numbers_of_dead(account, limit)
-- Returns the numbers of the entries of some dead letters; NULL for each that is not noted.
SELECT e.number FROM (
    SELECT message_id FROM deliveries {sqlite: INDEXED BY deliveries_dead}
    WHERE account = :account AND status = 'dead' ORDER BY message_id DESC LIMIT :limit
) AS k
LEFT JOIN mail_entries AS e ON e.message_id = k.message_id AND e.account = :account;

-- name: numbers_of_waiting(account, limit)
-- Returns the numbers of the entries of some queued deliveries; NULL for each that is not noted.
SELECT e.number FROM (
    SELECT message_id FROM queue WHERE account = :account ORDER BY message_id DESC LIMIT :limit
) AS k
LEFT JOIN mail_entries AS e ON e.message_id = k.message_id AND e.account = :account;

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
