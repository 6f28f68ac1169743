"""Runs the named queries of a transaction. The abstract methods are what differs between databases."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from waypost.domain import errors
from waypost.store.common import rows


class Seal(Protocol):
    """Seals secrets, so that the database alone does not reveal them. Both methods get the context of the secret."""

    def seal(self, secret: str, of: str) -> bytes:
        """What may be written."""
        ...

    def unseal(self, sealed: bytes, of: str) -> str:
        """The secret again."""
        ...


class Statements(ABC):
    """Runs queries of `sql/` by their names, over one connection."""

    def __init__(self, seal: Seal) -> None:
        """Secrets are stored as `seal` returns them."""
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
        """Run a named query; returns its rows."""

    @abstractmethod
    def _execute(self, query: str, parameters: rows.Row) -> Any:
        """Run a named query without result."""

    @abstractmethod
    def _execute_each(self, query: str, parameters: Iterable[rows.Row]) -> None:
        """Run a named query without result once for each row of parameters."""

    @abstractmethod
    def _list(self, texts: Sequence[str]) -> Any:
        """Some texts as one parameter."""


def bindable(parameters: rows.Row) -> rows.Row:
    """The same parameters of a query. Raises `errors.Invalid` for a text with a NUL, which PostgreSQL cannot store."""
    for parameter in parameters:
        if isinstance(parameter, str) and "\0" in parameter:
            raise errors.Invalid("A text must not contain the character NUL.")
    return parameters
