-- What SQLite does its own way with instances, email addresses, alias links, tags, and the order of searches.

-- name: add_search_range(instance_id)
-- The next range of numbers, for the email addresses of a new instance: a search goes through a range, in its order.
-- PostgreSQL has an index that begins with the instance.
INSERT INTO search_ranges (instance_id, number)
SELECT :instance_id, coalesce(max(number), 0) + 1 FROM search_ranges;

-- name: search_range(instance_id, account, region)
-- The range of an instance, only for the tenant who owns it.
SELECT r.number FROM search_ranges AS r JOIN instances AS i ON i.id = r.instance_id
WHERE r.instance_id = :instance_id AND i.account = :account AND i.region = :region;

-- name: remove_search_range(instance_id)
-- Its numbers may be used again: page tokens are bound to the id of their instance.
DELETE FROM search_ranges WHERE instance_id = :instance_id;

-- name: add_search_entry(email_address_id, instance_id, address, display_name, description)
-- With the next number in the range of the instance. A trigger writes the trigrams.
INSERT INTO search_entries (number, email_address_id, address, display_name, description)
SELECT 1 + coalesce(
           (SELECT max(number) FROM search_entries
            WHERE number > r.number << 32 AND number < (r.number + 1) << 32),
           r.number << 32),
       :email_address_id, :address, :display_name, :description
FROM search_ranges AS r WHERE r.instance_id = :instance_id;

-- name: update_search_entry(email_address_id, address, display_name, description)
-- The texts that can change. A trigger writes the trigrams.
UPDATE search_entries SET address = :address, display_name = :display_name, description = :description
WHERE email_address_id = :email_address_id;

-- name: remove_search_entries_of_instance(instance_id)
-- Before its email addresses go. The entries do not name the instance.
DELETE FROM search_entries WHERE email_address_id IN (SELECT id FROM email_addresses WHERE instance_id = :instance_id);

-- name: hold(what)
-- There is one writer, who holds everything.
SELECT :what;

-- name: keep_domain(domain, account, name)
-- As `has_address_in`. There is one writer, who holds everything.
SELECT 1 FROM email_addresses
WHERE substr(address_key, instr(address_key, '@') + 1) = :domain AND account = :account AND :name <> '' LIMIT 1;

-- name: has_address_in(domain, account)
-- Whether an account has an email address in a domain; by the expression that the index has.
SELECT 1 FROM email_addresses
WHERE substr(address_key, instr(address_key, '@') + 1) = :domain AND account = :account LIMIT 1;

-- name: others_have_address_in(domain, account)
-- Whether another account has one; by the expression that the index has. Asked for on both sides of the account, so that
-- its own addresses are not read.
SELECT 1 WHERE EXISTS (
    SELECT 1 FROM email_addresses
    WHERE substr(address_key, instr(address_key, '@') + 1) = :domain AND account < :account
) OR EXISTS (
    SELECT 1 FROM email_addresses
    WHERE substr(address_key, instr(address_key, '@') + 1) = :domain AND account > :account
);

-- name: lock_email_addresses(ids, instance_id, account, region)
-- Those of a list, only in their own instance, and only for the tenant who owns that. There is one writer, who holds
-- every row; the list comes first, because SQLite would go through the instance.
SELECT {e.email_addresses}
FROM json_each(:ids) AS given
CROSS JOIN email_addresses AS e ON e.id = given.value
JOIN instances AS i ON i.id = e.instance_id
WHERE e.instance_id = :instance_id AND i.account = :account AND i.region = :region;

-- name: lock_email_addresses_of_instance(instance_id)
-- There is one writer, who holds every row.
SELECT :instance_id;

-- name: description(id, instance_id, account, region)
-- All that DescribeEmailAddress tells, in one look-up, and only for the tenant who owns the instance. The databases have
-- different functions for the tags as one JSON object.
SELECT {e.email_addresses}, {l.alias_link_ends},
       (SELECT json_group_object(key, value) FROM tags WHERE resource_id = e.id)
FROM email_addresses AS e
JOIN instances AS i ON i.id = e.instance_id
LEFT JOIN alias_link_ends AS l ON l.email_address_id = e.id
WHERE e.id = :id AND e.instance_id = :instance_id AND i.account = :account AND i.region = :region;

-- name: owners(address_keys)
-- The owners of the addresses in a list, and whom their mail is forwarded to, in one look-up with the revision of the
-- routes; that is told also where nobody is found. The list is a table here, so that it leads to the addresses.
SELECT (SELECT value FROM deployment_marks WHERE name = 'routes revision'), {e.email_addresses}, {p.email_addresses}
FROM (SELECT 1) AS always
LEFT JOIN json_each(:address_keys) AS given
LEFT JOIN email_addresses AS e ON e.address_key = given.value
LEFT JOIN alias_link_ends AS l ON l.email_address_id = e.id AND l.side = 'alias'
LEFT JOIN email_addresses AS p ON p.id = l.other_id;

-- name: links_of(email_address_ids)
-- The links that the email addresses in a list are in, each told from its own side. The list is a table here, so that
-- it leads to the links.
SELECT {l.alias_link_ends}
FROM json_each(:email_address_ids) AS given CROSS JOIN alias_link_ends AS l ON l.email_address_id = given.value;

-- name: put_tag(resource_id, key, value)
-- A tag that is new, or has a new value. An email address's carries its number, in the order of which searches go.
INSERT INTO tags (resource_id, key, value, number)
VALUES (:resource_id, :key, :value, (SELECT number FROM search_entries WHERE email_address_id = :resource_id))
ON CONFLICT (resource_id, key) DO UPDATE SET value = excluded.value;

-- name: remove_tags_of_instance(instance_id)
-- The tags of an instance that goes, and of all its email addresses. PostgreSQL would look at everybody's for OR.
DELETE FROM tags
WHERE resource_id = :instance_id OR resource_id IN (SELECT id FROM email_addresses WHERE instance_id = :instance_id);
