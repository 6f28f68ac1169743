"""Write the notices that are due: bounces, warnings of delay and confirmations."""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from waypost.app import ports
from waypost.app.deployment import Deployment
from waypost.app.mail import notify
from waypost.app.ports.failures import STORE_FAILURES

AT_ONCE = 20
"""The maximum number of notices that are written before the queue is read again."""

AGAIN = timedelta(minutes=1)
"""The time after a failure until notices are written again."""


class Notices:
    """The notices that one worker writes."""

    def __init__(
        self,
        store: ports.Store,
        deployment: Deployment,
        *,
        new_id: notify.NewId,
        failed: Callable[[Exception, str], object],
    ) -> None:
        """`failed` logs an exception with the id of the message that the notice is about; the id is empty if no notice
        could be read.
        """
        self._store = store
        self._deployment = deployment
        self._new_id = new_id
        self._failed = failed
        self.may_be_due = False
        """Whether more notices may be due now."""
        self._next: datetime | None = None
        """The time at which notices are written again after a failure; None if there was no failure."""

    async def write_some(self, now: datetime) -> bool:
        """Write up to `AT_ONCE` notices that are due, each in its own transaction. Return whether more may be due. This
        method never raises an exception.
        """
        # If the time is later than the interval allows, the clock was set back, so the notices are written now.
        if self._next and now < self._next <= now + AGAIN:
            return False
        self.may_be_due, self._next = False, None
        try:
            for _ in range(AT_ONCE):
                owing = await self._store.read(partial(notify.next_owed, now=now))
                if owing is None:
                    return False
                await self._write(owing, now)
        except Exception as error:  # noqa: BLE001 - the notice stays due, and the worker continues to deliver mail
            self._failed(error, "")
            self._next = now + AGAIN
            return False
        self.may_be_due = True
        return True

    async def _write(self, owing: ports.Owing, now: datetime) -> None:
        """Write a notice. If a bug prevents the notice from being written, record in the trace that there is no notice,
        and do not retry.

        If stored data is unreadable, even recording this in the trace can fail. If the trace cannot be written, the
        failure is only logged, and the notice is deleted, because a notice that can never be written must not block
        other notices.
        """
        for new_id in (self._new_id, None):
            write = partial(notify.write, deployment=self._deployment, owing=owing, new_id=new_id, now=now)
            try:
                await self._store.write(write)
            except STORE_FAILURES:
                raise
            except Exception as error:  # noqa: BLE001 - a bug or a damaged store, which is logged
                self._failed(error, owing.message_id)
            else:
                return
        await self._store.write(partial(notify.drop, owing=owing))
