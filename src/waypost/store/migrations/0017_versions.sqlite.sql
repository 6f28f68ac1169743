-- Each migration is recorded with the version of Waypost that has run it, and with the versions that can use the database
-- afterwards. Therefore the previous version can start again on a database that only has more than it knows.
-- kind: transaction

CREATE TABLE migration_versions (
    number  INTEGER NOT NULL CONSTRAINT migration_versions_once PRIMARY KEY, -- of the migration; those up to 16 have none
    waypost TEXT NOT NULL, -- the version that has run it
    needs   INTEGER NOT NULL -- the newest migration that a version must know to use the database; 0 if each version can
) STRICT;
