-- Queries for `waypost copy` that write the tables that differ on SQLite. PostgreSQL gets these rows by COPY.

-- name: put_copied_search_entries(instance_id, place, email_address_id, address, display_name, description)
-- Adds a search entry with the number of its place in the range of its instance.
INSERT INTO search_entries (number, email_address_id, address, display_name, description)
SELECT (r.number << 32) + :place, :email_address_id, :address, :display_name, :description
FROM search_ranges AS r WHERE r.instance_id = :instance_id;

-- name: put_copied_tags(resource_id, key, value)
-- Adds a tag with the number of its email address, if it is one of an email address.
INSERT INTO tags (resource_id, key, value, number)
VALUES (:resource_id, :key, :value, (SELECT number FROM search_entries WHERE email_address_id = :resource_id));

-- name: put_copied_mail_entries(number, account, message_id)
-- Notes a message. Its words are not in the index yet. A note without an account never has words.
INSERT INTO mail_entries (number, account, message_id, is_indexed) VALUES (:number, :account, :message_id, :account = '');

-- name: add_copied_search_ranges()
-- Gives each instance a range of numbers, in the order of their ids, in which their search entries are copied.
INSERT INTO search_ranges (instance_id, number)
SELECT id, row_number() OVER (ORDER BY id) FROM instances WHERE NOT EXISTS (SELECT 1 FROM search_ranges);

-- name: count_without_search_text()
-- Returns the number of search entries whose trigrams are not in the index yet.
SELECT count(*) FROM search_entries WHERE number > (SELECT coalesce(max(id), 0) FROM search_texts_docsize);

-- name: add_search_texts(limit)
-- Adds the trigrams of the next search entries to the index. For many entries at once, this takes a fifth of the time of
-- the triggers, which merge the index with each entry.
INSERT INTO search_texts (rowid, address, display_name, description)
SELECT number, address, display_name, description FROM search_entries
WHERE number > (SELECT coalesce(max(id), 0) FROM search_texts_docsize) ORDER BY number LIMIT :limit;

-- name: merge_search_texts(pages)
-- Merges segments of the index of trigrams, at most the given number of pages.
INSERT INTO search_texts (search_texts, rank) VALUES ('merge', :pages);

-- name: remove_last_change_number()
-- Removes what SQLite remembers of the last number in `mail_changes`, before `remember_last_change_number`.
DELETE FROM sqlite_sequence WHERE name = 'mail_changes';

-- name: remember_last_change_number(number)
-- Lets the numbers in `mail_changes` continue after a number, also if the row with this number was removed.
INSERT INTO sqlite_sequence (name, seq) VALUES ('mail_changes', :number);
