-- Queries for the text index that only PostgreSQL has, because it stores the words of a message in a tsvector.

-- name: add_mail_vector(number, words)
-- Adds the words of an entry.
INSERT INTO mail_words (number, words) VALUES (:number, :words::tsvector);
