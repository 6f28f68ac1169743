"""Schedules long reads fairly among accounts, even if one account has many reads waiting.

Each account has its own queue of waiting reads. A free slot goes to the account that has waited longest for its turn.
The account gets its next turn only after all other waiting accounts have had a turn. Therefore, an account waits for at
most one read by each of the other accounts before its turn. If there are several slots, one account cannot occupy all
of them.
"""

import asyncio
from collections import Counter, deque


class Turns:
    """Assigns a fixed number of slots to the long reads of accounts. A `Turns` object belongs to one event loop."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._most = max(1, places - 1)
        """The maximum number of slots that one account can occupy."""
        self._working: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        """The waiting reads of each account. The order of the keys is the order in which the accounts get their
        turns."""

    async def take(self, account: str) -> None:
        """Wait for a slot. The caller must release the slot with `leave`, unless the wait was cancelled."""
        if self._may_have_one(account):
            self._give_to(account)
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(account, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the slot was assigned at the same moment
                self.leave(account)
            else:
                self._forget(account, turn)
            raise

    def leave(self, account: str) -> None:
        """Release one of an account's slots, and assign it to the next waiting account."""
        self._free += 1
        self._working[account] -= 1
        if not self._working[account]:
            del self._working[account]
        while (following := next((other for other in self._waiting if self._may_have_one(other)), None)) is not None:
            queue = self._waiting.pop(following)
            while queue and queue[0].done():  # the caller was cancelled, but its `take` has not resumed yet
                queue.popleft()
            if not queue:
                continue
            queue.popleft().set_result(None)
            self._give_to(following)
            if queue:
                self._waiting[following] = queue
            return

    def _may_have_one(self, account: str) -> bool:
        return self._free > 0 and self._working[account] < self._most

    def _give_to(self, account: str) -> None:
        self._free -= 1
        self._working[account] += 1

    def _forget(self, account: str, turn: "asyncio.Future[None]") -> None:
        queue = self._waiting.get(account)
        if queue and turn in queue:
            queue.remove(turn)
            if not queue:
                del self._waiting[account]
