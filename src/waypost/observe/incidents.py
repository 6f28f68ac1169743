"""Incidents: failures that are not the caller's fault. The cause of an incident is written to the log, and the caller
gets only the incident's id.

All parts of the server report their failures through this module, so that the ids, the events and the messages to
callers have the same form everywhere.
"""

import uuid
from collections.abc import AsyncIterator
from typing import Protocol, runtime_checkable

from msgspec import Struct

from waypost.observe import events


@runtime_checkable
class NamesDamage(Protocol):
    """An exception that reports that stored bytes of a message are damaged. `app.ports.Damaged` is one; this package
    must not import it. Its text may be shown to clients who may read the message.
    """

    damaged_message: str
    """The id of the message."""


class Incident(Struct, frozen=True):
    """A failure that has been reported to the log."""

    id: str
    """The id of the incident, which also appears in the log, next to the cause."""
    is_of_store: bool
    """Whether the store failed. If so, the same request may succeed later."""
    damage: str = ""
    """A sentence that names the message whose bytes are damaged, if this is the failure."""

    @property
    def sentence(self) -> str:
        """An error message for the caller. It does not name the cause, unless stored bytes are damaged."""
        if self.damage:
            return f"{self.damage} (id {self.id})"
        if self.is_of_store:
            return f"The store is not available (id {self.id}). Please try again."
        return f"Something went wrong on our side (id {self.id})."


class Incidents:
    """Reports the failures of one part of the server to the log."""

    def __init__(self, emit: events.Emit, *, of_store: tuple[type[Exception], ...]) -> None:
        """`of_store` contains the exception types with which the store reports its own failures.

        Callers pass `app.ports.failures.STORE_FAILURES`, because this package must not import it.
        """
        self._emit = emit
        self._of_store = of_store

    def report(self, error: BaseException, *, where: str, incident_id: str = "") -> Incident:
        """Emit `Damaged` for damaged bytes of a message, `StoreFailed` for an error from the store, or `Failed` for any
        other error. Return the incident.

        `where` names the part of the server. `incident_id` is an id that the caller already has. If `incident_id` is
        empty, the incident gets a new id.
        """
        if isinstance(error, NamesDamage):
            damaged = Incident(incident_id or str(uuid.uuid4()), is_of_store=False, damage=str(error))
            self._emit(events.Damaged(where=where, id=damaged.id, message_id=error.damaged_message))
            return damaged
        is_of_store = isinstance(error, self._of_store)
        incident = Incident(incident_id or str(uuid.uuid4()), is_of_store)
        kind = events.StoreFailed if is_of_store else events.Failed
        self._emit(kind(where=where, id=incident.id, cause=error))
        return incident

    async def while_sending(
        self, parts: AsyncIterator[bytes], *, where: str, unless: type[Exception]
    ) -> AsyncIterator[bytes]:
        """Yield the parts of a response that has already begun. If a part cannot be read, report the error, unless it
        is of the type `unless`, and raise `events.AlreadyReported`.

        The server then closes the connection before it has sent Content-Length bytes, so that the client can detect
        that the response is incomplete.
        """
        try:
            async for part in parts:
                yield part
        except unless:
            raise events.AlreadyReported from None
        except Exception as error:  # noqa: BLE001 - whatever the error is, the response cannot be completed
            self.report(error, where=where)
            raise events.AlreadyReported from None
