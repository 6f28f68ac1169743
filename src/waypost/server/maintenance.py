"""Periodic maintenance of a running server, in small transactions: it deletes expired data and completes messages."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from waypost.app import ports
from waypost.app.deployment import Deployment
from waypost.app.directory import access_keys, idempotency
from waypost.app.mail import accept, retention
from waypost.app.steps import repeat_step
from waypost.domain.mail.retention import Rule
from waypost.observe.incidents import Incidents

EVERY = 600.0
"""Seconds between two rounds."""

FORGOTTEN_AT_ONCE = 1_000
"""Refusals that one transaction deletes."""


@dataclass(frozen=True, kw_only=True)
class Maintenance:
    """The maintenance of one service."""

    store: ports.Store
    deployment: Deployment
    incidents: Incidents
    real_clock: ports.Clock
    """For calls of the API."""
    mail_clock: ports.Clock
    """For mail; perhaps a virtual one."""
    token_retention: timedelta
    refusal_retention: timedelta
    rules: Sequence[Rule]
    begun_before: datetime
    """Messages whose transfer began before this moment cannot be in transfer any more."""

    async def run(self) -> None:
        """Run all jobs again and again, until cancelled. A job that fails is logged; the others run all the same."""
        begun_before = self.begun_before
        while True:
            for where, job in (
                ("expired tokens and sessions", self.forget_calls_and_keys),
                ("unfinished messages", partial(self.forget_left_over, begun_before)),
                ("planned deliveries", self.store_planned),
                ("old refusals", self.forget_refusals),
                ("purge", self.purge),
            ):
                try:
                    await job()
                except Exception as error:  # noqa: BLE001 - whatever it was, it must not keep the other jobs from running
                    self.incidents.report(error, where=where)
            begun_before = self.mail_clock() - accept.LONGEST_TRANSFER
            await asyncio.sleep(EVERY)

    async def forget_calls_and_keys(self) -> None:
        """Delete client tokens that have expired, and sessions that ended long ago."""
        now = self.real_clock()
        await self.store.write(partial(access_keys.purge, now=now))
        expired = partial(idempotency.purge, retention=self.token_retention, now=now)
        await repeat_step(self.store.write, expired)

    async def forget_left_over(self, begun_before: datetime) -> None:
        """Delete pieces of messages that will never be complete."""
        left_over = partial(accept.left_over, begun_before=begun_before)
        while found := await self.store.long_read(left_over, what="unfinished messages"):
            for message_id in found:
                await repeat_step(self.store.write, partial(accept.forget_octets, message_id=message_id))

    async def store_planned(self) -> None:
        """Store planned deliveries that were not stored when their message was accepted, such as those of a server that
        was killed. A message whose deliveries cannot be stored is reported, and does not delay the others.
        """
        is_well = True
        while is_well and (found := await self.store.long_read(accept.planned, what="planned deliveries")):
            for message_id in found:
                try:
                    await accept.store_all_planned(
                        self.store.write, self.deployment, message_id=message_id, now=self.mail_clock()
                    )
                except Exception as error:  # noqa: BLE001 - the others must not wait for it
                    is_well = False
                    self.incidents.report(error, where="planned deliveries")

    async def forget_refusals(self) -> None:
        """Delete refusals that are older than the trace keeps them."""
        before = self.mail_clock() - self.refusal_retention
        await repeat_step(self.store.write, lambda tx: tx.forget_refusals(before=before, limit=FORGOTTEN_AT_ONCE))

    async def purge(self) -> None:
        """Delete mail that exceeds the rules of retention."""
        if self.rules:
            async for _ in retention.purge(self.store, self.rules, now=self.mail_clock()):
                pass
