-- The queries of the PostgreSQL store. Parameters are numbered, in the order of the SQLite store's.

-- name: instance
-- One instance, only for the tenant who owns it.
SELECT id, account, region, alias, identity_management_type, directory_id,
       inbound_calls_enabled, outbound_calls_enabled, created_at
FROM instances WHERE id = $1 AND account = $2 AND region = $3;

-- name: instances
-- A page of a tenant's instances, behind an id.
SELECT id, account, region, alias, identity_management_type, directory_id,
       inbound_calls_enabled, outbound_calls_enabled, created_at
FROM instances WHERE account = $1 AND region = $2 AND id > $3 ORDER BY id LIMIT $4;

-- name: regions
-- The regions that instances are in, for the start of a server.
SELECT DISTINCT region FROM instances ORDER BY region;

-- name: instance_alias
-- Whether an instance alias is used, by whomever.
SELECT 1 FROM instances WHERE alias_key = $1;

-- name: add_instance
-- The alias is unique without regard to case, hence its key.
INSERT INTO instances (id, account, region, alias, alias_key, identity_management_type, directory_id,
                       inbound_calls_enabled, outbound_calls_enabled, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: remove_instance
-- Its email addresses have to go first.
DELETE FROM instances WHERE id = $1;

-- name: hold
-- The row stays; its lock goes with the transaction. (No advisory lock: not every PostgreSQL has those that last for
-- a transaction.)
INSERT INTO deployment_marks (name, value) VALUES ('held: ' || $1, '')
ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: lock_instance
-- Nobody may add to it meanwhile, delete it, or hold it too.
SELECT id, account, region, alias, identity_management_type, directory_id,
       inbound_calls_enabled, outbound_calls_enabled, created_at
FROM instances WHERE id = $1 AND account = $2 AND region = $3 FOR UPDATE;

-- name: lock_email_addresses
-- Those of a list, only in their own instance, and only for the tenant who owns that. Everybody takes these locks in
-- the order of ids, so nobody waits in a circle.
SELECT e.id, e.instance_id, e.account, e.address, e.address_key, e.display_name, e.description, e.created_at,
       e.modified_at
FROM email_addresses AS e JOIN instances AS i ON i.id = e.instance_id
WHERE e.id = ANY ($1) AND e.instance_id = $2 AND i.account = $3 AND i.region = $4
ORDER BY e.id FOR UPDATE OF e;

-- name: lock_email_addresses_of_instance
-- Before they go, so that none is linked meanwhile; in the order of ids, as everybody takes these locks.
SELECT count(*) FROM (SELECT 1 FROM email_addresses WHERE instance_id = $1 ORDER BY id FOR UPDATE) AS held;

-- name: email_addresses_up_to
-- How many email addresses an instance has, counted no further than a limit.
SELECT count(*) FROM (SELECT 1 FROM email_addresses WHERE instance_id = $1 LIMIT $2) AS counted;

-- name: description
-- All that DescribeEmailAddress tells, in one look-up, and only for the tenant who owns the instance.
SELECT e.id, e.instance_id, e.account, e.address, e.address_key, e.display_name, e.description, e.created_at,
       e.modified_at,
       l.email_address_id, l.side, l.other_id, l.created_at,
       (SELECT coalesce(json_object_agg(key, value ORDER BY key), '{}')::text FROM tags WHERE resource_id = e.id)
FROM email_addresses AS e
JOIN instances AS i ON i.id = e.instance_id
LEFT JOIN alias_link_ends AS l ON l.email_address_id = e.id
WHERE e.id = $1 AND e.instance_id = $2 AND i.account = $3 AND i.region = $4;

-- name: email_address_by_key
-- The owner of an address, for mail.
SELECT id, instance_id, account, address, address_key, display_name, description, created_at, modified_at
FROM email_addresses WHERE address_key = $1;

-- name: owners
-- The owners of the addresses in a list, and whom their mail is forwarded to, in one look-up with the revision of
-- the routes; that is told also where nobody is found.
SELECT (SELECT value FROM deployment_marks WHERE name = 'routes revision'),
       e.id, e.instance_id, e.account, e.address, e.address_key, e.display_name, e.description, e.created_at,
       e.modified_at,
       p.id, p.instance_id, p.account, p.address, p.address_key, p.display_name, p.description, p.created_at,
       p.modified_at
FROM (SELECT 1) AS always
LEFT JOIN email_addresses AS e ON e.address_key = ANY ($1)
LEFT JOIN alias_link_ends AS l ON l.email_address_id = e.id AND l.side = 'alias'
LEFT JOIN email_addresses AS p ON p.id = l.other_id;

-- name: email_address_by_id
-- The other end of a link.
SELECT id, instance_id, account, address, address_key, display_name, description, created_at, modified_at
FROM email_addresses WHERE id = $1;

-- name: has_address_in
-- Whether an account has an email address in a domain.
SELECT 1 FROM email_addresses WHERE split_part(address_key, '@', 2) = $1 AND account = $2 LIMIT 1;

-- name: keep_domain
-- The same, while a name is shared: nobody takes it by `hold` until this transaction ends. No row comes back either if
-- the name is held, or has never been.
WITH shared AS MATERIALIZED (
    SELECT 1 FROM deployment_marks WHERE name = 'held: ' || $3 FOR SHARE SKIP LOCKED
)
SELECT 1 FROM shared
WHERE EXISTS (SELECT 1 FROM email_addresses WHERE split_part(address_key, '@', 2) = $1 AND account = $2);

-- name: others_have_address_in
-- Whether another account has one. Asked for on both sides of the account, so that its own addresses are not read.
SELECT 1 WHERE EXISTS (
    SELECT 1 FROM email_addresses WHERE split_part(address_key, '@', 2) = $1 AND account < $2
) OR EXISTS (
    SELECT 1 FROM email_addresses WHERE split_part(address_key, '@', 2) = $1 AND account > $2
);

-- name: add_email_address
-- The account is copied from the instance, so that mail finds it without another look-up.
INSERT INTO email_addresses (id, instance_id, account, address, address_key, display_name, description,
                             created_at, modified_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: update_email_address
-- The address, and what belongs to it, never change.
UPDATE email_addresses SET display_name = $2, description = $3, modified_at = $4 WHERE id = $1;

-- name: add_search_entry
-- Its number is the next of a sequence.
INSERT INTO search_entries (email_address_id, instance_id, address, display_name, description, trigrams)
VALUES ($1, $2, $3, $4, $5, $6);

-- name: update_search_entry
-- The texts that can change.
UPDATE search_entries SET address = $2, display_name = $3, description = $4, trigrams = $5
WHERE email_address_id = $1;

-- name: remove_search_entry
-- Before its email address goes.
DELETE FROM search_entries WHERE email_address_id = $1;

-- name: remove_search_entries_of_instance
-- Before its email addresses go.
DELETE FROM search_entries WHERE instance_id = $1;

-- name: remove_email_address
-- Its link, tags and search entry have to go first.
DELETE FROM email_addresses WHERE id = $1;

-- name: remove_email_addresses_of_instance
-- Their links and tags have to go first.
DELETE FROM email_addresses WHERE instance_id = $1;

-- name: links_of
-- The links that the email addresses in a list are in, each told from its own side. A query of its own behind the
-- locks: one that also takes them would see the links as they were before it waited.
SELECT email_address_id, side, other_id, created_at FROM alias_link_ends WHERE email_address_id = ANY ($1);

-- name: add_link
-- Both ends in one statement, because neither may exist alone.
INSERT INTO alias_link_ends (email_address_id, side, other_id, other_side, created_at)
VALUES ($1, 'primary', $2, 'alias', $3), ($2, 'alias', $1, 'primary', $3);

-- name: remove_link
-- Both ends in one statement, because neither may exist alone; either id names the link.
DELETE FROM alias_link_ends WHERE email_address_id = $1 OR other_id = $1;

-- name: remove_links_of_instance
-- Both ends of a link are always in one instance.
DELETE FROM alias_link_ends
WHERE email_address_id IN (SELECT id FROM email_addresses WHERE instance_id = $1);

-- name: instance_tags
-- The tags of an instance, only for the tenant who owns it.
SELECT t.key, t.value FROM tags AS t JOIN instances AS i ON i.id = t.resource_id
WHERE i.id = $1 AND i.account = $2 AND i.region = $3 ORDER BY t.key;

-- name: put_tag
-- A tag that is new, or has a new value.
INSERT INTO tags (resource_id, key, value) VALUES ($1, $2, $3)
ON CONFLICT (resource_id, key) DO UPDATE SET value = excluded.value;

-- name: remove_tag
-- One tag.
DELETE FROM tags WHERE resource_id = $1 AND key = $2;

-- name: remove_all_tags
-- All tags of a resource that goes.
DELETE FROM tags WHERE resource_id = $1;

-- name: remove_tags_of_instance
-- The tags of an instance that goes, and of all its email addresses. With OR in its place, everybody's are looked at.
DELETE FROM tags
WHERE resource_id IN (SELECT $1 UNION ALL SELECT id FROM email_addresses WHERE instance_id = $1);

-- name: claim_call
-- What a client token was answered. A token that is new is taken, with no fingerprint yet, so that a second call with
-- it waits until the first is done; its row goes if the first one fails.
INSERT INTO remembered_calls (account, region, operation, scope, token, fingerprint, answer, made_at)
VALUES ($1, $2, $3, $4, $5, '', '', (extract(epoch FROM now()) * 1000)::bigint)
ON CONFLICT (account, region, operation, scope, token) DO UPDATE SET token = excluded.token
RETURNING fingerprint, answer, made_at;

-- name: remember_call
-- Replaces a memory that has expired.
INSERT INTO remembered_calls (account, region, operation, scope, token, fingerprint, answer, made_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (account, region, operation, scope, token)
DO UPDATE SET fingerprint = excluded.fingerprint, answer = excluded.answer, made_at = excluded.made_at;

-- name: forget_calls
-- Some of those made before a moment. Those that another server forgets just now, or that are made again, are its.
WITH old AS MATERIALIZED (
    SELECT account, region, operation, scope, token FROM remembered_calls
    WHERE made_at < $1 ORDER BY made_at LIMIT $2 FOR UPDATE SKIP LOCKED
)
DELETE FROM remembered_calls WHERE (account, region, operation, scope, token) IN (SELECT * FROM old) RETURNING 1;

-- name: correct_calls
-- Some of those made after a moment, by a clock that was ahead, were made at that moment.
WITH ahead AS MATERIALIZED (
    SELECT account, region, operation, scope, token FROM remembered_calls
    WHERE made_at > $1 LIMIT $2 FOR UPDATE SKIP LOCKED
)
UPDATE remembered_calls SET made_at = $1
WHERE (account, region, operation, scope, token) IN (SELECT * FROM ahead) RETURNING 1;

-- name: mark
-- Something of this database as a whole.
SELECT value FROM deployment_marks WHERE name = $1;

-- name: add_mark
-- A mark that is there stays as it is; a row comes back if it is new.
INSERT INTO deployment_marks (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING RETURNING 1;

-- name: put_mark
-- A mark that changes. Whoever changes it too waits until this transaction is done.
INSERT INTO deployment_marks (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: routes
-- The routes in their order, their secrets still sealed, each with the revision that they all are of: so that nobody
-- takes the routes of one moment for those of another.
SELECT v.value, r.match, r.target, r.keep, r.tls, r.user_name, r.sealed_secret, r.rewrite_sender, r.allow_private,
       r.connections, r.fault, r.line_ends
FROM deployment_marks AS v LEFT JOIN routes AS r ON true
WHERE v.name = 'routes revision' ORDER BY r.number;

-- name: remove_routes
-- All of them; others take their place.
DELETE FROM routes;

-- name: add_route
-- With its place in the order, and its secret sealed.
INSERT INTO routes (number, match, target, keep, tls, user_name, sealed_secret, rewrite_sender, allow_private,
                    connections, fault, line_ends)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12);

-- name: access_key
-- One access key, its secret still sealed.
SELECT id, account, user_name, policy, active, created_at, expires_at, session_token_digest, sealed_secret
FROM access_keys WHERE id = $1;

-- name: access_keys
-- All of them, the oldest first.
SELECT id, account, user_name, policy, active, created_at, expires_at, session_token_digest, sealed_secret
FROM access_keys ORDER BY created_at, id;

-- name: add_access_key
-- With its secret sealed.
INSERT INTO access_keys (id, account, user_name, policy, active, created_at, expires_at, session_token_digest,
                         sealed_secret)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: activate_access_key
-- Activates an access key, or deactivates it.
UPDATE access_keys SET active = $2 WHERE id = $1;

-- name: remove_access_keys_expired
-- Those of sessions that ended long enough ago.
DELETE FROM access_keys WHERE expires_at < $1;

-- name: remove_access_key
-- For good.
DELETE FROM access_keys WHERE id = $1;

-- name: message
-- A message, only for an account that had a delivery of it.
SELECT id, sender, recipients, helo, peer, protocol, received_at, size, subject, body, tls, dsn, authserv_id,
       header_id, is_authentic
FROM messages
WHERE id = $1 AND EXISTS (SELECT 1 FROM deliveries WHERE message_id = $1 AND account = $2);

-- name: deliveries_of
-- The deliveries of a message to one account; the direct ones first, as they were decided.
SELECT message_id, email_address_id, account, address, address_key, reason, sent_to, via, status, trace_header,
       kept, destination, also_for
FROM deliveries WHERE message_id = $1 AND account = $2 ORDER BY reason, address_key;

-- name: all_deliveries_of
-- The same, whoever's they are.
SELECT message_id, email_address_id, account, address, address_key, reason, sent_to, via, status, trace_header,
       kept, destination, also_for
FROM deliveries WHERE message_id = $1 ORDER BY reason, address_key;

-- name: deliveries_at
-- A page of an inbox, newest first: ids are UUIDv7, so their order is that in which messages began to come in. What
-- was only sent on is not in it.
SELECT d.message_id, d.email_address_id, d.account, d.address, d.address_key, d.reason, d.sent_to, d.via,
       d.status, d.trace_header, d.kept, d.destination, d.also_for,
       m.id, m.sender, m.recipients, m.helo, m.peer, m.protocol, m.received_at, m.size, m.subject,
       m.body, m.tls, m.dsn, m.authserv_id, m.header_id, m.is_authentic
FROM deliveries AS d JOIN messages AS m ON m.id = d.message_id
WHERE d.account = $1 AND d.address_key = $2 AND d.message_id < $3 AND d.kept
ORDER BY d.message_id DESC LIMIT $4;

-- name: deliveries_kept
-- A page of all inboxes of an account, newest first; the copies of one message are in the order of their email addresses.
SELECT d.message_id, d.email_address_id, d.account, d.address, d.address_key, d.reason, d.sent_to, d.via,
       d.status, d.trace_header, d.kept, d.destination, d.also_for,
       m.id, m.sender, m.recipients, m.helo, m.peer, m.protocol, m.received_at, m.size, m.subject,
       m.body, m.tls, m.dsn, m.authserv_id, m.header_id, m.is_authentic
FROM deliveries AS d JOIN messages AS m ON m.id = d.message_id
WHERE d.account = $1 AND d.kept AND (d.message_id, d.email_address_id) < ($2, $3)
ORDER BY d.message_id DESC, d.email_address_id DESC LIMIT $4;

-- name: deliveries_to
-- A page of all that came to an address, newest first, in its inbox or not. Mail to an alias is there, too: it always
-- has a delivery of its own.
SELECT d.message_id, d.email_address_id, d.account, d.address, d.address_key, d.reason, d.sent_to, d.via,
       d.status, d.trace_header, d.kept, d.destination, d.also_for,
       m.id, m.sender, m.recipients, m.helo, m.peer, m.protocol, m.received_at, m.size, m.subject,
       m.body, m.tls, m.dsn, m.authserv_id, m.header_id, m.is_authentic
FROM deliveries AS d JOIN messages AS m ON m.id = d.message_id
WHERE d.account = $1 AND d.address_key = $2 AND d.message_id < $3
ORDER BY d.message_id DESC LIMIT $4;

-- name: trace
-- What happened to a message, in order.
SELECT at, kind, detail FROM trace_events WHERE message_id = $1 ORDER BY number;

-- name: add_message
-- The envelope and what lists show.
INSERT INTO messages (id, sender, recipients, helo, peer, protocol, received_at, size, subject, body, tls, dsn,
                      authserv_id, header_id, is_authentic)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15);

-- name: add_octets
-- A piece of the bytes as sent after DATA, and where it begins; never changed.
INSERT INTO message_bodies (message_id, start, octets) VALUES ($1, $2, $3);

-- name: add_delivery
-- One for each email address; a second for the same one is refused.
INSERT INTO deliveries (message_id, email_address_id, account, address, address_key, reason, sent_to, via,
                        status, trace_header, kept, destination, also_for)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13);

-- name: add_trace_event
-- The next line of a message's trace.
INSERT INTO trace_events (message_id, number, at, kind, detail) VALUES ($1, $2, $3, $4, $5);

-- name: octets
-- The pieces of a message that reach into a part of it.
SELECT start, octets FROM message_bodies
WHERE message_id = $1 AND start < $3
  AND start >= (SELECT max(start) FROM message_bodies WHERE message_id = $1 AND start <= $2)
ORDER BY start;

-- name: begin_message
-- Pieces of it are here, and no message yet.
INSERT INTO messages_begun (message_id, begun_at) VALUES ($1, $2);

-- name: still_begun
-- A row if more pieces of it may come; nobody lets go of it before this one is here.
SELECT 1 FROM messages_begun WHERE message_id = $1 FOR SHARE;

-- name: end_message
-- It is a message now, or never will be; a row comes back if it had been begun.
DELETE FROM messages_begun WHERE message_id = $1 RETURNING 1;

-- name: trim_octets
-- Some pieces of a message that is none yet; a row comes back for each.
DELETE FROM message_bodies
WHERE message_id = $1 AND EXISTS (SELECT 1 FROM messages_begun WHERE message_id = $1)
  AND start IN (SELECT start FROM message_bodies WHERE message_id = $1 ORDER BY start DESC LIMIT $2)
RETURNING 1;

-- name: remove_octets
-- The pieces of a message that will never be one.
DELETE FROM message_bodies WHERE message_id = $1;

-- name: messages_begun
-- Those that were begun before a moment, the oldest first.
SELECT message_id FROM messages_begun WHERE begun_at < $1 ORDER BY begun_at LIMIT $2;
