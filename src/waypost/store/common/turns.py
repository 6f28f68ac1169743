"""Gives long reads of accounts their turns, however many reads one account has waiting.

Each account has a queue of its own. A free place goes to the account that has waited longest for its turn; then that
account goes to the end. So an account waits for at most one read of each other account. Where there are several places,
one account cannot have them all.
"""

import asyncio
from collections import Counter, deque


class Turns:
    """Gives a number of places to the long reads of accounts. For one event loop."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._most = max(1, places - 1)
        """The most places of one account."""
        self._working: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        """By account, in the order of their turns."""

    async def take(self, account: str) -> None:
        """Wait for a place, which `leave` gives back. A cancelled caller has none."""
        if self._may_have_one(account):
            self._give_to(account)
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(account, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the place was given in the same moment
                self.leave(account)
            else:
                self._forget(account, turn)
            raise

    def leave(self, account: str) -> None:
        """Return a place: the next account has its turn."""
        self._free += 1
        self._working[account] -= 1
        if not self._working[account]:
            del self._working[account]
        while (following := next((other for other in self._waiting if self._may_have_one(other)), None)) is not None:
            queue = self._waiting.pop(following)
            while queue and queue[0].done():  # cancelled, and about to hear of it
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
