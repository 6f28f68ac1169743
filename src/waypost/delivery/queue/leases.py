"""The leases of a worker: the claims that the worker holds, and the time at which each lease ends.

Another worker can claim a delivery whose lease has ended. Therefore, a worker renews each lease until all of the
claim's deliveries are finished.
"""

import asyncio
import itertools
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from msgspec import Struct

from waypost.app import ports
from waypost.app.queue import attempt

LEASE = timedelta(minutes=2)
"""The time for which a claim remains valid without renewal, for example after its server has crashed."""

RENEW_EVERY = 30.0
"""Seconds between two renewals of all leases."""

RENEW_AGAIN = 1.0
"""Seconds until a failed renewal is retried."""

CLOCKS_MAY_DIFFER = 30.0
"""How far, in seconds, the clock of a server may differ from the clock of its database.

Two servers may then differ by twice as much. A lease that is about to be renewed still lasts `LEASE` minus
`RENEW_EVERY`, of which a server whose clock is ahead sees less. The rest must be enough for the renewal, which takes at
most 30 s (`answer` in `store/common/time_limits.py`). With larger differences, another server can claim a delivery that
is being attempted, and the peer then gets the message twice.
"""

CLOCK_WAS_SET = 10.0
"""How far, in seconds, the clock may drift from the monotonic clock between two checks.

A larger drift means that the clock was set to another time.
"""


class _Lease(Struct):
    """The lease of one claim."""

    ends: float
    """The time at which the lease ends, in seconds on the monotonic clock."""
    count: int = 0
    """The number of deliveries that the claim holds."""
    renewed: set[str] | None = None
    """The ids of the deliveries whose lease was extended by the last renewal; None before the first renewal.

    All other deliveries in the claim are finished, or have been claimed by another worker.
    """


class Leases:
    """All leases of one worker. If the store fails, this class calls `failed` instead of raising an exception, and the
    leases keep their end times.
    """

    def __init__(
        self,
        store: ports.Store,
        *,
        clock: ports.Clock,
        monotonic: Callable[[], float],
        failed: Callable[[Exception], None],
    ) -> None:
        """`monotonic` returns the time of a monotonic clock, in seconds."""
        self._store, self._clock, self._monotonic, self._failed = store, clock, monotonic, failed
        self._leases: dict[str, _Lease] = {}
        """The leases, keyed by the name of their claim."""
        self._worker, self._numbers = str(uuid.uuid4()), itertools.count(1)
        self._last_check = clock(), monotonic()

    def begin(self) -> str:
        """Return the name of a new claim, whose lease begins now.

        `release_all` releases the claim even if it does not hold any deliveries yet.
        """
        claim = f"{self._worker}.{next(self._numbers)}"
        self._leases[claim] = _Lease(self._monotonic() + LEASE.total_seconds())
        return claim

    def hold(self, claim: str, count: int) -> None:
        """Record that the claim was made and holds `count` deliveries."""
        if count:
            self._leases[claim].count = count
        else:
            del self._leases[claim]

    def done_with_one(self, claim: str) -> None:
        """Record that one delivery in a claim is finished. When the last delivery in the claim is finished, the lease
        ends.
        """
        self.hold(claim, self._leases[claim].count - 1)

    def has_ended(self, claimed: ports.Claimed) -> bool:
        """Whether the lease of a delivery has ended, so that another worker may have claimed the delivery."""
        lease = self._leases[claimed.claim]
        was_lost = lease.renewed is not None and claimed.delivery.id not in lease.renewed
        return was_lost or self._monotonic() >= lease.ends

    async def keep(self) -> None:
        """Renew all leases periodically, and retry soon if a renewal fails. This method never returns."""
        while True:
            pause = RENEW_EVERY if await self.renew_all() else RENEW_AGAIN
            await asyncio.sleep(pause)

    async def renew_all(self) -> bool:
        """Renew all leases. Returns whether all renewals succeeded."""
        # A claim that is still being made holds no deliveries yet, so its renewal would look like a lost lease.
        claims = [claim for claim, lease in self._leases.items() if lease.count]
        return all(await asyncio.gather(*map(self._renew, claims)))

    async def _renew(self, claim: str) -> bool:
        ends = self._monotonic() + LEASE.total_seconds()
        try:
            renewed = await self._store.write(partial(attempt.renew, claim=claim, now=self._clock(), lease=LEASE))
        except Exception as error:  # noqa: BLE001 - the renewal is retried until the lease ends
            self._failed(error)
            return False
        if lease := self._leases.get(claim):
            lease.ends, lease.renewed = ends, renewed
        return True

    async def follow_the_clock(self, now: datetime) -> bool:
        """Renew all leases if the clock was set forward or back. Returns whether all leases are valid according to the
        current clock.

        If a lease is not valid, a delivery that is being attempted may seem free, so it could be claimed and attempted
        a second time.
        """
        seconds = self._monotonic()
        checked_at, checked_at_seconds = self._last_check
        set_by = (now - checked_at).total_seconds() - (seconds - checked_at_seconds)
        if abs(set_by) >= CLOCK_WAS_SET and not await self.renew_all():
            return False
        self._last_check = now, seconds
        return True

    async def release_all(self) -> None:
        """Release all claims. A claim that cannot be released remains valid until its lease ends."""
        for claim in list(self._leases):
            try:
                await self._store.write(partial(attempt.release, claim=claim, now=self._clock()))
            except ports.StoreUnavailable as error:
                self._failed(error)
                return  # the other releases would fail too, each after a wait for the store
            except Exception as error:  # noqa: BLE001 - the failure may affect only this claim
                self._failed(error)
