-- Queries for instances, email addresses, alias links and tags.
--
-- FOR UPDATE is only in the SQL for PostgreSQL. SQLite has a single writer, so a transaction that writes need not lock
-- rows.

-- name: instance(id, account, region)
-- Returns an instance, but only for the tenant that owns it.
SELECT {instances} FROM instances WHERE id = :id AND account = :account AND region = :region;

-- name: lock_instance(id, account, region)
-- Returns an instance, but only for the tenant that owns it, and locks it. Until the transaction ends, no other
-- transaction can delete the instance, lock it, or add email addresses to it.
SELECT {instances} FROM instances WHERE id = :id AND account = :account AND region = :region {postgres: FOR UPDATE};

-- name: instances(account, region, after, limit)
-- Returns a page of a tenant's instances, with ids greater than a given id.
SELECT {instances} FROM instances WHERE account = :account AND region = :region AND id > :after ORDER BY id LIMIT :limit;

-- name: regions()
-- Returns the regions in which instances exist. A server reads them when it starts.
SELECT DISTINCT region FROM instances ORDER BY region;

-- name: instance_alias(alias_key)
-- Returns a row if any instance, of any account, has this alias.
SELECT 1 FROM instances WHERE alias_key = :alias_key;

-- name: add_instance({instances}, alias_key)
-- Adds an instance. The lower-case key of its alias is stored too, because aliases must be unique without regard to
-- case.
INSERT INTO instances ({instances}, alias_key) VALUES ({:instances}, :alias_key);

-- name: remove_instance(id)
-- Removes an instance. The caller must remove its email addresses first.
DELETE FROM instances WHERE id = :id;

-- name: email_addresses_up_to(instance_id, limit)
-- Returns the number of email addresses in an instance, counted up to a limit.
SELECT count(*) FROM (SELECT 1 FROM email_addresses WHERE instance_id = :instance_id LIMIT :limit) AS counted;

-- name: email_address_by_key(address_key)
-- Returns the email address that owns an address. Mail is delivered to it.
SELECT {email_addresses} FROM email_addresses WHERE address_key = :address_key;

-- name: email_address_by_id(id)
-- Returns an email address of any account. It is used to follow an alias link to the other email address.
SELECT {email_addresses} FROM email_addresses WHERE id = :id;

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

-- name: remove_email_addresses_of_instance(instance_id)
-- Removes all email addresses of an instance. The caller must remove their alias links, tags and search entries first.
DELETE FROM email_addresses WHERE instance_id = :instance_id;

-- name: add_link(primary_id, alias_id, created_at)
-- Adds both rows of an alias link in one statement, because a row must not exist without the other row.
INSERT INTO alias_link_ends (email_address_id, side, other_id, other_side, created_at)
VALUES (:primary_id, 'primary', :alias_id, 'alias', :created_at), (:alias_id, 'alias', :primary_id, 'primary', :created_at);

-- name: remove_link(email_address_id)
-- Removes both rows of an alias link in one statement, because a row must not exist without the other row. The id of
-- the primary or of the alias identifies the link.
DELETE FROM alias_link_ends WHERE email_address_id = :email_address_id OR other_id = :email_address_id;

-- name: remove_links_of_instance(instance_id)
-- Removes all alias links of an instance. Both email addresses of a link are always in the same instance.
DELETE FROM alias_link_ends
WHERE email_address_id IN (SELECT id FROM email_addresses WHERE instance_id = :instance_id);

-- name: instance_tags(instance_id, account, region)
-- Returns the tags of an instance, but only for the tenant that owns it.
SELECT t.key, t.value FROM tags AS t JOIN instances AS i ON i.id = t.resource_id
WHERE i.id = :instance_id AND i.account = :account AND i.region = :region ORDER BY t.key;

-- name: remove_tag(resource_id, key)
-- Removes one tag from a resource.
DELETE FROM tags WHERE resource_id = :resource_id AND key = :key;

-- name: remove_all_tags(resource_id)
-- Removes all tags of a resource that is about to be removed.
DELETE FROM tags WHERE resource_id = :resource_id;
