-- Queries for instances, email addresses, alias links, tags and searches that differ on SQLite.

-- name: add_search_range(instance_id)
-- Assigns the next range of numbers to a new instance, for its email addresses. A search reads only this range, in
-- order. PostgreSQL needs no ranges, because its index begins with the instance.
INSERT INTO search_ranges (instance_id, number)
SELECT :instance_id, coalesce(max(number), 0) + 1 FROM search_ranges;

-- name: search_range(instance_id, account, region)
-- Returns the range of an instance, but only for the tenant that owns it.
SELECT r.number FROM search_ranges AS r JOIN instances AS i ON i.id = r.instance_id
WHERE r.instance_id = :instance_id AND i.account = :account AND i.region = :region AND i.deleted_at IS NULL;

-- name: remove_emptied_search_range(instance_id)
-- Removes the range of a deleted instance, unless the instance still has email addresses, whose search entries are in
-- the range. A new instance may get the same range. This is safe, because each page token is bound to the id of its
-- instance.
DELETE FROM search_ranges
WHERE instance_id = :instance_id AND NOT EXISTS (SELECT 1 FROM email_addresses WHERE instance_id = :instance_id);

-- name: add_search_entry(email_address_id, instance_id, address, display_name, description)
-- Adds a search entry with the next number in the range of the instance. A trigger writes the trigrams.
INSERT INTO search_entries (number, email_address_id, address, display_name, description)
SELECT 1 + coalesce(
           (SELECT max(number) FROM search_entries
            WHERE number > r.number << 32 AND number < (r.number + 1) << 32),
           r.number << 32),
       :email_address_id, :address, :display_name, :description
FROM search_ranges AS r WHERE r.instance_id = :instance_id;

-- name: update_search_entry(email_address_id, address, display_name, description)
-- Changes the texts of a search entry that can change. A trigger writes the trigrams.
UPDATE search_entries SET address = :address, display_name = :display_name, description = :description
WHERE email_address_id = :email_address_id;

-- name: hold(what)
-- Does nothing: a named lock needs no query, because SQLite has a single writer.
SELECT :what;

-- name: keep_domain(domain, account, name)
-- Returns a row if an account has an email address in a domain, like `has_address_in`. The named lock needs no query,
-- because SQLite has a single writer.
WITH RECURSIVE {+instances_with_domain}
SELECT 1 FROM there CROSS JOIN instances AS i ON i.id = there.instance_id
WHERE i.account = :account AND i.deleted_at IS NULL AND :name <> '' LIMIT 1;

-- name: lock_email_addresses(ids, instance_id, account, region)
-- Returns the ids of the listed email addresses that exist in the given instance of the tenant that owns it. No lock is
-- needed, because SQLite has a single writer. The list comes first in the join, because otherwise SQLite would read all
-- email addresses of the instance.
SELECT e.id
FROM json_each(:ids) AS given
CROSS JOIN email_addresses AS e ON e.id = given.value
JOIN instances AS i ON i.id = e.instance_id
WHERE e.instance_id = :instance_id AND i.account = :account AND i.region = :region AND i.deleted_at IS NULL;

-- name: lock_with_links(ids, instance_id, account, region)
-- Returns the listed email addresses that exist in the given instance, like `lock_email_addresses`, each with the columns
-- of its alias link, which are NULL if it has none. On SQLite, one query can do both, because no lock is needed.
SELECT e.id, {l.alias_link_ends}
FROM json_each(:ids) AS given
CROSS JOIN email_addresses AS e ON e.id = given.value
JOIN instances AS i ON i.id = e.instance_id
LEFT JOIN alias_link_ends AS l ON l.email_address_id = e.id
WHERE e.instance_id = :instance_id AND i.account = :account AND i.region = :region AND i.deleted_at IS NULL;

-- name: hold_deleted_instance(id)
-- Does nothing: no lock is needed, because SQLite has a single writer.
SELECT :id;

-- name: description(id, instance_id, account, region)
-- Returns everything that DescribeEmailAddress needs in one query, but only for the tenant that owns the instance.
-- SQLite and PostgreSQL have different functions that build a JSON object from the tags.
SELECT e.address, e.display_name, e.description, e.created_at, e.modified_at, l.other_id,
       (SELECT json_group_object(key, value) FROM tags WHERE resource_id = e.id)
FROM email_addresses AS e
JOIN instances AS i ON i.id = e.instance_id
LEFT JOIN alias_link_ends AS l ON l.email_address_id = e.id AND l.side = 'primary'
WHERE e.id = :id AND e.instance_id = :instance_id AND i.account = :account AND i.region = :region
  AND i.deleted_at IS NULL;

-- name: owners(address_keys)
-- Returns the owners of the listed addresses and the primaries of the owners, with the revision of the routes. The
-- revision is returned even if no owner is found. On SQLite the list is a table in the join, so that the index on
-- addresses is used.
SELECT (SELECT value FROM deployment_marks WHERE name = 'routes revision'), {e.email_addresses}, {p.email_addresses}
FROM (SELECT 1) AS always
LEFT JOIN json_each(:address_keys) AS given
LEFT JOIN email_addresses AS e ON e.address_key = given.value
    AND EXISTS (SELECT 1 FROM instances WHERE id = e.instance_id AND deleted_at IS NULL)
LEFT JOIN alias_link_ends AS l ON l.email_address_id = e.id AND l.side = 'alias'
LEFT JOIN email_addresses AS p ON p.id = l.other_id;

-- name: links_of(email_address_ids)
-- Returns the alias links of the listed email addresses, each from the side of the listed email address. On SQLite the
-- list is a table in the join, so that the index on links is used.
SELECT {l.alias_link_ends}
FROM json_each(:email_address_ids) AS given CROSS JOIN alias_link_ends AS l ON l.email_address_id = given.value;

-- name: put_tag(resource_id, key, value)
-- Adds a tag, or changes its value. A tag of an email address also stores the number of the email address, because
-- searches by tag are ordered by this number.
INSERT INTO tags (resource_id, key, value, number)
VALUES (:resource_id, :key, :value, (SELECT number FROM search_entries WHERE email_address_id = :resource_id))
ON CONFLICT (resource_id, key) DO UPDATE SET value = excluded.value;
