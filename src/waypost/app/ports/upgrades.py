"""Migrations of a database that a command shows before it runs them, and while it runs them."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum

from msgspec import Struct

ReportMigration = Callable[[int, str], AbstractContextManager[object]]
"""A function that is called with the number and the name of a migration. The migration runs inside the context manager
that it returns. An attempt that fails for lack of a lock is repeated inside the same context manager.
"""


def silently(number: int, name: str) -> AbstractContextManager[object]:  # noqa: ARG001 - `ReportMigration`
    """Report nothing."""
    return nullcontext()


class Blocks(StrEnum):
    """What other clients of the database cannot do with a table during a statement."""

    NOTHING = "nothing"
    WRITES = "writes"
    EVERYTHING = "reads and writes"


class Lasts(StrEnum):
    """How long a statement takes."""

    MOMENT = "a moment"
    """The time does not depend on the number of rows."""
    ROWS = "in proportion to the rows"


class Effect(Struct, frozen=True):
    """What a statement of a migration means for a table that already exists."""

    table: str
    """The name of the table; empty if the name is not known."""
    blocks: Blocks
    lasts: Lasts
    rows: int | None = None
    """About how many rows the table has; None if the number is not known."""


class PlannedMigration(Struct, frozen=True):
    """A migration that has not run on a database."""

    number: int
    name: str
    kind: str
    """`transaction` or `concurrently`."""
    what: str
    """What the migration does, in one sentence."""
    effects: tuple[Effect, ...]


class Upgrade(Struct, frozen=True):
    """The schema of a database, and the migrations that have not run."""

    where: str
    """The name of the database for messages."""
    schema: int
    """The number of the newest migration that has run, or 0 for a new database."""
    pending: tuple[PlannedMigration, ...]
