"""Copies of a store, and what is wrong with a store."""

from collections.abc import Callable, Mapping

from msgspec import Struct, field

ReportProgress = Callable[[int, int], None]
"""A function that is called with the progress of a copy: how much is done, and how much there is, in bytes or rows."""


class CopiedTable(Struct, frozen=True):
    """One table of a copy."""

    rows: int
    columns: Mapping[str, str] = field(default_factory=dict)
    """The columns in the table's file, in their order, and their types; empty if the whole database is one file."""


class CopiedStore(Struct, frozen=True, kw_only=True):
    """What the copy of a store contains."""

    schema: int
    """The number of the newest migration that had run."""
    tables: Mapping[str, CopiedTable]
    counters: Mapping[str, int] = field(default_factory=dict)
    """The last value of each column that the database counts up, in the form TABLE.COLUMN. The copies of SQLite contain
    these values, so they are listed for PostgreSQL only."""


class Finding(Struct, frozen=True):
    """Something that is wrong with stored data."""

    what: str
    """What is wrong, as a sentence without the id."""
    id: str
    """The id of the row or the name of the file or table."""
