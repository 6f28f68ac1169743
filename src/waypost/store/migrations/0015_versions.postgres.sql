-- Each migration is recorded with the version of Waypost that has run it, and with the versions that can use the database
-- afterwards. Therefore the previous version can start again on a database that only has more than it knows.
-- kind: transaction

-- A table of its own, because only the owner of `migrations` could add columns. Migrations up to 14 have no rows.
CREATE TABLE migration_versions (
    number  BIGINT CONSTRAINT migration_versions_once PRIMARY KEY, -- of the migration
    waypost TEXT COLLATE "C" NOT NULL, -- the version that has run it
    needs   BIGINT NOT NULL -- the newest migration that a version must know to use the database; 0 if each version can
);
