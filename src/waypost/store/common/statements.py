"""Runs the named queries of a transaction. A subclass for each database implements the abstract methods."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from waypost.domain import errors
from waypost.store.common import rows


class Seal(Protocol):
    """Encrypts secrets, so that a copy of the database does not reveal them.

    In both methods, the argument `of` is the secret's context. The context names the record that the secret belongs to.
    """

    @property
    def newest_id(self) -> bytes:
        """The id of the newest key."""
        ...

    def seal(self, secret: str, of: str, *, key_id: bytes = b"") -> bytes:
        """Return the encrypted secret, which may be written to the database.

        `key_id` is the id of the key to use. It is empty before the first rotation of the key.
        """
        ...

    def is_newest(self, sealed: bytes) -> bool:
        """Return whether a secret was encrypted with the newest key."""
        ...

    def unseal(self, sealed: bytes, of: str) -> str:
        """Return the secret that was encrypted by `seal`. Raises an exception if the secret was encrypted with a
        different key or context.
        """
        ...


class Statements(ABC):
    """Runs the queries in `sql/` by name, on one connection."""

    def __init__(self, seal: Seal) -> None:
        """`seal` is the object that encrypts secrets before they are stored, and decrypts them after they are read."""
        self._seal = seal

    def _one(self, query: str, *parameters: Any) -> rows.Row | None:
        found = self._fetch(query, bindable(parameters))
        return found[0] if found else None

    def _all(self, query: str, *parameters: Any) -> list[Any]:
        return self._fetch(query, bindable(parameters))

    def _run(self, query: str, *parameters: Any) -> None:
        self._execute(query, bindable(parameters))

    def _run_each(self, query: str, parameters: Iterable[rows.Row]) -> None:
        self._execute_each(query, map(bindable, parameters))

    def _list_of(self, texts: Sequence[str]) -> Any:
        return self._list(bindable(texts))

    @abstractmethod
    def _fetch(self, query: str, parameters: rows.Row) -> list[Any]:
        """Run a named query, and return its rows."""

    @abstractmethod
    def _execute(self, query: str, parameters: rows.Row) -> Any:
        """Run a named query that returns no rows."""

    @abstractmethod
    def _execute_each(self, query: str, parameters: Iterable[rows.Row]) -> None:
        """Run a named query that returns no rows, once for each set of parameters."""

    @abstractmethod
    def _list(self, texts: Sequence[str]) -> Any:
        """Convert a list of strings to a single query parameter."""


def bindable(parameters: rows.Row) -> rows.Row:
    """Check the parameters of a query, and return them unchanged.

    Raises `errors.Invalid` for a string that contains a NUL character, because PostgreSQL cannot store it.
    """
    # A loop would take three times as long, and each message has about fifty parameters.
    if "\0" in "".join(filter(_is_text, parameters)):
        raise errors.Invalid("A string must not contain the NUL character.")
    return parameters


_is_text = str.__instancecheck__
