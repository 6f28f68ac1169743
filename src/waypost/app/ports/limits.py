"""The state of the limits on clients: when each rate limit is free again, and how many connections each client has."""

from collections.abc import Hashable
from contextlib import AbstractContextManager
from typing import Protocol


class Times(Protocol):
    """A table with a time for each key. Times are Unix timestamps in seconds.

    A table may drop entries if it becomes too large: first the entries whose time has passed, then the entries whose
    time comes first.
    """

    def locked(self) -> AbstractContextManager[None]:
        """Let no other process change the table during the `with` block. The block must not wait for anything."""
        ...

    def get(self, key: Hashable) -> float:
        """Return the time of a key, or 0 if the table has no time for the key."""
        ...

    def put(self, key: Hashable, time: float, *, now: float) -> None:
        """Set the time of a key. `now` is the current time."""
        ...


class Counts(Protocol):
    """A table with a count for each key."""

    def of(self, key: str) -> int:
        """Return the count of a key, including the counts of the server's other worker processes."""
        ...

    def change(self, key: str, by: int) -> None:
        """Add `by` to the count of a key. A negative number subtracts."""
        ...

    def __len__(self) -> int:
        """Return the number of keys that this process has counted and whose count is not zero."""
        ...


class LimitState(Protocol):
    """Makes the tables that the limits on clients use. Worker processes of one server share tables with the same
    name.
    """

    def times(self, name: str) -> Times:
        """Return the table of times with this name."""
        ...

    def counts(self, name: str) -> Counts:
        """Return the table of counts with this name."""
        ...
