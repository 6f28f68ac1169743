"""Checks messages without ever failing, and without ever taking long: what is not known in time is said to be so."""

import asyncio
import time
from collections.abc import AsyncIterable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any

from waypost.domain.limits import shares
from waypost.domain.mailauth.enforcement import Findings, Reason, Unchecked
from waypost.domain.mailauth.verdicts import Claim, Verdicts
from waypost.mailauth.places import AT_ONCE, NoPlace, Places
from waypost.mailauth.process import CheckFailed, WorkerDied, WorkerProcess

LIMIT = 5.0
"""Seconds that a check takes at most."""

LARGE = 1024 * 1024
"""Octets from which on a message needs room besides its place."""

ROOM = 96 * 1024 * 1024
"""Octets of all large messages that are checked at the same time: for the sake of memory."""

SILENT_IN_A_ROW = 3
"""Messages with nothing but time-outs after which the DNS may not work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long things may take, in seconds. Tests have less patience."""

    check: float = LIMIT
    wait: float = LIMIT
    """Until a check can begin. It takes nothing from the time of the check: that others came first says nothing of a
    message."""
    margin: float = 0.3
    """What is left of a check when the worker has to have answered."""
    silence: float = 10.0
    """A worker that owes answers and gives none for so long is killed."""
    probe: float = 2.0
    probe_again: float = 60.0
    """Between two probes while the DNS does not work."""
    backoff: float = 1.0
    """After a worker that has given no answer at all; each time twice as long, up to `backoff_limit`."""
    backoff_limit: float = 60.0


StartTask = Callable[[Callable[[], Coroutine[Any, Any, None]]], "asyncio.Task[None]"]
"""Runs a function that makes a coroutine, in the background, and again if an error ends it."""


def start_unsupervised(run: Callable[[], Coroutine[Any, Any, None]]) -> "asyncio.Task[None]":
    """Run it once. It never raises by itself, so this is enough for tests."""
    return asyncio.create_task(run())


class Checker:
    """SPF, DKIM and DMARC of messages, by a worker process, while the DNS works.

    `on_change` is called when it is known whether the DNS works, and whenever that changes: with None if it works, else
    with the reason why no message is checked. A worker that cannot start has asked nothing of the DNS.
    """

    def __init__(
        self,
        resolvers: Sequence[tuple[str, int]] = (),
        on_change: Callable[[Reason | None], None] = lambda _: None,
        *,
        limits: Limits | None = None,
        start_task: StartTask = start_unsupervised,
    ) -> None:
        """`start_task` runs the task that watches the DNS. The server's own logs errors, and restarts the task."""
        self._start_task = start_task
        self._resolvers = resolvers
        self._on_change = on_change
        self._limits = limits or Limits()
        self._works: bool | None = None
        self._why_not: Reason | None = None
        """Why no message is checked; None while the DNS works, or nothing is known of it."""
        self._silent_in_a_row = 0
        self._in_doubt = asyncio.Event()
        self._known = asyncio.Event()
        self._places = Places(AT_ONCE)
        self._room = Places(ROOM)
        self._worker: asyncio.Task[WorkerProcess] | None = None
        self._last: asyncio.Task[WorkerProcess] | None = None
        self._failures = 0
        self._not_before = 0.0
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to find out whether the DNS works. Returns at once; until it is known, messages wait."""
        self._watching = self._start_task(self._watch)

    async def stop(self) -> None:
        """End the worker. Checks that are under way are broken off."""
        if self._watching:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        self._works, self._not_before = False, float("inf")
        self._known.set()
        for worker in (self._last, self._worker):
            if worker:
                with suppress(Exception):  # one that was never started; the other one is to be stopped all the same
                    await (await worker).stop()

    async def check(self, claim: Claim, octets: AsyncIterable[bytes], size: int) -> Findings:
        """The verdicts on a message of this size, or why there are none.

        Never raises, and never takes more than the limits to wait and to check.
        """
        try:
            async with AsyncExitStack() as held:
                if reason := await self._wait(claim, size, held):
                    return Unchecked(reason)
                return await self._limited(claim, octets, size)
        finally:
            # A generator that was left in the middle is closed now, not when it is found by the garbage collector.
            if close := getattr(octets, "aclose", None):
                with suppress(Exception):
                    await close()

    async def _wait(self, claim: Claim, size: int, held: AsyncExitStack) -> Reason | None:
        """Wait until a check can begin; why it cannot, if so. What it needs is held as long as the stack."""
        holders = shares.of_address(claim.peer)
        reason = Reason.NO_PLACE
        try:
            async with asyncio.timeout(self._limits.wait):
                if not self._known.is_set():
                    reason = Reason.DNS_UNKNOWN
                    await self._known.wait()
                    reason = Reason.NO_PLACE
                if not self._works:
                    return self._why_not or Reason.BROKEN_OFF  # it was stopped
                # A large message waits for room without taking a place from the small ones.
                if size >= LARGE:
                    await held.enter_async_context(self._room.of(holders, min(size, ROOM)))
                await held.enter_async_context(self._places.of(holders))
        except TimeoutError:
            return reason
        except NoPlace as error:
            return Reason.NO_SHARE if error.is_own_share else Reason.NO_PLACE
        return None

    async def _limited(self, claim: Claim, octets: AsyncIterable[bytes], size: int) -> Findings:
        until = time.monotonic() + self._limits.check
        try:
            async with asyncio.timeout(self._limits.check):
                return await self._check(claim, octets, size, until)
        except TimeoutError:
            return Unchecked(Reason.TOO_LATE)
        except WorkerDied:
            return Unchecked(Reason.BROKEN_OFF)
        except CheckFailed as error:
            return Unchecked(Reason.FAILED, str(error))
        except Exception as error:  # noqa: BLE001 - whatever happens here, the edge gets an answer
            return Unchecked(Reason.FAILED, type(error).__name__)

    async def _check(self, claim: Claim, octets: AsyncIterable[bytes], size: int, until: float) -> Verdicts:
        worker = await self._running()

        def seconds_left() -> float:
            return until - time.monotonic() - self._limits.margin

        verdicts, silent = await worker.check(claim, octets, size, seconds_left)
        self._silent_in_a_row = self._silent_in_a_row + 1 if silent else 0
        if self._silent_in_a_row >= SILENT_IN_A_ROW:
            self._in_doubt.set()
        return verdicts

    async def _running(self) -> WorkerProcess:
        """The worker; a new one if the last has ended. Raises `WorkerDied` when it is too early for that."""
        if self._worker and self._worker.done() and not _is_alive(self._worker):
            self._count_end(self._worker)
            self._last, self._worker = self._worker, None
        if self._worker is None:
            if time.monotonic() < self._not_before:
                raise WorkerDied
            self._worker = asyncio.create_task(self._start_worker())
            self._worker.add_done_callback(lambda task: task.cancelled() or task.exception())  # nobody may be waiting
        # It is started once for all who wait for it, also if one of them goes away.
        return await asyncio.shield(self._worker)

    def _count_end(self, worker: "asyncio.Task[WorkerProcess]") -> None:
        """A worker that has done something may be replaced at once; one that has not, only after a while."""
        if worker.exception() is None and worker.result().answered:
            self._failures = 0
            return
        pause = min(self._limits.backoff * 2**self._failures, self._limits.backoff_limit)
        self._not_before = max(self._not_before, time.monotonic() + pause)
        self._failures = min(self._failures + 1, 10)

    async def _start_worker(self) -> WorkerProcess:
        if self._last and not self._last.exception():
            await self._last.result().stop()
        return await WorkerProcess.start(self._resolvers, self._limits.silence)

    async def _watch(self) -> None:
        """Know whether the DNS works: by asking while it does not, by what messages tell while it does."""
        while True:
            works = await self._probe()
            if works:
                self._tell(None)
            elif works is not None or not self._works:
                self._tell(Reason.NO_WORKER if works is None else Reason.DNS_SILENT)
            if works:
                # Messages of senders whose own servers are silent raise the doubt too; so it is asked, not believed.
                await self._in_doubt.wait()
            else:
                # A worker that broke says nothing of the DNS, and a message may have broken it: it is asked again soon.
                await asyncio.sleep(self._limits.backoff if works is None else self._limits.probe_again)
            self._silent_in_a_row = 0
            self._in_doubt.clear()

    async def _probe(self) -> bool | None:
        """Whether the DNS works; None if the worker could not ask.

        Never raises: if this ended, no message would be checked any more, nor refused.
        """
        try:
            # The worker may have to be started first, on a machine that is busy.
            async with asyncio.timeout(self._limits.probe + LIMIT):
                worker = await self._running()
                return await worker.probe(self._limits.probe)
        except Exception:  # noqa: BLE001 - the worker died or cannot be started; it is asked again after a while
            return None

    def _tell(self, why_not: Reason | None) -> None:
        changes = not self._known.is_set() or why_not is not self._why_not
        self._why_not, self._works = why_not, why_not is None
        self._known.set()
        if changes:
            self._on_change(why_not)


def _is_alive(worker: "asyncio.Task[WorkerProcess]") -> bool:
    return worker.exception() is None and worker.result().is_alive
