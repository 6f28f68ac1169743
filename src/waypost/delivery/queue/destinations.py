"""The state of each destination for which mail waits: how many attempts it gets at once, and until when attempts pause.

No I/O and no clock: the worker asks, and reports the results of attempts.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from waypost.app.queue.attempt import Ready
from waypost.domain.mail.delivery import Decision

AHEAD = 20
"""Deliveries that are claimed in advance for a destination that takes several at once, so that one transaction serves
many."""

REMEMBERED = 10_000
"""The most destinations without waiting mail that are remembered as working."""


@dataclass(slots=True, eq=False)
class Lane:
    """One destination."""

    destination: str
    running: int = 0
    room: int = 1
    """The attempts that it may have at once: one until it has worked once. It doubles with each success."""
    is_working: bool = False
    """Whether the last attempt did not fail because of the destination."""
    leads_elsewhere: bool = False
    """Whether all deliveries of the last claim have another destination by the present routes. It takes no attempts."""
    paused_until: datetime | None = None
    pending: deque[Ready] = field(default_factory=deque)
    """Claimed deliveries that wait for room."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing is claimed or attempted for it."""
        return not self.running and not self.pending

    def paused(self, now: datetime, *, at_most: timedelta) -> datetime | None:
        """The moment until which nothing is sent there. It is at most that long from now, even if the clock was set
        back since.
        """
        return min(self.paused_until, now + at_most) if self.paused_until else None

    def wanted(self, free: int) -> int:
        """How many deliveries to claim, with so many attempts left for it and others.

        One destination never takes more than half of these: there may be another one in a moment.
        """
        if len(self.pending) > AHEAD // 2 or free <= 0:
            return 0
        may_run = min(self.room, self.running + max(1, free // 2))
        ahead = AHEAD if self.is_working or self.leads_elsewhere else 0
        return max(0, may_run + ahead - self.running - len(self.pending))

    def next(self) -> Ready | None:
        """The next delivery to attempt, if there is room; it counts as running."""
        if not self.pending or self.running >= self.room:
            return None
        self.running += 1
        return self.pending.popleft()

    def learn(self, decision: Decision, *, connections: int, now: datetime, pause: timedelta) -> None:
        """Note the result of an attempt."""
        if decision.is_of_destination:
            # Never longer than until the next attempt of that delivery, which is the one that asks whether it is back.
            self.paused_until = min(decision.at or now + pause, now + pause)
            self.is_working, self.room = False, 1
        else:
            self.is_working, self.paused_until = True, None
            self.room = min(connections, self.room * 2)

    def give_up_pending(self) -> list[Ready]:
        """Remove and return the claimed deliveries that wait: they are not attempted now."""
        pending = list(self.pending)
        self.pending.clear()
        return pending


class Lanes:
    """All known destinations.

    It remembers whether a destination worked, also when nothing waits for it any more. Otherwise its next mail would
    wait behind destinations that never answer, as if it were unknown.
    """

    def __init__(self) -> None:
        self._lanes: dict[str, Lane] = {}
        self._worked: dict[str, None] = {}

    def of(self, destination: str) -> Lane:
        """The lane of a destination."""
        lane = self._lanes.get(destination)
        if lane is None:
            lane = self._lanes[destination] = Lane(destination, is_working=destination in self._worked)
        return lane

    @property
    def running_for_unknown(self) -> int:
        """Running attempts to destinations that have not worked yet."""
        return sum(lane.running for lane in self._lanes.values() if not lane.is_working)

    def keep_only(self, waiting: Iterable[str]) -> None:
        """Drop destinations for which nothing waits, and that have nothing claimed."""
        waiting = set(waiting)
        for name, lane in list(self._lanes.items()):
            if name not in waiting and lane.is_idle:
                del self._lanes[name]
                self._remember(lane)

    def _remember(self, lane: Lane) -> None:
        self._worked.pop(lane.destination, None)
        if lane.is_working:
            self._worked[lane.destination] = None
            if len(self._worked) > REMEMBERED:
                del self._worked[next(iter(self._worked))]
