"""The state of each destination for which mail waits: the maximum number of simultaneous attempts, and the time until
which attempts are paused.

This module does no I/O and reads no clock. The worker queries the state, and reports the results of attempts.
"""

from collections import deque
from collections.abc import Iterable
from datetime import datetime, timedelta

from msgspec import Struct, field

from waypost.app.queue.attempt import Ready
from waypost.domain.mail.delivery import Decision

AHEAD = 40
"""The number of deliveries that are claimed in advance for a working destination, so that one transaction can claim
many deliveries.
"""

UNRECORDED = 40
"""The maximum number of a destination's attempts that have ended, but whose outcomes are not recorded yet. If the
server is killed, these messages are sent again.
"""

REMEMBERED = 10_000
"""The maximum number of destinations that are remembered as working although no mail waits for them."""


class Lane(Struct, eq=False):
    """The state of one destination."""

    destination: str
    running: int = 0
    room: int = 1
    """The maximum number of simultaneous attempts to the destination.

    This number is 1 at first, doubles with each success up to a limit, and returns to 1 when the destination fails.
    """
    is_working: bool = False
    """Whether the destination works: the last attempt succeeded, or failed for a reason that is not the destination's
    fault.
    """
    leads_elsewhere: bool = False
    """Whether a change to the routes has moved all deliveries in the last claim to other destinations. If so, the next
    claim will probably start no attempts either, so it can be large.
    """
    paused_until: datetime | None = None
    recording: int = 0
    """The number of attempts that have ended, but whose outcomes are not recorded yet."""
    pending: deque[Ready] = field(default_factory=deque)
    """Claimed deliveries that are waiting to be attempted."""

    @property
    def is_idle(self) -> bool:
        """Whether no delivery for the destination is claimed, being attempted or being recorded."""
        return not (self.running or self.recording or self.pending)

    @property
    def has_few_pending(self) -> bool:
        """Whether so few claimed deliveries wait that more should be claimed."""
        return len(self.pending) <= AHEAD // 2

    def paused(self, now: datetime, *, at_most: timedelta) -> datetime | None:
        """Return the time until which nothing is sent to the destination; None if attempts are not paused.

        If that time is more than `at_most` after `now`, the clock was set back, and the pause is shortened.
        The shorter pause is stored: if each call only returned a time `at_most` after `now`, the pause would not end
        until the clock had reached the old time again.
        """
        if self.paused_until:
            self.paused_until = min(self.paused_until, now + at_most)
        return self.paused_until

    def wanted(self, free: int) -> int:
        """The number of deliveries to claim, if `free` more attempts may run across all destinations.

        One destination gets at most half of the free attempts (but at least one), because mail for another destination
        may arrive at any moment.
        """
        if not self.has_few_pending or free <= 0:
            return 0
        may_run = min(self.room, self.running + max(1, free // 2))
        ahead = AHEAD if self.is_working or self.leads_elsewhere else 0
        return max(0, may_run + ahead - self.running - len(self.pending))

    def next(self) -> Ready | None:
        """Return the next delivery to attempt and count it as running, or return None if no attempt may begin."""
        if not self.pending or self.running >= self.room or self.recording >= UNRECORDED:
            return None
        self.running += 1
        return self.pending.popleft()

    def learn(self, decision: Decision, *, connections: int, now: datetime, pause: timedelta) -> None:
        """Update the state with the result of an attempt."""
        if decision.is_of_destination:
            # The pause ends no later than this delivery's next attempt, which tests whether the destination works
            # again.
            self.paused_until = min(decision.at or now + pause, now + pause)
            self.is_working, self.room = False, 1
        else:
            self.is_working, self.paused_until = True, None
            self.room = min(connections, self.room * 2)

    def give_up_pending(self) -> list[Ready]:
        """Remove and return the claimed deliveries whose attempts have not begun. The worker releases these deliveries
        instead of attempting them now.
        """
        pending = list(self.pending)
        self.pending.clear()
        return pending


class Lanes:
    """The states of all known destinations.

    A working destination is remembered even if no mail waits for it. If a working destination were forgotten, the next
    mail for the destination would be treated like mail for an unknown destination, and would wait behind destinations
    that never answer.
    """

    def __init__(self) -> None:
        self._lanes: dict[str, Lane] = {}
        self._worked: dict[str, None] = {}

    def of(self, destination: str) -> Lane:
        """Return a destination's state. If the destination is new, create its state first."""
        lane = self._lanes.get(destination)
        if lane is None:
            lane = self._lanes[destination] = Lane(destination, is_working=destination in self._worked)
        return lane

    @property
    def running_for_unknown(self) -> int:
        """The number of running attempts to destinations that are not known to work."""
        return sum(lane.running for lane in self._lanes.values() if not lane.is_working)

    @property
    def has_pending(self) -> bool:
        """Whether claimed deliveries to some destination wait to be attempted."""
        return any(lane.pending for lane in self._lanes.values())

    def give_up_pending(self) -> list[Ready]:
        """Remove and return the claimed deliveries to all destinations whose attempts have not begun."""
        return [ready for lane in self._lanes.values() for ready in lane.give_up_pending()]

    def keep_only(self, waiting: Iterable[str]) -> None:
        """Drop all destinations that are not in `waiting` and have neither claimed deliveries nor running attempts."""
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
