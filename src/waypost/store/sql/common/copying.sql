-- Queries for `waypost copy`, which read the tables that differ between SQLite and PostgreSQL in the same form. Tables
-- that are the same in both databases need no query.

-- name: copied_search_entries()
-- Returns the search entries, each with its place among those of its instance. The numbers themselves differ: SQLite
-- gives each instance a range of numbers. A search needs only their order.
SELECT {sqlite: r}{postgres: s}.instance_id AS instance_id,
       row_number() OVER (PARTITION BY {sqlite: r}{postgres: s}.instance_id ORDER BY s.number) AS place,
       s.email_address_id AS email_address_id, s.address AS address, s.display_name AS display_name,
       s.description AS description
FROM search_entries AS s{sqlite:  JOIN search_ranges AS r ON r.number = s.range};

-- name: copied_tags()
-- Returns the tags without the numbers that only SQLite has, for searches.
SELECT resource_id, key, value FROM tags;

-- name: copied_mail_entries()
-- Returns the notes of messages, without the column that says whether the words of a message are in the index.
SELECT number, account, message_id FROM mail_entries;

-- name: copied_deployment_marks()
-- Returns the marks, without those that only PostgreSQL has, as named locks.
SELECT name, value FROM deployment_marks WHERE name NOT LIKE 'held: %';
