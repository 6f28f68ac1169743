"""What is done every now and then while a server runs: forgetting what counts no more, each in small steps."""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from waypost.app import ports
from waypost.app.directory import access_keys, idempotency
from waypost.app.mail import accept, retention
from waypost.domain.mail.retention import Rule
from waypost.observe import events

EVERY = 600.0
"""Seconds between two times."""

FORGOTTEN_AT_ONCE = 1_000
"""Refusals that one transaction forgets."""


@dataclass(frozen=True, kw_only=True)
class Upkeep:
    """The upkeep of one server."""

    store: ports.Store
    emit: events.Emit
    real_clock: ports.Clock
    """For calls of the API."""
    mail_clock: ports.Clock
    """For mail; perhaps a virtual one."""
    token_retention: timedelta
    refusal_retention: timedelta
    rules: Sequence[Rule]
    begun_before: datetime
    """What began to come in before that cannot be coming in any more."""

    async def run(self) -> None:
        """Do it all, again and again, until cancelled."""
        begun_before = self.begun_before
        while True:
            for where, job in (
                ("expired tokens and sessions", self.forget_calls_and_keys),
                ("unfinished messages", partial(self.forget_left_over, begun_before)),
                ("old refusals", self.forget_refusals),
                ("purge", self.purge),
            ):
                try:
                    await job()
                except ports.StoreUnavailable as error:
                    self.emit(events.StoreFailed(where=where, id=str(uuid.uuid4()), cause=error))
                except Exception as error:  # noqa: BLE001 - a mistake of ours is told, and must not end this for good
                    self.emit(events.Failed(where=where, id=str(uuid.uuid4()), cause=error))
            begun_before = self.mail_clock() - accept.LONGEST_TRANSFER
            await asyncio.sleep(EVERY)

    async def forget_calls_and_keys(self) -> None:
        """Client tokens that count no more, and sessions that have ended."""
        now = self.real_clock()
        await self.store.write(partial(access_keys.purge, now=now))
        while await self.store.write(partial(idempotency.purge, retention=self.token_retention, now=now)):
            pass

    async def forget_left_over(self, begun_before: datetime) -> None:
        """Pieces of messages that will never be whole."""
        while found := await self.store.search(partial(accept.left_over, begun_before=begun_before)):
            for message_id in found:
                while await self.store.write(partial(accept.forget_octets, message_id=message_id)):
                    pass

    async def forget_refusals(self) -> None:
        """What was refused too long ago."""
        before = self.mail_clock() - self.refusal_retention
        while await self.store.write(lambda tx: tx.forget_refusals(before=before, limit=FORGOTTEN_AT_ONCE)):
            pass

    async def purge(self) -> None:
        """Mail that the rules of retention give up."""
        if self.rules:
            async for _ in retention.purge(self.store, self.rules, now=self.mail_clock()):
                pass
