"""Places for checks, and fair shares of them: of messages at once, of octets, of unanswered DNS queries."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from waypost.domain.limits import shares
from waypost.domain.limits.shares import Share

AT_ONCE = 32
"""Messages that are checked at the same time: most of the time a check waits for the DNS."""

WAITING = 128
"""The most messages that wait for a place; each network has a share of them (`domain.limits.shares`)."""


class Ledger:
    """Holders of places, and how many each holds. It has no lock of its own."""

    def __init__(self, total: int) -> None:
        self.free = total
        self._held: Counter[str] = Counter()

    def allows(self, holders: Sequence[Share], amount: int = 1) -> bool:
        """Whether these holders may hold this much more."""
        return shares.allows(holders, amount, free=self.free, held_by=self._held.__getitem__)

    def take(self, holders: Sequence[Share], amount: int = 1) -> None:
        """Count it in."""
        self.free -= amount
        for share in holders:
            self._held[share.holder] += amount

    def give_back(self, holders: Sequence[Share], amount: int = 1) -> None:
        """Count it out."""
        self.free += amount
        for share in holders:
            self._held[share.holder] -= amount
            if not self._held[share.holder]:
                del self._held[share.holder]


class NoPlace(Exception):
    """So many wait already. `is_own_share`: the network's own share is full, not all places."""

    def __init__(self, *, is_own_share: bool) -> None:
        super().__init__()
        self.is_own_share = is_own_share


class Places:
    """Places for work, given out on one event loop: at once if there are some, and otherwise in turn.

    A holder that has used up its share waits; those behind it do not.
    """

    def __init__(self, total: int, *, waiting: int = WAITING) -> None:
        self._places = Ledger(total)
        self._waiting = Ledger(waiting)
        self._queue: deque[tuple[Sequence[Share], int, asyncio.Future[None]]] = deque()

    @property
    def free(self) -> int:
        """How many are free."""
        return self._places.free

    @asynccontextmanager
    async def of(self, holders: Sequence[Share], amount: int = 1) -> AsyncIterator[None]:
        """Hold so many places. Raises `NoPlace` if too many wait already. Waiting can be cancelled."""
        await self._get(holders, amount)
        try:
            yield
        finally:
            self._places.give_back(holders, amount)
            self._hand_on()

    async def _get(self, holders: Sequence[Share], amount: int) -> None:
        if self._places.allows(holders, amount):
            self._places.take(holders, amount)
            return
        if not self._waiting.allows(holders):
            raise NoPlace(is_own_share=self._waiting.free > 0)
        turn = asyncio.get_running_loop().create_future()
        entry = (holders, amount, turn)
        self._queue.append(entry)
        self._waiting.take(holders)
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():  # it came at the very moment
                self._places.give_back(holders, amount)
            else:
                self._queue.remove(entry)
            self._hand_on()
            raise
        finally:
            self._waiting.give_back(holders)

    def _hand_on(self) -> None:
        """Give free places to those that wait, in order, except to holders whose share is used up."""
        if not self._places.free:
            return
        for entry in list(self._queue):
            holders, amount, turn = entry
            was_cancelled = turn.done()  # it is about to leave the queue
            if not was_cancelled and self._places.allows(holders, amount):
                self._places.take(holders, amount)
                self._queue.remove(entry)
                turn.set_result(None)
