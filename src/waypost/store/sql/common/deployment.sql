-- What there is once in a deployment: its marks, the routes that were set by command, access keys.

-- name: mark(name)
-- Something of this database as a whole.
SELECT value FROM deployment_marks WHERE name = :name;

-- name: add_mark(name, value)
-- A mark that is there stays as it is; a row comes back if it is new.
INSERT INTO deployment_marks (name, value) VALUES (:name, :value) ON CONFLICT (name) DO NOTHING RETURNING 1;

-- name: put_mark(name, value)
-- A mark that changes. Whoever changes it too waits until this transaction is done.
INSERT INTO deployment_marks (name, value) VALUES (:name, :value)
ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: routes()
-- The routes in their order, their secrets still sealed, each with the revision that they all are of: so that nobody
-- takes the routes of one moment for those of another.
SELECT v.value, {r.routes} FROM deployment_marks AS v LEFT JOIN routes AS r ON true
WHERE v.name = 'routes revision' ORDER BY r.number;

-- name: remove_routes()
-- All of them; others take their place.
DELETE FROM routes;

-- name: add_route(number, {routes})
-- With its place in the order, and its secret sealed.
INSERT INTO routes (number, {routes}) VALUES (:number, {:routes});

-- name: access_key(id)
-- One access key, its secret still sealed.
SELECT {access_keys} FROM access_keys WHERE id = :id;

-- name: access_keys()
-- All of them, the oldest first.
SELECT {access_keys} FROM access_keys ORDER BY created_at, id;

-- name: add_access_key({access_keys})
-- With its secret sealed.
INSERT INTO access_keys ({access_keys}) VALUES ({:access_keys});

-- name: activate_access_key(id, active)
-- Activates an access key, or deactivates it.
UPDATE access_keys SET active = :active WHERE id = :id;

-- name: remove_access_keys_expired(before)
-- Those of sessions that ended long enough ago.
DELETE FROM access_keys WHERE expires_at < :before;

-- name: remove_access_key(id)
-- For good.
DELETE FROM access_keys WHERE id = :id;
