"""The time limits of the SQLite store and the PostgreSQL store."""

from msgspec import Struct


class TimeLimits(Struct, frozen=True, kw_only=True):
    """The time limits of the SQLite store and the PostgreSQL store. All time limits are in seconds."""

    long_read: float = 5.0
    """The time limit for one long read. The limit keeps other long reads from waiting too long. On PostgreSQL, the
    limit applies to each statement separately."""
    damage_check: float = 0.25
    """The time limit for checking an SQLite file for damage when a server starts. Within this time, SQLite can check
    all of a small file, but only part of a large file."""
    other_process: float = 5.0
    """The maximum time to wait while another process writes to the SQLite file."""
    free_connection: float = 5.0
    """The maximum time to wait for a free connection to PostgreSQL, or for an account's turn to run a long read."""
    answer: float = 30.0
    """The time limit for a transaction on PostgreSQL, including all its retries. This limit is longer than the limits
    that PostgreSQL itself enforces, because PostgreSQL's own error messages are more precise."""
    statement: float = 15.0
    """The time limit for each PostgreSQL statement outside long reads."""
    held_row: float = 3.0
    """The maximum time to wait for a row that another transaction on PostgreSQL has locked."""
    silence: float = 10.0
    """How long PostgreSQL waits for the next statement of an open transaction before it ends the session."""
    connect: int = 5
    """The time limit for opening a new connection to PostgreSQL."""
    unacknowledged: float = 20.0
    """How long data sent to PostgreSQL may remain unacknowledged before the connection is treated as lost."""
    network_probe: int = 10
    """How long a connection to PostgreSQL may be idle before the operating system probes it. The operating system sends
    three probes, at intervals of half this time."""
    migration_lock: float = 0.25
    """The maximum time that a migration of a PostgreSQL database waits for a lock on a table. Clients that come later
    wait behind it."""
    migration: float = 600.0
    """How long a migration repeats its attempt to get the locks that it needs, and how long it waits while another
    server migrates."""
    migration_pause: float = 1.0
    """The maximum pause between two attempts of a migration, in which waiting clients continue."""
    pause: float = 0.01
    """The maximum time that a transaction waits before its first retry after a conflict. The maximum wait doubles with
    each retry, and the actual wait is a random fraction of it."""


LIMITS = TimeLimits()
"""The current time limits. The stores read this object each time they need a limit, so that a test can replace the
object."""
