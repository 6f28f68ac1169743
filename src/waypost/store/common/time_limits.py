"""The time limits of the stores, in one value."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeLimits:
    """Each in seconds."""

    long_read: float = 5.0
    """Seconds for one long read, as other reads wait for it. On PostgreSQL, this limit applies to each statement."""
    damage_check: float = 0.25
    """Seconds for the check of an SQLite file before a server starts: of all of a small file, of a part of a large
    one."""
    other_process: float = 5.0
    """Seconds to wait for another process that writes to the SQLite file."""
    free_connection: float = 5.0
    """Seconds to wait for a free connection to PostgreSQL, or for an account's turn to run a long read."""
    answer: float = 30.0
    """Seconds for a transaction on PostgreSQL, with all its attempts. It is longer than PostgreSQL's own limits, whose
    errors say more."""
    statement: float = 15.0
    """Seconds for one statement on PostgreSQL that is not part of a long read."""
    held_row: float = 3.0
    """Seconds to wait for a row that another transaction on PostgreSQL has locked."""
    silence: float = 10.0
    """Seconds that PostgreSQL waits for the next statement of a transaction before it rolls the transaction back."""
    connect: int = 5
    """Seconds to open a new connection to PostgreSQL."""
    unacknowledged: float = 20.0
    """Seconds for data to or from PostgreSQL to arrive: after that, a network that drops packets is treated as
    failed."""
    network_probe: int = 10
    """Seconds after which a silent connection to PostgreSQL is probed; then three times, in intervals of half of it."""
    pause: float = 0.01
    """About how many seconds a transaction waits before its second run after a conflict; the time doubles for each
    further run."""


LIMITS = TimeLimits()
"""Those that hold. They are read when they are used, so that a test can replace them."""
