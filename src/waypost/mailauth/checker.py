"""Check the senders of messages within time limits.

A check never raises an exception. If a check reaches a limit, the message is reported as unchecked, with the reason.
"""

import asyncio
import time
from collections.abc import AsyncIterable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any

from msgspec import Struct

from waypost.domain.limits import shares
from waypost.domain.mailauth.enforcement import Findings, Reason, Unchecked
from waypost.domain.mailauth.verdicts import Claim, Verdicts
from waypost.mailauth.places import AT_ONCE, NoPlace, Places
from waypost.mailauth.process import CheckFailed, WorkerProcess
from waypost.sandbox.process import WorkerDied

LIMIT = 5.0
"""The maximum duration of a check, in seconds."""

LARGE = 1024 * 1024
"""The minimum size, in bytes, of a message that counts as large. A large message is checked only when enough of `ROOM`
is free.
"""

ROOM = 96 * 1024 * 1024
"""The maximum total size of the large messages that are checked at the same time, in bytes.

This limit bounds the memory that the checks use.
"""

SILENT_IN_A_ROW = 3
"""If all DNS queries for this many consecutive messages time out, the DNS is probed."""


class Limits(Struct, frozen=True, kw_only=True):
    """The time limits for checks and probes, in seconds. Tests use shorter limits."""

    check: float = LIMIT
    wait: float = LIMIT
    """The maximum time that a message waits for its check to begin.

    The waiting time does not count towards the time limit of the check.
    """
    margin: float = 0.3
    """The worker must finish this many seconds before the time limit of the check, so that its answer still arrives in
    time.
    """
    silence: float = 10.0
    """If a worker has unfinished checks and gives no answer for this long, it is killed."""
    probe: float = 2.0
    probe_again: float = 60.0
    """The pause between two probes while the DNS does not respond."""
    backoff: float = 1.0
    """The pause before a new worker is started, if the last worker ended without giving an answer.

    Each further failure doubles the pause, up to `backoff_limit`.
    """
    backoff_limit: float = 60.0


StartTask = Callable[[Callable[[], Coroutine[Any, Any, None]]], "asyncio.Task[None]"]
"""A function that runs a coroutine in a background task.

The function's argument is another function, which returns the coroutine, so that the task can be restarted after an
error.
"""


def start_unsupervised(run: Callable[[], Coroutine[Any, Any, None]]) -> "asyncio.Task[None]":
    """Run a coroutine in a task that is never restarted. This is enough for tests, because `_watch` never raises an
    exception, so its task never needs a restart.
    """
    return asyncio.create_task(run())


class Checker:
    """Checks SPF, DKIM and DMARC for messages. The checks run in a worker process, and only while the DNS responds.

    `on_change` is called when the first probe has shown whether messages can be checked, and whenever this changes. The
    argument of `on_change` is None if messages can be checked. Otherwise, the argument is the reason why not: the DNS
    does not respond, or the worker does not run.
    """

    def __init__(
        self,
        resolvers: Sequence[tuple[str, int]] = (),
        on_change: Callable[[Reason | None], None] = lambda _: None,
        *,
        limits: Limits | None = None,
        start_task: StartTask = start_unsupervised,
    ) -> None:
        """Create a checker.

        `start_task` runs the task that monitors the DNS. The server passes a function that restarts the task after an
        error.
        """
        self._start_task = start_task
        self._resolvers = resolvers
        self._on_change = on_change
        self._limits = limits or Limits()
        self._works: bool | None = None
        self._why_not: Reason | None = None
        """The reason why no message is checked; None while the DNS responds, or before the first probe has ended."""
        self._silent_in_a_row = 0
        self._must_probe = asyncio.Event()
        self._known = asyncio.Event()
        self._places = Places(AT_ONCE)
        self._room = Places(ROOM)
        self._worker: asyncio.Task[WorkerProcess] | None = None
        self._last: asyncio.Task[WorkerProcess] | None = None
        self._failures = 0
        self._not_before = 0.0
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start probing the DNS, and return immediately. Messages wait until the first probe has ended."""
        self._watching = self._start_task(self._watch)

    async def stop(self) -> None:
        """Stop the worker, and cancel the checks that are in progress."""
        if self._watching:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        self._works, self._not_before = False, float("inf")
        self._known.set()
        for worker in (self._last, self._worker):
            if worker:
                with suppress(Exception):  # if one worker did not start, the other worker must still be stopped
                    await (await worker).stop()

    async def check(self, claim: Claim, octets: AsyncIterable[bytes], size: int) -> Findings:
        """Return the verdicts on a message of `size` bytes, or the reason why it was not checked.

        The method never raises an exception, and never exceeds the time limits for waiting and checking.
        """
        try:
            async with AsyncExitStack() as held:
                if reason := await self._wait(claim, size, held):
                    return Unchecked(reason)
                return await self._limited(claim, octets, size)
        finally:
            # Close an unfinished generator now, and not when the garbage collector finds it.
            if close := getattr(octets, "aclose", None):
                with suppress(Exception):
                    await close()

    async def _wait(self, claim: Claim, size: int, held: AsyncExitStack) -> Reason | None:
        """Wait until a check can begin, and return None. If the check cannot begin, return the reason.

        The check occupies one of `AT_ONCE` places, and a share of `ROOM` if the message is large, until the exit stack
        `held` is closed.
        """
        holders = shares.of_address(claim.peer)
        reason = Reason.NO_PLACE
        try:
            async with asyncio.timeout(self._limits.wait):
                if not self._known.is_set():
                    reason = Reason.DNS_UNKNOWN
                    await self._known.wait()
                    reason = Reason.NO_PLACE
                if not self._works:
                    return self._why_not or Reason.CANCELLED  # the checker was stopped
                # A large message waits for room before it takes a place, so that it does not block small messages.
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
            return Unchecked(Reason.CANCELLED)
        except CheckFailed as error:
            return Unchecked(Reason.FAILED, str(error))
        except Exception as error:  # noqa: BLE001 - the caller must get a result after any error
            return Unchecked(Reason.FAILED, type(error).__name__)

    async def _check(self, claim: Claim, octets: AsyncIterable[bytes], size: int, until: float) -> Verdicts:
        worker = await self._running()

        def seconds_left() -> float:
            return until - time.monotonic() - self._limits.margin

        verdicts, silent = await worker.check(claim, octets, size, seconds_left)
        self._silent_in_a_row = self._silent_in_a_row + 1 if silent else 0
        if self._silent_in_a_row >= SILENT_IN_A_ROW:
            self._must_probe.set()
        return verdicts

    async def _running(self) -> WorkerProcess:
        """Return the running worker. If the last worker has ended, start a new worker first.

        Raises `WorkerDied` during the pause before a new worker may be started.
        """
        if self._worker and self._worker.done() and not _is_alive(self._worker):
            self._count_end(self._worker)
            self._last, self._worker = self._worker, None
        if self._worker is None:
            if time.monotonic() < self._not_before:
                raise WorkerDied
            self._worker = asyncio.create_task(self._start_worker())
            self._worker.add_done_callback(
                lambda task: task.cancelled() or task.exception()
            )  # retrieves the exception, because possibly no check is waiting for it
        # All waiting checks share one start, which must not be cancelled if one of the checks is cancelled.
        return await asyncio.shield(self._worker)

    def _count_end(self, worker: "asyncio.Task[WorkerProcess]") -> None:
        """Set the earliest time at which a new worker may start. If the last worker ended without an answer, a new
        worker may start only after a pause.
        """
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
        """Monitor whether the DNS responds.

        While the DNS does not respond, the worker probes it regularly. While the DNS responds, it is probed only if all
        DNS queries of several consecutive checks time out.
        """
        while True:
            works = await self._probe()
            if works:
                self._tell(None)
            elif works is not None or not self._works:
                self._tell(Reason.NO_WORKER if works is None else Reason.DNS_SILENT)
            if works:
                # Timeouts can also come from the senders' own DNS servers, so they only cause a probe.
                await self._must_probe.wait()
            else:
                # A worker's death shows nothing about the DNS, and a message may have caused it, so probe again soon.
                await asyncio.sleep(self._limits.backoff if works is None else self._limits.probe_again)
            self._silent_in_a_row = 0
            self._must_probe.clear()

    async def _probe(self) -> bool | None:
        """Return whether the DNS responds; None if the worker was unable to probe it.

        The method never raises an exception, because an exception would end the task that monitors the DNS, and no
        message would be checked afterwards.
        """
        try:
            # The limit includes the time to start the worker on a busy machine.
            async with asyncio.timeout(self._limits.probe + LIMIT):
                worker = await self._running()
                return await worker.probe(self._limits.probe)
        except Exception:  # noqa: BLE001 - the worker died or cannot be started, so the probe is repeated later
            return None

    def _tell(self, why_not: Reason | None) -> None:
        changes = not self._known.is_set() or why_not is not self._why_not
        self._why_not, self._works = why_not, why_not is None
        self._known.set()
        if changes:
            self._on_change(why_not)


def _is_alive(worker: "asyncio.Task[WorkerProcess]") -> bool:
    return worker.exception() is None and worker.result().is_alive
