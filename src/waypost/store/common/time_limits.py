"""How long the stores wait and run, in one value."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeLimits:
    """Seconds."""

    long_read: float = 5.0
    """For one long read, while others wait for theirs. On PostgreSQL, for each of its statements."""
    damage_check: float = 0.25
    """For the look at an SQLite file before a server starts: at all of a small file, at a part of a large one."""
    other_process: float = 5.0
    """For another process that writes to the SQLite file."""
    free_connection: float = 5.0
    """For a connection to PostgreSQL to be free, or for the turn of an account's long read."""
    answer: float = 30.0
    """For PostgreSQL, all attempts together. Longer than PostgreSQL's own limits, because those tell more."""
    statement: float = 15.0
    """For one statement of PostgreSQL that is not part of a long read."""
    held_row: float = 3.0
    """For a row that another transaction on PostgreSQL holds."""
    silence: float = 10.0
    """That PostgreSQL waits for us in the middle of a transaction, before it gives the rows that we hold to others."""


LIMITS = TimeLimits()
"""Those that hold. Read when they are used, so that a test can replace them."""
