"""Follows the changes to the mail of an account, as the server's stream of events reports them."""

import json
from collections.abc import Callable, Iterator

from msgspec import Struct

from waypost.app import inspection_schema as schema
from waypost.client import event_stream
from waypost.client.http import Connection


class Change(Struct, frozen=True):
    """A change to a message."""

    kind: str
    """`new`, `deleted`, or the kind of a trace event, such as `delivered`."""
    message_id: str
    delivery_id: str | None
    """The id of the delivery that changed; None for all deliveries of a new message."""
    at: str
    deliveries: list[schema.DeliveryInList]
    """These deliveries as they are now, without deleted ones."""


def follow(
    connect: Callable[[], Connection], *, note: Callable[[str], object], ready: Callable[[], object] = lambda: None
) -> Iterator[Change]:
    """Yield the changes from now on, without end. The function continues after a restart of the server.

    `connect` returns a client for the server. `note` is called with a sentence for people when the state of the
    connection changes. `ready` is called when all later changes will be yielded: at the beginning, and after changes
    were lost. Raises `ServerRefused`; and `NoServer` or `NotRunning` if the server cannot be reached when the function
    starts.
    """
    connected = "Waiting for new mail. Ctrl-C ends this command."
    for event in event_stream.follow(
        connect, "events", lost=lambda reason: note(f"{reason} This command continues when the server answers again.")
    ):
        match event.name:
            case "ready":
                ready()
                note(connected)
                connected = "The server answers again."
            case "missed":
                ready()
                note("Some changes are not shown, because the server keeps only the newest changes.")
            case "change":
                yield _change(event.data)


def _change(data: str) -> Change:
    found = json.loads(data)
    return Change(found["kind"], found["message"], found["delivery"], found["at"], found["deliveries"])
