"""A stream of server-sent events is parsed, and followed across lost connections."""

from contextlib import contextmanager
from itertools import islice

import pytest

from waypost.client import event_stream
from waypost.client.event_stream import BrokenStream, Event, EventReader, follow
from waypost.client.http import NoServer, ServerRefused
from waypost.host.data_directory import NotRunning

STREAMS = {
    "no event": ("", []),
    "an event": ("id: 1\nevent: mail\ndata: {}\n\n", [Event("mail", "{}", "1")]),
    "the default name": ("data: x\n\n", [Event("message", "x", "")]),
    "several lines of data": ("data: a\ndata:\ndata:  b\n\n", [Event("message", "a\n\n b", "")]),
    "an id that later events keep": (
        "id: 7\ndata: a\n\ndata: b\n\n",
        [Event("message", "a", "7"), Event("message", "b", "7")],
    ),
    "an id with a NUL, which is ignored": ("id: 7\nid: a\0b\ndata: a\n\n", [Event("message", "a", "7")]),
    "an event without data": ("id: 7\nevent: mail\n\ndata: a\n\n", [Event("message", "a", "7")]),
    "comments and unknown fields": (": hello\nretry: 1000\nother\n\ndata\n\n", [Event("message", "", "")]),
    "an event that is not complete": ("data: a\n", []),
    "line ends CRLF and CR": ("data: a\r\ndata: b\rdata: c\r\n\r\n", [Event("message", "a\nb\nc", "")]),
    "characters outside ASCII": ("data: Grüße\n\n", [Event("message", "Grüße", "")]),
}


@pytest.mark.parametrize(("stream", "events"), STREAMS.values(), ids=STREAMS)
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_a_stream_has_the_same_events_however_its_bytes_are_divided(stream, events, size):
    reader, octets = EventReader(), stream.encode()
    parts = [octets[start : start + size] for start in range(0, len(octets), size)]
    assert [event for part in parts for event in reader.receive(part)] == events


def test_a_line_and_the_data_of_an_event_are_bounded():
    with pytest.raises(BrokenStream, match="a line with"):
        list(EventReader().receive(b"data: " + b"x" * event_stream.LINE_LIMIT))
    with pytest.raises(BrokenStream, match="an event with"):
        list(EventReader().receive((b"data: " + b"x" * 1_000_000 + b"\n") * 3))


class Connections:
    """A client whose connections are scripted: each is the parts of a stream, or the error of the attempt."""

    def __init__(self, *connections):
        self._connections = list(connections)
        self.last_ids = []

    def connect(self):
        return self

    @contextmanager
    def stream(self, path, last_id, silence, **query):
        assert (path, query) == ("events", {"address": "a@example.com"})
        self.last_ids.append(last_id)
        *parts, last = self._connections.pop(0)
        if not parts and isinstance(last, Exception):
            raise last

        def received():
            yield from parts
            if isinstance(last, Exception):
                raise last
            yield last

        yield received()


def test_a_stream_continues_after_the_last_event_when_the_connection_was_lost():
    down = NoServer("The server does not answer.")
    connections = Connections(
        [b"id: 1\ndata: a\n\nid: 2\ndata: b\n\nid: 3\ndata: incompl", down],
        [NotRunning("No server.")],
        [down],
        [b"id: 3\ndata: c\n\n"],
        [b"id: 4\ndata: d\n\n"],
    )
    told, pauses = [], []
    followed = follow(connections.connect, "events", lost=told.append, sleep=pauses.append, address="a@example.com")
    assert [event.data for event in islice(followed, 4)] == ["a", "b", "c", "d"]
    assert connections.last_ids == ["", "2", "2", "2", "3"]
    assert pauses == [0.25, 0.5, 1.0, 0.25]
    assert told == [str(down), "The server closed the connection."]


def test_the_pause_between_attempts_grows_up_to_a_limit():
    connections = Connections([b"data: a\n\n"], *[[NoServer("down")]] * 8, [b"data: b\n\n"])
    pauses = []
    list(islice(follow(connections.connect, "events", sleep=pauses.append, address="a@example.com"), 2))
    assert pauses == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0]


@pytest.mark.parametrize("error", [NoServer("down"), NotRunning("none"), ServerRefused("no")], ids=repr)
def test_the_first_attempt_is_not_repeated(error):
    connections = Connections([error])
    with pytest.raises(type(error)):
        next(follow(connections.connect, "events", address="a@example.com"))


def test_a_refusal_ends_the_stream():
    connections = Connections([b"data: a\n\n"], [ServerRefused("The access key is no longer active.")])
    followed = follow(connections.connect, "events", sleep=lambda _: None, address="a@example.com")
    assert next(followed).data == "a"
    with pytest.raises(ServerRefused):
        next(followed)


def test_a_stream_that_exceeds_a_limit_is_requested_again():
    told = []
    connections = Connections([b"x" * (event_stream.LINE_LIMIT + 1)], [b"data: a\n\n"])
    followed = follow(connections.connect, "events", lost=told.append, sleep=lambda _: None, address="a@example.com")
    assert next(followed).data == "a"
    assert told == ["The server sent a line with more than 2,097,152 bytes."]
