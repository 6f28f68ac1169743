"""Let the job that notes mail (`noting`) run only while a client uses its notes. The job needs as much processor time
as the acceptance of the mail itself.
"""

from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial

from waypost.app import ports
from waypost.app.ports.failures import STORE_FAILURES

WANTED_FOR = timedelta(minutes=15)
"""How long the job runs after the notes were used."""

RENEWED_EVERY = timedelta(minutes=5)
"""How often a process records that the notes are used."""

_WANTED = "wanted"


def are_wanted(tx: ports.ReadTx, *, now: datetime) -> bool:
    """Return whether a client of any server has used the notes in the last `WANTED_FOR`. `now` is the real time."""
    until = tx.mail_mark(_WANTED).at
    return until is not None and now < until <= now + WANTED_FOR


def want(tx: ports.WriteTx, *, now: datetime) -> None:
    """Record that a client uses the notes."""
    tx.put_mail_mark(_WANTED, ports.MailMark("", now + WANTED_FOR))


class NotesWanted:
    """Records that clients of this process use the notes."""

    def __init__(self, store: ports.Store, clock: ports.Clock) -> None:
        """`clock` is the real clock."""
        self._store = store
        self._clock = clock
        self._renewed_at: datetime | None = None

    async def renew(self) -> None:
        """Record that a client uses the notes now, unless this was recorded in the last `RENEWED_EVERY`.

        Clients can read notes while the store cannot write, so this method raises no exception of the store.
        """
        now = self._clock()
        if self._renewed_at is not None and abs(now - self._renewed_at) < RENEWED_EVERY:
            return
        self._renewed_at = now
        with suppress(*STORE_FAILURES):
            await self._store.write(partial(want, now=now))
