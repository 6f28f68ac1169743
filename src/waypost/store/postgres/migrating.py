"""Migrates the schema of a PostgreSQL database while servers use it.

A migration of the kind `transaction` waits for each lock only for a short time, because clients that come later wait
behind it. If it does not get a lock in time, it is rolled back and repeated. A migration of the kind `concurrently`
does not stop clients that write. If it is interrupted, it begins again.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from psycopg import errors as driver
from psycopg import generators, pq

import waypost
from waypost.app import ports
from waypost.app.ports.upgrades import ReportMigration, silently
from waypost.store import migrations
from waypost.store.common import time_limits
from waypost.store.migrations import Kind, Migration, statements
from waypost.store.postgres import connection as postgres_connection
from waypost.store.postgres.connection import BadDatabase, Where
from waypost.store.postgres.transaction import Connection

T = TypeVar("T")

_LOCK = 0x7761_7970_6F73_7401
"""The number of the advisory lock for one transaction that migrates: the ASCII letters "waypost" and a final byte with
the value 1."""

_CONCURRENT_LOCK = _LOCK + 1
"""The number of the advisory lock for one migration of the kind `concurrently`.

Nobody waits for this lock inside PostgreSQL, because a statement that waits has a snapshot, and CREATE INDEX
CONCURRENTLY waits for all older snapshots. Each would wait for the other.
"""

_TAKE_CONCURRENT_LOCK = f"SELECT pg_try_advisory_xact_lock({_CONCURRENT_LOCK})".encode()
"""SQL that tries to take this lock for an open transaction. It has no parameters, because a query with parameters keeps
its snapshot until the next query."""

_OWNER_OF_MIGRATIONS = b"""SELECT o.rolname,
    o.rolsuper OR pg_has_role(current_user, o.oid, 'MEMBER') OR o.oid = d.datdba
    FROM pg_class AS c, pg_roles AS o, pg_database AS d
    WHERE c.oid = to_regclass('migrations') AND o.oid = c.relowner AND d.datname = current_database()"""
"""SQL that returns the owner of the table `migrations`, and whether Waypost can trust this owner.

If every role may create tables in the schema, another role could create this table before Waypost does, and Waypost
would then use that role's tables. Other tables need no check, because a migration fails if a table that it creates
already exists.
"""

_GIVE_TO_OWNER = b"""SELECT format('ALTER TABLE %I OWNER TO %I', made.relname, o.rolname)
    FROM pg_class AS c JOIN pg_roles AS o ON o.oid = c.relowner JOIN pg_class AS made USING (relnamespace)
    WHERE c.oid = to_regclass('migrations') AND made.relname = ANY ($1) AND made.relowner <> c.relowner
      AND pg_has_role(current_user, o.oid, 'MEMBER')"""
"""SQL that returns the statements that give new tables to the owner of the table `migrations`."""

_APPLIED = b"""SELECT number, waypost, needs
    FROM migrations LEFT JOIN migration_versions USING (number) ORDER BY number"""
_APPLIED_BEFORE = b"SELECT number FROM migrations ORDER BY number"
"""SQL that returns the migrations that have run, on a schema that does not have the table `migration_versions` yet."""

_RECORD = b"INSERT INTO migrations VALUES ($1, $2, now())"
_RECORD_VERSION = b"INSERT INTO migration_versions VALUES ($1, $2, $3)"

_HAS_VERSIONS = b"SELECT to_regclass('migration_versions') IS NOT NULL"

_IS_INVALID = b"SELECT NOT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)"

_CONSTRAINTS = b"SELECT conname FROM pg_constraint WHERE connamespace = current_schema()::regnamespace"


def migrate(
    connection: Connection,
    where: Where,
    *,
    only_new: bool = False,
    may_make: bool = True,
    report: ReportMigration = silently,
) -> None:
    """Migrate the schema to the newest version. The connection is to the database `where`.

    If `only_new` is true, the function raises `migrations.SchemaTooOld` instead of migrating an old schema. If
    `may_make` is false, the function raises `migrations.SchemaMissing` instead of creating missing tables. Also raises
    `migrations.SchemaTooNew` for a newer schema, `BadDatabase` if Waypost cannot use this database, `StoreUnavailable`
    if other clients hold locks for too long, and `psycopg.Error` if PostgreSQL reports an error. What has run before an
    exception stays.
    """
    found = applied(connection)
    if not found and not may_make:
        raise migrations.SchemaMissing(str(where))
    if found and only_new and migrations.pending("postgres", found, where=str(where)):
        raise migrations.SchemaTooOld(f"{where} has the schema of an older version of Waypost.")
    while steps := migrations.pending("postgres", applied(connection), where=str(where)):
        step = steps[0]
        run = _run_concurrently if step.kind is Kind.CONCURRENTLY else _run_in_transaction
        with report(step.number, step.name):
            run(connection, where, step)


def applied(connection: Connection) -> list[migrations.Applied]:
    """Return the migrations that have run, in order; none for a new database. Raises `BadDatabase` if an untrusted role
    owns the table `migrations`.
    """
    owner = connection.execute(_OWNER_OF_MIGRATIONS, prepare=False).fetchone()
    if not owner:
        return []
    if not owner[1]:
        raise BadDatabase(
            f"The table migrations belongs to the role {owner[0]}, which is neither Waypost's role, nor the owner "
            "of the database, nor a superuser. The owner of the tables can change all data. If another program "
            "created the table, drop it, and run REVOKE CREATE ON SCHEMA public FROM PUBLIC. Otherwise, change the "
            "owner of the tables to Waypost's role."
        )
    query = _APPLIED if _has_versions(connection) else _APPLIED_BEFORE
    return [migrations.Applied(*row) for row in connection.execute(query, prepare=False).fetchall()]


def make_schema(connection: Connection, number: int, *, refuse: Callable[[], None]) -> None:
    """Run the migrations up to a number on a new database, in the transaction that the caller has begun.

    `refuse` raises an exception if the database is not new. It is called when no other process can migrate.
    """
    _take_lock(connection)
    refuse()
    for step in migrations.known("postgres"):
        if step.number <= number:
            _apply(connection, step, is_new=True)


def _run_in_transaction(connection: Connection, where: Where, step: Migration) -> None:
    """Run a migration in one transaction, unless another server has run it meanwhile."""

    def attempt() -> None:
        with _locked(connection) as newest:
            if newest < step.number:
                _apply(connection, step, is_new=newest == 0)

    _repeated(attempt, where, step)


def _run_concurrently(connection: Connection, where: Where, step: Migration) -> None:
    """Run each statement of a migration in a transaction of its own, and record the migration at the end."""
    if not _newest(connection):  # nobody uses a new database, and there is nothing to wait for
        return _run_in_transaction(connection, where, step)
    with _alone(where, step):
        if _newest(connection) >= step.number:
            return None  # another server has run it
        constraints = {name for (name,) in connection.execute(_CONSTRAINTS, prepare=False).fetchall()}
        for statement in statements.repeatable(step, constraints.__contains__):
            _repeated(lambda one=statement: _run_statement(connection, one), where, step)  # type: ignore[misc]
        with _locked(connection) as newest:
            if newest < step.number:
                _record(connection, step)
    return None


def _run_statement(connection: Connection, statement: str) -> None:
    """Run a statement of a migration of the kind `concurrently`."""
    if statements.ADDED_CONSTRAINT.match(statement):
        with connection.transaction():
            _wait_shortly(connection)
            connection.execute(statement.encode(), prepare=False)
        return
    made = statements.CREATED_INDEX.match(statement)
    if made and connection.execute(_IS_INVALID, (made[1],), prepare=False).fetchone() == (True,):
        # A statement that was interrupted, or that has failed, leaves an index that PostgreSQL does not use.
        _run_without_limits(connection, f"DROP INDEX CONCURRENTLY IF EXISTS {made[1]}")
    _run_without_limits(connection, statement)


def _run_without_limits(connection: Connection, statement: str) -> None:
    """Run a statement that cannot be part of a transaction, without the time limits of the role or the database.

    The limits are lifted for the session, and then set again. A pooler in transaction mode gives the session away when
    it has answered everything that the client has sent, so all three statements are sent before the first answer is
    read. Each is a transaction of its own.
    """
    libpq = connection.pgconn
    libpq.enter_pipeline_mode()
    sent = (postgres_connection.LIFT_LIMITS, statement.encode(), postgres_connection.RESET_LIMITS)
    for one in sent:
        libpq.send_query_params(one, None)
        libpq.pipeline_sync()
    answers = [connection.wait(generators.fetch_many(libpq)) for _ in range(2 * len(sent))]  # each with its sync
    libpq.exit_pipeline_mode()
    for result in (one for answer in answers for one in answer):
        if result.status == pq.ExecStatus.FATAL_ERROR:
            raise driver.error_from_result(result)


def _apply(connection: Connection, step: Migration, *, is_new: bool) -> None:
    """Run a migration in the open transaction, and record it. `is_new` is true if nobody else uses the database."""
    if step.number == 1:
        connection.execute(
            b"CREATE TABLE IF NOT EXISTS migrations (number BIGINT CONSTRAINT migrations_once PRIMARY KEY,"
            b" name TEXT NOT NULL, applied_at TIMESTAMPTZ NOT NULL)"
        )
    if not is_new:
        _wait_shortly(connection)
    for statement in statements.in_transaction(step):
        connection.execute(statement.encode(), prepare=False)
    _give_to_owner(connection, step)
    _record(connection, step)


def _give_to_owner(connection: Connection, step: Migration) -> None:
    """Give the new tables of a migration to the owner of the others. Otherwise, after a superuser has migrated, the
    servers could not use the new tables.
    """
    made = sorted(migrations.tables_of(step))
    for (statement,) in connection.execute(_GIVE_TO_OWNER, (made,), prepare=False).fetchall():
        connection.execute(statement.encode(), prepare=False)


def _record(connection: Connection, step: Migration) -> None:
    connection.execute(_RECORD, (step.number, step.name), prepare=False)
    if _has_versions(connection):
        connection.execute(_RECORD_VERSION, (step.number, waypost.__version__, step.needs), prepare=False)


def _has_versions(connection: Connection) -> bool:
    return connection.execute(_HAS_VERSIONS, prepare=False).fetchone() == (True,)


def _newest(connection: Connection) -> int:
    return migrations.newest_of(applied(connection))


@contextmanager
def _locked(connection: Connection) -> Iterator[int]:
    """Run the `with` block in a transaction while no other process migrates. Yield the number of the newest migration
    that has run.
    """
    with connection.transaction():
        _take_lock(connection)
        yield _newest(connection)


def _take_lock(connection: Connection) -> None:
    # A migration has no time limit. It either runs completely or leaves the schema unchanged.
    connection.execute(postgres_connection.NO_LIMITS, prepare=False)
    connection.execute(f"SELECT {postgres_connection.DURABLE}".encode(), prepare=False)
    connection.execute(b"SELECT pg_advisory_xact_lock($1)", (_LOCK,), prepare=False)


def _wait_shortly(connection: Connection) -> None:
    """Let later statements of the transaction fail if they do not get a lock soon, and for no other reason of time."""
    milliseconds = round(time_limits.LIMITS.migration_lock * 1000)
    connection.execute(postgres_connection.NO_LIMITS, prepare=False)
    connection.execute(f"SELECT set_config('lock_timeout', '{milliseconds}', true)".encode(), prepare=False)


@contextmanager
def _alone(where: Where, step: Migration) -> Iterator[None]:
    """Run the `with` block while no other process runs a migration of the kind `concurrently`.

    An open transaction on a second connection holds the lock, so that a pooler does not give the session away. This
    transaction has no snapshot, so that CREATE INDEX CONCURRENTLY does not wait for it.
    """
    with where.connect() as holder:
        postgres_connection.set_up(holder, prepares=False)  # there may be a pooler

        def take() -> None:
            holder.execute(b"BEGIN ISOLATION LEVEL READ COMMITTED")
            holder.execute(postgres_connection.NO_LIMITS)
            ((has_lock,),) = holder.execute(_TAKE_CONCURRENT_LOCK).fetchall()
            if not has_lock:
                holder.execute(b"ROLLBACK")
                raise driver.LockNotAvailable

        _repeated(take, where, step)
        yield
        holder.execute(b"COMMIT")


def _repeated(attempt: Callable[[], T], where: Where, step: Migration) -> T:
    """Repeat an attempt that does not get its locks, with pauses, in which waiting clients continue.

    Raises `StoreUnavailable` after `LIMITS.migration`.
    """
    limits = time_limits.LIMITS
    deadline = time.monotonic() + limits.migration
    pause = limits.pause
    while True:
        try:
            return attempt()
        except (driver.LockNotAvailable, driver.DeadlockDetected) as error:
            if time.monotonic() > deadline:
                raise ports.StoreUnavailable(
                    f"{where}: migration {step.number} ({step.name}) has not run, because another client of the "
                    f"database has held a lock for {limits.migration:g} s. It may be a backup, or another server that "
                    "migrates. The view pg_stat_activity shows it. When it has ended, try again."
                ) from error
        time.sleep(pause)
        pause = min(2 * pause, limits.migration_pause)
