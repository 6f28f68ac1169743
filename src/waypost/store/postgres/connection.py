"""Functions that connect to PostgreSQL and set up the session."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from msgspec import Struct
from psycopg import conninfo, pq
from psycopg.types.numeric import Int8BinaryDumper, Int8Dumper

from waypost.app import ports
from waypost.store.common import time_limits
from waypost.store.postgres import errors as postgres_errors
from waypost.store.postgres import tls as postgres_tls
from waypost.store.postgres.transaction import Connection

OLDEST = 15
"""The oldest major version of PostgreSQL with which Waypost has been tested. The test suite runs on PostgreSQL 18."""

DURABLE = """CASE current_setting('synchronous_commit')
    WHEN 'off' THEN set_config('synchronous_commit', 'on', true) END"""
"""SQL that makes the transaction's commit synchronous if the PostgreSQL server or the role disables this.

With asynchronous commits, Waypost could accept a message with reply 250 and then lose the message in a crash.
"""

_LIMITS = "statement_timeout", "lock_timeout", "transaction_timeout", "idle_in_transaction_session_timeout"
"""The time limits that a role, a database or a PostgreSQL server can set. Versions before 17 have no
`transaction_timeout`, so the settings are looked up by their names."""


def _all_limits(value: str, *, is_local: bool) -> bytes:
    """Return the SQL that sets all of these time limits to an SQL expression, for a transaction or for the session."""
    names = ", ".join(f"'{name}'" for name in _LIMITS)
    setting = f"set_config(name, {value}, {str(is_local).lower()})"
    return f"SELECT {setting} FROM pg_settings WHERE name IN ({names})".encode()  # noqa: S608 - all parts are our own


NO_LIMITS = _all_limits("'0'", is_local=True)
"""SQL that removes the time limits for one transaction."""

LIFT_LIMITS, RESET_LIMITS = _all_limits("'0'", is_local=False), _all_limits("reset_val", is_local=False)
"""SQL that removes the time limits of a session, and sets them again."""


def _defaults() -> dict[str, Any]:
    """Return the connection parameters that apply unless the operator's URL overrides them."""
    return {
        "application_name": "waypost",
        "connect_timeout": time_limits.LIMITS.connect,
        "target_session_attrs": "read-write",  # if the URL has several hosts, connect to the primary
        **_keepalives(),
        **_user_timeout(),
    }


def _keepalives() -> dict[str, int]:
    """Return the keepalive parameters. Together with the parameter from `_user_timeout`, they let Waypost and
    PostgreSQL detect a broken connection within half a minute.
    """
    probe = time_limits.LIMITS.network_probe
    return {"keepalives_idle": probe, "keepalives_interval": probe // 2, "keepalives_count": 3}


def _user_timeout() -> dict[str, int]:
    return {"tcp_user_timeout": _milliseconds(time_limits.LIMITS.unacknowledged)}


class BadDatabase(Exception):
    """Waypost cannot use this PostgreSQL database. The error message gives the reason."""


@dataclass(frozen=True, slots=True)
class Where:
    """The connection parameters of a PostgreSQL database, by their names in libpq."""

    parameters: Mapping[str, Any] = field(repr=False)

    def __str__(self) -> str:
        """Return a description of the database for messages: its name, host and port, but not the password."""
        named = self.parameters
        name = named.get("dbname") or named.get("user") or ""
        # If the `dbname` is a connection string, it may contain a password.
        name = name if re.fullmatch(r"[\w.$-]+", name) else ""
        host = named.get("host") or named.get("hostaddr") or "localhost"
        return f"PostgreSQL database {name} at {host}:{named.get('port') or 5432}"

    def connect(self) -> Connection:
        """Open a new connection, which the caller must set up with `set_up`. Raises `psycopg.Error`."""
        parameters = {**_defaults(), **self.parameters, "client_encoding": "UTF8"}
        if self.requires_tls:
            parameters["sslmode"] = postgres_tls.REQUIRED
        connection = psycopg.connect(**parameters, autocommit=True, cursor_factory=psycopg.RawCursor)
        # All integers are sent with the same type, so that a query needs only one prepared statement for small and
        # large numbers.
        for dumper in (Int8Dumper, Int8BinaryDumper):
            connection.adapters.register_dumper(int, dumper)
        return connection

    @property
    def requires_tls(self) -> bool:
        """Whether Waypost must require TLS, because the database may be on another machine and neither the URL nor
        PGSSLMODE sets an `sslmode`.
        """
        return postgres_tls.is_required(self.parameters, _environment())


def _environment() -> dict[str, str]:
    """Return the parameters that libpq reads from environment variables such as PGHOST and PGSSLMODE."""
    return {
        option.keyword.decode(): os.environ[variable]
        for option in pq.Conninfo.get_defaults()
        if option.envvar and (variable := option.envvar.decode()) in os.environ
    }


def where(url: str) -> Where:
    """Parse the URL or connection string of a database. Raises `BadDatabase` if the URL is malformed."""
    try:
        return Where(conninfo.conninfo_to_dict(url))
    except psycopg.ProgrammingError:  # its message would reveal parts of the URL
        raise BadDatabase(
            "This is not a valid URL of a PostgreSQL database. A valid URL looks like postgresql://user@host/name. If "
            "the syntax is correct, the URL has a parameter that libpq does not know."
        ) from None


def check_session(connection: Connection, row: Sequence[Any]) -> None:
    """Check the answer to `session_query`. Raises `BadDatabase` if Waypost cannot use this database."""
    if row[0] != "UTF8":
        raise BadDatabase("The encoding of the database must be UTF8. Create a new database with ENCODING 'UTF8'.")
    version = connection.info.server_version // 10_000
    if version < OLDEST:
        raise BadDatabase(f"Waypost needs PostgreSQL {OLDEST} or newer, but this is PostgreSQL {version}.")


def session_query(*, is_own: bool) -> bytes:
    """Return the first query of a new session. `check_session` checks its answer.

    If `is_own` is true, the query also sets the intervals at which PostgreSQL probes the connection. These settings
    belong to the session. They are left alone if a pooler may assign the session to other clients (`is_own` is false).
    """
    changes = (f", set_config('{name}', '{value}', false)" for name, value in _probes().items() if is_own)
    return f"SELECT current_setting('server_encoding'){''.join(changes)}".encode()


def probe_during_transaction(connection: Connection) -> None:
    """Let PostgreSQL probe the connection during the open transaction, so that it notices if the client is lost."""
    changes = (f"set_config('{name}', '{value}', true)" for name, value in _probes().items())
    connection.execute(f"SELECT {', '.join(changes)}".encode())


def _probes() -> dict[str, int]:
    return {f"tcp_{name}": value for name, value in _keepalives().items()} | _user_timeout()


def set_up(connection: Connection, *, prepares: bool = True) -> None:
    """Check and set up a new session, in one round trip. If `prepares` is false, it uses no prepared statements.

    Raises `BadDatabase` if Waypost cannot use this database, and `psycopg.Error` if the connection fails.
    """
    if not prepares:
        connection.prepare_threshold = None
    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED  # of migrations, whatever the database's default
    connection.read_only = False
    row = connection.execute(session_query(is_own=prepares)).fetchone()
    assert row is not None
    check_session(connection, row)


class Beginning(Struct, frozen=True):
    """The two statements with which a transaction begins. They are sent with the transaction's first query.

    All settings apply only to this transaction (SET LOCAL), so that a pooler may give every transaction another
    session.
    """

    begin: bytes
    settings: bytes


def beginning(*, read_only: bool = False, snapshot: bool = False, statement_seconds: float | None = None) -> Beginning:
    """Return the statements that begin a transaction, and set its access mode, time limits and durability.

    If `snapshot` is true, all queries of the transaction see the same data. `statement_seconds` is the time limit of
    one statement; None means the default limit in `time_limits`.
    """
    limits = time_limits.LIMITS
    level = "REPEATABLE READ" if snapshot else "READ COMMITTED"  # use cases lock the rows that must not change
    settings = {
        "lock_timeout": limits.held_row,
        "statement_timeout": statement_seconds or limits.statement,
        "idle_in_transaction_session_timeout": limits.silence,
    }
    changes = [f"set_config('{name}', '{_milliseconds(seconds)}', true)" for name, seconds in settings.items()]
    return Beginning(
        f"BEGIN ISOLATION LEVEL {level}, {'READ ONLY' if read_only else 'READ WRITE'}".encode(),
        f"SELECT {', '.join(changes if read_only else [*changes, DURABLE])}".encode(),
    )


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def commit_durably(connection: Connection) -> None:
    """Make the commit of the transaction that the caller has begun synchronous."""
    connection.execute(f"SELECT {DURABLE}".encode())


def unavailable(where: Where, error: psycopg.Error) -> ports.StoreUnavailable:
    """Return the exception to raise if a session cannot be opened."""
    why = postgres_errors.name(error)
    if where.requires_tls and "SSL" in why:
        why += (
            ". TLS is required because the database is on another machine and the URL has no sslmode. Enable TLS in "
            "PostgreSQL (ssl = on). If only trusted machines can reach the network, you can instead add "
            "?sslmode=disable to the URL."
        )
    return ports.StoreUnavailable(f"{where} cannot be used: {why}")
