"""The mail clients of the flood: idle ones, slow ones, big ones, honest ones, and one address that asks too often."""

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
"""Seconds that a client waits for a reply (RFC 5321 section 4.5.3.2 has 2 to 10 minutes)."""

CHUNK = 256 * 1024
"""Octets of a big message that are written at once."""

BIG_SIZE = 40 * 1024 * 1024 - 64 * 1024
SMALL_SIZE = 4096

_ADDRESSES_IN_A_BLOCK = 250


class Sample(NamedTuple):
    """One call, or one message of an honest client."""

    kind: str
    began: float
    seconds: float
    failure: str
    """Empty if there was none."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the clients in a process are to do."""

    port: int
    block: int
    """They come from the addresses 127.block.*.*."""
    count: int
    recipient: str = ""
    per_address: int = 50
    """Connections of one source address."""
    at_once: int = 256
    """Connections that are being opened at one time."""
    burst: int = 16 * 1024
    """Octets that a slow sender sends at first."""
    trickle: int = 20
    """Octets that it sends in each second after that."""
    tls: bool = False
    pause: float = 0.05
    """Seconds between two messages, or two attempts, of a client."""
    deadline: float = 300.0
    """Seconds after which a big message is given up."""

    def source(self, number: int) -> str:
        """The address that a client comes from."""
        high, low = divmod(number // self.per_address, _ADDRESSES_IN_A_BLOCK)
        return f"127.{self.block}.{high % 256}.{low + 1}"


class Refused(Exception):
    """The server did not do it. The message is the beginning of its reply, or how it left without one."""

    @property
    def is_for_good(self) -> bool:
        return str(self).startswith("5")

    @property
    def has_reply(self) -> bool:
        return str(self)[:1].isdigit()


class Talk:
    """One connection to the server, which has greeted us."""

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
        """Read one reply; returns its last line. Raises `Refused` if it is not the expected one, or none."""
        try:
            async with asyncio.timeout(seconds):
                line = await self._reader.readline()
                while line[3:4] == b"-":
                    line = await self._reader.readline()
        except TimeoutError as error:
            raise Refused(f"no reply in {seconds:.0f} s") from error
        except OSError as error:
            raise Refused("reset without a word") from error
        if not line.endswith(b"\n"):
            raise Refused("closed without a word")
        text = line.decode("latin-1").strip()
        if not text.startswith(expected):
            self.abort()
            raise Refused(_beginning(text))
        return text

    async def say(self, command: str, expected: str) -> str:
        """Say a command and read the reply. Raises `Refused`."""
        self.write(f"{command}\r\n".encode())
        return await self.hear(expected)

    async def begin_message(self, recipient: str, size: int = 0) -> None:
        """From the first command to DATA. Raises `Refused`."""
        await self.say("EHLO bench.example", "250")
        await self.say(f"MAIL FROM:<{SENDER}>" + (f" SIZE={size}" if size else ""), "250")
        await self.say(f"RCPT TO:<{recipient}>", "250")
        await self.say("DATA", "354")

    async def deliver(self, message: Iterable[bytes | memoryview]) -> str:
        """Send a message as fast as it is read, with an ear for a refusal; returns its id. Raises `Refused`."""
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
        """Raises `Refused` if the server does not do that."""
        await self.say("EHLO bench.example", "250")
        await self.say("STARTTLS", "220")
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            await self._writer.start_tls(context)
        except OSError as error:
            raise Refused("no TLS after all") from error

    def write(self, octets: bytes) -> None:
        self._writer.write(octets)

    async def quit(self) -> None:
        """What the server says to it does not matter any more."""
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
            pass  # whoever listens for the answer hears of it


@dataclass(slots=True)
class Standing:
    """What became of connections that were opened to stay open."""

    opened: int = 0
    seconds: float = 0.0
    """Until all were open."""
    refused: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    ended_after: list[float] = field(default_factory=list)
    """Seconds after all were open."""

    def __add__(self, other: "Standing") -> "Standing":
        return Standing(
            self.opened + other.opened,
            max(self.seconds, other.seconds),
            self.refused + other.refused,
            self.ended + other.ended,
            self.ended_after + other.ended_after,
        )


async def idle(plan: Plan, orders: Orders) -> Standing:
    """Clients that read the greeting, and say nothing more than EHLO, half of them not even that."""

    async def begin(number: int) -> Talk:
        talk = await Talk.open(plan, number)
        if plan.tls:
            await talk.start_tls()
        elif number % 2:
            await talk.say("EHLO bench.example", "250")
        return talk

    return await _stand(plan, orders, begin, lambda talk, _: talk.hear("", seconds=None))


async def slow(plan: Plan, orders: Orders) -> Standing:
    """Clients that begin a message, and then send a few octets in each second."""
    burst, trickle = (_text(size) for size in (plan.burst, plan.trickle))

    async def begin(number: int) -> Talk:
        talk = await Talk.open(plan, number)
        await talk.begin_message(plan.recipient)
        talk.write(burst)
        return talk

    async def go_on(talk: Talk, number: int) -> str:
        ending = asyncio.create_task(talk.hear("", seconds=None))
        await asyncio.sleep(number / plan.count)  # not all at the same moment
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
    """Open all, and have each go on until the server ends it, or we are told to stop."""
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
    """What became of the big messages."""

    ids: dict[int, str] = field(default_factory=dict)
    """By number, those that were accepted."""
    seconds: list[float] = field(default_factory=list)
    """From the beginning until each was accepted."""
    attempts: Counter[str] = field(default_factory=Counter)
    """What the server said to each attempt."""


async def big(plan: Plan, orders: Orders) -> Delivered:
    """Clients that send a message of 40 MiB each, all at once, and come again later when they are told to."""
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
    """What honest clients got."""

    ids: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)


async def honest(plan: Plan, orders: Orders) -> Served:
    """Clients that send a message of 4 KB each time, over a new connection."""
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
    """Connections from one address, as fast as they can be had; those that are greeted are kept."""
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
    """The header of a client's big message."""
    return f"From: <{SENDER}>\r\nSubject: big {number}\r\n\r\n".encode()


@cache
def big_body() -> bytes:
    """The body that all big messages have, before dots are added: lines of text, and some that begin with a dot."""
    octets = random.Random(40).randbytes(BIG_SIZE * 57 // 78)  # 57 octets make a line of 76 letters and a line end
    return base64.encodebytes(octets).replace(b"\nA", b"\n.").replace(b"\n", b"\r\n")


def _stuffed(body: bytes) -> bytes:
    return body.replace(b"\r\n.", b"\r\n..")


def _text(size: int) -> bytes:
    """Whole lines of about that many octets."""
    line = b"x" * min(78, max(size - 2, 0)) + b"\r\n"
    return line * max(1, size // len(line))


def _beginning(text: str) -> str:
    """The code of a reply, with the enhanced code if it has one."""
    code, _, rest = text.partition(" ")
    enhanced = rest.partition(" ")[0]
    return f"{code} {enhanced}" if enhanced.replace(".", "").isdigit() else code
