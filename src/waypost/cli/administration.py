"""What commands share that work on the store itself, whether a server is running on it or not."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from waypost.host.data_directory import DataDirectory

if TYPE_CHECKING:
    from waypost.app.ports import WriteTx

T = TypeVar("T")


class Refused(Exception):
    """What was asked cannot be done. The message says why."""


def administer(data: str, database: str, use_case: "Callable[[WriteTx], T]", *, make: bool = False) -> T:
    """Run a use case where the data is: a data directory, or the PostgreSQL `database` that it belongs to."""
    from waypost.config import sources
    from waypost.server import opening

    sources.check("database", database)
    return run(opening.administer(DataDirectory(Path(data)), use_case, database=database, make=make))


def run(task: Coroutine[Any, Any, T]) -> T:
    """Run something that works on the store. Raises `Refused`."""
    from waypost.server import opening

    try:
        return asyncio.run(task)
    except (opening.CannotStart, opening.Refused) as error:
        raise Refused(str(error)) from error
