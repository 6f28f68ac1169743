"""Measures the difference between this machine's clock and the clock of PostgreSQL."""

import time
from collections.abc import Callable


def ahead(time_of_database: Callable[[], float]) -> float:
    """Return by how many seconds this machine's clock is ahead of PostgreSQL's.

    `time_of_database` asks PostgreSQL for its time, in seconds since the epoch, in one transaction. The time counts as
    read half way between the request and the reply.
    """
    time_of_database()  # the transaction begins here, and a pooler may first wait for a session
    asked = time.time()
    theirs = time_of_database()
    answered = time.time()
    return (asked + answered) / 2 - theirs
