-- Queries for the text index that only PostgreSQL has, because it stores the words of a message in a tsvector.

-- name: add_mail_vector(number, words)
-- Adds the words of an entry.
INSERT INTO mail_words (number, words) VALUES (:number, :words::tsvector);

-- name: keep_messages(ids)
-- Ensures that none of the listed messages is deleted before this transaction ends. Other changes do not wait.
SELECT 1 FROM messages WHERE id {in :ids} ORDER BY id FOR KEY SHARE;
