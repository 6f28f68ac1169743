"""An incident: something failed that is not the caller's fault. The log gets the cause, the caller only an id.

Every edge reports here, so that ids, events and the sentence for callers are the same everywhere.
"""

import uuid
from dataclasses import dataclass

from waypost.observe import events


@dataclass(frozen=True, slots=True)
class Incident:
    """A failure that was reported."""

    id: str
    """The log has the cause under this id."""
    is_of_store: bool
    """Whether the store could not do its work. The same request may succeed later."""

    @property
    def sentence(self) -> str:
        """The text for the caller, which does not name the cause."""
        if self.is_of_store:
            return f"The store is not available (id {self.id}); please try again."
        return f"Something went wrong on our side (id {self.id})."


class Incidents:
    """Reports the failures of one part of the server to its log."""

    def __init__(self, emit: events.Emit, *, of_store: tuple[type[Exception], ...]) -> None:
        """`of_store` are the errors with which the store reports its own failures.

        They are `app.ports.failures.STORE_FAILURES`, which this package cannot import.
        """
        self._emit = emit
        self._of_store = of_store

    def report(self, error: BaseException, *, where: str, incident_id: str = "") -> Incident:
        """Emit `StoreFailed`, or `Failed` for every other error, and return the incident for the caller.

        `where` names the part of the server. `incident_id` is an id that the caller knows already; empty for a new one.
        """
        is_of_store = isinstance(error, self._of_store)
        incident = Incident(incident_id or str(uuid.uuid4()), is_of_store)
        kind = events.StoreFailed if is_of_store else events.Failed
        self._emit(kind(where=where, id=incident.id, cause=error))
        return incident
