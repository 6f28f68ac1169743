"""The leases of a worker: which claims it holds, and until when.

Another worker may claim a delivery whose lease has ended, so leases are renewed until their deliveries are done with.
"""

import asyncio
import itertools
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from waypost.app import ports
from waypost.app.queue import attempt

LEASE = timedelta(minutes=2)
"""How long a claim holds if its server dies; while it lives, it is renewed."""

RENEW_EVERY = 30.0
"""Seconds between two renewals."""

RENEW_AGAIN = 1.0
"""Seconds until a failed renewal is retried."""

CLOCK_WAS_SET = 10.0
"""Seconds by which the clock may drift between two renewals. If it differs by more, it was set."""


@dataclass(slots=True)
class _Lease:
    """The lease of one claim."""

    ends: float
    """In seconds of the monotonic clock."""
    count: int = 0
    """Deliveries that are held."""
    renewed: set[str] | None = None
    """The ids of the deliveries whose lease was renewed: the others have ended, or another worker has claimed them."""


class Leases:
    """All leases of one worker. A store that fails never raises here: `failed` is called, and the lease runs on."""

    def __init__(
        self,
        store: ports.Store,
        *,
        clock: ports.Clock,
        monotonic: Callable[[], float],
        failed: Callable[[Exception], None],
    ) -> None:
        """`monotonic` gives the seconds of a clock that is never set."""
        self._store, self._clock, self._monotonic, self._failed = store, clock, monotonic, failed
        self._leases: dict[str, _Lease] = {}
        """By the names of their claims."""
        self._worker, self._numbers = str(uuid.uuid4()), itertools.count(1)
        self._looked_at = clock(), monotonic()

    def begin(self) -> str:
        """The name of a new claim, whose lease begins now. It holds nothing yet, but `release_all` releases it."""
        claim = f"{self._worker}.{next(self._numbers)}"
        self._leases[claim] = _Lease(self._monotonic() + LEASE.total_seconds())
        return claim

    def hold(self, claim: str, count: int) -> None:
        """The claim was made, and holds this many deliveries."""
        if count:
            self._leases[claim].count = count
        else:
            del self._leases[claim]

    def done_with_one(self, claim: str) -> None:
        """One delivery less is held by a claim; with the last one its lease ends."""
        self.hold(claim, self._leases[claim].count - 1)

    def has_ended(self, claimed: ports.Claimed) -> bool:
        """Whether another worker may have claimed a delivery since."""
        lease = self._leases[claimed.claim]
        was_lost = lease.renewed is not None and claimed.delivery.id not in lease.renewed
        return was_lost or self._monotonic() >= lease.ends

    async def keep(self) -> None:
        """Renew all leases again and again, and soon again if one could not be renewed."""
        while True:
            pause = RENEW_EVERY if await self.renew_all() else RENEW_AGAIN
            await asyncio.sleep(pause)

    async def renew_all(self) -> bool:
        """Renew all leases. Returns whether all could be renewed."""
        # A claim that is still being made holds nothing yet, and would be taken for one that was lost.
        claims = [claim for claim, lease in self._leases.items() if lease.count]
        return all(await asyncio.gather(*map(self._renew, claims)))

    async def _renew(self, claim: str) -> bool:
        ends = self._monotonic() + LEASE.total_seconds()
        try:
            renewed = await self._store.write(partial(attempt.renew, claim=claim, now=self._clock(), lease=LEASE))
        except Exception as error:  # noqa: BLE001 - it is tried again, as long as the lease holds
            self._failed(error)
            return False
        if lease := self._leases.get(claim):
            lease.ends, lease.renewed = ends, renewed
        return True

    async def follow_the_clock(self, now: datetime) -> bool:
        """Renew all leases if the clock was set forward or back. Returns whether they are right by the present clock.

        If they are not, what is being attempted may seem free, and would be claimed and attempted once more.
        """
        seconds = self._monotonic()
        looked_at, looked_at_seconds = self._looked_at
        set_by = (now - looked_at).total_seconds() - (seconds - looked_at_seconds)
        if abs(set_by) >= CLOCK_WAS_SET and not await self.renew_all():
            return False
        self._looked_at = now, seconds
        return True

    async def release_all(self) -> None:
        """Give back all claims. One that cannot be given back holds until its lease ends."""
        for claim in list(self._leases):
            try:
                await self._store.write(partial(attempt.release, claim=claim, now=self._clock()))
            except ports.StoreUnavailable as error:
                self._failed(error)
                return  # the store will not be there for the next one either, and each would wait for it
            except Exception as error:  # noqa: BLE001 - it may be of this one alone
                self._failed(error)
