"""Shared code for commands that work directly on the store, whether or not a server is running."""

from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from waypost.host.data_directory import DataDirectory

if TYPE_CHECKING:
    from waypost.app.ports import WriteTx

T = TypeVar("T")


class Refused(Exception):
    """The command cannot be carried out. The exception's message gives the reason."""


@contextmanager
def checked(database: str) -> Iterator[None]:
    """Check the URL of the database. Raise `Refused` if the command in the `with` block cannot be carried out, and
    `BadSetting` for a URL that cannot be used.
    """
    from waypost.config import sources
    from waypost.server import opening

    sources.check("database", database)
    try:
        yield
    except (opening.CannotStart, opening.Refused) as error:
        raise Refused(str(error)) from error


def administer(data: str, database: str, use_case: "Callable[[WriteTx], T]", *, make: bool = False) -> T:
    """Run a use case on the store of a deployment, and return its result.

    The store is the database in the data directory `data` or, if `database` is not empty, the PostgreSQL database with
    that URL. If the store does not exist, it is created only if `make` is true. Raises `Refused`.
    """
    from waypost.server import opening

    return run(opening.administer(DataDirectory(Path(data)), use_case, database=database, make=make), database)


def run(task: Coroutine[Any, Any, T], database: str = "") -> T:
    """Run a coroutine that works on the store, and return its result. Raises `Refused`. `database` is as for
    `checked`.
    """
    import asyncio

    with closing(task), checked(database):
        return asyncio.run(task)
