"""The mail clients of the flood: idle, slow, big and honest clients, and many clients from one address."""

import asyncio
import base64
import random
import ssl
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from typing import NamedTuple

from flood_worker import Orders

SENDER = "sender@bench.example"
PATIENCE = 180.0
"""The time, in seconds, that a client waits for a reply (RFC 5321 section 4.5.3.2 says 2 to 10 minutes)."""

CHUNK = 256 * 1024
"""The number of bytes of a big message that are written together."""

BIG_SIZE = 40 * 1024 * 1024 - 64 * 1024
SMALL_SIZE = 4096

_ADDRESSES_IN_A_BLOCK = 250


class Sample(NamedTuple):
    """The result of one call, or of one message of an honest client."""

    kind: str
    began: float
    seconds: float
    failure: str
    """The failure; empty if the call or message succeeded."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan for the clients in a process."""

    port: int
    block: int
    """The second byte of the clients' addresses, 127.block.*.*."""
    count: int
    recipient: str = ""
    per_address: int = 50
    """The number of connections from one source address."""
    at_once: int = 256
    """The number of connections that are being opened at the same time."""
    burst: int = 16 * 1024
    """The number of bytes that a slow client sends first."""
    trickle: int = 20
    """The number of bytes per second that a slow client sends after that."""
    tls: bool = False
    pause: float = 0.05
    """The time between two messages or attempts of a client, in seconds."""
    deadline: float = 300.0
    """The time limit for a big message, in seconds."""

    def source(self, number: int) -> str:
        """Return the source address of a client."""
        high, low = divmod(number // self.per_address, _ADDRESSES_IN_A_BLOCK)
        return f"127.{self.block}.{high % 256}.{low + 1}"


class Refused(Exception):
    """Raised if the server refuses a command. The message is the beginning of the reply, or the network error."""

    @property
    def is_for_good(self) -> bool:
        return str(self).startswith("5")

    @property
    def has_reply(self) -> bool:
        return str(self)[:1].isdigit()


class Talk:
    """One connection to the server, after the greeting."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, plan: Plan, number: int) -> "Talk":
        """Connect and read the greeting. Raises `Refused`."""
        try:
            streams = await asyncio.open_connection("127.0.0.1", plan.port, local_addr=(plan.source(number), 0))
        except OSError as error:
            raise Refused(f"no connection ({error.strerror})") from error
        talk = cls(*streams)
        await talk.hear("220")
        return talk

    async def hear(self, expected: str, seconds: float | None = PATIENCE) -> str:
        """Read one reply and return its last line. Raises `Refused` if it is missing or not the expected reply."""
        try:
            async with asyncio.timeout(seconds):
                line = await self._reader.readline()
                while line[3:4] == b"-":
                    line = await self._reader.readline()
        except TimeoutError as error:
            raise Refused(f"no reply in {seconds:.0f} s") from error
        except OSError as error:
            raise Refused("reset without a reply") from error
        if not line.endswith(b"\n"):
            raise Refused("closed without a reply")
        text = line.decode("latin-1").strip()
        if not text.startswith(expected):
            self.abort()
            raise Refused(_beginning(text))
        return text

    async def say(self, command: str, expected: str) -> str:
        """Send a command and read the reply. Raises `Refused`."""
        self.write(f"{command}\r\n".encode())
        return await self.hear(expected)

    async def begin_message(self, recipient: str, size: int = 0) -> None:
        """Send the commands from EHLO to DATA. Raises `Refused`."""
        await self.say("EHLO bench.example", "250")
        await self.say(f"MAIL FROM:<{SENDER}>" + (f" SIZE={size}" if size else ""), "250")
        await self.say(f"RCPT TO:<{recipient}>", "250")
        await self.say("DATA", "354")

    async def deliver(self, message: Iterable[bytes | memoryview]) -> str:
        """Send a message as fast as the server reads it, and return its id. Raises `Refused` at a refusal."""
        sending = asyncio.create_task(self._send(message))
        answer = asyncio.create_task(self.hear("250", seconds=None))
        try:
            async with asyncio.timeout(PATIENCE):
                return (await answer).split()[2]
        except TimeoutError as error:
            raise Refused(f"message not accepted in {PATIENCE:.0f} s") from error
        finally:
            sending.cancel()
            answer.cancel()

    async def start_tls(self) -> None:
        """Start TLS. Raises `Refused` if the server refuses."""
        await self.say("EHLO bench.example", "250")
        await self.say("STARTTLS", "220")
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            await self._writer.start_tls(context)
        except OSError as error:
            raise Refused("the TLS handshake failed") from error

    def write(self, octets: bytes) -> None:
        self._writer.write(octets)

    async def quit(self) -> None:
        """Close the connection, and ignore further replies."""
        with suppress(Refused):
            await self.say("QUIT", "221")
        self._writer.close()

    def abort(self) -> None:
        self._writer.transport.abort()

    async def _send(self, message: Iterable[bytes | memoryview]) -> None:
        try:
            for part in message:
                self._writer.write(part)
                await self._writer.drain()
        except OSError:
            pass  # the task that waits for the reply gets the error


@dataclass(slots=True)
class Standing:
    """The results of connections that are meant to stay open."""

    opened: int = 0
    seconds: float = 0.0
    """The time until all connections were open, in seconds."""
    refused: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    ended_after: list[float] = field(default_factory=list)
    """The times, in seconds after all connections were open, at which connections ended."""

    def __add__(self, other: "Standing") -> "Standing":
        return Standing(
            self.opened + other.opened,
            max(self.seconds, other.seconds),
            self.refused + other.refused,
            self.ended + other.ended,
            self.ended_after + other.ended_after,
        )


async def idle(plan: Plan, orders: Orders) -> Standing:
    """Run clients that read the greeting and then stay idle. Half of them send EHLO first."""

    async def begin(number: int) -> Talk:
        talk = await Talk.open(plan, number)
        if plan.tls:
            await talk.start_tls()
        elif number % 2:
            await talk.say("EHLO bench.example", "250")
        return talk

    return await _stand(plan, orders, begin, lambda talk, _: talk.hear("", seconds=None))


async def slow(plan: Plan, orders: Orders) -> Standing:
    """Run clients that begin a message, and then send a few bytes per second."""
    burst, trickle = (_text(size) for size in (plan.burst, plan.trickle))

    async def begin(number: int) -> Talk:
        talk = await Talk.open(plan, number)
        await talk.begin_message(plan.recipient)
        talk.write(burst)
        return talk

    async def go_on(talk: Talk, number: int) -> str:
        ending = asyncio.create_task(talk.hear("", seconds=None))
        await asyncio.sleep(number / plan.count)  # spread the clients over time
        while not ending.done():
            talk.write(trickle)
            await asyncio.wait([ending], timeout=1)
        return await ending

    return await _stand(plan, orders, begin, go_on)


async def _stand(
    plan: Plan,
    orders: Orders,
    begin: Callable[[int], Awaitable[Talk]],
    go_on: Callable[[Talk, int], Awaitable[str]],
) -> Standing:
    """Open all connections, and run each until the server ends it or the benchmark stops."""
    standing = Standing()
    gate = asyncio.Semaphore(plan.at_once)

    async def opened(number: int) -> Talk | None:
        async with gate:
            try:
                return await begin(number)
            except Refused as refused:
                standing.refused[str(refused)] += 1
                return None

    async def watched(talk: Talk, number: int) -> None:
        try:
            how = _beginning(await go_on(talk, number))
        except Refused as refused:
            how = str(refused)
        standing.ended[how] += 1
        standing.ended_after.append(time.monotonic() - all_open)

    began = time.monotonic()
    talks = await asyncio.gather(*(opened(number) for number in range(plan.count)))
    all_open = time.monotonic()
    standing.seconds = all_open - began
    standing.opened = plan.count - standing.refused.total()
    watching = [asyncio.create_task(watched(talk, number)) for number, talk in enumerate(talks) if talk]
    orders.ready()
    await orders.stop.wait()
    for task in watching:
        task.cancel()
    return standing


@dataclass(slots=True)
class Delivered:
    """The results of the big messages."""

    ids: dict[int, str] = field(default_factory=dict)
    """The ids of the accepted messages, by client number."""
    seconds: list[float] = field(default_factory=list)
    """The time from the beginning until each message was accepted, in seconds."""
    attempts: Counter[str] = field(default_factory=Counter)
    """The server's replies to the attempts, with their counts."""


async def big(plan: Plan, orders: Orders) -> Delivered:
    """Run clients that each send a message of 40 MiB at the same time, and try again later if they are told to."""
    delivered = Delivered()
    wire = memoryview(_stuffed(big_body()))
    orders.ready()
    began = time.monotonic()

    async def attempt(number: int) -> str:
        talk = await Talk.open(plan, number)
        try:
            await talk.begin_message(plan.recipient, size=len(big_header(number)) + len(big_body()))
            identifier = await talk.deliver(
                [big_header(number), *(wire[at : at + CHUNK] for at in range(0, len(wire), CHUNK)), b".\r\n"]
            )
            await talk.quit()
        finally:
            talk.abort()
        return identifier

    async def client(number: int) -> None:
        while time.monotonic() - began < plan.deadline:
            try:
                delivered.ids[number] = await attempt(number)
            except Refused as refused:
                delivered.attempts[str(refused)] += 1
                if refused.is_for_good:
                    return
                await asyncio.sleep(plan.pause)
            else:
                delivered.attempts["250 2.0.0"] += 1
                delivered.seconds.append(time.monotonic() - began)
                return

    await asyncio.gather(*(client(number) for number in range(plan.count)))
    return delivered


@dataclass(slots=True)
class Served:
    """The results of the honest clients."""

    ids: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)


async def honest(plan: Plan, orders: Orders) -> Served:
    """Run clients that send messages of 4 KB, each over a new connection."""
    served = Served()
    message = [b"Subject: a small one\r\n\r\n" + _text(SMALL_SIZE) + b".\r\n"]

    async def attempt(number: int) -> None:
        began, failure = time.monotonic(), ""
        try:
            talk = await Talk.open(plan, number)
            await talk.begin_message(plan.recipient)
            served.ids.append(await talk.deliver(message))
        except Refused as refused:
            failure = str(refused)
        served.samples.append(Sample("mail", began, time.monotonic() - began, failure))
        if not failure:
            await talk.quit()

    async def client(number: int) -> None:
        turn = number
        while not orders.stop.is_set():
            await attempt(turn)
            turn += plan.count
            await asyncio.sleep(plan.pause)

    orders.ready()
    await asyncio.gather(*(client(number) for number in range(plan.count)))
    return served


async def one_address(plan: Plan, _: Orders) -> Standing:
    """Open connections from one address as fast as possible, and keep those that get a greeting."""
    standing = Standing()
    gate = asyncio.Semaphore(plan.at_once)
    one = replace(plan, per_address=plan.count)
    kept = []

    async def attempt(number: int) -> None:
        async with gate:
            try:
                kept.append(await Talk.open(one, number))
            except Refused as refused:
                standing.refused[str(refused)] += 1

    async def second_thought(talk: Talk) -> None:
        with suppress(Refused):
            standing.ended[_beginning(await talk.hear("", seconds=1))] += 1

    began = time.monotonic()
    await asyncio.gather(*(attempt(number) for number in range(plan.count)))
    standing.seconds = time.monotonic() - began
    standing.opened = len(kept)
    await asyncio.gather(*(second_thought(talk) for talk in kept))
    return standing


def big_header(number: int) -> bytes:
    """Return the header of a client's big message."""
    return f"From: <{SENDER}>\r\nSubject: big {number}\r\n\r\n".encode()


@cache
def big_body() -> bytes:
    """Return the body of all big messages before dot-stuffing: lines of text, some of which begin with a dot."""
    octets = random.Random(40).randbytes(BIG_SIZE * 57 // 78)  # 57 bytes become a line of 76 letters and a line end
    return base64.encodebytes(octets).replace(b"\nA", b"\n.").replace(b"\n", b"\r\n")


def _stuffed(body: bytes) -> bytes:
    return body.replace(b"\r\n.", b"\r\n..")


def _text(size: int) -> bytes:
    """Yield complete lines with about this many bytes."""
    line = b"x" * min(78, max(size - 2, 0)) + b"\r\n"
    return line * max(1, size // len(line))


def _beginning(text: str) -> str:
    """Return the code of a reply, with the enhanced code if there is one."""
    code, _, rest = text.partition(" ")
    enhanced = rest.partition(" ")[0]
    return f"{code} {enhanced}" if enhanced.replace(".", "").isdigit() else code
