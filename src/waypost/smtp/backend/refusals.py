"""Stores refusals for the trace in batches, because there can be many refusals per second.

Refusals wait in memory for one second, and are then stored together. If too many refusals are waiting, or the store
fails, some refusals are lost. This is acceptable, because no mail depends on refusals, and every refusal is also in the
log.
"""

import asyncio
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from waypost.app import ports
from waypost.domain.directory.addresses import Address
from waypost.observe.tasks import OnError, Tasks
from waypost.smtp.protocol.replies import Reply

KEPT_AT_ONCE = 1_000
"""The maximum number of refusals that wait in memory."""

AT_ONCE = 50
"""The maximum number of refusals that one transaction stores. A longer transaction would delay other writes."""

EVERY = 1.0
"""The number of seconds that refusals wait in memory before they are stored."""

TEXT_LIMIT = 320
"""The maximum length, in characters, of a stored string from the client.

The limit is slightly above the maximum length of a path (RFC 5321 section 4.5.3.1.3)."""


def _clean(text: str) -> str:
    return _CONTROLS.sub("?", text[:TEXT_LIMIT])


_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


class Refusals:
    """The refusals of one server that are waiting to be stored."""

    def __init__(
        self,
        store: ports.Store,
        clock: ports.Clock,
        failed: Callable[[Exception], object],
        tasks: Tasks,
        *,
        at_once: bool = False,
    ) -> None:
        """`at_once` is whether `settle` stores the refusals, so that they can be read when the client has the reply."""
        self._at_once = at_once
        self._tasks = tasks
        self._store = store
        self._clock = clock
        self._failed = failed
        self._waiting: deque[ports.Refusal] = deque(maxlen=KEPT_AT_ONCE)
        self._task: asyncio.Task[None] | None = None
        self._keeping = asyncio.Lock()

    def add(
        self,
        recipient: Address | None,
        reply: Reply,
        *,
        stage: str,
        peer: str,
        helo: str,
        sender: str,
        detail: Mapping[str, str | int] | None = None,
        account: str = "",
    ) -> None:
        """Add a refusal of mail for this recipient.

        `account` is the account that owns the recipient, or an empty string if no account owns it.
        """
        self._waiting.append(
            ports.Refusal(
                at=self._clock(),
                peer=peer,
                helo=_clean(helo),
                sender=_clean(sender),
                recipient=_clean(recipient.text) if recipient else "",
                recipient_key=recipient.key if recipient else "",
                stage=stage,
                reply=str(reply),
                detail=detail or {},
                account=account,
            )
        )
        if self._task is None:
            self._task = self._tasks.start(self._keep, where="smtp", on_error=OnError.LEAVE)

    async def close(self) -> None:
        """Store the refusals that are still waiting."""
        task, self._task = self._task, None
        if task:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await self._flush()

    async def _keep(self) -> None:
        await asyncio.sleep(EVERY)
        self._task = None
        await self._flush()

    async def settle(self) -> None:
        """Store the refusals that are waiting, if they must be stored at once."""
        if self._at_once:
            await self._flush()

    async def _flush(self) -> None:
        async with self._keeping:
            waiting = list(self._waiting)
            self._waiting.clear()
            try:
                for start in range(0, len(waiting), AT_ONCE):
                    await self._store.write(partial(_add, refusals=waiting[start : start + AT_ONCE]))
            except Exception as error:  # noqa: BLE001 - no mail depends on it, and the error must be logged
                self._failed(error)


def _add(tx: ports.WriteTx, refusals: Sequence[ports.Refusal]) -> None:
    tx.add_refusals(refusals)
