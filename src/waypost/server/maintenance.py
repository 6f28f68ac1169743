"""Periodic maintenance of a running server: deletes expired data and the rows of deleted instances, and stores planned
deliveries.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from waypost.app import ports
from waypost.app.deployment import Deployment
from waypost.app.directory import access_keys, idempotency, instances, sessions
from waypost.app.mail import accept, indexing, noting, retention
from waypost.app.mail.wanted import NotesWanted
from waypost.app.ports.failures import STORE_FAILURES
from waypost.app.queue import removing
from waypost.app.steps import repeat_step
from waypost.domain.mail.retention import Rule
from waypost.observe import events
from waypost.observe.incidents import Incidents

EVERY = 600.0
"""Seconds from the end of one round of maintenance to the start of the next."""

MOST_REFUSALS = 1_000
"""The maximum number of refusals that one transaction deletes."""

REMOVALS_EVERY = 10.0
"""Seconds from the end of one search for deleted instances to the start of the next."""

NOTES_EVERY = 0.25
"""Seconds between two looks for mail that is not noted or not indexed."""

NOTES_EVERY_FOR_TESTS = 0.05
"""The same for a server for tests, which has little to do."""

NOTES_AGAIN = 10.0
"""Seconds after which the notes continue if they failed."""

SHARE = 4
"""If there is much to note or to index, this work takes one in so many parts of the time."""

SHARE_WITHOUT_SEARCHES = 50
"""The same for indexing while no client searches mail. To index a message costs more than to accept it."""

NOTES_LATER = 1.0
"""Seconds to the next round of notes if there is much to note, and no client follows all changes or searches mail. The
lists of the console are then read again instead."""

BUSY = 50
"""If so many messages are noted in a round, no message is indexed while no client searches mail."""

TIDY_EVERY = 60.0
"""Seconds between two deletions of old notes."""

PLAN_AGE = timedelta(minutes=1)
"""How old a message must be before maintenance stores its planned deliveries. Normally, the server that accepted the
message stores its deliveries within milliseconds.
"""


async def _is_right() -> bool:
    """Return False for the clock of a server without a database that has a clock of its own."""
    return False


@dataclass(kw_only=True)
class Maintenance:
    """Runs the periodic maintenance of one service. A reload changes `token_retention`,
    `dead_letter_retention` and `rules`.
    """

    store: ports.Store
    deployment: Deployment
    incidents: Incidents
    real_clock: ports.Clock
    """The clock for API calls and access keys."""
    mail_clock: ports.Clock
    """The clock for mail, which can be a virtual clock."""
    mail_text: ports.MailText
    notes: NotesWanted
    token_retention: timedelta
    refusal_retention: timedelta
    rules: Sequence[Rule]
    may_clock_be_wrong: Callable[[], Awaitable[bool]] = _is_right
    """Returns whether this server's clock may differ too much from the clock of the database."""
    dead_letter_retention: timedelta | None = None
    """How long dead letters are kept; None if they are not removed because of their age."""
    emit: events.Emit = lambda _: None
    begun_before: datetime
    """If the transfer of a message began before this time, it is no longer in progress, even if the message is
    incomplete."""
    notes_every: float = NOTES_EVERY
    """Seconds between two looks for mail that is not noted."""
    first_plan_age: timedelta
    """How old a message must be before the first round stores its planned deliveries."""
    _progress: noting.Progress = field(default_factory=noting.Progress, init=False)

    def jobs(self, *, for_all: bool, for_clients: bool) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
        """The jobs that run as long as the service: those that one server on the database does for all, and those that
        a server does for its own clients.
        """
        of_all = (self.run, self.run_plans, self.run_removals) if for_all else ()
        return (*of_all, self.run_notes, self.run_index) if for_clients else of_all

    async def run(self) -> None:
        """Run all maintenance jobs in rounds, until cancelled. If a job fails, log the error and run the other jobs."""
        begun_before = self.begun_before
        while True:
            for where, job in (
                ("expired tokens and sessions", self.forget_calls_and_keys),
                ("unfinished messages", partial(self.delete_unfinished_messages, begun_before)),
                ("old refusals", self.forget_refusals),
                ("purge", self.purge),
                ("old dead letters", self.remove_old_dead_letters),
            ):
                await self._attempt(job, where=where)
            begun_before = self.mail_clock() - accept.LONGEST_TRANSFER
            await asyncio.sleep(EVERY)

    async def run_plans(self) -> None:
        """Store the planned deliveries of older messages in rounds, until cancelled."""
        age = self.first_plan_age
        while True:
            await self._attempt(partial(self.store_planned, age), where="planned deliveries")
            age = PLAN_AGE
            await asyncio.sleep(PLAN_AGE.total_seconds())

    async def run_removals(self) -> None:
        """Remove the rows of deleted instances in rounds, until cancelled."""
        while True:
            await self._attempt(self.remove_deleted_instances, where="deleted instances")
            await asyncio.sleep(REMOVALS_EVERY)

    async def run_notes(self) -> None:
        """While a client uses the notes, note new mail and its events in rounds, until cancelled."""
        tidied = 0.0

        async def one_round() -> bool:
            nonlocal tidied
            is_full = (await noting.run_round(self.store, self._progress, self.mail_clock)).is_full
            if time.monotonic() - tidied > TIDY_EVERY:
                await repeat_step(self.store.write, partial(noting.tidy, now=self.mail_clock()))
                tidied = time.monotonic()
            return is_full

        def pause(taken: float) -> float:
            has_priority = self.notes.are_streams_wanted() or self.notes.are_searches_wanted()
            return (SHARE - 1) * taken if has_priority else max(NOTES_LATER, (SHARE - 1) * taken)

        await self._run_while_wanted(one_round, pause)

    async def run_index(self) -> None:
        """While a client uses the notes, index the words of noted mail in rounds, until cancelled."""

        async def one_round() -> bool:
            if self._progress.found >= BUSY and not self.notes.are_searches_wanted():
                return False
            return await indexing.run_round(self.store, self.mail_text)

        def pause(taken: float) -> float:
            return ((SHARE if self.notes.are_searches_wanted() else SHARE_WITHOUT_SEARCHES) - 1) * taken

        await self._run_while_wanted(one_round, pause)

    async def _run_while_wanted(
        self, one_round: Callable[[], Awaitable[bool]], pause_after: Callable[[float], float]
    ) -> None:
        """Run rounds while a client uses the notes. Each returns whether there is more to do now.

        If there is, `pause_after` returns the seconds to the next round. Its argument is the duration of this round.
        Mail and API calls have priority.
        """
        while True:
            pause = self.notes_every
            if self.notes.are_wanted():
                began = time.monotonic()
                try:
                    if await one_round():
                        pause = pause_after(time.monotonic() - began)
                except STORE_FAILURES:  # each edge logs the failure for its own clients
                    pass
                except Exception as error:  # noqa: BLE001 - as in `_attempt`
                    self.incidents.report(error, where="notes of mail")
                    pause = NOTES_AGAIN
            await asyncio.sleep(pause)

    async def _attempt(self, job: Callable[[], Awaitable[None]], *, where: str) -> None:
        """Run a job. If it fails, log the error."""
        try:
            await job()
        except Exception as error:  # noqa: BLE001 - the other jobs and rounds must run, whatever the error is
            self.incidents.report(error, where=where)

    async def remove_deleted_instances(self) -> None:
        """Remove the rows of all deleted instances, in short transactions. Rows that another transaction has locked
        remain for the next round.
        """
        if await self.store.read(lambda tx: tx.has_deleted_instance()):
            await repeat_step(self.store.write, instances.remove_deleted)

    async def forget_calls_and_keys(self) -> None:
        """Delete expired client tokens, long-expired temporary keys, and sessions of the console that are over."""
        now = self.real_clock()
        await self.store.write(partial(access_keys.purge, now=now))
        await self.store.write(partial(sessions.purge, now=now))
        expired = partial(idempotency.purge, retention=self.token_retention, now=now)
        await repeat_step(self.store.write, expired)

    async def delete_unfinished_messages(self, begun_before: datetime) -> None:
        """Delete the stored pieces of messages that will never be complete."""
        unfinished = partial(accept.unfinished, begun_before=begun_before)
        while found := await self.store.long_read(unfinished, what="unfinished messages"):
            for message_id in found:
                await repeat_step(self.store.write, partial(accept.forget_octets, message_id=message_id))

    async def store_planned(self, age: timedelta) -> None:
        """Store the planned deliveries of all messages except messages that were accepted less than `age` ago. A
        message still has planned deliveries if, for example, the server that accepted it was killed.

        If the deliveries of a message cannot be stored, the method reports the error, and continues with the other
        messages.
        """
        now, after = self.mail_clock(), ""
        while found := await self.store.long_read(
            partial(accept.planned, now=now, age=age, after=after), what="planned deliveries"
        ):
            for message_id in found:
                try:
                    await accept.store_all_planned(
                        self.store, self.deployment, message_id=message_id, now=self.mail_clock()
                    )
                except Exception as error:  # noqa: BLE001 - the other messages must not wait for this one
                    self.incidents.report(error, where="planned deliveries")
            after = found[-1]

    async def forget_refusals(self) -> None:
        """Delete refusals that are older than `refusal_retention`."""
        before = self.mail_clock() - self.refusal_retention
        await repeat_step(self.store.write, lambda tx: tx.forget_refusals(before=before, limit=MOST_REFUSALS))

    async def remove_old_dead_letters(self) -> None:
        """Remove the dead letters that are older than `dead_letter_retention`, unless the clock may be wrong."""
        if self.dead_letter_retention and not await self.may_clock_be_wrong():
            async for count in removing.remove_old(self.store, self.dead_letter_retention, clock=self.mail_clock):
                self.emit(events.DeadLettersRemoved(count=count, reason="expired"))

    async def purge(self) -> None:
        """Delete mail that exceeds the age or size limit of the retention rules. While the clock may be wrong,
        delete nothing, because a clock that is ahead would delete mail too early.
        """
        if self.rules and not await self.may_clock_be_wrong():
            async for _ in retention.purge(self.store, self.rules, now=self.mail_clock()):
                pass
