"""The queue: deliveries that wait for a destination, are being attempted, or were given up."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from waypost.domain.mail.delivery import Delivery, Queued
from waypost.domain.mail.messages import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A delivery of the queue that is ours to change: until the transaction ends, or for a claim its lease."""

    delivery: Delivery
    queued: Queued
    claim: str
    """By which the store knows that it is still ours."""
    because: str = ""
    """Why the last attempt failed; empty if there was none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed(Held):
    """A delivery of the queue that is ours to attempt, until the lease ends."""

    message: Message


@dataclass(frozen=True, slots=True)
class Waiting:
    """A destination for which deliveries wait, and when the first of them is due; or when its lease ends."""

    destination: str
    due_at: datetime


@dataclass(frozen=True, slots=True)
class QueueLine:
    """A delivery that waits, as people see it in a list."""

    delivery: Delivery
    queued_at: datetime
    due_at: datetime
    attempts: int
    is_claimed: bool
    because: str
    """Why the last attempt failed; empty if there was none."""


class ReadQueue(Protocol):
    """What waits and what was given up, as it is read."""

    def waiting(self) -> list[Waiting]:
        """The destinations for which deliveries wait. Takes as long as there are destinations, not deliveries."""
        ...

    def destinations_of(self, account: str, *, limit: int) -> list[Waiting]:
        """As `waiting`, only those for which something of an account waits."""
        ...

    def queue(self, account: str, *, destination: str | None, after: str, limit: int) -> list[QueueLine]:
        """Deliveries of an account that wait, in the order of their ids (`Delivery.id`), those behind `after`."""
        ...

    def count_queued(self, account: str, destination: str, *, up_to: int) -> int:
        """How many of an account wait for a destination, counted no further than `up_to`."""
        ...

    def dead_letters(
        self, account: str, *, address_key: str | None, since: datetime | None, after: str, limit: int
    ) -> list[tuple[Delivery, Message]]:
        """Deliveries of an account that were given up, in the order of their ids, those behind `after`.

        `since`: only of messages received from this moment on.
        """
        ...


class WriteQueue(Protocol):
    """Changes to the queue: what an attempt does to it, and what corrects it."""

    def claim(self, destination: str, *, claim: str, now: datetime, lease_until: datetime, limit: int) -> list[Claimed]:
        """Take deliveries that are due for a destination, the longest due first; nobody else gets them meanwhile."""
        ...

    def lock_overdue(self, *, queued_before: datetime, now: datetime, limit: int) -> list[Held]:
        """Deliveries that were queued before a moment, and that nobody is attempting; the oldest first.

        They are held until the transaction ends, so that `finish` takes them out of the queue.
        """
        ...

    def take_late(self, *, now: datetime, limit: int) -> list[Held]:
        """Deliveries whose sender is to be told by now that they are late. Each is given once."""
        ...

    def release(self, claim: str, *, due_at: datetime) -> int:
        """Give back what is still held by a claim, due at a moment. No attempt is counted. Returns how many."""
        ...

    def release_all(self, *, due_at: datetime) -> None:
        """Give back whatever anybody holds: nobody else can be at work here."""
        ...

    def renew(self, claim: str, *, lease_until: datetime) -> set[str]:
        """Hold what is still held by a claim for longer. Returns the ids of these deliveries."""
        ...

    def correct_queue(
        self, *, now: datetime, due_by: datetime, leased_by: datetime, lease_until: datetime, limit: int
    ) -> int:
        """Correct times of the queue that cannot be right at `now`, up to `limit` of each kind; returns how many.

        A delivery that was queued after `now` counts as queued at `now`; when it is due and when its sender is warned
        move back by as much. A delivery without a claim is due by `due_by`. A lease that ends after `leased_by` ends at
        `lease_until`.
        """
        ...

    def finish(self, claimed: Held) -> bool:
        """Take a delivery out of the queue. False, and nothing happens, if it is not ours any more."""
        ...

    def defer(self, claimed: Held, *, due_at: datetime, because: str) -> bool:
        """Count an attempt, and give the delivery back until a moment. False if it is not ours any more.

        `because` says why the attempt failed.
        """
        ...

    def move(self, claimed: Held, *, destination: str, due_at: datetime) -> bool:
        """Give a delivery back, for another destination. No attempt is counted. False if it is not ours any more."""
        ...

    def enqueue(self, delivery: Delivery, *, now: datetime) -> bool:
        """Put a delivery that exists into the queue again, as if it were new. False if it is there already."""
        ...
