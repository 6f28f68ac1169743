"""The server's stream of events as changes to mail, and as sentences about the connection."""

import json

from waypost.client import changes
from waypost.client.event_stream import Event

CHANGE = {
    "kind": "delivered",
    "at": "2026-11-23T12:06:38.000Z",
    "message": "m1",
    "delivery": "m1.a1",
    "deliveries": [{"id": "m1"}],
}


def test_changes_are_yielded_and_the_state_of_the_connection_is_noted(monkeypatch):
    connection = object()

    def stream(connect, path, *, lost):
        assert (connect, path) == (connection, "events")
        yield Event("ready", "{}", "7")
        yield Event("change", json.dumps(CHANGE), "8")
        lost("The server does not answer.")
        yield Event("ready", "{}", "8")
        yield Event("missed", "{}", "20")
        yield Event("of a newer version", "{}", "21")

    monkeypatch.setattr(changes.event_stream, "follow", stream)
    told = []
    found = list(changes.follow(connection, note=told.append, ready=lambda: told.append("(ready)")))
    assert found == [changes.Change("delivered", "m1", "m1.a1", "2026-11-23T12:06:38.000Z", [{"id": "m1"}])]
    assert told == [
        "(ready)",
        "Waiting for new mail. Ctrl-C ends this command.",
        "The server does not answer. This command continues when the server answers again.",
        "(ready)",
        "The server answers again.",
        "(ready)",
        "Some changes are not shown, because the server keeps only the newest changes.",
    ]
