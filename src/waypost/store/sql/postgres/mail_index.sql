-- Queries for the text index that only PostgreSQL has, because it stores the words of a message in a tsvector.

-- name: add_mail_vector(number, words)
-- Adds the words of an entry.
INSERT INTO mail_words (number, words) VALUES (:number, :words::tsvector);

-- name: search_recent(account, match, before, oldest, reason, status, limit, compared)
-- Returns the same as `search_mail`, but only from the newest entries. PostgreSQL finds all messages with a frequent word
-- before it sorts them; SQLite finds the newest first.
SELECT {d.deliveries}, {m.messages}, page.number
FROM (
    SELECT w.number FROM (
        SELECT number, words FROM mail_words WHERE number < :before AND number >= :oldest
        ORDER BY number DESC LIMIT :compared
    ) AS w WHERE {+that_matches}
    ORDER BY w.number DESC LIMIT :limit
) AS page
{+rows_of_results};
