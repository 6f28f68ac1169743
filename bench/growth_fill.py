"""Fills a store with many email addresses or messages for `growth.py`, in bulk.

Both stores contain the same data. The functions write with SQL, because the store's own transactions would take many
times as long. What they write is what the store would have written: email addresses are converted to rows by the
store's code, and messages are copies of messages that the store has accepted.
"""

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg

from waypost.app.directory import instances
from waypost.app.ports import WriteTx
from waypost.domain.directory import addresses
from waypost.domain.directory.aliases import AliasLink
from waypost.domain.directory.email_addresses import EmailAddress
from waypost.domain.directory.instances import Instance, Tenant
from waypost.store.common import rows
from waypost.store.postgres import search as postgres_search
from waypost.store.sql import kinds, tables
from waypost.store.sqlite import file as sqlite_file
from waypost.store.sqlite.transaction import SqliteTransaction

TENANT = Tenant("000000000000", "us-east-1")
INSTANCE = "i"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
BATCH = 10_000

FIRST = ("anna", "ben", "carla", "david", "emma", "felix", "greta", "hugo", "ida", "jonas", "klara", "leo", "mia")
LAST = ("adler", "baum", "conrad", "dorn", "engel", "fuchs", "graf", "huber", "iller", "jung", "kern", "lang", "maier")
TOPICS = ("billing", "claims", "delivery", "enquiry", "feedback", "insurance", "loans", "orders", "returns", "sales")

UNLINKED = frozenset({0, 1, 8, 9})
"""Of ten consecutive email addresses, these have no alias link. The others are primaries (even) and aliases (odd)."""


class NoSeal:
    """Stores secrets as they are."""

    def seal(self, secret: str, of: str) -> bytes:  # noqa: ARG002 - the store passes it by name
        return secret.encode()

    def unseal(self, sealed: bytes, of: str) -> str:  # noqa: ARG002
        return bytes(sealed).decode()


def create_instance(tx: WriteTx) -> None:
    """Create the instance to which all email addresses belong."""
    instance = Instance(
        id=INSTANCE,
        tenant=TENANT,
        alias=None,
        identity_management_type="SAML",
        directory_id=None,
        inbound_calls_enabled=True,
        outbound_calls_enabled=True,
        created_at=NOW,
    )
    instances.create(tx, instance, tags={})


def email_address(number: int) -> EmailAddress:
    """Return the email address with a number. The same number always gives the same email address."""
    chance = random.Random(number)
    first, last, topic = chance.choice(FIRST), chance.choice(LAST), chance.choice(TOPICS)
    return EmailAddress(
        id=f"{chance.getrandbits(32):08x}-0000-4000-8000-{number:012x}",
        instance_id=INSTANCE,
        account=TENANT.account,
        address=addresses.parse(f"{first}.{last}.{number}@{topic}{number % 1000}.example.com"),
        display_name=f"{first.title()} {last.title()}, {topic}",
        description=f"The address for {topic} of {first.title()} {last.title()}, team {number % 5000}",
        created_at=NOW,
        modified_at=NOW,
    )


def _links(start: int, end: int) -> Iterator[AliasLink]:
    for number in range(start, end, 2):
        if number % 10 not in UNLINKED:
            yield AliasLink(email_address(number).id, email_address(number + 1).id, NOW)


class SqliteFiller:
    """Fills an SQLite file that no store has open."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def processes(self) -> list[int]:
        """Return no process, because SQLite runs in the process of its caller."""
        return []

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite_file.connect(self._path, "rw")) as connection:
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA cache_size = -500000")
            yield connection
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def add_addresses(self, start: int, end: int) -> None:
        """Add the email addresses with these numbers and their alias links."""
        with self._opened() as connection:
            tx = SqliteTransaction(connection, NoSeal())
            for first in range(start, end, BATCH):
                last = min(first + BATCH, end)
                connection.execute("BEGIN")
                for number in range(first, last):
                    tx.add_email_address(email_address(number), {})
                for link in _links(first, last):
                    tx.add_link(link)
                connection.execute("COMMIT")

    def copy_messages(self, start: int, end: int) -> None:
        """Copy all messages whose ids begin with `ORIGINAL`, once for each number in a range."""
        with self._opened() as connection:
            series = (
                "(WITH RECURSIVE n (k) AS (SELECT ? UNION ALL SELECT k + 1 FROM n WHERE k + 1 < ?) SELECT k FROM n)"
            )
            names = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
            columns = {
                name: [row[0] for row in connection.execute("SELECT name FROM pragma_table_info(?)", (name,))]
                for name in names
            }
            for first in range(start, end, COPIES_AT_ONCE):
                connection.execute("BEGIN")
                for table, key in _of_messages(columns):
                    copied = ", ".join(
                        f"printf('%08x', {COPIES} + s.k) || substr(t.{name}, 9)" if name == key else f"t.{name}"
                        for name in columns[table]
                    )
                    connection.execute(
                        f"INSERT INTO {table} ({', '.join(columns[table])}) SELECT {copied} FROM {series} AS s"
                        f" CROSS JOIN {_originals(table, key)} AS t",
                        (first, min(first + COPIES_AT_ONCE, end)),
                    )
                connection.execute("COMMIT")


ORIGINAL = "0190"
"""How the ids of the messages begin that `copy_messages` copies. Ids are UUIDv7, which begin with the time."""

COPIES = 0x01700000
"""The first eight hexadecimal digits of the ids of the first copies, which are older than the originals."""


COPIES_AT_ONCE = 20
"""The number of copies that one transaction on SQLite writes, so that the write-ahead log stays small."""


def _of_messages(columns: dict[str, list[str]]) -> list[tuple[str, str]]:
    """Return the tables with data of messages, each with the column that has the message's id."""
    found = [("messages", "id")]
    # A row of the queue refers to a delivery, so its table comes last.
    others = sorted((name for name in columns if "message_id" in columns[name]), key=lambda name: name == "queue")
    return found + [(name, "message_id") for name in others]


def _originals(table: str, key: str) -> str:
    """Return a subquery for the rows of a table that belong to the messages to copy."""
    return f"(SELECT * FROM {table} WHERE {key} >= '{ORIGINAL}' AND {key} < '{ORIGINAL}~')"


class PostgresFiller:
    """Fills a PostgreSQL database."""

    def __init__(self, url: str) -> None:
        self._url = url

    def processes(self) -> list[int]:
        """Return the ids of the server's processes."""
        with psycopg.connect(self._url) as connection:
            found = connection.execute("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
            return [pid for (pid,) in found]

    @contextmanager
    def _opened(self) -> Iterator[psycopg.Connection[Any]]:
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute("SET maintenance_work_mem = '1GB'")
            connection.execute("SET synchronous_commit = off")
            yield connection
            connection.execute("VACUUM ANALYZE")  # as autovacuum would do soon

    def add_addresses(self, start: int, end: int) -> None:
        """Add the email addresses with these numbers and their alias links."""
        with self._opened() as connection, _without_indexes(connection, "search_entries"):
            numbers = iter(range(start, end))
            while some := [email_address(number) for number in islice(numbers, BATCH)]:
                with connection.transaction():
                    _copy(
                        connection, "email_addresses", tables.LISTS["email_addresses"], map(rows.of_email_address, some)
                    )
                    _copy(connection, "search_entries", _SEARCH_ENTRY, map(_search_entry, some))
            with connection.transaction():
                _copy(connection, "alias_link_ends", _LINK_END, _link_ends(start, end))

    def copy_messages(self, start: int, end: int) -> None:
        """Copy all messages whose ids begin with `ORIGINAL`, once for each number in a range."""
        with self._opened() as connection:
            columns: dict[str, list[str]] = {}
            for table, name in connection.execute(
                "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
                " ORDER BY ordinal_position"
            ):
                columns.setdefault(table, []).append(name)
            for table, key in _of_messages(columns):
                copied = ", ".join(
                    f"lpad(to_hex({COPIES} + s.k), 8, '0') || substr(t.{name}, 9)" if name == key else f"t.{name}"
                    for name in columns[table]
                )
                connection.execute(
                    # The notes of mail have numbers that PostgreSQL gives itself; there are no notes yet.
                    f"INSERT INTO {table} ({', '.join(columns[table])}) OVERRIDING SYSTEM VALUE"
                    f" SELECT {copied} FROM generate_series({start}, {end - 1}) AS s (k)"
                    f" CROSS JOIN {_originals(table, key)} AS t".encode()
                )


_SEARCH_ENTRY = ("email_address_id", "instance_id", "address", "display_name", "description", "trigrams")
_LINK_END = ("email_address_id", "side", "other_id", "other_side", "created_at")


def _search_entry(one: EmailAddress) -> rows.Row:
    texts = rows.of_search_entry(one)
    return (one.id, one.instance_id, *texts, postgres_search.trigrams(texts))


def _link_ends(start: int, end: int) -> Iterator[rows.Row]:
    created_at = kinds.to_milliseconds(NOW)
    for link in _links(start, end):
        yield (link.primary_id, "primary", link.alias_id, "alias", created_at)
        yield (link.alias_id, "alias", link.primary_id, "primary", created_at)


def _copy(connection: psycopg.Connection[Any], table: str, columns: tuple[str, ...], found: Iterator[rows.Row]) -> None:
    with connection.cursor().copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN".encode()) as copy:
        for row in found:
            copy.write_row(row)


@contextmanager
def _without_indexes(connection: psycopg.Connection[Any], table: str) -> Iterator[None]:
    """Drop the indexes of a table that belong to no constraint, and create them again at the end."""
    dropped = connection.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = %s AND indexname NOT IN"
        " (SELECT conname FROM pg_constraint)",
        (table,),
    ).fetchall()
    for name, _ in dropped:
        connection.execute(f"DROP INDEX {name}".encode())
    yield
    for _, definition in dropped:
        connection.execute(definition.encode())
