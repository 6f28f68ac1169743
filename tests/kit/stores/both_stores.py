"""The two stores for the contract suite, each on an empty database, with a synchronous interface."""

import asyncio
import contextlib
import os
import shutil
import sqlite3
import tempfile
import threading
import uuid
from pathlib import Path

import psycopg

from tests.kit.patience import PATIENCE
from tests.kit.stores import postgresql
from tests.kit.values import NoSeal
from waypost.store.postgres import connection as postgres_connection
from waypost.store.postgres import errors as postgres_errors
from waypost.store.postgres import migrating
from waypost.store.postgres.store import CONNECTIONS, PostgresStore, Shares
from waypost.store.sqlite import file as sqlite_file
from waypost.store.sqlite.store import SqliteStore


def open_and_close(engine, database, **options):
    """Open a store on a database, and close it again."""

    async def main():
        store = engine.open(database, NoSeal(), **options)
        await store.close()

    asyncio.run(main())


class Handle:
    """A store on a separate event loop. Use cases are passed with all of their arguments except the transaction."""

    def __init__(self, engine, database, seal=None):
        self.engine, self.database = engine, database
        self._seal = seal or NoSeal()
        self._runner = asyncio.Runner()
        self._other = None
        self._own = []
        try:
            self.store = self.run(self._open())
        except BaseException:
            self._runner.close()
            raise

    async def _open(self):
        return self.engine.open(self.database, self._seal)

    def run(self, scenario):
        """Run a coroutine on the store's event loop."""
        return self._runner.run(scenario)

    def write(self, use_case, *args, **kwargs):
        return self.run(self.store.write(lambda tx: use_case(tx, *args, **kwargs)))

    def read(self, use_case, *args, **kwargs):
        return self.run(self.store.read(lambda tx: use_case(tx, *args, **kwargs)))

    def long_read(self, use_case, *args, **kwargs):
        return self.run(self.store.long_read(lambda tx: use_case(tx, *args, **kwargs), what="the data of a test"))

    def concurrently(self, *use_cases, on=()):
        """Run these writes concurrently, in turn on this store and the stores of `on`; return the results and errors.

        If the engine runs transactions in parallel, as many as possible have begun before any of them continues.
        """
        stores = [self.store, *(handle.store for handle in on)]
        start = StartLine(min(len(use_cases), self.engine.writers * len(set(stores))))

        async def all_of_them():
            writes = [
                stores[number % len(stores)].write(start.before(use_case)) for number, use_case in enumerate(use_cases)
            ]
            return await asyncio.gather(*writes, return_exceptions=True)

        return self.run(all_of_them())

    def another(self):
        """Return a store of another node on the same database; with SQLite, which has only one node, this store."""
        if self.engine.writers == 1:
            return self
        if self._other is None:
            self._other = _Beside(self)
        return self._other

    def a_new_one(self):
        """Return another store without connections, which is closed at the end of the test."""
        self._own.append(_Beside(self))
        return self._own[-1]

    def rows(self, query):
        """Return the rows of an SQL query on the database."""
        return self.long_read(lambda tx: [tuple(row) for row in tx.connection.execute(query).fetchall()])

    def count(self, *tables):
        """Return the number of rows in these tables, by name."""
        return {table: self.rows(f"SELECT count(*) FROM {table}")[0][0] for table in tables}

    def let_go(self):
        """Close the stores that only one test uses."""
        while self._own:
            self.run(self._own.pop().store.close())

    def close(self):
        self.let_go()
        for handle in filter(None, (self._other, self)):
            self.run(handle.store.close())
        self._runner.close()


class _Beside(Handle):
    """Another store on the event loop of the first store."""

    def __init__(self, first):
        self.engine, self.database, self._seal, self._runner = first.engine, first.database, first._seal, first._runner
        self._other = None
        self._own = []
        self.store = self.run(self._open())


class StartLine:
    """Makes the first `runners` transactions wait for each other. Later transactions, and retries, do not wait."""

    def __init__(self, runners):
        self._barrier = threading.Barrier(runners)
        self._free = threading.Semaphore(runners)

    def before(self, use_case):
        """Return the use case with a wait for the other transactions at its beginning."""

        def waits_first(tx):
            if self._free.acquire(blocking=False):
                self._barrier.wait(PATIENCE)
            return use_case(tx)

        return waits_first


class Sqlite:
    """SQLite databases in memory, each a copy of a database that was migrated once."""

    name = "sqlite"
    writers = 1
    refusal = sqlite3.IntegrityError
    """The exception for a constraint that only an error in Waypost can violate."""

    def __init__(self):
        memory = Path(postgresql.MEMORY)
        self._directory = tempfile.mkdtemp(prefix="waypost-", dir=memory if os.access(memory, os.W_OK) else None)
        template = self.empty()
        self.migrate(template)
        self._migrated = template.read_bytes()

    def close(self):
        shutil.rmtree(self._directory)

    def empty(self):
        """Return the path for a new database, which does not exist yet."""
        return Path(self._directory, uuid.uuid4().hex)

    def fresh(self):
        """Create an empty database with the newest schema, and return its path."""
        path = self.empty()
        path.write_bytes(self._migrated)
        return path

    @contextlib.contextmanager
    def empty_store(self):
        """Yield a store on an empty database."""
        handle = Handle(self, self.fresh())
        yield handle
        handle.close()
        self.drop(handle.database)

    def drop(self, database):
        for path in database.parent.glob(f"{database.name}*"):
            path.unlink()

    def migrate(self, database):
        """Migrate a database to the newest schema."""
        with contextlib.closing(sqlite_file.connect(database, "rwc")) as connection:
            sqlite_file.migrate(connection, where="the test")

    def open(self, database, seal, **options):
        return SqliteStore(database, seal, **options)

    def execute(self, database, *statements):
        """Run SQL statements on a database that is not in use, without a store."""
        with contextlib.closing(sqlite3.connect(database)) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    def catalogue(self, database):
        """Return the definition of the whole schema."""
        with contextlib.closing(sqlite3.connect(database)) as connection:
            schema = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name").fetchall()
            columns = {
                name: connection.execute("SELECT * FROM pragma_table_xinfo(?)", (name,)).fetchall()
                for kind, name, *_ in schema
                if kind == "table"
            }
        return {"schema": schema, "columns": columns}

    def dump(self, database):
        """Return the contents of the database as bytes, including deleted data that is still in its files."""
        return b"".join(path.read_bytes() for path in sorted(database.parent.glob(f"{database.name}*")))


class Postgres:
    """Databases on the tests' PostgreSQL server, each a copy of a database that was migrated once.

    One database and its stores are reused, and the database is emptied before each test, because a new connection takes
    longer than a test.
    """

    name = "postgres"
    writers = Shares.of(CONNECTIONS).writes
    refusal = postgres_errors.Unexpected

    def __init__(self):
        self._template = postgresql.template_database("contract", self.migrate)
        self._kept = None

    def close(self):
        if self._kept:
            self._emptying.close()
            self._kept.close()
            self.drop(self._kept.database)

    def migrate(self, database):
        where = postgres_connection.where(database)
        with where.connect() as connection:
            migrating.migrate(connection, where)

    def empty(self):
        return postgresql.new_database()

    def fresh(self):
        return postgresql.new_database(self._template)

    @contextlib.contextmanager
    def empty_store(self):
        if self._kept is None:
            self._kept = Handle(self, self.fresh())
            self._emptying = psycopg.connect(self._kept.database, autocommit=True)
        self._emptying.execute(_EMPTY)
        yield self._kept
        self._kept.let_go()

    def drop(self, database):
        postgresql.drop_database(database)

    def open(self, database, seal, **options):
        return PostgresStore(database, seal, **options)

    def execute(self, database, *statements):
        with psycopg.connect(database) as connection:
            for statement in statements:
                connection.execute(statement)

    def catalogue(self, database):
        with psycopg.connect(database) as connection:
            return {name: connection.execute(query).fetchall() for name, query in _CATALOGUE.items()}

    def dump(self, database):
        with psycopg.connect(database) as connection:
            tables = [name for (name,) in connection.execute(_TABLES)]
            rows = [connection.execute(f"SELECT to_jsonb(t)::text FROM {name} AS t").fetchall() for name in tables]
            sealed = "SELECT sealed_secret FROM access_keys UNION ALL SELECT sealed_secret FROM routes"
            octets = [row for (row,) in connection.execute(sealed)]
        return repr(rows).encode() + b"".join(octets)


_EMPTY = """
    DELETE FROM mail_words; DELETE FROM mail_entries; DELETE FROM mail_marks; DELETE FROM mail_changes;
    DELETE FROM mail_counts; DELETE FROM mail_flows;
    DELETE FROM notices_owed; DELETE FROM queue; DELETE FROM refusals; DELETE FROM routes;
    DELETE FROM planned_deliveries; DELETE FROM trace_events; DELETE FROM deliveries; DELETE FROM message_bodies;
    DELETE FROM messages_begun;
    DELETE FROM messages;
    DELETE FROM search_entries; DELETE FROM tags; DELETE FROM alias_link_ends; DELETE FROM email_addresses;
    DELETE FROM instances; DELETE FROM remembered_calls; DELETE FROM access_keys;
    DELETE FROM console_sessions; DELETE FROM console_links;
    DELETE FROM deployment_marks WHERE name <> 'seal check'"""
_TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY table_name"
_CATALOGUE = {
    "columns": """
        SELECT attrelid::regclass::text, attname, format_type(atttypid, atttypmod), attnotnull, attidentity, attstorage,
               collname, attnum
        FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid
        LEFT JOIN pg_collation AS l ON l.oid = attcollation
        WHERE c.relnamespace = 'public'::regnamespace AND attnum > 0 ORDER BY 1, attnum""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, contype::text, pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2""",
    "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1, 2",
    "others": """
        SELECT relname, relkind::text FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY relname""",
}

ENGINES = {engine.name: engine for engine in (Sqlite, Postgres)}
