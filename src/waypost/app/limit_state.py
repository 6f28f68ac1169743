"""The state of the limits on clients in the memory of one process, for a server that consists of one process."""

from collections.abc import Hashable
from contextlib import AbstractContextManager, nullcontext

MOST_TIMES = 10_000
"""The maximum number of entries in a table of times."""

_UNLOCKED = nullcontext()


class OwnTimes:
    """The implementation of `ports.Times` in the memory of one process."""

    def __init__(self) -> None:
        self._times: dict[Hashable, float] = {}

    def locked(self) -> AbstractContextManager[None]:
        """Do nothing, because only one thread of one process uses the table."""
        return _UNLOCKED

    def get(self, key: Hashable) -> float:
        """Return the time of a key, or 0 if the table has no time for the key."""
        return self._times.get(key, 0.0)

    def forget(self) -> None:
        """Forget the times of all keys."""
        self._times.clear()

    def put(self, key: Hashable, time: float, *, now: float) -> None:
        """Set the time of a key. If the table is too large, drop at least half of its entries."""
        self._times[key] = time
        if len(self._times) > MOST_TIMES:
            waiting = {key: time for key, time in self._times.items() if time > now}
            newest = sorted(waiting, key=waiting.__getitem__)[-MOST_TIMES // 2 :]
            self._times = {key: waiting[key] for key in newest}


class OwnCounts:
    """The implementation of `ports.Counts` in the memory of one process."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def __len__(self) -> int:
        """Return the number of keys whose count is not zero."""
        return len(self._counts)

    def of(self, key: str) -> int:
        """Return the count of a key."""
        return self._counts.get(key, 0)

    def change(self, key: str, by: int) -> None:
        """Add `by` to the count of a key. Forget keys whose count is zero."""
        count = self.of(key) + by
        if count:
            self._counts[key] = count
        else:
            self._counts.pop(key, None)


class OwnState:
    """The implementation of `ports.LimitState` in the memory of one process."""

    def __init__(self) -> None:
        self._times: list[OwnTimes] = []

    def times(self, name: str) -> OwnTimes:  # noqa: ARG002 - no other process needs the name
        """Return a new table of times."""
        self._times.append(OwnTimes())
        return self._times[-1]

    def forget_times(self) -> None:
        """Forget the times in all tables, as if no client had done anything yet."""
        for times in self._times:
            times.forget()

    def counts(self, name: str) -> OwnCounts:  # noqa: ARG002 - no other process needs the name
        """Return a new table of counts."""
        return OwnCounts()
