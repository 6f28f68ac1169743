"""The meaning of PostgreSQL's errors, in one table: a refusal, a conflict to retry, or a database that is not
available.

The details of an error are never passed on: they quote addresses and texts of rows.
"""

import psycopg
from psycopg import errors as pg

from waypost.app import ports
from waypost.domain import errors as refusals
from waypost.store.common import errors

_TRY_AGAIN = (pg.SerializationFailure, pg.DeadlockDetected)
"""Two transactions were in conflict, and this one was rolled back: it can be run again."""

_UNAVAILABLE = (
    psycopg.OperationalError,  # with all of classes 08, 53, 57, 58: connection, resources, shutdown, disk
    psycopg.InterfaceError,
    pg.ReadOnlySqlTransaction,  # a standby: what was the primary is no more
    pg.InFailedSqlTransaction,
    pg.InternalError_,
)


_LOST = ("08", "57P01", "57P02", "57P03", "57P05", "25P03", "25P04", "25006")
"""The beginnings of SQLSTATEs after which a connection is unusable. The last one is that of a standby; those with P are
of limits that ended the session."""


class TryAgain(Exception):
    """The transaction was in conflict with another one, and was rolled back. It can be run again."""


class Unexpected(Exception):
    """PostgreSQL refused a statement that only a bug can have sent."""


def meaning(error: psycopg.Error) -> Exception:
    """The error to raise in place of an error of PostgreSQL."""
    if isinstance(error, pg.LockNotAvailable):
        return refusals.Busy("Another call is changing the same resource, and was not done in time. Please try again.")
    if isinstance(error, _TRY_AGAIN):
        return TryAgain(name(error))
    if isinstance(error, psycopg.IntegrityError):
        return errors.meaning(error.diag.constraint_name or "") or Unexpected(name(error))
    if isinstance(error, _UNAVAILABLE) or is_of_connection(error):
        return ports.StoreUnavailable(f"PostgreSQL says: {name(error)}")
    return Unexpected(name(error))


def is_of_connection(error: psycopg.Error) -> bool:
    """Whether the connection is lost, and not just the statement."""
    state = error.diag.sqlstate
    return isinstance(error, _UNAVAILABLE) if state is None else state.startswith(_LOST)


def name(error: psycopg.Error) -> str:
    """The parts of an error that may be logged: its sentence without details, its SQLSTATE, the constraint."""
    diagnosis = error.diag
    if diagnosis.sqlstate is None:  # of the connection, or of the driver
        return " ".join(str(error).split())
    where = f", constraint {diagnosis.constraint_name}" if diagnosis.constraint_name else ""
    return f"{diagnosis.message_primary} (SQLSTATE {diagnosis.sqlstate}{where})"
