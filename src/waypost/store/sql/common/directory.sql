-- Queries for instances, email addresses, alias links and tags.
--
-- FOR UPDATE is only in the SQL for PostgreSQL. SQLite has a single writer, so a transaction that writes need not lock
-- rows.

-- name: instance(id, account, region)
-- Returns an instance, but only for the tenant that owns it.
SELECT {instances} FROM instances
WHERE id = :id AND account = :account AND region = :region AND deleted_at IS NULL;

-- name: keep_instance(id, account, region)
-- Returns an instance, but only for the tenant that owns it, and locks it against deletion. Until the transaction ends,
-- no other transaction can delete the instance, but several transactions can keep it at the same time.
SELECT {instances} FROM instances
WHERE id = :id AND account = :account AND region = :region AND deleted_at IS NULL {postgres: FOR KEY SHARE};

-- name: lock_instance(id, account, region)
-- Returns an instance, but only for the tenant that owns it, and locks it. Until the transaction ends, no other
-- transaction can delete the instance, lock it, or add email addresses to it.
SELECT {instances} FROM instances
WHERE id = :id AND account = :account AND region = :region AND deleted_at IS NULL {postgres: FOR UPDATE};

-- name: instances(account, region, after, limit)
-- Returns a page of a tenant's instances, with ids greater than a given id.
SELECT {instances} FROM instances
WHERE account = :account AND region = :region AND id > :after AND deleted_at IS NULL ORDER BY id LIMIT :limit;

-- name: regions()
-- Returns the regions in which instances exist. A server reads them when it starts.
SELECT DISTINCT region FROM instances WHERE deleted_at IS NULL ORDER BY region;

-- name: regions_of(account)
-- Returns the regions in which an account has instances.
SELECT DISTINCT region FROM instances WHERE account = :account AND deleted_at IS NULL ORDER BY region;

-- name: instance_alias(alias_key)
-- Returns a row if any instance, of any account, has this alias. A deleted instance has none.
SELECT 1 FROM instances WHERE alias_key = :alias_key;

-- name: add_instance({instances}, alias_key)
-- Adds an instance. The lower-case key of its alias is stored too, because aliases must be unique without regard to
-- case.
INSERT INTO instances ({instances}, alias_key) VALUES ({:instances}, :alias_key);

-- name: mark_instance_deleted(id, deleted_at)
-- Marks an instance as deleted, so that no other query finds it or its email addresses. Its alias becomes free. The
-- rows of its email addresses are removed later, in steps.
UPDATE instances SET deleted_at = :deleted_at, alias_key = NULL WHERE id = :id;

-- name: has_deleted_instance()
-- Returns a row if any deleted instance still has rows.
SELECT 1 FROM instances WHERE deleted_at IS NOT NULL LIMIT 1;

-- name: lock_deleted_instance()
-- Returns the id of a deleted instance that still has rows, and locks it, so that only one transaction at a time removes
-- its rows. An instance that another transaction has locked is skipped.
SELECT id FROM instances WHERE deleted_at IS NOT NULL ORDER BY id LIMIT 1 {postgres: FOR UPDATE SKIP LOCKED};

-- name: lock_removed_email_addresses(instance_id, limit)
-- Returns the ids of some email addresses of a deleted instance, and locks them. An email address that another
-- transaction has locked is skipped, because a call that began before the instance was deleted may still change it.
SELECT id FROM email_addresses WHERE instance_id = :instance_id ORDER BY id LIMIT :limit
{postgres: FOR UPDATE SKIP LOCKED};

-- name: remove_listed_links(email_address_ids)
-- Removes both rows of the alias links of the listed email addresses. With OR instead of UNION ALL, PostgreSQL would
-- read all links.
DELETE FROM alias_link_ends WHERE email_address_id IN (
    SELECT email_address_id FROM alias_link_ends WHERE email_address_id {in :email_address_ids}
    UNION ALL SELECT other_id FROM alias_link_ends WHERE email_address_id {in :email_address_ids}
);

-- name: remove_listed_tags(email_address_ids)
-- Removes the tags of the listed email addresses.
DELETE FROM tags WHERE resource_id {in :email_address_ids};

-- name: remove_listed_search_entries(email_address_ids)
-- Removes the search entries of the listed email addresses.
DELETE FROM search_entries WHERE email_address_id {in :email_address_ids};

-- name: remove_listed_email_addresses(email_address_ids)
-- Removes the listed email addresses. The caller must remove their alias links, tags and search entries first.
DELETE FROM email_addresses WHERE id {in :email_address_ids};

-- name: remove_emptied_instance(id)
-- Removes a deleted instance, and returns a row, unless the instance still has email addresses.
DELETE FROM instances WHERE id = :id AND NOT EXISTS (SELECT 1 FROM email_addresses WHERE instance_id = :id) RETURNING 1;

-- name: email_addresses_up_to(instance_id, limit)
-- Returns the number of email addresses in an instance, counted up to a limit.
SELECT count(*) FROM (SELECT 1 FROM email_addresses WHERE instance_id = :instance_id LIMIT :limit) AS counted;

-- name: email_address_by_key(address_key)
-- Returns the email address that owns an address. Mail is delivered to it.
SELECT {e.email_addresses} FROM email_addresses AS e JOIN instances AS i ON i.id = e.instance_id
WHERE e.address_key = :address_key AND i.deleted_at IS NULL;

-- name: row_with_key(address_key)
-- Returns the row that has an address key, and the time at which its instance was deleted, if it was. Address keys are
-- unique, so the row of an email address in a deleted instance must be removed before the address can be created again.
SELECT {e.email_addresses}, i.deleted_at FROM email_addresses AS e JOIN instances AS i ON i.id = e.instance_id
WHERE e.address_key = :address_key;

-- name: email_address_by_id(id)
-- Returns an email address of any account. It is used to follow an alias link to the other email address.
SELECT {e.email_addresses} FROM email_addresses AS e JOIN instances AS i ON i.id = e.instance_id
WHERE e.id = :id AND i.deleted_at IS NULL;

-- part: instances_with_domain
-- The instances with email addresses in a domain. The query jumps from one instance to the next through an index, so
-- that it does not read the rows of a deleted instance one by one. The WHERE clauses use the same expression as the
-- index.
there (instance_id) AS (
    SELECT min(instance_id) FROM email_addresses
    WHERE {sqlite: substr(address_key, instr(address_key, '@') + 1)}{postgres: split_part(address_key, '@', 2)} = :domain
    UNION ALL
    SELECT (SELECT min(e.instance_id) FROM email_addresses AS e
            WHERE {sqlite: substr(address_key, instr(address_key, '@') + 1)}{postgres: split_part(address_key, '@', 2)} = :domain
              AND e.instance_id > there.instance_id)
    FROM there WHERE there.instance_id IS NOT NULL
)

-- name: has_address_in(domain, account)
-- Returns a row if an account has an email address in a domain.
WITH RECURSIVE {+instances_with_domain}
SELECT 1 FROM there CROSS JOIN instances AS i
WHERE i.id = there.instance_id AND i.account = :account AND i.deleted_at IS NULL LIMIT 1;

-- name: others_have_address_in(domain, account)
-- Returns a row if another account has an email address in a domain.
WITH RECURSIVE {+instances_with_domain}
SELECT 1 FROM there CROSS JOIN instances AS i
WHERE i.id = there.instance_id AND i.account <> :account AND i.deleted_at IS NULL LIMIT 1;

-- name: lock_email_address(id, instance_id, account, region)
-- Locks and returns an email address, but only in the given instance and for the tenant that owns it.
SELECT {e.email_addresses} FROM email_addresses AS e JOIN instances AS i ON i.id = e.instance_id
WHERE e.id = :id AND e.instance_id = :instance_id AND i.account = :account AND i.region = :region
  AND i.deleted_at IS NULL {postgres: FOR UPDATE OF e};

-- name: add_email_address({email_addresses})
-- Adds an email address. Its account is copied from the instance, so that mail handling needs no second query for it.
INSERT INTO email_addresses ({email_addresses}) VALUES ({:email_addresses});

-- name: update_email_address(id, display_name, description, modified_at)
-- Changes the editable fields of an email address. Its address, instance and account never change.
UPDATE email_addresses SET display_name = :display_name, description = :description, modified_at = :modified_at
WHERE id = :id;

-- name: remove_search_entry(email_address_id)
-- Removes the search entry of an email address, before the email address is removed.
DELETE FROM search_entries WHERE email_address_id = :email_address_id;

-- name: remove_email_address(id)
-- Removes an email address. The caller must remove its alias link, tags and search entry first.
DELETE FROM email_addresses WHERE id = :id;

-- name: add_link(primary_id, alias_id, created_at)
-- Adds both rows of an alias link in one statement, because a row must not exist without the other row.
INSERT INTO alias_link_ends (email_address_id, side, other_id, other_side, created_at)
VALUES (:primary_id, 'primary', :alias_id, 'alias', :created_at), (:alias_id, 'alias', :primary_id, 'primary', :created_at);

-- name: remove_link(email_address_id)
-- Removes both rows of an alias link in one statement, because a row must not exist without the other row. The id of
-- the primary or of the alias identifies the link. Both rows are found by the primary key.
DELETE FROM alias_link_ends
WHERE email_address_id = :email_address_id
   OR email_address_id = (SELECT other_id FROM alias_link_ends WHERE email_address_id = :email_address_id);

-- name: instance_tags(instance_id, account, region)
-- Returns the tags of an instance, but only for the tenant that owns it.
SELECT t.key, t.value FROM tags AS t JOIN instances AS i ON i.id = t.resource_id
WHERE i.id = :instance_id AND i.account = :account AND i.region = :region AND i.deleted_at IS NULL ORDER BY t.key;

-- name: remove_tag(resource_id, key)
-- Removes one tag from a resource.
DELETE FROM tags WHERE resource_id = :resource_id AND key = :key;

-- name: remove_all_tags(resource_id)
-- Removes all tags of a resource that is about to be removed.
DELETE FROM tags WHERE resource_id = :resource_id;
