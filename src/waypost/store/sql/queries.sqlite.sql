-- The queries of the SQLite store. Parameters are positional, in the order written.

-- name: instance
-- One instance, only for the tenant who owns it.
SELECT id, account, region, alias, identity_management_type, directory_id,
       inbound_calls_enabled, outbound_calls_enabled, created_at
FROM instances WHERE id = ? AND account = ? AND region = ?;

-- name: instances
-- A page of a tenant's instances, behind an id.
SELECT id, account, region, alias, identity_management_type, directory_id,
       inbound_calls_enabled, outbound_calls_enabled, created_at
FROM instances WHERE account = ? AND region = ? AND id > ? ORDER BY id LIMIT ?;

-- name: regions
-- The regions that instances are in, for the start of a server.
SELECT DISTINCT region FROM instances ORDER BY region;

-- name: instance_alias
-- Whether an instance alias is used, by whomever.
SELECT 1 FROM instances WHERE alias_key = ?;

-- name: add_instance
-- The alias is unique without regard to case, hence its key.
INSERT INTO instances (id, account, region, alias, alias_key, identity_management_type, directory_id,
                       inbound_calls_enabled, outbound_calls_enabled, created_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: add_search_range
-- The next range of numbers, for the email addresses of a new instance.
INSERT INTO search_ranges (instance_id, number) SELECT ?, coalesce(max(number), 0) + 1 FROM search_ranges;

-- name: search_range
-- The range of an instance, only for the tenant who owns it.
SELECT r.number FROM search_ranges AS r JOIN instances AS i ON i.id = r.instance_id
WHERE r.instance_id = ? AND i.account = ? AND i.region = ?;

-- name: remove_search_range
-- Its numbers may be used again: page tokens are bound to the id of their instance.
DELETE FROM search_ranges WHERE instance_id = ?;

-- name: remove_instance
-- Its email addresses have to go first.
DELETE FROM instances WHERE id = ?;

-- name: hold
-- There is one writer, who holds everything.
SELECT ?;

-- name: lock_instance
-- There is one writer, who holds every row.
SELECT id, account, region, alias, identity_management_type, directory_id,
       inbound_calls_enabled, outbound_calls_enabled, created_at
FROM instances WHERE id = ? AND account = ? AND region = ?;

-- name: lock_email_addresses
-- Those of a JSON list, only in their own instance, and only for the tenant who owns that. There is one writer, who
-- holds every row.
SELECT e.id, e.instance_id, e.account, e.address, e.address_key, e.display_name, e.description, e.created_at,
       e.modified_at
FROM json_each(?) AS given
CROSS JOIN email_addresses AS e ON e.id = given.value
JOIN instances AS i ON i.id = e.instance_id
WHERE e.instance_id = ? AND i.account = ? AND i.region = ?;

-- name: lock_email_addresses_of_instance
-- There is one writer, who holds every row.
SELECT ?;

-- name: email_addresses_up_to
-- How many email addresses an instance has, counted no further than a limit.
SELECT count(*) FROM (SELECT 1 FROM email_addresses WHERE instance_id = ? LIMIT ?);

-- name: description
-- All that DescribeEmailAddress tells, in one look-up, and only for the tenant who owns the instance.
SELECT e.id, e.instance_id, e.account, e.address, e.address_key, e.display_name, e.description, e.created_at,
       e.modified_at,
       l.email_address_id, l.side, l.other_id, l.created_at,
       (SELECT json_group_object(key, value) FROM tags WHERE resource_id = e.id)
FROM email_addresses AS e
JOIN instances AS i ON i.id = e.instance_id
LEFT JOIN alias_link_ends AS l ON l.email_address_id = e.id
WHERE e.id = ? AND e.instance_id = ? AND i.account = ? AND i.region = ?;

-- name: email_address_by_key
-- The owner of an address, for mail.
SELECT id, instance_id, account, address, address_key, display_name, description, created_at, modified_at
FROM email_addresses WHERE address_key = ?;

-- name: owners
-- The owners of the addresses in a JSON list, and whom their mail is forwarded to, in one look-up with the revision
-- of the routes; that is told also where nobody is found.
SELECT (SELECT value FROM deployment_marks WHERE name = 'routes revision'),
       e.id, e.instance_id, e.account, e.address, e.address_key, e.display_name, e.description, e.created_at,
       e.modified_at,
       p.id, p.instance_id, p.account, p.address, p.address_key, p.display_name, p.description, p.created_at,
       p.modified_at
FROM (SELECT 1) AS always
LEFT JOIN json_each(?) AS given
LEFT JOIN email_addresses AS e ON e.address_key = given.value
LEFT JOIN alias_link_ends AS l ON l.email_address_id = e.id AND l.side = 'alias'
LEFT JOIN email_addresses AS p ON p.id = l.other_id;

-- name: email_address_by_id
-- The other end of a link.
SELECT id, instance_id, account, address, address_key, display_name, description, created_at, modified_at
FROM email_addresses WHERE id = ?;

-- name: has_address_in
-- Whether an account has an email address in a domain.
SELECT 1 FROM email_addresses
WHERE substr(address_key, instr(address_key, '@') + 1) = ?1 AND account = ?2 LIMIT 1;

-- name: keep_domain
-- The same. There is one writer, who holds everything.
SELECT 1 FROM email_addresses
WHERE substr(address_key, instr(address_key, '@') + 1) = ?1 AND account = ?2 AND ?3 <> '' LIMIT 1;

-- name: others_have_address_in
-- Whether another account has one. Asked for on both sides of the account, so that its own addresses are not read.
SELECT 1 WHERE EXISTS (
    SELECT 1 FROM email_addresses
    WHERE substr(address_key, instr(address_key, '@') + 1) = ?1 AND account < ?2
) OR EXISTS (
    SELECT 1 FROM email_addresses
    WHERE substr(address_key, instr(address_key, '@') + 1) = ?1 AND account > ?2
);

-- name: add_email_address
-- The account is copied from the instance, so that mail finds it without another look-up.
INSERT INTO email_addresses (id, instance_id, account, address, address_key, display_name, description,
                             created_at, modified_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: update_email_address
-- The address, and what belongs to it, never change.
UPDATE email_addresses SET display_name = ?2, description = ?3, modified_at = ?4 WHERE id = ?1;

-- name: add_search_entry
-- With the next number in the range of the instance.
INSERT INTO search_entries (number, email_address_id, address, display_name, description)
SELECT 1 + coalesce(
           (SELECT max(number) FROM search_entries
            WHERE number > r.number << 32 AND number < (r.number + 1) << 32),
           r.number << 32),
       ?1, ?3, ?4, ?5
FROM search_ranges AS r WHERE r.instance_id = ?2;

-- name: update_search_entry
-- The texts that can change.
UPDATE search_entries SET address = ?2, display_name = ?3, description = ?4 WHERE email_address_id = ?1;

-- name: remove_search_entry
-- Before its email address goes.
DELETE FROM search_entries WHERE email_address_id = ?;

-- name: remove_search_entries_of_instance
-- Before its email addresses go.
DELETE FROM search_entries WHERE email_address_id IN (SELECT id FROM email_addresses WHERE instance_id = ?);

-- name: remove_email_address
-- Its link, tags and search entry have to go first.
DELETE FROM email_addresses WHERE id = ?;

-- name: remove_email_addresses_of_instance
-- Their links and tags have to go first.
DELETE FROM email_addresses WHERE instance_id = ?;

-- name: links_of
-- The links that the email addresses in a JSON list are in, each told from its own side.
SELECT l.email_address_id, l.side, l.other_id, l.created_at
FROM json_each(?) AS given CROSS JOIN alias_link_ends AS l ON l.email_address_id = given.value;

-- name: add_link
-- Both ends in one statement, because neither may exist alone.
INSERT INTO alias_link_ends (email_address_id, side, other_id, other_side, created_at)
VALUES (?1, 'primary', ?2, 'alias', ?3), (?2, 'alias', ?1, 'primary', ?3);

-- name: remove_link
-- Both ends in one statement, because neither may exist alone; either id names the link.
DELETE FROM alias_link_ends WHERE email_address_id = ?1 OR other_id = ?1;

-- name: remove_links_of_instance
-- Both ends of a link are always in one instance.
DELETE FROM alias_link_ends
WHERE email_address_id IN (SELECT id FROM email_addresses WHERE instance_id = ?);

-- name: instance_tags
-- The tags of an instance, only for the tenant who owns it.
SELECT t.key, t.value FROM tags AS t JOIN instances AS i ON i.id = t.resource_id
WHERE i.id = ? AND i.account = ? AND i.region = ? ORDER BY t.key;

-- name: put_tag
-- A tag that is new, or has a new value. An email address's carries its number.
INSERT INTO tags (resource_id, key, value, number)
VALUES (?1, ?2, ?3, (SELECT number FROM search_entries WHERE email_address_id = ?1))
ON CONFLICT (resource_id, key) DO UPDATE SET value = excluded.value;

-- name: remove_tag
-- One tag.
DELETE FROM tags WHERE resource_id = ? AND key = ?;

-- name: remove_all_tags
-- All tags of a resource that goes.
DELETE FROM tags WHERE resource_id = ?;

-- name: remove_tags_of_instance
-- The tags of an instance that goes, and of all its email addresses.
DELETE FROM tags
WHERE resource_id = ?1 OR resource_id IN (SELECT id FROM email_addresses WHERE instance_id = ?1);

-- name: claim_call
-- What a client token was answered. There is one writer, who holds it.
SELECT fingerprint, answer, made_at FROM remembered_calls
WHERE account = ? AND region = ? AND operation = ? AND scope = ? AND token = ?;

-- name: remember_call
-- Replaces a memory that has expired.
INSERT INTO remembered_calls (account, region, operation, scope, token, fingerprint, answer, made_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (account, region, operation, scope, token)
DO UPDATE SET fingerprint = excluded.fingerprint, answer = excluded.answer, made_at = excluded.made_at;

-- name: forget_calls
-- Some of those made before a moment; not all at once, because other writers wait meanwhile.
DELETE FROM remembered_calls WHERE (account, region, operation, scope, token) IN (
    SELECT account, region, operation, scope, token FROM remembered_calls WHERE made_at < ? ORDER BY made_at LIMIT ?
) RETURNING 1;

-- name: correct_calls
-- Some of those made after a moment, by a clock that was ahead, were made at that moment.
UPDATE remembered_calls SET made_at = ?1 WHERE (account, region, operation, scope, token) IN (
    SELECT account, region, operation, scope, token FROM remembered_calls WHERE made_at > ?1 LIMIT ?2
) RETURNING 1;

-- name: mark
-- Something of this database as a whole.
SELECT value FROM deployment_marks WHERE name = ?;

-- name: add_mark
-- A mark that is there stays as it is; a row comes back if it is new.
INSERT INTO deployment_marks (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING RETURNING 1;

-- name: put_mark
-- A mark that changes. Whoever changes it too waits until this transaction is done.
INSERT INTO deployment_marks (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: routes
-- The routes in their order, their secrets still sealed, each with the revision that they all are of: so that nobody
-- takes the routes of one moment for those of another.
SELECT v.value, r.match, r.target, r.keep, r.tls, r.user_name, r.sealed_secret, r.rewrite_sender, r.allow_private,
       r.connections, r.fault, r.line_ends
FROM deployment_marks AS v LEFT JOIN routes AS r ON 1
WHERE v.name = 'routes revision' ORDER BY r.number;

-- name: remove_routes
-- All of them; others take their place.
DELETE FROM routes;

-- name: add_route
-- With its place in the order, and its secret sealed.
INSERT INTO routes (number, match, target, keep, tls, user_name, sealed_secret, rewrite_sender, allow_private,
                    connections, fault, line_ends)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: access_key
-- One access key, its secret still sealed.
SELECT id, account, user_name, policy, active, created_at, expires_at, session_token_digest, sealed_secret
FROM access_keys WHERE id = ?;

-- name: access_keys
-- All of them, the oldest first.
SELECT id, account, user_name, policy, active, created_at, expires_at, session_token_digest, sealed_secret
FROM access_keys ORDER BY created_at, id;

-- name: add_access_key
-- With its secret sealed.
INSERT INTO access_keys (id, account, user_name, policy, active, created_at, expires_at, session_token_digest,
                         sealed_secret)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: activate_access_key
-- Activates an access key, or deactivates it.
UPDATE access_keys SET active = ?2 WHERE id = ?1;

-- name: remove_access_keys_expired
-- Those of sessions that ended long enough ago.
DELETE FROM access_keys WHERE expires_at < ?;

-- name: remove_access_key
-- For good.
DELETE FROM access_keys WHERE id = ?;

-- name: message
-- A message, only for an account that had a delivery of it.
SELECT id, sender, recipients, helo, peer, protocol, received_at, size, subject, body, tls, dsn, authserv_id,
       header_id, is_authentic
FROM messages
WHERE id = ?1 AND EXISTS (SELECT 1 FROM deliveries WHERE message_id = ?1 AND account = ?2);

-- name: deliveries_of
-- The deliveries of a message to one account; the direct ones first, as they were decided.
SELECT message_id, email_address_id, account, address, address_key, reason, sent_to, via, status, trace_header,
       kept, destination, also_for
FROM deliveries WHERE message_id = ? AND account = ? ORDER BY reason, address_key;

-- name: all_deliveries_of
-- The same, whoever's they are.
SELECT message_id, email_address_id, account, address, address_key, reason, sent_to, via, status, trace_header,
       kept, destination, also_for
FROM deliveries WHERE message_id = ?1 ORDER BY reason, address_key;

-- name: deliveries_at
-- A page of an inbox, newest first: ids are UUIDv7, so their order is that in which messages began to come in. What is in
-- it is found by the index alone, so that whatever was only sent on is skipped there.
SELECT d.message_id, d.email_address_id, d.account, d.address, d.address_key, d.reason, d.sent_to, d.via,
       d.status, d.trace_header, d.kept, d.destination, d.also_for,
       m.id, m.sender, m.recipients, m.helo, m.peer, m.protocol, m.received_at, m.size, m.subject,
       m.body, m.tls, m.dsn, m.authserv_id, m.header_id, m.is_authentic
FROM (SELECT message_id, email_address_id FROM deliveries
      WHERE account = ? AND address_key = ? AND message_id < ? AND kept = 1
      ORDER BY message_id DESC LIMIT ?) AS page
CROSS JOIN deliveries AS d ON d.message_id = page.message_id AND d.email_address_id = page.email_address_id
CROSS JOIN messages AS m ON m.id = d.message_id
ORDER BY d.message_id DESC;

-- name: deliveries_kept
-- A page of all inboxes of an account, newest first; the copies of one message are in the order of their email addresses.
SELECT d.message_id, d.email_address_id, d.account, d.address, d.address_key, d.reason, d.sent_to, d.via,
       d.status, d.trace_header, d.kept, d.destination, d.also_for,
       m.id, m.sender, m.recipients, m.helo, m.peer, m.protocol, m.received_at, m.size, m.subject,
       m.body, m.tls, m.dsn, m.authserv_id, m.header_id, m.is_authentic
FROM (SELECT message_id, email_address_id FROM deliveries
      WHERE account = ?1 AND kept = 1 AND (message_id, email_address_id) < (?2, ?3)
      ORDER BY message_id DESC, email_address_id DESC LIMIT ?4) AS page
CROSS JOIN deliveries AS d ON d.message_id = page.message_id AND d.email_address_id = page.email_address_id
CROSS JOIN messages AS m ON m.id = d.message_id
ORDER BY d.message_id DESC, d.email_address_id DESC;

-- name: deliveries_to
-- A page of all that came to an address, newest first, in its inbox or not. Mail to an alias is there, too: it always
-- has a delivery of its own.
SELECT d.message_id, d.email_address_id, d.account, d.address, d.address_key, d.reason, d.sent_to, d.via,
       d.status, d.trace_header, d.kept, d.destination, d.also_for,
       m.id, m.sender, m.recipients, m.helo, m.peer, m.protocol, m.received_at, m.size, m.subject,
       m.body, m.tls, m.dsn, m.authserv_id, m.header_id, m.is_authentic
FROM (SELECT message_id, email_address_id FROM deliveries
      WHERE account = ? AND address_key = ? AND message_id < ?
      ORDER BY message_id DESC LIMIT ?) AS page
CROSS JOIN deliveries AS d ON d.message_id = page.message_id AND d.email_address_id = page.email_address_id
CROSS JOIN messages AS m ON m.id = d.message_id
ORDER BY d.message_id DESC;

-- name: trace
-- What happened to a message, in order.
SELECT at, kind, detail FROM trace_events WHERE message_id = ? ORDER BY number;

-- name: add_message
-- The envelope and what lists show.
INSERT INTO messages (id, sender, recipients, helo, peer, protocol, received_at, size, subject, body, tls, dsn,
                      authserv_id, header_id, is_authentic)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: add_octets
-- A piece of the bytes as sent after DATA, and where it begins; never changed.
INSERT INTO message_bodies (message_id, start, octets) VALUES (?, ?, ?);

-- name: add_delivery
-- One for each email address; a second for the same one is refused.
INSERT INTO deliveries (message_id, email_address_id, account, address, address_key, reason, sent_to, via,
                        status, trace_header, kept, destination, also_for)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: add_trace_event
-- The next line of a message's trace.
INSERT INTO trace_events (message_id, number, at, kind, detail) VALUES (?, ?, ?, ?, ?);

-- name: octets
-- The pieces of a message that reach into a part of it.
SELECT start, octets FROM message_bodies
WHERE message_id = ?1 AND start < ?3
  AND start >= (SELECT max(start) FROM message_bodies WHERE message_id = ?1 AND start <= ?2)
ORDER BY start;

-- name: begin_message
-- Pieces of it are here, and no message yet.
INSERT INTO messages_begun (message_id, begun_at) VALUES (?1, ?2);

-- name: still_begun
-- A row if more pieces of it may come; nobody lets go of it before this one is here.
SELECT 1 FROM messages_begun WHERE message_id = ?1;

-- name: end_message
-- It is a message now, or never will be; a row comes back if it had been begun.
DELETE FROM messages_begun WHERE message_id = ?1 RETURNING 1;

-- name: trim_octets
-- Some pieces of a message that is none yet; a row comes back for each.
DELETE FROM message_bodies
WHERE message_id = ?1 AND EXISTS (SELECT 1 FROM messages_begun WHERE message_id = ?1)
  AND start IN (SELECT start FROM message_bodies WHERE message_id = ?1 ORDER BY start DESC LIMIT ?2)
RETURNING 1;

-- name: remove_octets
-- The pieces of a message that will never be one.
DELETE FROM message_bodies WHERE message_id = ?1;

-- name: messages_begun
-- Those that were begun before a moment, the oldest first.
SELECT message_id FROM messages_begun WHERE begun_at < ?1 ORDER BY begun_at LIMIT ?2;
