"""Shared code for commands that work directly on the store, whether or not a server is running."""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from waypost.host.data_directory import DataDirectory

if TYPE_CHECKING:
    from waypost.app.ports import WriteTx

T = TypeVar("T")


class Refused(Exception):
    """The command cannot be carried out. The exception's message gives the reason."""


def administer(data: str, database: str, use_case: "Callable[[WriteTx], T]", *, make: bool = False) -> T:
    """Run a use case on the store of a deployment, and return its result.

    The store is the database in the data directory `data` or, if `database` is not empty, the PostgreSQL database with
    that URL. If the store does not exist, it is created only if `make` is true. Raises `Refused`.
    """
    from waypost.config import sources
    from waypost.server import opening

    sources.check("database", database)
    return run(opening.administer(DataDirectory(Path(data)), use_case, database=database, make=make))


def run(task: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that works on the store, and return its result. Raises `Refused`."""
    import asyncio

    from waypost.server import opening

    try:
        return asyncio.run(task)
    except (opening.CannotStart, opening.Refused) as error:
        raise Refused(str(error)) from error
