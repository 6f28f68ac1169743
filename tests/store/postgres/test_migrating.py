"""Migrations of a PostgreSQL database that other clients use meanwhile."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import psycopg
import pytest
from psycopg import conninfo

from tests.kit.patience import PATIENCE, wait_until
from tests.kit.stores import postgresql
from tests.kit.stores.pooler import Pooler, needs_pgbouncer
from tests.kit.stores.time_limits import set_limits
from waypost.app import ports
from waypost.store import migrations
from waypost.store.postgres import connection as postgres_connection
from waypost.store.postgres import migrating

LAST = migrations.known("postgres")[-1].number

COLUMN = migrations.Migration(LAST + 1, "a_column", "ALTER TABLE messages ADD COLUMN a TEXT")
INDEX = migrations.parsed(
    LAST + 1,
    "an_index",
    """-- Messages by size, and no empty messages.
-- kind: concurrently
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS messages_by_size ON messages (size);
ALTER TABLE messages ADD CONSTRAINT messages_not_empty CHECK (size > 0) NOT VALID;
ALTER TABLE messages VALIDATE CONSTRAINT messages_not_empty;
DROP INDEX CONCURRENTLY IF EXISTS messages_by_header_id;
""",
)

known = migrations.known


@pytest.fixture(scope="module")
def template():
    return postgresql.template_database("contract", run)


@pytest.fixture
def url(template):
    url = postgresql.new_database(template)
    yield url
    postgresql.drop_database(url)


@pytest.fixture
def add(monkeypatch):
    """A function that adds a migration to those that the program knows."""

    def added(step):
        monkeypatch.setattr(migrations, "known", lambda dialect: [*known(dialect), step])

    return added


@pytest.fixture
def limits(monkeypatch):
    """A function that sets time limits."""
    return partial(set_limits, monkeypatch)


def run(url, **options):
    where = postgres_connection.where(url)
    with where.connect() as connection:
        postgres_connection.set_up(connection, prepares=False)
        migrating.migrate(connection, where, **options)


def newest(url):
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT max(number) FROM migrations").fetchone()[0]


def add_messages(url, *sizes):
    with psycopg.connect(url) as connection:
        for number, size in enumerate(sizes):
            connection.execute(ROW, (str(number), size))


ROW = """INSERT INTO messages (id, sender, recipients, helo, peer, protocol, received_at, size, subject)
         VALUES (%s, '', '[]', '', '', '', 0, %s, '')"""

INDEXES = """SELECT relname, indisvalid FROM pg_index JOIN pg_class ON oid = indexrelid
             WHERE relname IN ('messages_by_size', 'messages_by_header_id')"""
CONSTRAINT = "SELECT convalidated FROM pg_constraint WHERE conname = 'messages_not_empty'"


def is_migrated(url):
    with psycopg.connect(url) as connection:
        indexes, constraint = connection.execute(INDEXES).fetchall(), connection.execute(CONSTRAINT).fetchall()
    assert newest(url) in (LAST, INDEX.number)
    return (indexes, constraint, newest(url)) == ([("messages_by_size", True)], [(True,)], INDEX.number)


@contextlib.contextmanager
def reading(url):
    """Keep a transaction open that has read messages, as a backup does."""
    with psycopg.connect(url) as connection:
        connection.execute("SELECT FROM messages")
        yield


def test_clients_continue_while_a_migration_waits_for_a_lock(url, add, limits):
    add(COLUMN)
    limits(migration_lock=0.02, migration_pause=0.01)
    with ThreadPoolExecutor(1) as threads, psycopg.connect(url, autocommit=True) as client:
        client.execute(f"SET lock_timeout = '{PATIENCE:.0f}s'")
        with reading(url):
            migration = threads.submit(run, url)
            waits = "SELECT FROM pg_locks WHERE relation = 'messages'::regclass AND NOT granted"
            for number in range(5):  # each time, the migration is waiting in front of the client
                wait_until(lambda: client.execute(waits).rowcount)
                client.execute(ROW, (str(number), 1))
            assert not migration.done()
        migration.result(PATIENCE)
    assert newest(url) == COLUMN.number


def test_a_migration_that_does_not_get_a_lock_is_given_up_and_changes_nothing(url, add, limits):
    add(COLUMN)
    limits(migration_lock=0.01, migration=0.0)
    message = rf"migration {COLUMN.number} \(a_column\) has not run, because another client .* has held a lock for 0 s"
    with reading(url), pytest.raises(ports.StoreUnavailable, match=message):
        run(url)
    assert newest(url) == LAST
    run(url)
    assert newest(url) == COLUMN.number


def test_an_index_is_built_while_clients_write(url, add):
    add(INDEX)
    add_messages(url, 1, 2)
    run(url)
    assert is_migrated(url)
    run(url)


def test_a_new_database_gets_what_is_otherwise_built_concurrently(url, add):
    add(INDEX)
    empty = postgresql.new_database()
    run(empty)
    assert is_migrated(empty)
    postgresql.drop_database(empty)


@needs_pgbouncer
def test_servers_behind_a_pooler_run_a_concurrent_migration_once(url, add, limits):
    add(INDEX)
    limits(migration_pause=0.01)
    add_messages(url, 1, 2)
    with Pooler(url) as pooler, ThreadPoolExecutor(3) as threads:
        list(threads.map(run, [pooler.url] * 2))
    assert is_migrated(url)


LIMITS = "SELECT current_setting('statement_timeout'), current_setting('lock_timeout')"


@pytest.fixture(params=["PostgreSQL", pytest.param("PgBouncer", marks=needs_pgbouncer)])
def limited(request, url):
    """A database whose role has short time limits, and the URL at which clients connect."""
    with psycopg.connect(url, autocommit=True) as admin:
        for name in ("statement_timeout", "lock_timeout"):
            admin.execute(f'ALTER ROLE CURRENT_USER IN DATABASE "{admin.info.dbname}" SET {name} = 500')
    with contextlib.ExitStack() as stack:
        yield url, url if request.param == "PostgreSQL" else stack.enter_context(Pooler(url)).url


def test_the_time_limits_of_the_role_do_not_end_a_concurrent_migration(limited, add):
    url, of_clients = limited
    add(INDEX)
    add_messages(url, 1, 2)
    builds = "SELECT FROM pg_stat_activity WHERE query LIKE 'CREATE%' AND clock_timestamp() - query_start > '700 ms'"
    with ThreadPoolExecutor(1) as threads, psycopg.connect(url, autocommit=True) as observer:
        with psycopg.connect(url) as writer:
            writer.execute(ROW, ("3", 3))  # CREATE INDEX CONCURRENTLY waits for this transaction
            migration = threads.submit(run, of_clients)
            wait_until(lambda: migration.done() or observer.execute(builds).rowcount)
        migration.result(PATIENCE)
    assert is_migrated(url)
    with contextlib.ExitStack() as stack:
        for _ in range(3):  # each session of the pooler
            client = stack.enter_context(psycopg.connect(of_clients))
            assert client.execute(LIMITS).fetchone() == ("500ms", "500ms")


def test_a_transaction_timeout_of_the_role_does_not_end_a_concurrent_migration(url, add):
    add(INDEX)
    add_messages(url, 1, 2)
    builds = "SELECT FROM pg_stat_activity WHERE query LIKE 'CREATE%' AND clock_timestamp() - query_start > '700 ms'"
    with ThreadPoolExecutor(1) as threads, psycopg.connect(url, autocommit=True) as admin:
        if admin.info.server_version < 170_000:
            pytest.skip("PostgreSQL has no transaction_timeout before version 17")
        with psycopg.connect(url) as writer:
            writer.execute(ROW, ("3", 3))  # CREATE INDEX CONCURRENTLY waits for this transaction
            of_role = f'ALTER ROLE CURRENT_USER IN DATABASE "{admin.info.dbname}"'
            admin.execute(f"{of_role} SET transaction_timeout = 500")
            migration = threads.submit(run, url)
            wait_until(lambda: migration.done() or admin.execute(builds).rowcount)
        migration.result(PATIENCE)
        admin.execute(f"{of_role} RESET transaction_timeout")
    assert is_migrated(url)


def test_a_concurrent_migration_sets_the_limits_of_its_session_again(url, add):
    add(INDEX)
    add_messages(url, 1, 1)
    where = postgres_connection.where(conninfo.make_conninfo(url, options="-c statement_timeout=1min"))
    with where.connect() as connection:
        postgres_connection.set_up(connection, prepares=False)
        with pytest.raises(psycopg.errors.UniqueViolation):
            migrating.migrate(connection, where)
        assert connection.execute(LIMITS).fetchone() == ("1min", "0")


@pytest.mark.parametrize(
    ("sizes", "error"),
    [((5, 5), psycopg.errors.UniqueViolation), ((5, 0), psycopg.errors.CheckViolation)],
    ids=["an index that PostgreSQL does not use is left", "a constraint that is not validated is left"],
)
def test_a_concurrent_migration_that_has_failed_continues(url, add, sizes, error):
    add(INDEX)
    add_messages(url, *sizes)
    with pytest.raises(error):
        run(url)
    with psycopg.connect(url) as connection:
        left = [*connection.execute(INDEXES), *connection.execute(CONSTRAINT)]
        assert {("messages_by_size", False), (False,)} & set(left)
        connection.execute("UPDATE messages SET size = 6 WHERE id = '1'")
    assert not is_migrated(url)
    run(url)
    assert is_migrated(url)


RUNNING = """
import sys
from tests.store.postgres import test_migrating
known = test_migrating.migrations.known
test_migrating.migrations.known = lambda dialect: [*known(dialect), test_migrating.INDEX]
test_migrating.run(sys.argv[1])
"""


@pytest.mark.slow
def test_a_concurrent_migration_continues_after_it_was_killed(url, add):
    add(INDEX)
    add_messages(url, 1, 2)
    builds = "SELECT FROM pg_stat_progress_create_index WHERE datname = current_database()"
    with psycopg.connect(url, autocommit=True) as observer:
        with psycopg.connect(url) as writer:
            writer.execute(ROW, ("3", 3))  # CREATE INDEX CONCURRENTLY waits for this transaction
            killed = subprocess.Popen([sys.executable, "-c", RUNNING, url], start_new_session=True)
            wait_until(lambda: observer.execute(builds).rowcount)
            os.kill(killed.pid, signal.SIGKILL)
            killed.wait(PATIENCE)
            assert not is_migrated(url)
        run(url)
    assert is_migrated(url)


def test_servers_that_start_at_the_same_time_run_a_concurrent_migration_once(url, add, limits):
    add(INDEX)
    limits(migration_pause=0.01)
    add_messages(url, 1, 2)
    together = threading.Barrier(4)

    def start(_):
        together.wait(PATIENCE)
        run(url)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(start, range(4)))
    assert is_migrated(url)


def test_a_migration_is_reported_once_although_it_is_repeated(url, add, limits):
    add(COLUMN)
    limits(migration_lock=0.01, migration_pause=0.01)
    reported, repeated = [], threading.Event()

    @contextlib.contextmanager
    def report(number, name):
        reported.append((number, name))
        yield
        reported.append("done")

    real = migrating._apply

    def counted(*arguments, **options):
        try:
            real(*arguments, **options)
        except psycopg.errors.LockNotAvailable:
            repeated.set()
            raise

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as threads:
        patch.setattr(migrating, "_apply", counted)
        with reading(url):
            migration = threads.submit(run, url, report=report)
            assert repeated.wait(PATIENCE)
        migration.result(PATIENCE)
    assert reported == [(COLUMN.number, "a_column"), "done"]
