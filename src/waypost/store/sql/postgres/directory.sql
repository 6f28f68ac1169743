-- What PostgreSQL does its own way with instances, email addresses, alias links, tags, and the order of searches.

-- name: add_search_entry(email_address_id, instance_id, address, display_name, description, trigrams)
-- Its number is the next of a sequence. The trigrams are given, where SQLite makes its own.
INSERT INTO search_entries (email_address_id, instance_id, address, display_name, description, trigrams)
VALUES (:email_address_id, :instance_id, :address, :display_name, :description, :trigrams);

-- name: update_search_entry(email_address_id, address, display_name, description, trigrams)
-- The texts that can change, with their trigrams.
UPDATE search_entries SET address = :address, display_name = :display_name, description = :description, trigrams = :trigrams
WHERE email_address_id = :email_address_id;

-- name: remove_search_entries_of_instance(instance_id)
-- Before its email addresses go. The entries name the instance, for the order of searches.
DELETE FROM search_entries WHERE instance_id = :instance_id;

-- name: hold(what)
-- The row stays; its lock goes with the transaction. (No advisory lock: not every PostgreSQL has those that last for
-- a transaction.)
INSERT INTO deployment_marks (name, value) VALUES ('held: ' || :what, '')
ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: keep_domain(domain, account, name)
-- As `has_address_in`, while a name is shared: nobody takes it by `hold` until this transaction ends. No row comes back
-- either if the name is held, or has never been.
WITH shared AS MATERIALIZED (
    SELECT 1 FROM deployment_marks WHERE name = 'held: ' || :name FOR SHARE SKIP LOCKED
)
SELECT 1 FROM shared
WHERE EXISTS (SELECT 1 FROM email_addresses WHERE split_part(address_key, '@', 2) = :domain AND account = :account);

-- name: has_address_in(domain, account)
-- Whether an account has an email address in a domain; by the expression that the index has.
SELECT 1 FROM email_addresses WHERE split_part(address_key, '@', 2) = :domain AND account = :account LIMIT 1;

-- name: others_have_address_in(domain, account)
-- Whether another account has one; by the expression that the index has. Asked for on both sides of the account, so that
-- its own addresses are not read.
SELECT 1 WHERE EXISTS (
    SELECT 1 FROM email_addresses WHERE split_part(address_key, '@', 2) = :domain AND account < :account
) OR EXISTS (
    SELECT 1 FROM email_addresses WHERE split_part(address_key, '@', 2) = :domain AND account > :account
);

-- name: lock_email_addresses(ids, instance_id, account, region)
-- Those of a list, only in their own instance, and only for the tenant who owns that. Everybody takes these locks in
-- the order of ids, so nobody waits in a circle.
SELECT {e.email_addresses}
FROM email_addresses AS e JOIN instances AS i ON i.id = e.instance_id
WHERE e.id {in :ids} AND e.instance_id = :instance_id AND i.account = :account AND i.region = :region
ORDER BY e.id FOR UPDATE OF e;

-- name: lock_email_addresses_of_instance(instance_id)
-- Before they go, so that none is linked meanwhile; in the order of ids, as everybody takes these locks.
SELECT count(*) FROM (SELECT 1 FROM email_addresses WHERE instance_id = :instance_id ORDER BY id FOR UPDATE) AS held;

-- name: description(id, instance_id, account, region)
-- All that DescribeEmailAddress tells, in one look-up, and only for the tenant who owns the instance. The databases have
-- different functions for the tags as one JSON object.
SELECT {e.email_addresses}, {l.alias_link_ends},
       (SELECT coalesce(json_object_agg(key, value ORDER BY key), '{}')::text FROM tags WHERE resource_id = e.id)
FROM email_addresses AS e
JOIN instances AS i ON i.id = e.instance_id
LEFT JOIN alias_link_ends AS l ON l.email_address_id = e.id
WHERE e.id = :id AND e.instance_id = :instance_id AND i.account = :account AND i.region = :region;

-- name: owners(address_keys)
-- The owners of the addresses in a list, and whom their mail is forwarded to, in one look-up with the revision of the
-- routes; that is told also where nobody is found. The list is an array here, of which each key is looked up.
SELECT (SELECT value FROM deployment_marks WHERE name = 'routes revision'), {e.email_addresses}, {p.email_addresses}
FROM (SELECT 1) AS always
LEFT JOIN email_addresses AS e ON e.address_key {in :address_keys}
LEFT JOIN alias_link_ends AS l ON l.email_address_id = e.id AND l.side = 'alias'
LEFT JOIN email_addresses AS p ON p.id = l.other_id;

-- name: links_of(email_address_ids)
-- The links that the email addresses in a list are in, each told from its own side. A query of its own behind the
-- locks: one that also takes them would see the links as they were before it waited.
SELECT {alias_link_ends} FROM alias_link_ends WHERE email_address_id {in :email_address_ids};

-- name: put_tag(resource_id, key, value)
-- A tag that is new, or has a new value. Searches have no number to go by here.
INSERT INTO tags (resource_id, key, value) VALUES (:resource_id, :key, :value)
ON CONFLICT (resource_id, key) DO UPDATE SET value = excluded.value;

-- name: remove_tags_of_instance(instance_id)
-- The tags of an instance that goes, and of all its email addresses. With OR in its place, everybody's are looked at.
DELETE FROM tags
WHERE resource_id IN (SELECT :instance_id UNION ALL SELECT id FROM email_addresses WHERE instance_id = :instance_id);
