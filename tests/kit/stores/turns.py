"""Tells whether a process waits for its turn to write to an SQLite file."""

import fcntl


def is_waiting(path):
    """Return whether a process waits for its turn."""
    with path.with_name(f"{path.name}-next").open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
