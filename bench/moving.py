"""Measures `waypost copy` in both directions: from PostgreSQL to SQLite, and from there to another PostgreSQL database.

The script fills PostgreSQL with email addresses, alias links and messages. The messages are copies of messages that
Waypost's own code has accepted. It prints the time and the greatest memory of each command, and the size of the data.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from growth import BASE, ROOT, _processor
from growth_fill import ORIGINAL, PostgresFiller, create_instance, email_address
from growth_operations import accepting

from waypost.host.data_directory import DataDirectory
from waypost.server import opening
from waypost.testing.process import Server

sys.path.append(str(ROOT))
from tests.kit.stores.postgresql import OwnServer

MAIL = b"Subject: Order %d\r\nFrom: a@example.org\r\n\r\n" + b"Where is my order? It has not arrived yet.\r\n" * 90
"""A message of 4 KB."""

SETTINGS = {"shared_buffers": "256MB", "max_wal_size": "4GB", "io_method": "sync"}


class Took(NamedTuple):
    seconds: float
    memory: float
    """The greatest resident memory of the command, in MB."""


def main() -> None:
    options = _options()
    print(f"{_processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the beginning")
    directory = tempfile.TemporaryDirectory(prefix="waypost-copy-", dir=options.directory)
    with directory as name, OwnServer(**SETTINGS) as one:
        first, second = one.new_database(), one.new_database()
        there, here, back = (Path(name) / part for part in ("postgresql", "sqlite", "back"))
        began = time.monotonic()
        fill(there, first, options.addresses, options.messages)
        print(f"filled in {time.monotonic() - began:.0f} s", flush=True)
        show("PostgreSQL to SQLite", copied(here, "--data", there), size(here))
        show("SQLite to PostgreSQL", copied(back, "--data", here, "--to-database", second), size(here))


def fill(data: Path, url: str, addresses: int, messages: int) -> None:
    """Fill a database with email addresses and messages, of a server that does not run."""
    server = Server(data, "--database", url)
    server.start()
    server.stop()
    filler = PostgresFiller(url)
    asyncio.run(_begin(DataDirectory(data), url))
    filler.add_addresses(0, addresses)
    asyncio.run(_accept(DataDirectory(data), url, min(messages, BASE)))
    filler.copy_messages(0, messages // BASE - 1)


async def _begin(directory: DataDirectory, url: str) -> None:
    store = opening.open_store(directory, url)
    await store.write(create_instance)
    await store.close()


async def _accept(directory: DataDirectory, url: str, messages: int) -> None:
    store = opening.open_store(directory, url)
    for number in range(messages):
        recipient = email_address(number * 10 + 7)  # an alias, so each message has two deliveries
        await store.write(accepting(recipient, f"{ORIGINAL}{number:028x}", MAIL % number))
    await store.close()


def copied(target: Path, *options: str | Path) -> Took:
    """Run `waypost copy`, and return its time and memory."""
    command = [sys.executable, "-m", "waypost", "copy", str(target), *map(str, options)]
    began = time.monotonic()
    _, status, used = os.wait4(os.posix_spawn(sys.executable, command, os.environ), 0)
    if status:
        sys.exit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return Took(time.monotonic() - began, used.ru_maxrss * 1024 / 1e6)


def size(data: Path) -> float:
    """Return the size of a data directory in MB."""
    return sum(file.stat().st_size for file in data.iterdir()) / 1e6


def show(what: str, took: Took, megabytes: float) -> None:
    print(
        f"{what}: {took.seconds:.0f} s, {took.memory:.0f} MB of memory, {megabytes:,.0f} MB in SQLite;"
        f" load {os.getloadavg()[0]:.1f}",
        flush=True,
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--addresses", type=int, default=1_000_000, help="how many email addresses (default 1,000,000)")
    parser.add_argument("--messages", type=int, default=100_000, help="how many messages of 4 KB (default 100,000)")
    parser.add_argument("--directory", default=None, help="where the data is written (default: for temporary files)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
