-- Instances, email addresses, alias links and tags.
--
-- Where PostgreSQL is told FOR UPDATE, SQLite is told nothing: it has one writer, who holds every row.

-- name: instance(id, account, region)
-- One instance, only for the tenant who owns it.
SELECT {instances} FROM instances WHERE id = :id AND account = :account AND region = :region;

-- name: lock_instance(id, account, region)
-- The same; nobody may add to it meanwhile, delete it, or hold it too.
SELECT {instances} FROM instances WHERE id = :id AND account = :account AND region = :region {postgres: FOR UPDATE};

-- name: instances(account, region, after, limit)
-- A page of a tenant's instances, behind an id.
SELECT {instances} FROM instances WHERE account = :account AND region = :region AND id > :after ORDER BY id LIMIT :limit;

-- name: regions()
-- The regions that instances are in, for the start of a server.
SELECT DISTINCT region FROM instances ORDER BY region;

-- name: instance_alias(alias_key)
-- Whether an instance alias is used, by whomever.
SELECT 1 FROM instances WHERE alias_key = :alias_key;

-- name: add_instance({instances}, alias_key)
-- The alias is unique without regard to case, hence its key.
INSERT INTO instances ({instances}, alias_key) VALUES ({:instances}, :alias_key);

-- name: remove_instance(id)
-- Its email addresses have to go first.
DELETE FROM instances WHERE id = :id;

-- name: email_addresses_up_to(instance_id, limit)
-- How many email addresses an instance has, counted no further than a limit.
SELECT count(*) FROM (SELECT 1 FROM email_addresses WHERE instance_id = :instance_id LIMIT :limit) AS counted;

-- name: email_address_by_key(address_key)
-- The owner of an address, for mail.
SELECT {email_addresses} FROM email_addresses WHERE address_key = :address_key;

-- name: email_address_by_id(id)
-- The other end of a link.
SELECT {email_addresses} FROM email_addresses WHERE id = :id;

-- name: add_email_address({email_addresses})
-- The account is copied from the instance, so that mail finds it without another look-up.
INSERT INTO email_addresses ({email_addresses}) VALUES ({:email_addresses});

-- name: update_email_address(id, display_name, description, modified_at)
-- The address, and what belongs to it, never change.
UPDATE email_addresses SET display_name = :display_name, description = :description, modified_at = :modified_at
WHERE id = :id;

-- name: remove_search_entry(email_address_id)
-- Before its email address goes.
DELETE FROM search_entries WHERE email_address_id = :email_address_id;

-- name: remove_email_address(id)
-- Its link, tags and search entry have to go first.
DELETE FROM email_addresses WHERE id = :id;

-- name: remove_email_addresses_of_instance(instance_id)
-- Their links and tags have to go first.
DELETE FROM email_addresses WHERE instance_id = :instance_id;

-- name: add_link(primary_id, alias_id, created_at)
-- Both ends in one statement, because neither may exist alone.
INSERT INTO alias_link_ends (email_address_id, side, other_id, other_side, created_at)
VALUES (:primary_id, 'primary', :alias_id, 'alias', :created_at), (:alias_id, 'alias', :primary_id, 'primary', :created_at);

-- name: remove_link(email_address_id)
-- Both ends in one statement, because neither may exist alone; either id names the link.
DELETE FROM alias_link_ends WHERE email_address_id = :email_address_id OR other_id = :email_address_id;

-- name: remove_links_of_instance(instance_id)
-- Both ends of a link are always in one instance.
DELETE FROM alias_link_ends
WHERE email_address_id IN (SELECT id FROM email_addresses WHERE instance_id = :instance_id);

-- name: instance_tags(instance_id, account, region)
-- The tags of an instance, only for the tenant who owns it.
SELECT t.key, t.value FROM tags AS t JOIN instances AS i ON i.id = t.resource_id
WHERE i.id = :instance_id AND i.account = :account AND i.region = :region ORDER BY t.key;

-- name: remove_tag(resource_id, key)
-- One tag.
DELETE FROM tags WHERE resource_id = :resource_id AND key = :key;

-- name: remove_all_tags(resource_id)
-- All tags of a resource that goes.
DELETE FROM tags WHERE resource_id = :resource_id;
