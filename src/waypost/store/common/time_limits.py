"""The time limits of the SQLite store and the PostgreSQL store."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeLimits:
    """The time limits of both stores. All time limits are in seconds."""

    long_read: float = 5.0
    """Seconds for one long read, while other long reads may be waiting. On PostgreSQL, the limit is for each
    statement."""
    damage_check: float = 0.25
    """Seconds for checking an SQLite file for damage when a server starts. In this time, SQLite can check all of a
    small file, but only a part of a large file."""
    other_process: float = 5.0
    """Seconds to wait while another process writes to the SQLite file."""
    free_connection: float = 5.0
    """Seconds to wait for a free connection to PostgreSQL, or for an account's turn to run a long read."""
    answer: float = 30.0
    """Seconds for a transaction on PostgreSQL, including all its retries. This limit is longer than the limits that
    PostgreSQL itself enforces, because the errors of PostgreSQL say more."""
    statement: float = 15.0
    """Seconds for one statement on PostgreSQL that is not part of a long read."""
    held_row: float = 3.0
    """Seconds to wait for a row that another transaction on PostgreSQL has locked."""
    silence: float = 10.0
    """Seconds that PostgreSQL waits for the next statement of an open transaction before it ends the session."""
    connect: int = 5
    """Seconds to open a new connection to PostgreSQL."""
    unacknowledged: float = 20.0
    """Seconds for data to or from PostgreSQL to be acknowledged; after this time, the connection is treated as lost."""
    network_probe: int = 10
    """Seconds without data after which the operating system probes a connection to PostgreSQL. The system sends
    three probes, and waits half of this time between the probes."""
    pause: float = 0.01
    """The maximum number of seconds that a transaction waits before its first retry after a conflict. This maximum
    doubles with each retry, and the actual wait is a random fraction of the maximum."""


LIMITS = TimeLimits()
"""The current time limits. The stores read this object each time they need a limit, so that a test can replace the
object."""
