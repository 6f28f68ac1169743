-- Queries for instances, email addresses, alias links, tags and searches that differ on PostgreSQL.

-- name: add_search_entry(email_address_id, instance_id, address, display_name, description, trigrams)
-- Adds a search entry. Its number comes from a sequence. The caller passes the trigrams, whereas SQLite computes them
-- itself.
INSERT INTO search_entries (email_address_id, instance_id, address, display_name, description, trigrams)
VALUES (:email_address_id, :instance_id, :address, :display_name, :description, :trigrams);

-- name: update_search_entry(email_address_id, address, display_name, description, trigrams)
-- Changes the texts of a search entry that can change, and its trigrams.
UPDATE search_entries SET address = :address, display_name = :display_name, description = :description, trigrams = :trigrams
WHERE email_address_id = :email_address_id;

-- name: hold(what)
-- Acquires a named lock. The row remains in the table, but the lock on it ends with the transaction. Advisory locks are
-- not used, because not every PostgreSQL setup supports advisory locks that last for a transaction.
INSERT INTO deployment_marks (name, value) VALUES ('held: ' || :what, '')
ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: keep_domain(domain, account, name)
-- Shares a named lock until the transaction ends, so that no other transaction can acquire it with `hold`. The query
-- returns a row if the account has an email address in the domain, as in `has_address_in`. It returns no row if another
-- transaction has acquired the lock, or if no transaction ever did.
WITH RECURSIVE {+instances_with_domain}, shared AS MATERIALIZED (
    SELECT 1 FROM deployment_marks WHERE name = 'held: ' || :name FOR SHARE SKIP LOCKED
)
SELECT 1 FROM shared, there JOIN instances AS i ON i.id = there.instance_id
WHERE i.account = :account AND i.deleted_at IS NULL LIMIT 1;

-- name: lock_email_addresses(ids, instance_id, account, region)
-- Locks the listed email addresses, but only in the given instance and for the tenant that owns it, and returns their
-- ids. All transactions lock email addresses in the order of their ids, so that they cannot deadlock.
SELECT e.id
FROM email_addresses AS e JOIN instances AS i ON i.id = e.instance_id
WHERE e.id {in :ids} AND e.instance_id = :instance_id AND i.account = :account AND i.region = :region
  AND i.deleted_at IS NULL
ORDER BY e.id FOR UPDATE OF e;

-- name: hold_deleted_instance(id)
-- Locks a deleted instance, so that no other transaction removes rows of it meanwhile.
SELECT 1 FROM instances WHERE id = :id FOR UPDATE;

-- name: description(id, instance_id, account, region)
-- Returns everything that DescribeEmailAddress needs in one query, but only for the tenant that owns the instance.
-- SQLite and PostgreSQL have different functions that build a JSON object from the tags.
SELECT e.address, e.display_name, e.description, e.created_at, e.modified_at, l.other_id,
       (SELECT coalesce(json_object_agg(key, value ORDER BY key), '{}')::text FROM tags WHERE resource_id = e.id)
FROM email_addresses AS e
JOIN instances AS i ON i.id = e.instance_id
LEFT JOIN alias_link_ends AS l ON l.email_address_id = e.id AND l.side = 'primary'
WHERE e.id = :id AND e.instance_id = :instance_id AND i.account = :account AND i.region = :region
  AND i.deleted_at IS NULL;

-- name: owners(address_keys)
-- Returns the owners of the listed addresses and the primaries of the owners, with the revision of the routes. The
-- revision is returned even if no owner is found. On PostgreSQL the list is an array, and each key is looked up in the
-- index.
SELECT (SELECT value FROM deployment_marks WHERE name = 'routes revision'), {e.email_addresses}, {p.email_addresses}
FROM (SELECT 1) AS always
LEFT JOIN email_addresses AS e ON e.address_key {in :address_keys}
    AND EXISTS (SELECT 1 FROM instances WHERE id = e.instance_id AND deleted_at IS NULL)
LEFT JOIN alias_link_ends AS l ON l.email_address_id = e.id AND l.side = 'alias'
LEFT JOIN email_addresses AS p ON p.id = l.other_id;

-- name: links_of(email_address_ids)
-- Returns the alias links of the listed email addresses, each from the side of the listed email address. This query
-- runs separately, after the locks have been acquired. A query that also acquired the locks would see the links as they
-- were before it waited for the locks.
SELECT {alias_link_ends} FROM alias_link_ends WHERE email_address_id {in :email_address_ids};

-- name: put_tag(resource_id, key, value)
-- Adds a tag, or changes its value. On PostgreSQL, tags need no number for the order of searches.
INSERT INTO tags (resource_id, key, value) VALUES (:resource_id, :key, :value)
ON CONFLICT (resource_id, key) DO UPDATE SET value = excluded.value;
