"""A mail server on a separate thread and a free port, which accepts all mail, or fails as a test requires."""

import asyncio
import re
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

from tests.kit.on_a_thread import OnAThread
from tests.kit.patience import wait_until

DELIVERY = re.compile(rb"^X-Waypost-Delivery: (\S+)\r$", re.MULTILINE)
TAKEN = b"250 2.0.0 taken"


@dataclass(frozen=True)
class Taken:
    """A message that the server received."""

    at: float
    sender: str
    recipient: str
    octets: bytes
    was_told: bool
    """Whether the server sent a reply to the client."""

    @property
    def delivery_id(self) -> str:
        found = DELIVERY.search(self.octets.partition(b"\r\n\r\n")[0] + b"\r\n")
        return found[1].decode() if found else ""


@dataclass
class Sink(OnAThread):
    """The mail server. By default it accepts all mail.

    `at_rcpt` and `at_end` return the reply for a recipient, or None to close the connection.
    """

    at_rcpt: object = lambda recipient: b"250 2.1.5 ok"
    at_end: object = lambda recipient: TAKEN
    taken: list = field(default_factory=list)
    sessions: int = 0
    extensions: tuple = ("PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 50000000")
    is_lmtp: bool = False
    greeting: bytes = b"220 sink.example"

    @property
    def to(self) -> str:
        """The URL of the server, for a route."""
        return f"{'lmtp' if self.is_lmtp else 'smtp'}://127.0.0.1:{self.port}"

    def counts(self) -> Counter:
        """Return the number of times that each delivery was received."""
        return Counter(taken.delivery_id for taken in list(self.taken))

    def last_for(self, recipient: str) -> Taken:
        """Return the newest message for a recipient. The server may also have notices of other tests."""
        return next(taken for taken in reversed(self.taken) if taken.recipient == recipient)

    def wait_for(self, count: int) -> list:
        """Wait until the server has received `count` messages, and return all messages."""
        wait_until(lambda: len(self.taken) >= count, lambda: f"{len(self.taken)} of {count} messages arrived")
        return list(self.taken)

    async def _begin(self):
        self._writers = []
        self._server = await asyncio.start_server(self._session, "127.0.0.1", 0, limit=2**17)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self):
        self._server.close()
        await self._server.wait_closed()
        for _ in range(20):  # a client that has just connected has no session yet, and its socket would never be closed
            await asyncio.sleep(0)
        for writer in list(self._writers):
            writer.transport.abort()
        for _ in range(5):
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await asyncio.sleep(0)

    async def _session(self, reader, writer):
        self.sessions += 1
        self._writers.append(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, EOFError):
            await self._serve(reader, writer)
        writer.close()

    async def _serve(self, reader, writer):  # noqa: C901, PLR0912 - a whole dialogue
        sender = recipient = ""
        writer.write(self.greeting + b"\r\n")
        while line := (await reader.readline()).decode().strip():
            verb, _, rest = line.partition(" ")
            match verb.upper():
                case "EHLO" | "LHLO":
                    lines = ["sink.example", *self.extensions]
                    reply = "\r\n".join(f"250-{one}" for one in lines[:-1]) + f"\r\n250 {lines[-1]}"
                case "MAIL":
                    sender, reply = re.search("<(.*?)>", rest)[1], "250 2.1.0 ok"
                case "RCPT":
                    recipient = re.search("<(.*?)>", rest)[1]
                    answer = self.at_rcpt(recipient)
                    if answer is None:
                        return
                    reply = answer.decode()
                    recipient = recipient if answer.startswith(b"2") else ""
                case "DATA" if not recipient:
                    reply = "503 5.5.1 no recipients"
                case "DATA":
                    writer.write(b"354 go\r\n")
                    octets = bytearray()
                    while (data := await reader.readline()) != b".\r\n":
                        if not data:
                            return
                        octets += data.removeprefix(b".")
                    answer = self.at_end(recipient)
                    if answer is None or answer.startswith(b"2"):
                        taken = Taken(time.monotonic(), sender, recipient, bytes(octets), answer is not None)
                        self.taken.append(taken)
                    if answer is None:
                        return
                    reply, recipient = answer.decode(), ""
                case "QUIT":
                    writer.write(b"221 2.0.0 bye\r\n")
                    return
                case _:
                    reply = "250 2.0.0 ok"
            writer.write(reply.encode() + b"\r\n")
