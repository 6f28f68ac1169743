"""A transaction's queries for the queue and for dead letters.

A delivery is reserved for a worker as long as its row in the table `queue` contains the worker's claim. Each query that
changes a delivery after an attempt checks the claim, so a worker that has lost its claim cannot change anything.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from waypost.app import ports
from waypost.domain.mail.delivery import Delivery, delivery_id, ids_in
from waypost.domain.mail.messages import AFTER_ALL_IDS, first_id
from waypost.store.common import rows
from waypost.store.common.statements import Statements
from waypost.store.sql import kinds


class QueueQueries(Statements):
    """The part of `Transaction` that handles the queue. The methods are documented in `app/ports/queue.py`."""

    def waiting(self) -> list[ports.Waiting]:
        return [ports.Waiting(row[0], kinds.from_milliseconds(row[1])) for row in self._all("waiting")]

    def backlogs(self) -> list[ports.Backlog]:
        return [ports.Backlog(*row) for row in self._all("backlogs")]

    def destinations_of(self, account: str, *, limit: int) -> list[ports.Waiting]:
        found = self._all("destinations_of", account, limit)
        return [ports.Waiting(row[0], kinds.from_milliseconds(row[1])) for row in found]

    def queue(self, account: str, *, destination: str | None, after: str, limit: int) -> list[ports.QueueLine]:
        page = (account, *ids_in(after), limit)
        found = (
            self._all("queue", *page) if destination is None else self._all("queue_of_destination", *page, destination)
        )
        return [rows.queue_line(row) for row in found]

    def count_queued(self, account: str, destination: str, *, up_to: int) -> int:
        (count,) = self._all("queued_up_to", account, destination, up_to)[0]
        return int(count)

    def claim(
        self, destination: str, *, claim: str, now: datetime, lease_until: datetime, limit: int, most_octets: int = 0
    ) -> list[ports.Claimed]:
        found = self._all("due", destination, kinds.to_milliseconds(now), limit, most_octets)
        if found:
            self._run("take", claim, kinds.to_milliseconds(lease_until), *self._ids_of(found))
        return rows.all_claimed(found, claim)

    def lock_overdue(self, *, queued_before: datetime, now: datetime, limit: int) -> list[ports.Held]:
        found = self._all("overdue", kinds.to_milliseconds(queued_before), kinds.to_milliseconds(now), limit)
        return [rows.held(row) for row in found]

    def take_late(self, *, now: datetime, limit: int) -> list[ports.Held]:
        found = self._all("late", kinds.to_milliseconds(now), limit)
        if found:
            self._run("warned", *self._ids_of(found))
        return [rows.held(row) for row in found]

    def release(self, claim: str, *, due_at: datetime) -> int:
        return len(self._all("release", claim, kinds.to_milliseconds(due_at)))

    def release_all(self, *, due_at: datetime) -> None:
        self._run("release_all", kinds.to_milliseconds(due_at))

    def renew(self, claim: str, *, lease_until: datetime) -> set[str]:
        return {delivery_id(*ids) for ids in self._all("renew", claim, kinds.to_milliseconds(lease_until))}

    def correct_queue(
        self, *, now: datetime, due_by: datetime, leased_by: datetime, lease_until: datetime, limit: int
    ) -> int:
        at, due, leased, until = map(kinds.to_milliseconds, (now, due_by, leased_by, lease_until))
        count = len(self._all("correct_queued", at, due, limit))
        if count == limit:  # the next call corrects the other times, after all queue times are correct
            return count
        count += len(self._all("correct_due", due, limit))
        return count + len(self._all("correct_leases", leased, until, limit))

    def finish(self, claimed: ports.Held) -> bool:
        return bool(self._all("finish", *_fence(claimed)))

    def finish_all(self, claimed: Sequence[ports.Held]) -> list[bool]:
        fences = [_fence(one) for one in claimed]
        finished = set(map(tuple, self._all("finish_all", *map(self._list_of, zip(*fences, strict=True)))))
        return [fence in finished for fence in fences]

    def defer(self, claimed: ports.Held, *, due_at: datetime, because: str) -> bool:
        return bool(self._all("defer", *_fence(claimed), kinds.to_milliseconds(due_at), because))

    def move(self, claimed: ports.Held, *, destination: str, due_at: datetime) -> bool:
        return bool(self._all("move", *_fence(claimed), destination, kinds.to_milliseconds(due_at)))

    def enqueue(self, delivery: Delivery, *, now: datetime) -> bool:
        return bool(self._all("enqueue", *_waits_since(delivery, now)))

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
    ) -> list[ports.DeadLetter]:
        received_from = None if since is None else kinds.to_milliseconds(since)
        before, before_id = None, AFTER_ALL_IDS
        if given_up_before is not None:
            before, before_id = kinds.to_milliseconds(given_up_before), first_id(given_up_before)
        found = self._all(
            "dead_letters",
            account,
            address_key,
            received_from,
            before,
            before_id,
            destination,
            *ids_in(after),
            limit,
        )
        return [rows.dead_letter(row) for row in found]

    def account_with_dead_letters(self, *, after: str) -> str | None:
        (account,) = self._all("dead_account", after)[0]
        return None if account is None else str(account)

    def dead_destinations(self, account: str, *, limit: int) -> list[str]:
        return [destination for (destination,) in self._all("dead_destinations", account, limit)]

    def count_dead_letters(self, account: str, *, address_key: str | None, since: datetime | None, up_to: int) -> int:
        received_from = None if since is None else kinds.to_milliseconds(since)
        (count,) = self._all("dead_up_to", account, address_key, received_from, up_to)[0]
        return int(count)

    def _ids_of(self, found: Sequence[rows.Row]) -> tuple[Any, Any]:
        """Return two query parameters: the list of the rows' message ids, and the list of their email address ids."""
        return self._list_of([row[0] for row in found]), self._list_of([row[1] for row in found])

    def _add_to_queue(self, deliveries: Sequence[Delivery], *, now: datetime, warn_at: datetime | None) -> None:
        """Add the deliveries of a new message to the queue. `warn_at` is the time when a delay notice is due."""
        warned_at = None if warn_at is None else kinds.to_milliseconds(warn_at)
        self._run_each("add_to_queue", [(*_waits_since(delivery, now), warned_at) for delivery in deliveries])


def _fence(claimed: ports.Held) -> tuple[str, str, str]:
    """Return the parameters that identify a delivery and its claim."""
    return (claimed.delivery.message_id, claimed.delivery.email_address_id, claimed.claim)


def _waits_since(delivery: Delivery, now: datetime) -> rows.Row:
    """Return the queue row for a delivery that is added to the queue at the time `now`."""
    key = (delivery.message_id, delivery.email_address_id)
    return (*key, delivery.account, delivery.destination, kinds.to_milliseconds(now))
