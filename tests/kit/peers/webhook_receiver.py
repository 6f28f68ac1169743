"""A webhook receiver on loopback that runs a script of a test, over HTTP or HTTPS; and a parcel to send to it.

async with Receiver(answering("200 OK")) as receiver:
    ... receiver.url ...
    ... receiver.requests ...
"""

import asyncio
import hashlib
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tests.kit.certificates import in_files
from tests.kit.servers.smtp_server import abort
from waypost.delivery.outgoing import Parcel
from waypost.domain.directory import addresses
from waypost.domain.mail.delivery import Delivery, Reason, Status
from waypost.domain.mail.messages import Envelope, Message
from waypost.domain.mail.routes import Route

SECRET = "a secret of some length"
RECEIVED_AT = datetime(2026, 11, 22, 12, 0, 0, 123_000, tzinfo=UTC)
OCTETS = b"From: a@client.example\r\nSubject: Hello\r\n\r\n.\r\nHello.\r\n"
PART = 64 * 1024


def a_parcel(octets=OCTETS, *, number=1, size=None):
    """Return a parcel for support@example.com, forwarded through its alias, with these bytes as the message."""
    message_id = f"019345aa-0000-7000-8000-{number:012}"

    async def parts():
        for start in range(0, len(octets), PART):
            yield octets[start : start + PART]

    envelope = Envelope(
        sender="a@client.example",
        recipients=("help@example.com",),
        helo="client.example",
        peer="192.0.2.1",
        protocol="ESMTP",
    )
    return Parcel(
        delivery=Delivery(
            message_id=message_id,
            email_address_id="7a0b4f1e-5a53-4f0c-9d8e-3f4b1d5c6a70",
            account="000000000000",
            address=addresses.parse("support@example.com"),
            reason=Reason.FORWARDED,
            sent_to="Help@example.com",
            via="help@example.com",
            status=Status.QUEUED,
            trace_header=b"Return-Path: <a@client.example>\r\nDelivered-To: support@example.com\r\n",
        ),
        message=Message(
            id=message_id,
            envelope=envelope,
            received_at=RECEIVED_AT,
            size=len(octets) if size is None else size,
            subject="Hällo",
        ),
        return_path="srs0=x=y=client.example=a@example.com",
        header=b"Delivered-To: support@example.com\r\n",
        octets=parts,
    )


def a_route(to, *, allow_private=True, **options):
    return Route(match="*", to=to, secret=SECRET, allow_private=allow_private, **options)


@dataclass
class Request:
    line: str
    headers: dict
    body: bytes = b""
    connection: int = 0


@dataclass
class Talk:
    """A connection, for use by scripts."""

    receiver: "Receiver"
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    number: int = 0

    async def head(self):
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:] if line)
        self.receiver.requests.append(Request(lines[0], headers, connection=self.number))
        return self.receiver.requests[-1]

    async def request(self):
        request = await self.head()
        request.body = await self.reader.readexactly(int(request.headers["Content-Length"]))
        return request

    async def say(self, octets):
        self.writer.write(octets)
        await self.writer.drain()


@dataclass
class Receiver:
    script: object
    certificate: object = None
    host: str = "127.0.0.1"
    requests: list = field(default_factory=list)
    connections: int = 0

    async def __aenter__(self):
        tls = None
        if self.certificate:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            with in_files(own=self.certificate.both) as here:
                tls.load_cert_chain(here / "own.pem")
        self._writers = []
        self._server = await asyncio.start_server(self._talk, self.host, 0, ssl=tls, backlog=1000)
        self.port = self._server.sockets[0].getsockname()[1]
        host = f"[{self.host}]" if ":" in self.host else self.host
        self.url = f"http{'s' if tls else ''}://{host}:{self.port}/hook"
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for _ in range(10):  # a client that has just connected has no writer yet
            await asyncio.sleep(0)
        for writer in self._writers:
            abort(writer)
        await self._server.wait_closed()

    async def _talk(self, reader, writer):
        self.connections += 1
        self._writers.append(writer)
        with suppress(OSError, EOFError):
            await self.script(Talk(self, reader, writer, self.connections))
        writer.close()


def answering(status="200 OK", body=b"", *headers):
    """Return a script that reads each request on a connection, and responds to each in the same way."""

    async def script(talk):
        while True:
            await talk.request()
            lines = [f"HTTP/1.1 {status}", *headers]
            if not status.startswith("204"):
                lines.append(f"Content-Length: {len(body)}")
            await talk.say("\r\n".join([*lines, "", ""]).encode() + body)

    return script


def saying(octets):
    """Return a script that reads a request, sends these bytes, and closes the connection."""

    async def script(talk):
        await talk.request()
        await talk.say(octets)

    return script


def saying_then_hanging(octets):
    """Return a script that reads a request, sends these bytes, and keeps the connection open."""

    async def script(talk):
        await talk.request()
        await talk.say(octets)
        await asyncio.Event().wait()

    return script


async def hanging(talk):
    """Read a request, and send nothing."""
    await talk.request()
    await asyncio.Event().wait()


async def not_reading(talk):
    """Read only the head of a request."""
    await talk.head()
    talk.writer.transport.pause_reading()
    await asyncio.Event().wait()


async def leaving_at_once(talk):
    """Reset the connection immediately."""
    talk.writer.transport.abort()


async def leaving_amid_the_body(talk):
    await talk.head()
    await talk.reader.readexactly(PART)
    talk.writer.transport.abort()


async def leaving_after_the_body(talk):
    await talk.request()
    talk.writer.transport.abort()


def answering_amid_the_body(status):
    """Return a script that responds during the body of a request, and then reads nothing more."""

    async def script(talk):
        await talk.head()
        await talk.reader.readexactly(PART)
        await talk.say(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        talk.writer.transport.pause_reading()
        await asyncio.Event().wait()

    return script


def saying_without_end(head, body=b""):
    """Return a script that reads a request, sends `head`, and then sends `body` repeatedly."""

    async def script(talk):
        await talk.request()
        await talk.say(head)
        while True:
            await talk.say(body)
            await asyncio.sleep(0)

    return script


def checksum(octets):
    return hashlib.sha256(octets).hexdigest()
