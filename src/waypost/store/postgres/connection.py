"""Connects to PostgreSQL: sets up the session, and migrates the schema."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import conninfo, pq
from psycopg.types.numeric import Int8BinaryDumper, Int8Dumper

from waypost.app import ports
from waypost.store import migrations
from waypost.store.common import time_limits
from waypost.store.postgres import errors as postgres_errors
from waypost.store.postgres import tls as postgres_tls
from waypost.store.postgres.transaction import Connection

OLDEST = 15
"""The oldest PostgreSQL that this was tried with; the tests have 18."""

_MIGRATION_LOCK = 0x7761_7970_6F73_7401
"""The number of the advisory lock that migrations are run under: "waypost", and a one."""

_DURABLE = """CASE current_setting('synchronous_commit')
    WHEN 'off' THEN set_config('synchronous_commit', 'on', false) END"""
"""Without it, a server or role could have commits that do not wait for the disk, and a 250 would be untrue."""

_OWNER_OF_MIGRATIONS = b"""SELECT o.rolname,
    o.rolsuper OR pg_has_role(current_user, o.oid, 'MEMBER') OR o.oid = d.datdba
    FROM pg_class AS c, pg_roles AS o, pg_database AS d
    WHERE c.oid = to_regclass('migrations') AND o.oid = c.relowner AND d.datname = current_database()"""
"""Where every role may create tables in the schema, another role can have created this table first, so that its tables
would be used as Waypost's. Any other table of that role makes the migration fail."""


def _defaults() -> dict[str, Any]:
    """The default parameters of a connection."""
    return {
        "application_name": "waypost",
        "connect_timeout": time_limits.LIMITS.connect,
        "target_session_attrs": "read-write",  # of several hosts, the primary
        **_keepalives(),
        **_user_timeout(),
    }


def _keepalives() -> dict[str, int]:
    """With these and `_user_timeout` either side notices within half a minute that the network drops packets."""
    probe = time_limits.LIMITS.network_probe
    return {"keepalives_idle": probe, "keepalives_interval": probe // 2, "keepalives_count": 3}


def _user_timeout() -> dict[str, int]:
    return {"tcp_user_timeout": _milliseconds(time_limits.LIMITS.unacknowledged)}


class BadDatabase(Exception):
    """This PostgreSQL cannot hold our data. The message says why."""


@dataclass(frozen=True, slots=True)
class Where:
    """A PostgreSQL database, as libpq names it."""

    parameters: Mapping[str, Any] = field(repr=False)

    def __str__(self) -> str:
        """Its host, port and name, without the password; for messages."""
        named = self.parameters
        name = named.get("dbname") or named.get("user") or ""
        name = name if re.fullmatch(r"[\w.$-]+", name) else ""  # a connection string in its place may have a password
        host = named.get("host") or named.get("hostaddr") or "localhost"
        return f"PostgreSQL database {name} at {host}:{named.get('port') or 5432}"

    def connect(self) -> Connection:
        """A new connection, which is not set up yet. Raises `psycopg.Error`."""
        parameters = {**_defaults(), **self.parameters, "client_encoding": "UTF8"}
        if self.requires_tls:
            parameters["sslmode"] = postgres_tls.REQUIRED
        return psycopg.connect(**parameters, autocommit=True, cursor_factory=psycopg.RawCursor)

    @property
    def requires_tls(self) -> bool:
        """Whether the connection must be encrypted though neither the URL nor PGSSLMODE says so."""
        return postgres_tls.is_required(self.parameters, _environment())


def _environment() -> dict[str, str]:
    """The parameters that libpq takes from environment variables such as PGHOST and PGSSLMODE."""
    return {
        option.keyword.decode(): os.environ[variable]
        for option in pq.Conninfo.get_defaults()
        if option.envvar and (variable := option.envvar.decode()) in os.environ
    }


def where(url: str) -> Where:
    """The database that a URL or connection string names. Raises `BadDatabase`."""
    try:
        return Where(conninfo.conninfo_to_dict(url))
    except psycopg.ProgrammingError:  # whose text would show what is in the URL
        raise BadDatabase(
            "This is no URL of a PostgreSQL database, such as postgresql://user@host/name; or it has a parameter that "
            "libpq does not know."
        ) from None


def set_up(connection: Connection, *, statement_seconds: float | None = None, read_only: bool = False) -> None:
    """Set the access mode, the time limits, and durable commits, in one round trip.

    `statement_seconds` is the limit of one statement, if it is another one than `time_limits` has.

    Raises `BadDatabase` if Waypost cannot use this database, and `psycopg.Error`.
    """
    for dumper in (Int8Dumper, Int8BinaryDumper):  # one type, whatever the number: one prepared statement
        connection.adapters.register_dumper(int, dumper)
    limits = time_limits.LIMITS
    settings = {
        "lock_timeout": _milliseconds(limits.held_row),
        "statement_timeout": _milliseconds(statement_seconds or limits.statement),
        "idle_in_transaction_session_timeout": _milliseconds(limits.silence),
        # A server that dies without a word holds its rows no longer than this network takes to notice.
        **{f"tcp_{name}": value for name, value in _keepalives().items()},
        **_user_timeout(),
        "default_transaction_isolation": "read committed",  # rows that matter are locked
        "default_transaction_read_only": "on" if read_only else "off",
        "client_min_messages": "error",
    }
    changes = ", ".join(f"set_config('{name}', '{value}', false)" for name, value in settings.items())
    row = connection.execute(f"SELECT current_setting('server_encoding'), {_DURABLE}, {changes}".encode()).fetchone()
    if row is None or row[0] != "UTF8":
        raise BadDatabase("The encoding of the database must be UTF8. Create another one, with ENCODING 'UTF8'.")
    version = connection.info.server_version // 10_000
    if version < OLDEST:
        raise BadDatabase(f"PostgreSQL {OLDEST} or newer is needed; this is {version}.")


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def migrate(connection: Connection, *, where: str, only_new: bool = False, may_make: bool = True) -> None:
    """Migrate the schema. `where` names the database in errors.

    With `only_new` nothing but a new database is touched: `migrations.SchemaTooOld` is raised for one that has a
    schema and needs another. Unless it `may_make` the tables, they must be there: `migrations.SchemaMissing` is raised
    if there are none. Raises `migrations.SchemaTooNew`, `BadDatabase`, `psycopg.Error`; a migration that fails
    leaves nothing behind.
    """
    while _migrated_by_one(connection, where=where, only_new=only_new, may_make=may_make):
        only_new = False


def _migrated_by_one(connection: Connection, *, where: str, only_new: bool, may_make: bool) -> bool:
    """Run the next migration, if there is one. Other processes wait, and then find it done."""
    with connection.transaction():
        # However long it takes: the schema is as it must be afterwards, or as it was.
        connection.execute("SELECT set_config('lock_timeout', '0', true), set_config('statement_timeout', '0', true)")
        connection.execute("SELECT pg_advisory_xact_lock($1)", (_MIGRATION_LOCK,))
        newest = _newest(connection)
        steps = migrations.pending("postgres", newest_applied=newest, where=where)
        if not newest and not may_make:
            raise migrations.SchemaMissing(where)
        if steps and only_new and newest:
            raise migrations.SchemaTooOld(f"{where} has the schema of an older Waypost.")
        for step in steps[:1]:
            connection.execute(step.sql.encode())
            connection.execute("INSERT INTO migrations VALUES ($1, $2, now())", (step.number, step.name))
    return len(steps) > 1


def _newest(connection: Connection) -> int:
    """The number of the migration that ran last, 0 for a new database."""
    found = connection.execute(_OWNER_OF_MIGRATIONS).fetchone()
    if found and not found[1]:
        raise BadDatabase(
            f"The table migrations belongs to the role {found[0]}, which is neither the role of Waypost, nor the "
            "owner of the database, nor a superuser. Whoever owns the tables can change everything. Drop the "
            "table if it is not Waypost's, and REVOKE CREATE ON SCHEMA public FROM PUBLIC; or give the tables to the "
            "role of Waypost."
        )
    if not found:
        connection.execute(
            "CREATE TABLE migrations (number BIGINT CONSTRAINT migrations_once PRIMARY KEY, name TEXT NOT NULL,"
            " applied_at TIMESTAMPTZ NOT NULL)"
        )
    ((newest,),) = connection.execute("SELECT coalesce(max(number), 0) FROM migrations").fetchall()
    return int(newest)


def unavailable(where: Where, error: psycopg.Error) -> ports.StoreUnavailable:
    """The error for a session that cannot be opened."""
    why = postgres_errors.name(error)
    if where.requires_tls and "SSL" in why:
        why += (
            ". TLS is required because the database is on another machine and the URL has no sslmode. Let PostgreSQL "
            "offer TLS (ssl = on); or, where nobody else can reach the network, add ?sslmode=disable to the URL."
        )
    return ports.StoreUnavailable(f"{where} cannot be used: {why}")
