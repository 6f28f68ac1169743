"""Process the queue: claim deliveries that are due, attempt them, and record the results.

Each destination gets a fair share of the attempts. Each server runs one worker. The worker keeps its running attempts,
and the state of each destination for which mail waits, in memory. The queue itself is in the store.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import TypeVar

from msgspec import Struct, field

from waypost.app import ports
from waypost.app.deployment import Deployment
from waypost.app.mail import notify
from waypost.app.ports.failures import STORE_FAILURES
from waypost.app.queue import attempt
from waypost.app.queue.attempt import Outcome, Ready
from waypost.delivery import outgoing
from waypost.delivery.queue.destinations import Lane, Lanes
from waypost.delivery.queue.leases import LEASE, Leases
from waypost.delivery.queue.notices import Notices
from waypost.delivery.queue.results import PAUSE_AFTER_FAILURE, Results
from waypost.delivery.queue.sending import Sending
from waypost.delivery.queue.sweeps import Sweeps
from waypost.domain.mail.delivery import Protocol, Reason, Then
from waypost.domain.mail.messages import NO_DSN
from waypost.domain.mail.routes import log_destination
from waypost.observe import events
from waypost.observe.incidents import Incidents
from waypost.observe.measures import Measures
from waypost.observe.spans.spans import AttemptSpan, Spans
from waypost.observe.tasks import OnError, Tasks

T = TypeVar("T")

CHECK_EVERY = 5.0
"""Seconds after which the worker reads the queue even if nothing wakes it, because other servers may have added
deliveries.
"""

PAUSE_BETWEEN_PASSES = 0.01
"""Seconds between two readings of the queue while claimed deliveries wait for a connection, so that one claim takes
several deliveries.
"""

STOP_SECONDS = 10.0
"""Seconds for which attempts may continue after the server begins to stop.

Attempts that are still running after this time are cancelled, and repeated later.
"""


class Dependencies(Struct, frozen=True, kw_only=True):
    """The dependencies and options of a worker."""

    store: ports.Store
    deployment: Deployment
    transports: Mapping[Protocol, outgoing.Transport]
    clock: ports.Clock
    emit: events.Emit
    measures: Measures = field(default_factory=Measures)
    spans: Spans | None = None
    tasks: Tasks
    new_id: notify.NewId
    connections: int = 100
    """The maximum number of simultaneous attempts across all destinations."""
    is_alone: bool = True
    """Whether no other worker processes the same queue while this worker starts."""
    monotonic: Callable[[], float] = time.monotonic
    """A function that returns the time of a monotonic clock, in seconds. The worker uses this time to determine whether
    its leases have ended.
    """


_KINDS: dict[Then, type[events.Delivered | events.DeliveryDeferred | events.GivenUp]] = {
    Then.DELIVERED: events.Delivered,
    Then.RETRY: events.DeliveryDeferred,
    Then.GIVE_UP: events.GivenUp,
}


class Worker:
    """The worker of one server."""

    def __init__(self, deps: Dependencies) -> None:
        self._deps = deps
        self._incidents = Incidents(deps.emit, of_store=STORE_FAILURES)
        self._lanes = Lanes()
        self._attempts = set[asyncio.Task[None]]()
        self._leases = Leases(deps.store, clock=deps.clock, monotonic=deps.monotonic, failed=self._failed)
        self._results = Results(deps.store, self._leases, failed=self._failed)
        self._woken = asyncio.Event()
        self._passes = 0
        self._passed = asyncio.Condition()
        self._loops: list[asyncio.Task[None]] = []
        self._sweeps = Sweeps(deps.store, deps.deployment, deps.emit)
        self._sending = Sending(deps.store, deps.deployment, deps.transports, clock=deps.clock, failed=self._failed)
        self._notices = Notices(deps.store, deps.deployment, new_id=deps.new_id, failed=self._failed)
        self._is_rerouting = False
        """Whether the queue may contain more deliveries that the current routes would move to other destinations."""
        self._next_due: datetime | None = None
        self._leaves_due_work = False
        """Whether the last pass may have left deliveries in the queue that are due."""

    async def start(self) -> None:
        """Start the worker. If no other worker processes the queue, first release the claims that a crashed server left
        behind.
        """
        deps = self._deps
        if deps.is_alone:
            await deps.store.write(lambda tx: tx.release_all(due_at=deps.clock()))
        loops = self._run, self._leases.keep
        self._loops = [deps.tasks.start(loop, where="delivery", on_error=OnError.RESTART) for loop in loops]

    def wake(self) -> None:
        """Wake the worker, because there may be new work."""
        self._woken.set()

    def forget(self) -> None:
        """Forget the state of all destinations, and the claimed deliveries whose attempts have not begun, because the
        whole queue was deleted. Attempts that have begun continue.
        """
        for one in self._lanes.give_up_pending():
            self._leases.done_with_one(one.claimed.claim)
        self._lanes = Lanes()
        self.wake()

    async def stop(self) -> None:
        """Stop the worker: start no more attempts, wait for running attempts, release the claims, and close all
        transports.

        Running attempts are cancelled after `STOP_SECONDS`. If a transport fails to close, the failure is logged, and
        the other transports are closed.
        """
        loops, self._loops = self._loops, []
        try:
            await _cancelled(loops)
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    while self._busy:
                        await asyncio.wait(self._busy)
            await _cancelled(self._busy)
            await self._leases.release_all()
        finally:
            for transport in set(self._deps.transports.values()):
                try:
                    await transport.close()
                except Exception as error:  # noqa: BLE001 - the other transports must be closed too
                    self._failed(error)

    async def rest(self) -> datetime | None:
        """Wait until there is no more work to do now.

        Returns the time at which the next known work is due, or None if no work is known.
        """
        while True:
            await self._pass()
            await self._pass()  # the first pass may have begun before this call
            if self._busy:
                await asyncio.wait(self._busy)
            elif not self._sweeps.is_running and not self._is_rerouting and not self._notices.may_be_due:
                return self._next_due

    @property
    def _busy(self) -> "set[asyncio.Task[None]]":
        """The tasks that attempt deliveries, or record their outcomes."""
        return self._attempts | self._results.tasks

    async def _pass(self) -> None:
        asked = self._passes
        self.wake()
        async with self._passed:
            await self._passed.wait_for(lambda: self._passes > asked)

    async def _run(self) -> None:
        while True:
            self._woken.clear()
            try:
                pause = await self._begin_due_work()
            except Exception as error:  # noqa: BLE001 - a bug is logged, and must not end the worker permanently
                self._failed(error)
                pause = PAUSE_AFTER_FAILURE
            self._passes += 1
            async with self._passed:
                self._passed.notify_all()
            if self._lanes.has_pending:
                await asyncio.sleep(PAUSE_BETWEEN_PASSES)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._woken.wait()

    async def _begin_due_work(self) -> float:
        """Start all sweeps, notices and attempts that can start now. Returns the number of seconds after which the
        worker should look for more work, unless it is woken earlier.
        """
        deps = self._deps
        now = deps.clock()
        if not await self._leases.follow_the_clock(now):
            return PAUSE_AFTER_FAILURE
        if await self._sweeps.step(now):
            self.wake()
        if await self._notices.write_some(now):
            self.wake()
        waiting = await deps.store.read(lambda tx: tx.waiting())
        self._lanes.keep_only(one.destination for one in waiting)
        nexts, claims, leaves_due_work = [], [], False
        free = deps.connections - len(self._attempts)
        # Destinations that do not answer must not use up all attempts, because destinations that work must get their
        # share.
        free_for_unknown = deps.connections // 2 - self._lanes.running_for_unknown
        for one in sorted(waiting, key=self._in_turn):
            lane = self._lanes.of(one.destination)
            due_at = max(one.due_at, lane.paused(now, at_most=deps.deployment.policy.pause) or one.due_at)
            wanted = lane.wanted(free if lane.is_working else min(free, free_for_unknown))
            if due_at > now:
                nexts.append(due_at)
            elif not wanted:
                leaves_due_work = True
            else:
                claims.append(self._claim(lane, wanted, now))
                begins = min(wanted, lane.room - lane.running)
                free -= begins
                free_for_unknown -= 0 if lane.is_working else begins
        self._leaves_due_work = leaves_due_work
        taken = await asyncio.gather(*claims)
        self._is_rerouting = any(each and each.rerouted for each in taken)
        if None in taken:
            return PAUSE_AFTER_FAILURE
        self._next_due = min(nexts, default=None)
        until = (self._next_due - now).total_seconds() if self._next_due else CHECK_EVERY
        return max(0.0, min(until, CHECK_EVERY))

    def _in_turn(self, waiting: ports.Waiting) -> tuple[int, bool, datetime]:
        """The sort key for destinations: fewest running attempts first, then destinations that are not paused, then the
        longest wait.
        """
        lane = self._lanes.of(waiting.destination)
        return lane.running, lane.paused_until is not None, waiting.due_at

    async def _claim(self, lane: Lane, limit: int, now: datetime) -> attempt.Taken | None:
        """Claim deliveries that are due for a destination, and start to attempt them.

        Returns the claimed deliveries; None if the store failed. This method never raises an exception, because
        otherwise the worker could read the queue again while other claims are still being made.
        """
        claim = self._leases.begin()
        use_case = partial(
            attempt.claim,
            deployment=self._deps.deployment,
            destination=lane.destination,
            claim=claim,
            now=now,
            lease=LEASE,
            limit=limit,
        )
        try:
            taken = await self._deps.store.write(use_case)
        except Exception as error:  # noqa: BLE001 - claimed deliveries become free when the lease ends
            self._leases.hold(claim, 0)
            self._failed(error)
            return None
        self._leases.hold(claim, len(taken.ready))
        lane.pending.extend(taken.ready)
        lane.leads_elsewhere = taken.rerouted > 0 and not taken.ready
        self._begin(lane)
        if taken.rerouted or len(taken.ready) == limit:
            self.wake()  # there may be more deliveries here, or at the new destinations of rerouted deliveries
        return taken

    def _begin(self, lane: Lane) -> None:
        """Start as many attempts to a destination as its limit allows."""
        while ready := lane.next():
            task = asyncio.create_task(self._attempt_in_turn(ready, lane))
            self._attempts.add(task)
            task.add_done_callback(self._attempts.discard)

    async def _attempt_in_turn(self, ready: Ready | None, lane: Lane) -> None:
        """Attempt a delivery, and then others to the same destination, one after the other. The next attempt does not
        wait until the outcome of the previous one is recorded.
        """
        while ready:
            try:
                await self._attempt(ready, lane)
            except Exception as error:  # noqa: BLE001 - the delivery is attempted again after its lease has ended
                self._failed(error, ready.claimed.delivery.id)
            finally:
                lane.running -= 1
            ready = lane.next() if self._loops else None
        self._wake_if_needed(lane)

    async def _attempt(self, ready: Ready, lane: Lane) -> None:
        deps = self._deps
        if self._leases.has_ended(ready.claimed):
            self._lost(ready.claimed)  # another worker may already have sent the message
            self._leases.done_with_one(ready.claimed.claim)
            return
        span = _begin_span(deps.spans, ready.claimed) if deps.spans else None
        began = deps.monotonic()
        result = await self._sending.attempt(ready, traceparent=span.traceparent if span else "")
        destination = ready.claimed.delivery.destination
        deps.measures.attempt(destination, deps.monotonic() - began)
        outcome = Outcome.of(ready.claimed, result, deps.deployment, deps.clock())
        connections = min(ready.route.connections, max(1, deps.connections // 2))
        if span:
            _end_span(span, outcome)
        lane.learn(outcome.decision, connections=connections, now=outcome.at, pause=deps.deployment.policy.pause)
        lane.recording += 1
        self._results.add(outcome, partial(self._recorded, outcome, lane))
        if outcome.decision.is_of_destination:
            await self._give_back(lane.give_up_pending())
        elif self._loops:
            self._begin(lane)

    def _recorded(self, outcome: Outcome, lane: Lane, is_recorded: bool | None) -> None:
        """Continue after an outcome was recorded, or could not be recorded (`results.Then`)."""
        claimed, decision, result = outcome.claimed, outcome.decision, outcome.result
        lane.recording -= 1
        self._leases.done_with_one(claimed.claim)
        if is_recorded:
            self._deps.emit(
                _KINDS[decision.then](
                    id=claimed.delivery.id,
                    destination=log_destination(claimed.delivery.destination),
                    attempt=claimed.queued.attempts + 1,
                    stage=result.stage,
                    code=result.code or 0,
                    trouble=result.trouble or "",
                )
            )
        elif is_recorded is False:
            self._lost(claimed)
        if self._loops:
            self._begin(lane)
        if decision.then is not Then.DELIVERED or claimed.message.envelope.dsn != NO_DSN:
            self.wake()  # a notice may be due, or the time of the next attempt must be known
        self._wake_if_needed(lane)

    def _wake_if_needed(self, lane: Lane) -> None:
        """Wake the worker if it should now look for more work to a destination."""
        if lane.is_idle or (self._leaves_due_work and lane.has_few_pending):
            self.wake()

    async def _give_back(self, ready: list[Ready]) -> None:
        """Release deliveries whose destination has failed, so that they wait in the queue until the destination
        recovers.
        """
        if not ready:
            return
        try:
            await self._deps.store.write(partial(attempt.give_back, ready=ready, now=self._deps.clock()))
        finally:
            # Even if the release failed, the leases must not be renewed, because the deliveries are not attempted.
            for one in ready:
                self._leases.done_with_one(one.claimed.claim)

    def _lost(self, claimed: ports.Claimed) -> None:
        delivery = claimed.delivery
        self._deps.emit(events.LeaseLost(id=delivery.id, destination=log_destination(delivery.destination)))

    def _failed(self, error: Exception, failure_id: str = "") -> None:
        """Log a failure. `failure_id` is the id of the affected delivery or message, if there is one."""
        self._incidents.report(error, where="delivery", incident_id=failure_id)


def _begin_span(spans: Spans, claimed: ports.Claimed) -> AttemptSpan:
    delivery = claimed.delivery
    return spans.begin_attempt(
        delivery.id,
        delivery.message_id,
        number=claimed.queued.attempts + 1,
        was_accepted=delivery.reason is not Reason.NOTICE,
    )


def _end_span(span: AttemptSpan, outcome: Outcome) -> None:
    result = outcome.result
    span.end(
        log_destination(outcome.claimed.delivery.destination),
        then=outcome.decision.then,
        stage=result.stage,
        code=result.code or 0,
        trouble=result.trouble or "",
    )


async def _cancelled(running: Iterable["asyncio.Task[None]"]) -> None:
    """Cancel tasks, and wait until all of them have ended. Exceptions from the tasks are ignored."""
    ending = list(running)
    for task in ending:
        task.cancel()
    await asyncio.gather(*ending, return_exceptions=True)
