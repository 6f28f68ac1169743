-- Queries for data that belongs to the deployment as a whole: marks, access keys, and the routes that commands manage.

-- name: mark(name)
-- Returns the value of a mark. A mark is a named value that belongs to the database as a whole.
SELECT value FROM deployment_marks WHERE name = :name;

-- name: add_mark(name, value)
-- Adds a mark, and returns a row if it is new. The value of an existing mark does not change.
INSERT INTO deployment_marks (name, value) VALUES (:name, :value) ON CONFLICT (name) DO NOTHING RETURNING 1;

-- name: put_mark(name, value)
-- Adds a mark or changes its value. Another transaction that changes the same mark waits until this transaction ends.
INSERT INTO deployment_marks (name, value) VALUES (:name, :value)
ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: routes()
-- Returns the routes in their order, with their secrets still sealed. Each row also has the current revision of the
-- routes, so that the caller cannot combine routes and a revision from different times.
SELECT v.value, {r.routes} FROM deployment_marks AS v LEFT JOIN routes AS r ON true
WHERE v.name = 'routes revision' ORDER BY r.number;

-- name: remove_routes()
-- Removes all routes. The caller then adds the new routes.
DELETE FROM routes;

-- name: add_route(number, {routes})
-- Adds a route with its place in the order. Its secret is already sealed.
INSERT INTO routes (number, {routes}) VALUES (:number, {:routes});

-- name: reseal_route(number, sealed)
-- Replaces the sealed secret of a route.
UPDATE routes SET sealed_secret = :sealed WHERE number = :number;

-- name: sealed_access_keys(after, limit)
-- Returns the sealed secrets of access keys, in the order of their ids.
SELECT id, sealed_secret FROM access_keys WHERE id > :after ORDER BY id LIMIT :limit;

-- name: reseal_access_key(id, sealed)
-- Replaces the sealed secret of an access key. A key that was deleted meanwhile has none.
UPDATE access_keys SET sealed_secret = :sealed WHERE id = :id;

-- name: access_key(id)
-- Returns one access key with its secret still sealed.
SELECT {access_keys} FROM access_keys WHERE id = :id;

-- name: access_keys()
-- Returns all access keys, oldest first, with their secrets still sealed.
SELECT {access_keys} FROM access_keys ORDER BY created_at, id;

-- name: add_access_key({access_keys})
-- Adds an access key. Its secret is already sealed.
INSERT INTO access_keys ({access_keys}) VALUES ({:access_keys});

-- name: activate_access_key(id, active)
-- Activates or deactivates an access key.
UPDATE access_keys SET active = :active WHERE id = :id;

-- name: remove_access_keys_expired(before)
-- Removes the temporary access keys that expired before a time.
DELETE FROM access_keys WHERE expires_at < :before;

-- name: remove_access_key(id)
-- Permanently removes an access key.
DELETE FROM access_keys WHERE id = :id;
