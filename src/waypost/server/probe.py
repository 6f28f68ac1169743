"""The self-probe: sends a message through an alias by SMTP again and again, and measures whether it arrives."""

import asyncio
import re
import secrets
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from msgspec import Struct

from waypost.app import ports
from waypost.app.mail import deleting, probing
from waypost.console.parts import SendFailed
from waypost.domain import errors, representation
from waypost.domain.directory import addresses
from waypost.domain.mail import probes
from waypost.domain.mail.probes import Result, Target
from waypost.observe import events
from waypost.observe.incidents import Incidents
from waypost.observe.metrics import families
from waypost.observe.metrics.arrays import Metrics
from waypost.server import own_smtp

SECONDS = 30.0
"""Seconds after which a probe that has not arrived has failed."""

FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.5
"""Seconds between two looks whether a probe has arrived. The pause grows from the first to the longest."""

KEPT = 10
KEPT_FOR = timedelta(days=1)
"""How many messages of failed probes are kept at most, and for how long, so that the operator can see their traces."""

NOT_AN_ALIAS = (
    "The address in --probe-alias is not an alias. Associate it with a primary; until then, each probe fails."
)

_REASONS = {
    Result.NOT_AN_ALIAS: "the address in the settings is not an alias",
    Result.UNREACHABLE: "the server's SMTP port did not answer",
    Result.LATE: f"the message was not delivered within {SECONDS:g} s",
    Result.DEAD: "a delivery of the message has become a dead letter",
    Result.ERROR: "the store failed, or there was an internal error, which is in the log",
}

_ACCEPTED = re.compile(r"2\.0\.0 ([0-9a-f-]{36}) ")


class Ended(Struct, frozen=True, kw_only=True):
    """A probe that has ended."""

    result: Result
    seconds: float = 0.0
    message_id: str = ""
    """The id of the message; empty if the server has accepted none."""
    reason: str = ""
    """Why the probe failed, in words; empty if it succeeded."""


class Probe(Struct, kw_only=True):
    """Sends the probes of one server."""

    store: ports.Store
    alias: str
    every: timedelta
    smtp: str
    """The address of the server's own SMTP listener, as HOST:PORT."""
    hostname: str
    key: bytes
    """The secret by which probes are recognised (`domain.mail.probes`)."""
    clock: ports.Clock
    """The clock for mail."""
    emit: events.Emit
    incidents: Incidents
    metrics: Metrics
    seconds: float = SECONDS
    monotonic: Callable[[], float] = time.monotonic
    _last: Result | None = None
    _place: probing.Place | None = None

    def __repr__(self) -> str:
        """Return the fields without the secrets."""
        return representation.without(self, "key")

    async def is_target_missing(self) -> bool:
        """Return whether the address in the settings is not an alias now."""
        return await self._target() is None

    async def run(self) -> None:
        """Send probes in rounds, until cancelled."""
        while True:
            self._report(await self.once())
            await asyncio.sleep(self.every.total_seconds())

    async def once(self) -> Ended:
        """Send one probe, and return how it has ended. Afterwards, delete its message, and old ones."""
        try:
            target = await self._target()
            if target is None:
                return _failed(Result.NOT_AN_ALIAS)
            ended = await self._send_to(target)
            await self._delete(target, ended)
            return ended
        except Exception as error:  # noqa: BLE001 - the next probe must run, whatever the error is
            self.incidents.report(error, where="probe")
            return _failed(Result.ERROR)

    async def _target(self) -> Target | None:
        return await self.store.read(partial(probing.find_target, alias=addresses.parse(self.alias)))

    async def _send_to(self, target: Target) -> Ended:
        began, message_id = self.monotonic(), ""
        now = self.clock()
        header_id = probes.header_id(secrets.token_hex(8), target.alias_key, now, hostname=self.hostname, key=self.key)
        octets = probes.text(self.alias, header_id, now)
        try:
            async with asyncio.timeout(self.seconds):
                reply = await own_smtp.send_to(self.smtp, "", self.alias, octets, name=self.hostname)
                accepted = _ACCEPTED.match(reply.text) if reply.code < 300 else None
                if accepted is None:
                    return _failed(Result.REFUSED, reason=f"the server replied {reply.code}")
                message_id = accepted[1]
                result = await self._result(target, message_id)
        except SendFailed:
            return _failed(Result.UNREACHABLE)
        except TimeoutError:
            return _failed(Result.LATE, message_id) if message_id else _failed(Result.UNREACHABLE)
        if result is not Result.OK:
            return _failed(result, message_id)
        return Ended(result=result, seconds=self.monotonic() - began, message_id=message_id)

    async def _result(self, target: Target, message_id: str) -> Result:
        """Wait until a probe has ended, and return how."""
        pause = FIRST_PAUSE
        while (found := await self.store.read(partial(probing.result, target=target, message_id=message_id))) is None:
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        return found

    async def _delete(self, target: Target, ended: Ended) -> None:
        """Delete the message of a probe that has succeeded, and old messages of probes that have failed, which are
        searched in one step after each probe.
        """
        since = self.clock() - KEPT_FOR
        step = partial(probing.search_old, target=target, key=self.key, keep=KEPT, since=since, place=self._place)
        old = await self.store.read(step)
        self._place = old.place
        done = [ended.message_id] if ended.result is Result.OK else []
        for message_id in dict.fromkeys([*done, *old.superfluous]):
            try:
                await deleting.delete(self.store, target.account, [message_id], cancel=True, clock=self.clock)
            except errors.NotFound:
                continue  # another server, or a retention rule, has deleted it

    def _report(self, ended: Ended) -> None:
        is_ok = ended.result is Result.OK
        self.metrics.measures.probed(ended.result)
        self.metrics.put([(families.PROBE_SUCCESS, (), float(is_ok))])
        if is_ok:
            at = time.time()
            self.metrics.put([(families.PROBE_SECONDS, (), ended.seconds), (families.PROBE_LAST_SUCCESS, (), at)])
        if ended.result is not self._last:
            self._last = ended.result
            if is_ok:
                self.emit(events.ProbeSucceeded(id=ended.message_id, milliseconds=round(1000 * ended.seconds)))
            else:
                self.emit(events.ProbeFailed(result=ended.result, reason=ended.reason, id=ended.message_id))


def _failed(result: Result, message_id: str = "", *, reason: str = "") -> Ended:
    return Ended(result=result, message_id=message_id, reason=reason or _REASONS[result])
