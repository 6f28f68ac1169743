"""The queue of deliveries that wait for an attempt or are being attempted, and the dead letters."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from waypost.domain.mail.delivery import Delivery, Queued
from waypost.domain.mail.messages import Message


class Held(Struct, frozen=True, kw_only=True):
    """A queued delivery that is reserved for the caller.

    The caller has either locked the delivery until the transaction ends, or claimed it until the lease ends.
    """

    delivery: Delivery
    queued: Queued
    claim: str
    """The token with which the store checks whether the delivery is still reserved for the caller."""
    because: str = ""
    """The reason why the last attempt failed, or an empty string before the first attempt."""


class Claimed(Held, frozen=True, kw_only=True):
    """A queued delivery that a worker has claimed until its lease ends, with the delivery's message."""

    message: Message
    octets: bytes | None = None
    """The bytes of the message, as the client sent them; None if they must be read separately."""


class Waiting(Struct, frozen=True):
    """A destination with queued deliveries, and the earliest time at which a worker can claim one of its deliveries.

    A worker can claim a delivery when the next attempt is due, or when the lease of another worker ends.
    """

    destination: str
    due_at: datetime


class Backlog(Struct, frozen=True):
    """The queued deliveries to one destination."""

    destination: str
    count: int
    oldest_id: str
    """The id of the oldest message among them."""


class QueueLine(Struct, frozen=True):
    """A queued delivery as it appears in the list of queued deliveries that an operator requests."""

    delivery: Delivery
    queued_at: datetime
    due_at: datetime
    attempts: int
    is_claimed: bool
    because: str
    """The reason why the last attempt failed, or an empty string before the first attempt."""


class DeadLetter(Struct, frozen=True):
    """A dead letter with its message."""

    delivery: Delivery
    message: Message
    given_up_at: datetime | None
    """The time when the delivery became a dead letter, or None if an older version of the server did not record the
    time.
    """
    because: str
    """The reason why the delivery became a dead letter, or an empty string if the reason is unknown."""


class ReadQueue(Protocol):
    """Methods that read queued deliveries and dead letters."""

    def waiting(self) -> list[Waiting]:
        """Return all destinations that have queued deliveries.

        The running time depends on the number of destinations, not on the number of deliveries.
        """
        ...

    def backlogs(self) -> list[Backlog]:
        """Return how many deliveries are queued for each destination.

        The running time depends on the number of deliveries. The method reads only one index, and no row.
        """
        ...

    def destinations_of(self, account: str, *, limit: int) -> list[Waiting]:
        """Return up to `limit` destinations for which an account has queued deliveries."""
        ...

    def queue(self, account: str, *, destination: str | None, after: str, limit: int) -> list[QueueLine]:
        """Return up to `limit` queued deliveries of an account, ordered by id, with ids greater than `after`.

        The ids are the values of `Delivery.id`. If `destination` is given, only deliveries to that destination are
        returned.
        """
        ...

    def count_queued(self, account: str, destination: str, *, up_to: int) -> int:
        """Return the number of an account's queued deliveries to a destination, or `up_to` if there are more."""
        ...

    def dead_letters(
        self,
        account: str,
        *,
        address_key: str | None,
        since: datetime | None,
        after: str,
        limit: int,
        given_up_before: datetime | None = None,
        destination: str | None = None,
    ) -> list[DeadLetter]:
        """Return up to `limit` dead letters of an account, ordered by id, with ids greater than `after`.

        If `address_key` is not None, only dead letters of that address are returned. If `since` is not None, only dead
        letters of messages that were received at that time or later are returned. If `given_up_before` is not None,
        only deliveries that were given up before that time are returned, and if `destination` is not None, only those
        to that destination.
        """
        ...

    def account_with_dead_letters(self, *, after: str) -> str | None:
        """Return the first account, in their order, after the account `after` that has dead letters; None if there is
        none.
        """
        ...

    def dead_destinations(self, account: str, *, limit: int) -> list[str]:
        """Return up to `limit` destinations of an account's dead letters. An empty string is the built-in inbox."""
        ...

    def count_dead_letters(self, account: str, *, address_key: str | None, since: datetime | None, up_to: int) -> int:
        """Return the number of dead letters that `dead_letters` returns on all pages, or `up_to` if there are more."""
        ...


class WriteQueue(Protocol):
    """Methods that change the queue."""

    def claim(
        self, destination: str, *, claim: str, now: datetime, lease_until: datetime, limit: int, most_octets: int = 0
    ) -> list[Claimed]:
        """Claim up to `limit` due deliveries to a destination, and return them in the order in which they became due.

        No other worker can claim these deliveries until the lease ends at `lease_until`. `claim` is the token of the
        new claim. Messages of at most `most_octets` bytes are returned with their bytes.
        """
        ...

    def lock_overdue(self, *, queued_before: datetime, now: datetime, limit: int) -> list[Held]:
        """Lock and return up to `limit` deliveries that were queued before `queued_before`, oldest first.

        Deliveries that a worker is attempting at the time `now` are left out. The locks last until the transaction
        ends, so that `finish` can remove the deliveries from the queue.
        """
        ...

    def take_late(self, *, now: datetime, limit: int) -> list[Held]:
        """Return up to `limit` deliveries whose sender should now get a delay notice.

        Each delivery is returned only once, in the first call after its `warn_at`.
        """
        ...

    def release(self, claim: str, *, due_at: datetime) -> int:
        """Release the deliveries that are still claimed with this token, and make them due at `due_at`.

        Releasing a delivery does not count as an attempt. Return the number of released deliveries.
        """
        ...

    def release_all(self, *, due_at: datetime) -> None:
        """Release all claimed deliveries, and make them due at `due_at`.

        Callers must be sure that no other worker is active.
        """
        ...

    def renew(self, claim: str, *, lease_until: datetime) -> set[str]:
        """Extend the lease of all deliveries that are still claimed with this token. Return the deliveries' ids."""
        ...

    def correct_queue(
        self, *, now: datetime, due_by: datetime, leased_by: datetime, lease_until: datetime, limit: int
    ) -> int:
        """Correct times in the queue that are too far in the future, because a clock was ahead when they were stored.

        If a delivery was queued after `now`, its queue time becomes `now`, and the times of its next attempt and of
        its delay notice move back by the same amount.

        If an unclaimed delivery is due after `due_by`, it becomes due at `due_by`. If a lease would end after
        `leased_by`, its end becomes `lease_until`.

        Each kind of correction changes at most `limit` deliveries. Return the total number of corrections.
        """
        ...

    def finish(self, claimed: Held) -> bool:
        """Remove a delivery from the queue.

        Return False, and change nothing, if the delivery is no longer reserved for the caller.
        """
        ...

    def finish_all(self, claimed: Sequence[Held]) -> list[bool]:
        """Remove several deliveries from the queue. For each delivery, return what `finish` would return."""
        ...

    def defer(self, claimed: Held, *, due_at: datetime, because: str) -> bool:
        """Record a failed attempt: release the delivery, and make it due again at `due_at`.

        `because` is the reason for the failure. Return False, and change nothing, if the caller's claim has ended.
        """
        ...

    def move(self, claimed: Held, *, destination: str, due_at: datetime) -> bool:
        """Release a delivery, and queue it for `destination`, due at `due_at`.

        The move does not count as an attempt. Return False, and change nothing, if the caller's claim has ended.
        """
        ...

    def enqueue(self, delivery: Delivery, *, now: datetime) -> bool:
        """Put an existing delivery into the queue as if it were new. Return False if the delivery is already queued."""
        ...
