"""How long the stores wait and run: one value that has every limit."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeLimits:
    """Each in seconds."""

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
    connect: int = 5
    """For a new connection to PostgreSQL."""
    unacknowledged: float = 20.0
    """For what was sent to PostgreSQL, or by it, to arrive: a network that swallows packets is noticed then."""
    network_probe: int = 10
    """After which a silent connection to PostgreSQL is probed; then thrice, in intervals of half of it."""
    pause: float = 0.01
    """About what a transaction that gave way waits before its second run; twice as long before each further one."""


LIMITS = TimeLimits()
"""Those that hold. Read when they are used, so that a test can replace them."""
