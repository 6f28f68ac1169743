"""Measures how long a client of PostgreSQL waits while each migration runs on a database with a million messages.

The script fills a database with the schema of version 0.1.0. One connection then writes to the hot tables all the time,
while each later migration runs. Samples of allowed statements follow, and for comparison an index that is built in a
transaction, which the tests refuse. Two samples run while a transaction is open that has read the table, as a backup
does.
"""

import argparse
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import psycopg

from waypost.store import migrations
from waypost.store.migrations import Migration
from waypost.store.postgres import connection as postgres_connection
from waypost.store.postgres import migrating

ROOT = Path(__file__).parents[1]
ROWS = 1_000_000
READ_SECONDS = 3.0
"""How long the transaction is open that reads like a backup."""

FILL = {
    "instances": """INSERT INTO instances (id, account, region, identity_management_type, inbound_calls_enabled,
        outbound_calls_enabled, created_at) VALUES ('i', '0', 'r', 'SAML', true, true, 0)""",
    "email_addresses": """INSERT INTO email_addresses (id, instance_id, account, address, address_key, created_at,
        modified_at) SELECT 'a' || n, 'i', '0', n || '@example.com', n || '@example.com', n, n
        FROM generate_series(1, {rows}) AS n""",
    "messages": """INSERT INTO messages (id, sender, recipients, helo, peer, protocol, received_at, size, subject)
        SELECT 'm' || n, 's@client.example', '["' || n || '@example.com"]', 'client.example', '192.0.2.1', 'ESMTP', n,
        4096, 'Message ' || n FROM generate_series(1, {rows}) AS n""",
    "deliveries": """INSERT INTO deliveries (message_id, email_address_id, account, address, address_key, reason,
        sent_to, status, trace_header) SELECT 'm' || n, 'a' || n, '0', n || '@example.com', n || '@example.com',
        'direct', n || '@example.com', 'delivered', '' FROM generate_series(1, {rows}) AS n""",
    "trace_events": """INSERT INTO trace_events (message_id, number, at, kind, detail)
        SELECT 'm' || n, 0, n, 'delivered', '{{"address": "' || n || '@example.com"}}'
        FROM generate_series(1, {rows}) AS n""",
    "refusals": """INSERT INTO refusals (at, peer, helo, sender, recipient, recipient_key, stage, reply, detail)
        SELECT n, '192.0.2.1', 'h', '', n || '@example.com', n || '@example.com', 'rcpt', '550', '{{}}'
        FROM generate_series(1, {rows} / 10) AS n""",
    "queue": """INSERT INTO queue (message_id, email_address_id, account, destination, due_at, claim, attempts,
        queued_at) SELECT 'm' || n, 'a' || n, '0', 'smtp://there.example', n, '', 0, n
        FROM generate_series(1, {rows} / 10) AS n""",
}
"""SQL that fills the tables. It names only columns that the first schemas have."""

WRITES = (
    """INSERT INTO messages (id, sender, recipients, helo, peer, protocol, received_at, size, subject)
        VALUES ($1, '', '[]', '', '', '', 0, 1, '')""",
    """INSERT INTO deliveries (message_id, email_address_id, account, address, address_key, reason, sent_to, status,
        trace_header) VALUES ($1, 'a1', '0', 'x', 'x', 'direct', 'x', 'queued', '')""",
    "INSERT INTO trace_events (message_id, number, at, kind, detail) VALUES ($1, 0, 0, 'accepted', '{}')",
    """INSERT INTO queue (message_id, email_address_id, account, destination, due_at, claim, attempts, queued_at)
        VALUES ($1, 'a1', '0', 'd', 0, '', 0, 0)""",
    "UPDATE deliveries SET status = 'delivered' WHERE message_id = $1",
    "DELETE FROM queue WHERE message_id = $1",
    "UPDATE email_addresses SET modified_at = modified_at + 1 WHERE id = 'a1' AND $1 <> ''",
)
"""The statements of a client's transaction. $1 is the id of the message."""

SAMPLES = (
    ("a column", False, "-- kind: transaction\nALTER TABLE messages ADD COLUMN sample TEXT NOT NULL DEFAULT '';\n"),
    (
        "an index, concurrently",
        False,
        "-- kind: concurrently\nCREATE INDEX CONCURRENTLY IF NOT EXISTS sample_size ON messages (size, id);\n",
    ),
    (
        "a constraint",
        False,
        """-- kind: concurrently
            ALTER TABLE deliveries ADD CONSTRAINT sample_reason CHECK (reason <> '') NOT VALID;
            ALTER TABLE deliveries VALIDATE CONSTRAINT sample_reason;
        """,
    ),
    ("a column, beside a backup", True, "-- kind: transaction\nALTER TABLE messages ADD COLUMN beside TEXT;\n"),
    (
        "an index, beside a backup",
        True,
        "-- kind: concurrently\nCREATE INDEX CONCURRENTLY IF NOT EXISTS sample_peer ON messages (peer, id);\n",
    ),
    (
        "REFUSED BY THE TESTS: an index in a transaction",
        False,
        "-- kind: transaction\nCREATE INDEX sample_blocking ON messages (subject, id);\n",
    ),
)
"""For each sample: its name, whether a backup runs meanwhile, and its SQL."""


class Writer:
    """A client that writes all the time, and measures its transactions."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stops = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._began: float | None = None
        self.count = 0
        self.longest = 0.0
        """The longest duration of a transaction since `reset`, in seconds."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stops.set()
        self._thread.join()

    def reset(self) -> None:
        self.count, self.longest = 0, 0.0

    def wait_for_more(self, count: int) -> None:
        """Wait until more transactions have ended."""
        goal = self.count + count
        while self.count < goal:
            assert self._thread.is_alive(), "the client has failed"
            time.sleep(0.001)

    def _run(self) -> None:
        with psycopg.connect(self._url, cursor_factory=psycopg.RawCursor) as connection:
            number = 0
            while not self._stops.is_set():
                number += 1
                began = time.monotonic()
                for statement in WRITES:
                    connection.execute(statement.encode(), (f"w{number}",))
                connection.commit()
                self.longest = max(self.longest, time.monotonic() - began)
                self.count += 1


def main() -> None:
    sys.path.append(str(ROOT))
    from tests.kit.stores.postgresql import OwnServer

    options = _options()
    with OwnServer(shared_buffers="256MB", max_wal_size="4GB") as server:
        url = server.new_database()
        known = migrations.known("postgres")
        last = [step.number for step in known if step.number <= options.level]
        migrate(url, known[: len(last)])
        began = time.monotonic()
        fill(url, options.rows)
        print(f"{options.rows:,} rows in each of the hot tables, schema {last[-1]}: {time.monotonic() - began:.0f} s")
        print(f"{'migration':<52} {'kind':<13} {'took s':>8} {'longest wait ms':>16}")
        with Writer(url) as writer:
            writer.wait_for_more(200)
            writer.reset()
            writer.wait_for_more(1_000)
            print(f"{'(none)':<52} {'':<13} {'':>8} {writer.longest * 1000:>16,.1f}")
            steps = list(known[: len(last)])
            for step in known[len(last) :]:
                steps.append(step)
                measure(url, steps, f"{step.number} {step.name}", writer)
            for place, (name, is_beside, sql) in enumerate(SAMPLES):
                steps.append(migrations.parsed(9000 + place, "sample", f"-- A sample.\n{sql}"))
                measure(url, steps, name, writer, is_beside_backup=is_beside)


def measure(url: str, steps: list[Migration], name: str, writer: Writer, *, is_beside_backup: bool = False) -> None:
    """Run the last of the migrations, and print how long it took and how long the writer waited."""
    writer.wait_for_more(50)
    writer.reset()
    with ThreadPoolExecutor(1) as threads:
        reader = threads.submit(read, url) if is_beside_backup else None
        if reader:
            writer.wait_for_more(5)
        began = time.monotonic()
        migrate(url, steps)
        took = time.monotonic() - began
        writer.wait_for_more(5)
        longest = writer.longest
        if reader:
            reader.result()
    print(f"{name:<52} {steps[-1].kind:<13} {took:>8.2f} {longest * 1000:>16,.1f}", flush=True)


def migrate(url: str, steps: list[Migration]) -> None:
    with _known(steps):
        where = postgres_connection.where(url)
        with where.connect() as connection:
            postgres_connection.set_up(connection, prepares=False)
            migrating.migrate(connection, where)


@contextmanager
def _known(steps: list[Migration]) -> Iterator[None]:
    """Let the program know only these migrations, like another version."""
    real = migrations.known
    migrations.known = lambda _: list(steps)
    try:
        yield
    finally:
        migrations.known = real


def fill(url: str, rows: int) -> None:
    with psycopg.connect(url) as connection:
        for statement in FILL.values():
            connection.execute(statement.format(rows=rows).encode())
        connection.commit()
        connection.autocommit = True
        connection.execute("VACUUM ANALYZE")


def read(url: str) -> None:
    """Keep a transaction open that has read messages, and sees them in the same state until its end."""
    with psycopg.connect(url) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("SELECT FROM messages LIMIT 1")
        time.sleep(READ_SECONDS)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, help="the number of rows in each of the hot tables")
    parser.add_argument(
        "--level",
        type=int,
        default=migrations.LAST_OF_0_1_0["postgres"],
        help="the schema to begin with, at least 4 (the default is that of version 0.1.0)",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
