"""The queue: deliveries that wait for a destination or are attempted, and dead letters."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from waypost.domain.mail.delivery import Delivery, Queued
from waypost.domain.mail.messages import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A delivery of the queue that the caller holds: until the transaction ends, or, for a claim, until its lease
    ends.
    """

    delivery: Delivery
    queued: Queued
    claim: str
    """The token by which the store knows that the caller still holds it."""
    because: str = ""
    """Why the last attempt failed; empty if there was none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed(Held):
    """A claimed delivery of the queue, until the lease ends."""

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


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter, with its message."""

    delivery: Delivery
    message: Message
    given_up_at: datetime | None
    """None if unknown: a server of an older version beside a newer one recorded it."""
    because: str
    """The reason; empty if unknown."""


class ReadQueue(Protocol):
    """Reads waiting deliveries and dead letters."""

    def waiting(self) -> list[Waiting]:
        """The destinations for which deliveries wait. The time depends on the number of destinations, not of
        deliveries.
        """
        ...

    def destinations_of(self, account: str, *, limit: int) -> list[Waiting]:
        """As `waiting`, only destinations for which deliveries of an account wait."""
        ...

    def queue(self, account: str, *, destination: str | None, after: str, limit: int) -> list[QueueLine]:
        """Waiting deliveries of an account, in the order of their ids (`Delivery.id`), those after `after`."""
        ...

    def count_queued(self, account: str, destination: str, *, up_to: int) -> int:
        """The number of an account's deliveries that wait for a destination, counted up to `up_to`."""
        ...

    def dead_letters(
        self, account: str, *, address_key: str | None, since: datetime | None, after: str, limit: int
    ) -> list[DeadLetter]:
        """Dead letters of an account, in the order of their ids, those after `after`.

        `since`: only of messages received from this moment on.
        """
        ...


class WriteQueue(Protocol):
    """Changes to the queue: by attempts, and by corrections."""

    def claim(self, destination: str, *, claim: str, now: datetime, lease_until: datetime, limit: int) -> list[Claimed]:
        """Claim due deliveries of a destination, the longest due first; no other worker gets them meanwhile."""
        ...

    def lock_overdue(self, *, queued_before: datetime, now: datetime, limit: int) -> list[Held]:
        """Deliveries that were queued before a moment, and are not being attempted; the oldest first.

        They are locked until the transaction ends, so that `finish` can remove them from the queue.
        """
        ...

    def take_late(self, *, now: datetime, limit: int) -> list[Held]:
        """Deliveries whose sender is due a notice of delay by now. Each is given once."""
        ...

    def release(self, claim: str, *, due_at: datetime) -> int:
        """Release deliveries that a claim still holds, due at a moment. No attempt is counted. Returns how many."""
        ...

    def release_all(self, *, due_at: datetime) -> None:
        """Release all claims: no other worker can be active."""
        ...

    def renew(self, claim: str, *, lease_until: datetime) -> set[str]:
        """Extend the lease of deliveries that a claim still holds. Returns the ids of these deliveries."""
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
        """Remove a delivery from the queue. False, and nothing happens, if the caller does not hold it any more."""
        ...

    def defer(self, claimed: Held, *, due_at: datetime, because: str) -> bool:
        """Count an attempt, and release the delivery, due at a moment. False if it is not ours any more.

        `because` says why the attempt failed.
        """
        ...

    def move(self, claimed: Held, *, destination: str, due_at: datetime) -> bool:
        """Release a delivery, for another destination. No attempt is counted. False if it is not ours any more."""
        ...

    def enqueue(self, delivery: Delivery, *, now: datetime) -> bool:
        """Put a delivery that exists into the queue again, as if it were new. False if it is there already."""
        ...
