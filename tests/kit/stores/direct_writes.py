"""Writes directly to the store of a server, on SQLite or PostgreSQL."""

import asyncio
import os
from contextlib import contextmanager

from waypost.host.data_directory import DataDirectory
from waypost.server import opening


def write(data, use_case):
    """Run a use case on the store of a data directory, with or without a running server, as `waypost keys` does."""
    with umask_kept():
        return asyncio.run(opening.administer(DataDirectory(data), use_case, make=True))


@contextmanager
def umask_kept():
    """Restore the umask, which commands change for the process that they share with other tests."""
    before = os.umask(0o077)
    os.umask(before)
    try:
        yield
    finally:
        os.umask(before)
