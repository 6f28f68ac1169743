"""Translates PostgreSQL errors into Waypost's exceptions: domain errors, conflicts after which the transaction is
retried, and failures of the store.

The details of a PostgreSQL error are never logged or returned, because they can quote email addresses and other data.
"""

import psycopg
from psycopg import errors as pg

from waypost.app import ports
from waypost.domain import errors as refusals
from waypost.store.common import errors

_TRY_AGAIN = (pg.SerializationFailure, pg.DeadlockDetected)
"""The errors after which a transaction can be run again, because PostgreSQL rolled it back after a conflict."""

_UNAVAILABLE = (
    psycopg.OperationalError,  # includes the SQLSTATE classes 08, 53, 57 and 58: connection, resources, shutdown, disk
    psycopg.InterfaceError,
    pg.ReadOnlySqlTransaction,  # the server is a standby now, after a failover
    pg.InFailedSqlTransaction,
    pg.InternalError_,
)


_LOST = ("08", "57P01", "57P02", "57P03", "57P05", "25P03", "25P04", "25006")
"""The prefixes of the SQLSTATEs after which a connection is unusable.

SQLSTATEs that begin with 08 mean that the connection broke. SQLSTATEs 57P01 to 57P03 mean that PostgreSQL is shutting
down, has crashed, or is starting. SQLSTATEs 57P05, 25P03 and 25P04 mean that a time limit ended the session. SQLSTATE
25006 means that the PostgreSQL server is a standby.
"""


class TryAgain(Exception):
    """PostgreSQL rolled back a transaction because of a conflict with another transaction, so it can be run again."""


class Unexpected(Exception):
    """PostgreSQL rejected a statement. Only a bug in Waypost can cause this error."""


def meaning(error: psycopg.Error) -> Exception:
    """Return the exception to raise instead of a PostgreSQL error."""
    if isinstance(error, pg.LockNotAvailable):
        return refusals.Busy("Another call is changing the same resource and did not finish in time. Please try again.")
    if isinstance(error, _TRY_AGAIN):
        return TryAgain(name(error))
    if isinstance(error, psycopg.IntegrityError):
        return errors.meaning(error.diag.constraint_name or "") or Unexpected(name(error))
    if isinstance(error, _UNAVAILABLE) or is_of_connection(error):
        return ports.StoreUnavailable(f"PostgreSQL reported an error: {name(error)}")
    return Unexpected(name(error))


def is_of_connection(error: psycopg.Error) -> bool:
    """Return whether an error means that the connection is lost, rather than only that a statement failed."""
    state = error.diag.sqlstate
    return isinstance(error, _UNAVAILABLE) if state is None else state.startswith(_LOST)


def name(error: psycopg.Error) -> str:
    """Return the parts of an error that may be logged: its primary message, its SQLSTATE, and the name of the violated
    constraint.
    """
    diagnosis = error.diag
    if diagnosis.sqlstate is None:  # an error of the connection or of the driver
        return " ".join(str(error).split())
    where = f", constraint {diagnosis.constraint_name}" if diagnosis.constraint_name else ""
    return f"{diagnosis.message_primary} (SQLSTATE {diagnosis.sqlstate}{where})"
