"""Limit the resources that checks use, and share these resources fairly.

Each resource is counted in places. A place is one message that is being checked, one byte of memory, or one unanswered
DNS query. A holder of places is a host, a network or a DNS domain (`domain.limits.shares`).
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from waypost.domain.limits import shares
from waypost.domain.limits.shares import Share

AT_ONCE = 32
"""The maximum number of messages that are checked at the same time.

Many checks can run at the same time, because a check spends most of its time waiting for the DNS.
"""

WAITING = 128
"""The maximum number of messages that wait for their check to begin.

Each network gets a share of the queue (`domain.limits.shares`).
"""


class Ledger:
    """Counts the free places, and the places that each holder has. A ledger is not thread-safe."""

    def __init__(self, total: int) -> None:
        self.free = total
        self._held: Counter[str] = Counter()

    def allows(self, holders: Sequence[Share], amount: int = 1) -> bool:
        """Return whether each of the holders may take `amount` more places."""
        return shares.allows(holders, amount, free=self.free, held_by=self._held.__getitem__)

    def take(self, holders: Sequence[Share], amount: int = 1) -> None:
        """Record that a request has taken `amount` places, which count towards the share of each of its holders."""
        self.free -= amount
        for share in holders:
            self._held[share.holder] += amount

    def give_back(self, holders: Sequence[Share], amount: int = 1) -> None:
        """Record that a request has given back `amount` places."""
        self.free += amount
        for share in holders:
            self._held[share.holder] -= amount
            if not self._held[share.holder]:
                del self._held[share.holder]


class NoPlace(Exception):
    """Raised for a request that is refused because too many requests are already waiting.

    `is_own_share` is true if only the holder's own share of the queue is full.
    """

    def __init__(self, *, is_own_share: bool) -> None:
        super().__init__()
        self.is_own_share = is_own_share


class Places:
    """The places for work that runs on one event loop. If places are free, a request gets them immediately. Requests
    that have to wait are served in order.

    A holder that has used up its share waits, but does not block other holders.
    """

    def __init__(self, total: int, *, waiting: int = WAITING) -> None:
        self._places = Ledger(total)
        self._waiting = Ledger(waiting)
        self._queue: deque[tuple[Sequence[Share], int, asyncio.Future[None]]] = deque()

    @property
    def free(self) -> int:
        """The number of free places."""
        return self._places.free

    @asynccontextmanager
    async def of(self, holders: Sequence[Share], amount: int = 1) -> AsyncIterator[None]:
        """Wait for `amount` places, and hold them until the context exits. The wait can be cancelled.

        Raises `NoPlace` if too many requests are already waiting.
        """
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
            if turn.done() and not turn.cancelled():  # the request got its places just as it was cancelled
                self._places.give_back(holders, amount)
            else:
                self._queue.remove(entry)
            self._hand_on()
            raise
        finally:
            self._waiting.give_back(holders)

    def _hand_on(self) -> None:
        """Give free places to the waiting requests in order, but skip the requests of holders that have used up their
        share.
        """
        if not self._places.free:
            return
        for entry in list(self._queue):
            holders, amount, turn = entry
            was_cancelled = turn.done()  # a cancelled request is about to leave the queue
            if not was_cancelled and self._places.allows(holders, amount):
                self._places.take(holders, amount)
                self._queue.remove(entry)
                turn.set_result(None)
