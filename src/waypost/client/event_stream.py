"""Parses a stream of server-sent events (HTML Living Standard, section 9.2), and follows it across lost connections."""

import re
import time
from collections.abc import Callable, Iterator
from itertools import chain

from msgspec import Struct

from waypost.client.http import Connection, NoServer
from waypost.host.data_directory import NotRunning

LINE_LIMIT = 2 * 1024 * 1024
"""The maximum length of a line, in bytes. A change lists up to 100 deliveries, each with a subject of up to 998
characters, for which JSON needs up to 12 bytes each.
"""

DATA_LIMIT = LINE_LIMIT
"""The maximum length of the data of one event, in characters."""

SILENCE = 60.0
"""The server sends a comment at least every 15 seconds. After this many seconds without a byte, the connection is
regarded as lost.
"""

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 10.0
"""The pause after a lost connection, in seconds. It doubles with each attempt that fails."""

_LINE_END = re.compile(rb"\r\n|\n|\r(?!\Z)")
"""The end of a line. A CR at the end of the received bytes may be the first half of a CRLF."""


class BrokenStream(Exception):
    """The stream exceeds a limit. The exception's message is a sentence for people."""


class Event(Struct, frozen=True):
    """An event of a stream."""

    name: str
    data: str
    id: str
    """The id of this event or, if it has none, of the last event that had one. Empty if there was none."""


class EventReader:
    """Turns the bytes of a stream into events, however the bytes are divided."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._name, self._id = "", ""
        self._data: list[str] = []
        self._size = 0
        """The length of the data, with its line ends."""

    def receive(self, octets: bytes) -> Iterator[Event]:
        """Yield the events that are complete with these bytes. Raises `BrokenStream`."""
        may_end = self._rest.endswith(b"\r") or b"\n" in octets or b"\r" in octets
        self._rest += octets
        if may_end:  # otherwise, a long line that arrives in many pieces would be searched again and again
            *lines, rest = _LINE_END.split(self._rest)
            self._rest = bytearray(rest)
            for line in lines:
                if event := self._with(line.decode("utf-8", "replace")):
                    yield event
        if len(self._rest) > LINE_LIMIT:
            raise BrokenStream(f"The server sent a line with more than {LINE_LIMIT:,} bytes.")

    def _with(self, line: str) -> Event | None:
        """Add a line, and return the event if the line ends one."""
        if not line:
            return self._ended()
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match field:
            case "event":
                self._name = value
            case "id":
                self._id = self._id if "\0" in value else value
            case "data":
                self._data.append(value)
                self._size += len(value) + 1
                if self._size > DATA_LIMIT:
                    raise BrokenStream(f"The server sent an event with more than {DATA_LIMIT:,} characters.")
            case _:
                pass  # a comment, or a field that this version does not know
        return None

    def _ended(self) -> Event | None:
        event = Event(self._name or "message", "\n".join(self._data), self._id) if self._data else None
        self._name, self._data, self._size = "", [], 0
        return event


def follow(
    connect: Callable[[], Connection],
    path: str,
    *,
    lost: Callable[[str], object] = lambda _: None,
    sleep: Callable[[float], object] = time.sleep,
    **query: str | int | None,
) -> Iterator[Event]:
    """Yield the events of a stream, without end.

    `connect` returns a client for the server, which may have another address after a restart. If the connection is
    lost, call `lost` once, with a sentence, and connect again, with a growing pause between two attempts. The stream
    then continues after the last event.
    Raises `ServerRefused`; and `NoServer` or `NotRunning` if the server cannot be reached when the function starts.
    """
    last_id, pause = "", FIRST_PAUSE
    has_opened = is_lost = False
    while True:
        try:
            with connect().stream(path, last_id, SILENCE, **query) as parts:
                has_opened, is_lost, reader = True, False, EventReader()
                for event in chain.from_iterable(map(reader.receive, parts)):
                    pause, last_id = FIRST_PAUSE, event.id
                    yield event
            reason = "The server closed the connection."
        except (NoServer, NotRunning, BrokenStream) as error:
            if not has_opened:
                raise
            reason = str(error)
        if not is_lost:
            lost(reason)
        is_lost = True
        sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
