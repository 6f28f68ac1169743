"""What `waypost copy` copies from one database to another, and the checksums by which it compares their rows."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec

from waypost.app import ports
from waypost.app.ports.backups import ReportProgress

Row = tuple[int | str | bytes | None, ...]
"""A row in the form that both databases have: a Boolean is 0 or 1."""


class Table(msgspec.Struct, frozen=True):
    """A table whose rows are copied."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    """The columns by which the rows are ordered while they are copied. No two rows have the same values in them."""


class TableSum(msgspec.Struct, frozen=True):
    """By what the rows of a table are compared with those of its copy."""

    rows: int
    checksum: int
    """A checksum that does not depend on the order of the rows."""


READ_BY_QUERY = {
    table.name: table
    for table in (
        Table(
            "search_entries",
            ("instance_id", "place", "email_address_id", "address", "display_name", "description"),
            ("instance_id", "place"),
        ),
        Table("tags", ("resource_id", "key", "value"), ("resource_id", "key")),
        Table("mail_entries", ("number", "account", "message_id"), ("number",)),
        Table("deployment_marks", ("name", "value"), ("name",)),
    )
}
"""The tables that the two databases store differently. The query `copied_NAME` returns their rows in the same form."""

NOT_COPIED = {
    "search_ranges": "SQLite gives each instance a range of numbers; PostgreSQL has no such ranges",
    "mail_words": "the two databases store words differently; a server indexes the mail again (`mail_entries`)",
}
"""The tables that are not copied, and the reasons."""

FIRST = ("instances", "email_addresses", "search_entries")
"""The tables that are copied before the others, in this order. SQLite needs their rows for the numbers of the rows of
`search_entries` and `tags`."""

ROWS_AT_ONCE = 5_000
SIZE_AT_ONCE = 4 * 1024 * 1024
"""The maximum number of rows that one transaction copies, and the size after which it copies no further row: the number
of bytes and characters of the values."""


def query_of(table: Table) -> str | None:
    """Return the name of the query that returns the rows of a table; None if the table itself has them."""
    return f"copied_{table.name}" if table.name in READ_BY_QUERY else None


def in_order(source: Mapping[str, Table], target: Mapping[str, Table]) -> list[Table]:
    """Return the tables of two databases in the order in which they are copied.

    Raises `StoreUnavailable` if the databases differ in their tables, which would be an error in Waypost.
    """
    if {name: set(table.columns) for name, table in source.items()} != {
        name: set(table.columns) for name, table in target.items()
    }:
        raise ports.StoreUnavailable("The two databases have different tables, so the data cannot be copied.")
    return [source[name] for name in sorted(source, key=lambda name: (_place(name), name))]


def _place(name: str) -> int:
    return FIRST.index(name) if name in FIRST else len(FIRST)


def batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Split rows into parts, each for one transaction."""
    found: list[Row] = []
    size = 0
    for row in rows:
        found.append(row)
        size += sum(len(value) for value in row if isinstance(value, (str, bytes)))
        if len(found) == ROWS_AT_ONCE or size > SIZE_AT_ONCE:
            yield found
            found, size = [], 0
    if found:
        yield found


_SUM_BYTES = 16
"""The number of bytes of a checksum. Rows that differ by damage have the same checksum once in 2^128 cases."""

_encode = msgspec.msgpack.Encoder().encode


def sum_of(rows: Iterable[Row], read: Callable[[int], object]) -> TableSum:
    """Return the number of rows, and a checksum that does not depend on their order. `read` is called with the number
    of each part of the rows that was read.
    """
    count = total = 0
    for row in rows:
        # MessagePack has one form for each value, which contains its type and its length.
        digest = hashlib.blake2b(_encode(row), digest_size=_SUM_BYTES).digest()
        total += int.from_bytes(digest)  # with XOR, two equal rows would count as none
        count += 1
        if count % ROWS_AT_ONCE == 0:
            read(ROWS_AT_ONCE)
    read(count % ROWS_AT_ONCE)
    return TableSum(count, total % (1 << 8 * _SUM_BYTES))


class Copied(ABC):
    """A database that is copied, or gets a copy. It is read in one state."""

    @abstractmethod
    def tables(self) -> Mapping[str, Table]:
        """Return the tables whose rows are copied, by name."""

    @abstractmethod
    def count(self, table: Table) -> int:
        """Return the number of rows of a table."""

    @abstractmethod
    def rows(self, table: Table) -> Iterator[Row]:
        """Yield the rows of a table in any order."""

    @abstractmethod
    def rows_after(self, table: Table, key: Row | None) -> Iterator[Row]:
        """Yield the rows of a table in the order of its key, those after a key, or all if it is None."""

    @abstractmethod
    def counters(self) -> Mapping[str, int]:
        """Return the last value of each column that the database counts up, in the form TABLE.COLUMN."""


class Target(Copied):
    """A database that gets a copy. Until the copy is complete, no server starts with it."""

    @abstractmethod
    def last_key(self, table: Table) -> Row | None:
        """Return the greatest key of the rows that are copied already; None if there are none."""

    @abstractmethod
    def put(self, table: Table, rows: Sequence[Row]) -> None:
        """Add rows to a table in one transaction."""

    @abstractmethod
    def table_done(self, table: Table) -> None:
        """Complete a table whose rows have all been added."""

    @abstractmethod
    def build(self, report: ReportProgress) -> None:
        """Create everything that a copy is faster without: indexes, triggers and foreign keys.

        `report` is called with the number of parts that are done, and the number of all parts. Raises
        `StoreUnavailable` if rows refer to missing rows.
        """

    @abstractmethod
    def complete(self, counters: Mapping[str, int]) -> None:
        """Let the columns that the database counts up continue after the last values of the original, and let servers
        start with the database.
        """


def after_key(table: Table, places: Sequence[str]) -> str:
    """Return the SQL condition for the rows after a key. `places` stand for its values."""
    return f"({', '.join(table.key)}) > ({', '.join(places)})"


def ordered(table: Table, *, descending: bool = False) -> str:
    """Return the SQL that orders rows by the key of their table."""
    return "ORDER BY " + ", ".join(f"{column} DESC" if descending else column for column in table.key)
