"""Sweep the queue: turn expired deliveries into dead letters, and record that warnings of delay are due."""

from datetime import datetime, timedelta
from functools import partial

from waypost.app import ports
from waypost.app.deployment import Deployment
from waypost.app.queue import attempt
from waypost.delivery.queue.leases import LEASE
from waypost.domain.mail.routes import log_destination
from waypost.observe import events

EVERY = timedelta(minutes=1)
"""The interval between sweeps."""


class Sweeps:
    """The sweeps of one worker. A sweep has small steps, so that the worker can attempt deliveries between them."""

    def __init__(self, store: ports.Store, deployment: Deployment, emit: events.Emit) -> None:
        self._store = store
        self._deployment = deployment
        self._emit = emit
        self.is_running = False
        """Whether a sweep has begun and has more steps."""
        self._next: datetime | None = None
        """The time at which the next sweep begins; None if it begins at the next step."""

    async def step(self, now: datetime) -> bool:
        """Run one step of a sweep, if a sweep is running or should begin. Return whether the sweep has more steps.

        `now` must be a time at which the leases are valid. If the leases were not valid, for example because the clock
        was set, deliveries that are being attempted would seem unclaimed and expired. Raises exceptions of the store;
        the next sweep then begins after `EVERY`.
        """
        # If the next sweep is later than the interval allows, the clock was set back, so the sweep begins now.
        if self._next and now < self._next <= now + EVERY:
            return False
        self.is_running = False
        try:
            self.is_running = await self._step(now)
        finally:
            if not self.is_running:
                self._next = now + EVERY
        return self.is_running

    async def _step(self, now: datetime) -> bool:
        """Correct the times that were written while the clock was wrong, give up expired deliveries, and record delays.
        Return whether there may be more work.
        """
        correct = partial(attempt.correct_times, deployment=self._deployment, now=now, lease=LEASE)
        count = await self._store.write(correct)
        given_up = await self._store.write(partial(attempt.give_up_expired, deployment=self._deployment, now=now))
        for held in given_up:
            self._emit(
                events.GivenUp(
                    id=held.delivery.id,
                    destination=log_destination(held.delivery.destination),
                    attempt=held.queued.attempts,
                    stage="",
                    code=0,
                    trouble="expired",
                )
            )
        count += await self._store.write(partial(attempt.warn_of_delays, deployment=self._deployment, now=now))
        return count + len(given_up) > 0
