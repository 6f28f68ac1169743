"""An SMTP or LMTP server that follows a script: at each stage it sends a given reply, or misbehaves.

    async with a_peer({"RCPT": "550 5.1.1 no such user"}) as peer: …

For each stage, a script has a reply, or a list of steps. A step is a reply, bytes to send, or one of `HANG`, `CLOSE`,
`RESET` and `HEAR`, which waits until the client sends something. The stages are CONNECT, GREETING, HELLO, HELLO AGAIN
(within TLS), the other verbs, HANDSHAKE, BODY (a part of the message has arrived), CHUNK (a part of a chunk has
arrived), END (the final dot) and LAST (the last chunk).
"""

import asyncio
import socket
import ssl
import uuid
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from msgspec.structs import replace

from tests.kit.certificates import authority, tls_setup
from tests.kit.patience import PATIENCE, until
from tests.kit.servers.smtp_server import abort, reset
from tests.kit.values import NOW
from waypost.delivery.outgoing import Parcel
from waypost.delivery.smtp_client.connection import Timeouts
from waypost.delivery.smtp_client.transport import SmtpTransport
from waypost.domain.directory import addresses
from waypost.domain.mail.delivery import Delivery, Reason, Status
from waypost.domain.mail.messages import Envelope, Message
from waypost.domain.mail.routes import Route, Tls

HANG, CLOSE, RESET, HEAR = "hang", "close", "reset", "hear"
PIPED = ("PIPELINING",)
CHUNKS = ("PIPELINING", "CHUNKING", "BINARYMIME")
HEADER = b"Received: from somebody\r\n\tby us\r\n"
PIECE = 64 * 1024
HELLO = b"Subject: hello\r\n\r\nHello.\r\n"

LONG = Timeouts(
    **dict.fromkeys(("connect", "greeting", "command", "data", "end", "idle"), PATIENCE),
    goodbye=0.2,
)
"""Timeouts of the transport. The one after QUIT is short, because a peer that hangs does not reply to QUIT either."""


def a_parcel(raw=HELLO, *, to="support@example.com", header=HEADER, sender="a@client.example", octets=None, **options):
    """Return a parcel with this message. `body` and `protocol` are properties of its envelope."""
    envelope = Envelope(
        sender=sender,
        recipients=(to,),
        helo="client.example",
        peer="192.0.2.7",
        protocol=options.pop("protocol", "ESMTP"),
        body=options.pop("body", "7BIT"),
    )
    message_id = str(uuid.uuid4())
    message = Message(id=message_id, envelope=envelope, received_at=NOW, size=len(raw), subject="hello")
    address = addresses.parse("x@example.com")
    delivery = Delivery(
        message_id=message_id,
        email_address_id="an-email-address",
        account="000000000000",
        address=replace(address, text=to, key=to.lower()),
        reason=Reason.DIRECT,
        sent_to=to,
        via=None,
        status=Status.QUEUED,
        trace_header=header,
    )

    async def in_pieces():
        for start in range(0, len(raw), PIECE):
            yield raw[start : start + PIECE]

    parcel = {"return_path": sender, "header": header, "octets": octets or in_pieces} | options
    return Parcel(delivery=delivery, message=message, **parcel)


@dataclass
class Got:
    """A message that the peer has received completely."""

    mail: str
    rcpt: str
    octets: bytes
    wire: bytes
    """The received bytes, with dot-stuffing, but without BDAT commands."""


class _Gone(Exception):
    """The connection has ended."""


class Peer:
    """The peer, with the commands and messages that it has received."""

    def __init__(self, script, *, offer=PIPED, hostname="peer.example", is_lmtp=False, tls=None, from_message=0):
        self.script = script
        self.offer, self.hostname, self.is_lmtp, self.tls = offer, hostname, is_lmtp, tls
        self.from_message = from_message
        """The number of messages after which the peer follows the script. Before, it accepts everything."""
        self.from_connection = 0
        """The number of connections after which the peer follows the script, up to connection `to_connection`."""
        self.to_connection = 1 << 30
        self.got: list[Got] = []
        self.heard: list[str] = []
        """All commands, on all connections."""
        self.groups: list[list[str]] = []
        """The commands of each group that arrived together."""
        self.connections = 0
        self.open = 0
        self.address = ("", 0)
        self.changed = asyncio.Condition()
        self._ended = asyncio.Event()
        self._writers = set()

    @property
    def url(self):
        return f"{'lmtp' if self.is_lmtp else 'smtp'}://127.0.0.1:{self.address[1]}"

    def script_of(self, connection):
        """Return the script for a connection at this time."""
        is_bad = self.from_connection < connection <= self.to_connection and len(self.got) >= self.from_message
        return self.script if is_bad else {}

    def end(self):
        self._ended.set()
        for writer in self._writers:
            abort(writer)

    async def serve(self, reader, writer):
        self.connections += 1
        self.open += 1
        self._writers.add(writer)
        try:
            await _Talk(self, reader, writer).go()
        except (_Gone, ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            if self._ended.is_set():
                writer.transport.abort()
            else:
                writer.close()  # may never finish if the client does not read


class _Talk:
    """A connection of the peer."""

    def __init__(self, peer, reader, writer):
        self.peer, self.reader, self.writer = peer, reader, writer
        self.number = peer.connections
        self.mail = self.rcpt = ""
        self.chunks = b""
        self.is_tls = False
        self.input = b""

    async def go(self):
        await self.does("CONNECT", [])
        await self.does("GREETING", f"220 {self.peer.hostname} ready")
        while True:
            line = await self.line()
            verb, _, argument = line.partition(" ")
            await getattr(self, f"on_{verb.lower()}", self.on_other)(verb.upper(), argument)

    async def does(self, stage, good):
        """Follow the script for a stage, or else do `good`. Return whether the reply was positive."""
        steps = self.peer.script_of(self.number).get(stage, good)
        for step in steps if isinstance(steps, list) else [steps]:
            if step == HANG:
                await self.peer._ended.wait()
                raise _Gone
            if step == CLOSE:
                raise _Gone
            if step == RESET:
                reset(self.writer)
                raise _Gone
            if step == HEAR:
                await self.some()
                continue
            self.writer.write(step if isinstance(step, bytes) else f"{step}\r\n".encode())
        with suppress(ConnectionError):
            await self.writer.drain()
        return isinstance(steps, str) and steps[0] in "23"

    async def line(self):
        """Return the next command. Commands that have already arrived belong to the same group."""
        is_new = b"\n" not in self.input
        while b"\n" not in self.input:
            self.input += await self.some()
        line, _, self.input = self.input.partition(b"\n")
        command = line.decode().rstrip("\r")
        self.peer.heard.append(command)
        if is_new:
            self.peer.groups.append([])
        self.peer.groups[-1].append(command)
        return command

    async def some(self):
        octets = await self.reader.read(1 << 16)
        if not octets:
            raise _Gone
        return octets

    async def on_other(self, verb, _):
        await self.does(verb, "500 what?")

    async def on_ehlo(self, _verb, _):
        tls = [] if self.is_tls or not self.peer.tls else ["STARTTLS"]
        lines = [self.peer.hostname, *self.peer.offer, *tls]
        last = len(lines) - 1
        reply = "\r\n".join(f"250{' ' if n == last else '-'}{line}" for n, line in enumerate(lines))
        await self.does("HELLO AGAIN" if self.is_tls else "HELLO", reply)

    on_lhlo = on_ehlo

    async def on_helo(self, verb, _):
        await self.does(verb, f"250 {self.peer.hostname}")

    async def on_starttls(self, verb, _):
        if not await self.does(verb, "220 go ahead"):
            return
        await self.does("HANDSHAKE", [])
        await self.writer.start_tls(self.peer.tls)
        self.is_tls, self.input = True, b""

    async def on_auth(self, verb, argument):
        if argument.upper() == "LOGIN":
            await self.does("AUTH LOGIN", "334 VXNlcm5hbWU6")
            await self.line()
            await self.does("AUTH USER", "334 UGFzc3dvcmQ6")
            await self.line()
        await self.does(verb, "235 2.7.0 welcome")

    async def on_mail(self, verb, argument):
        if await self.does(verb, "250 2.1.0 ok"):
            self.mail = argument

    async def on_rcpt(self, verb, argument):
        if not self.mail:
            await self.does("RCPT WITHOUT MAIL", "503 5.5.1 no sender")
        elif await self.does(verb, "250 2.1.5 ok"):
            self.rcpt = argument

    async def on_rset(self, verb, _):
        await self.does(verb, "250 2.0.0 ok")
        self.mail = self.rcpt = ""
        self.chunks = b""

    async def on_quit(self, verb, _):
        await self.does(verb, "221 2.0.0 bye")
        raise _Gone

    async def on_data(self, verb, _):
        if not self.rcpt:
            await self.does("DATA WITHOUT RCPT", "503 5.5.1 no recipient")
            return
        steps = self.peer.script_of(self.number).get(verb, "354 go ahead")
        await self.does(verb, "354 go ahead")
        if not isinstance(steps, str) or not steps.startswith("354"):
            return
        wire = b"\r\n" + self.input
        while not (end := _end(wire)):
            wire += await self.some()
            await self.does("BODY", [])
        wire, self.input = wire[2 : end - 3], wire[end:]
        await self.took(wire, _unstuffed(wire), "END")

    async def on_bdat(self, verb, argument):
        size, _, last = argument.partition(" ")
        if not self.rcpt:
            await self.octets(int(size))
            await self.does("BDAT WITHOUT RCPT", "503 5.5.1 no recipient")
            return
        self.chunks += await self.octets(int(size))
        if last:
            await self.took(self.chunks, self.chunks, "LAST")
            self.chunks = b""
        else:
            await self.does(verb, f"250 2.0.0 {size} octets")

    async def octets(self, size):
        while len(self.input) < size:
            await self.does("CHUNK", [])
            self.input += await self.some()
        octets, self.input = self.input[:size], self.input[size:]
        return octets

    async def took(self, wire, octets, stage):
        script = self.peer.script_of(self.number)
        async with self.peer.changed:
            self.peer.got.append(Got(self.mail, self.rcpt, octets, wire))
            self.peer.changed.notify_all()
        self.mail = self.rcpt = ""
        # Use the script from before this message, although the number of messages has increased.
        was, self.peer.script_of = self.peer.script_of, lambda _: script
        try:
            await self.does(stage, "250 2.0.0 taken")
        finally:
            self.peer.script_of = was


def _end(wire):
    at = wire.find(b"\r\n.\r\n")
    return at + 5 if at >= 0 else 0


def _unstuffed(wire):
    return (b"\r\n" + wire).replace(b"\r\n.", b"\r\n")[2:]


def a_listener(host="127.0.0.1", port=0):
    """Return a listening socket that sends replies without delay, which asyncio ensures only for its own sockets."""
    listener = socket.create_server((host, port))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


@asynccontextmanager
async def a_peer(script=None, *, path=None, **options):
    """Run a peer on a free port, or on the Unix socket `path`."""
    peer = Peer(script or {}, **options)
    if path:
        server = await asyncio.start_unix_server(peer.serve, path)
    else:
        listener = a_listener()
        listener.setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVBUF, PIECE
        )  # small, so that the peer does not read far ahead
        server = await asyncio.start_server(peer.serve, sock=listener)
        peer.address = listener.getsockname()
    try:
        yield peer
    finally:
        server.close()
        for _ in range(10):  # a client that has just connected has no session yet, and its socket would never be closed
            await asyncio.sleep(0)
        peer.end()
        await until(lambda: not peer.open)
        await server.wait_closed()
        for _ in range(3):
            await asyncio.sleep(0)


class Hosts:
    """A fake DNS resolver with the mail hosts of each domain, or an exception for the domain."""

    def __init__(self, **of_domain):
        self.of_domain = {domain.replace("_", "."): hosts for domain, hosts in of_domain.items()}
        self.asked = []

    async def mail_hosts(self, domain):
        self.asked.append(domain)
        hosts = self.of_domain[domain]
        if isinstance(hosts, Exception):
            raise hosts
        return hosts


@asynccontextmanager
async def a_transport(timeouts=LONG, *, hostname="mail.example", hosts=None, **options):
    """Run the SMTP transport under test."""
    transport = SmtpTransport(hostname=hostname, timeouts=timeouts, resolve=hosts or Hosts(), **options)
    try:
        yield transport
    finally:
        await transport.close()


def a_route(to, **options):
    """Return a route to this destination, by default without TLS."""
    return Route(match="*", to=to, **{"tls": Tls.NONE} | options)


def trusting(*, verifies):
    """Return a TLS context for clients that trust the authority of the tests."""
    context = ssl.create_default_context(cadata=authority().pem.decode())
    if not verifies:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def server_context(certificate=None):
    """Return a TLS context for a server with this certificate, or with a valid certificate."""
    with tls_setup(certificate) as setup:
        return setup.certificates.context
