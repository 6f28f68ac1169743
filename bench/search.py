"""Measures SearchEmailAddresses in an instance with a million email addresses, and the disk and memory that they need.

The script fills the store with the store's own transactions. A real server then answers signed calls in sequence over
one connection, each with a different search.
"""

import argparse
import http.client
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import calls
import process

from waypost.app.directory import instances
from waypost.domain.directory import addresses
from waypost.domain.directory.email_addresses import EmailAddress
from waypost.host.data_directory import DataDirectory
from waypost.host.sealing import Keyring
from waypost.store.sqlite import file as sqlite_file
from waypost.store.sqlite.transaction import SqliteTransaction
from waypost.testing.process import Server

ADDRESSES = 1_000_000
SEARCHES = 500
BATCH = 10_000
NOW = datetime(2026, 1, 1, tzinfo=UTC)

FIRST = ("anna", "ben", "carla", "david", "emma", "felix", "greta", "hugo", "ida", "jonas", "klara", "leo", "mia")
LAST = ("adler", "baum", "conrad", "dorn", "engel", "fuchs", "graf", "huber", "iller", "jung", "kern", "lang", "maier")
TOPICS = ("billing", "claims", "delivery", "enquiry", "feedback", "insurance", "loans", "orders", "returns", "sales")


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="waypost-bench-") as name:
        server = Server(Path(name) / "data")
        server.start()
        server.stop()
        began = time.monotonic()
        instance_id = seed(server, options.addresses)
        size = sum(file.stat().st_size for file in server.data.iterdir()) / 1e6
        print(f"{options.addresses:,} email addresses in {time.monotonic() - began:.0f} s, {size:,.0f} MB on disk")
        server.start()
        try:
            measure(server, instance_id, options)
            print(f"RSS after the searches {process.rss(server.run.pid):.0f} MB")
        finally:
            server.stop()


def seed(server: Server, count: int) -> str:
    """Fill the server's first instance, and return its id."""
    directory = DataDirectory(server.data)
    connection = sqlite_file.connect(directory.database, "rwc")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -500000")
    tx = SqliteTransaction(connection, Keyring(directory.master_keys.derived("sealed secrets")))
    tenant_row = connection.execute("SELECT account, region FROM instances").fetchone()
    instance = instances.oldest(tx, instances.Tenant(*tenant_row))
    assert instance is not None
    for start in range(0, count, BATCH):
        connection.execute("BEGIN")
        for number in range(start, min(start + BATCH, count)):
            tx.add_email_address(_email_address(number, instance.id, tenant_row[0]), {})
        connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return instance.id


def _email_address(number: int, instance_id: str, account: str) -> EmailAddress:
    chance = random.Random(number)
    first, last, topic = chance.choice(FIRST), chance.choice(LAST), chance.choice(TOPICS)
    return EmailAddress(
        id=f"{chance.getrandbits(32):08x}-0000-4000-8000-{number:012x}",
        instance_id=instance_id,
        account=account,
        address=addresses.parse(f"{first}.{last}.{number}@{topic}{number % 1000}.example.com"),
        display_name=f"{first.title()} {last.title()}, {topic}",
        description=f"The address for {topic} of {first.title()} {last.title()}, team {number % 5000}",
        created_at=NOW,
        modified_at=NOW,
    )


def searches(count: int, addresses_there: int) -> dict[str, Iterator[tuple[str, str, str]]]:
    """Return the searches by name, each with its field, comparison and value."""
    chance = random.Random(1)

    def some(field: str, comparison: str, value: object) -> Iterator[tuple[str, str, str]]:
        for _ in range(count):
            person = _email_address(chance.randrange(addresses_there), "", "")
            yield field, comparison, value(person)  # type: ignore[operator]

    address, display_name = "emailAddress", "displayName"
    return {
        "exact": some(address, "EXACT", lambda one: one.address.text),
        "exact, without a match": some(address, "EXACT", lambda one: f"x{one.address.text}"),
        "prefix of 12 letters": some(address, "STARTS_WITH", lambda one: one.address.text[:12]),
        "prefix of 3 letters": some(address, "STARTS_WITH", lambda one: one.address.text[:3]),
        "contains 8 letters": some(address, "CONTAINS", lambda one: one.address.text[4:12]),
        "contains 3 letters": some(address, "CONTAINS", lambda one: one.address.text[5:8]),
        "contains a string that all addresses contain": some(address, "CONTAINS", lambda _: ".example.com"),
        "contains a name, in display names": some(display_name, "CONTAINS", lambda one: one.display_name[:9]),
        "contains a team, in descriptions": some("description", "CONTAINS", lambda one: one.description[-9:]),
    }


def measure(server: Server, instance_id: str, options: argparse.Namespace) -> None:
    signer = calls.Calls(server, instance_id)
    print(f"{'search':36} {'p50 ms':>8} {'p99 ms':>8}   of {options.searches} calls on one connection")
    for name, asked in searches(options.searches, options.addresses).items():
        milliseconds = sorted(_timed(server, [signer.search(*one) for one in asked]))
        cuts = statistics.quantiles(milliseconds, n=100)
        print(f"{name:36} {cuts[49]:8.2f} {cuts[98]:8.2f}", flush=True)


def _timed(server: Server, requests: list[bytes]) -> Iterator[float]:
    host, _, port = server.run.http.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port))
    connection.connect()
    for request in requests:
        began = time.perf_counter()
        connection.sock.sendall(request)
        answer = http.client.HTTPResponse(connection.sock)
        answer.begin()
        body = answer.read()
        yield (time.perf_counter() - began) * 1000
        assert answer.status == 200, body
    connection.close()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--addresses", type=int, default=ADDRESSES, help=f"number of email addresses (default {ADDRESSES:,})"
    )
    parser.add_argument(
        "--searches", type=int, default=SEARCHES, help=f"number of searches of each kind (default {SEARCHES})"
    )
    return parser.parse_args()


if __name__ == "__main__":
    assert sqlite3.sqlite_version_info >= sqlite_file.OLDEST_SQLITE
    main()
