"""Writing into the store of a server from beside it, whatever database that is."""

import asyncio
import os
from contextlib import contextmanager

from waypost.host.data_directory import DataDirectory
from waypost.server import opening


def write(data, use_case):
    """Run a use case on the store of a data directory, as `waypost keys` does, with a server on it or not."""
    with umask_kept():
        return asyncio.run(opening.administer(DataDirectory(data), use_case, make=True))


@contextmanager
def umask_kept():
    """Commands set it for their process, which here is that of other tests too."""
    before = os.umask(0o077)
    os.umask(before)
    try:
        yield
    finally:
        os.umask(before)
