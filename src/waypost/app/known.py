"""Remembers the results of look-ups until the directory changes, so that most look-ups need no query."""

from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Known(Generic[T]):
    """The results of look-ups, which are correct as long as the version of the directory is the same.

    In the methods, `version` is a version of the directory (`ports.Store.directory_version`). If it is None, nothing is
    remembered.
    """

    def __init__(self, limit: int) -> None:
        """`limit` is the maximum number of results that are remembered."""
        self._limit = limit
        self._version: int | None = None
        self._results: dict[Hashable, T] = {}

    def get(self, key: Hashable, version: int | None) -> T | None:
        """Return the result for a key, or None if it is not known. `version` is the current version."""
        return self._results.get(key) if version is not None and version == self._version else None

    def add(self, key: Hashable, result: T, version: int | None) -> None:
        """Remember the result for a key. `version` is the version before the look-up."""
        if version is None:
            return
        if version != self._version or len(self._results) >= self._limit:
            self._version, self._results = version, {}
        self._results[key] = result
