-- Queries for the text index that only SQLite has, because it stores the words of each part of a message in a column.

-- name: add_mail_words(number, account, sender, recipients, subject, body)
-- Adds the words of an entry.
INSERT INTO mail_words (rowid, account, sender, recipients, subject, body)
VALUES (:number, :account, :sender, :recipients, :subject, :body);

-- name: merge_mail_words(pages)
-- Merges segments of the index, at most the given number of pages, because a longer transaction would delay other
-- writes.
INSERT INTO mail_words (mail_words, rank) VALUES ('merge', :pages);
