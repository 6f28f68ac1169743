"""A table of the faults of peers: the peer's behaviour at a stage, the transport's result, and the decision that
follows.

Each row is played over a real connection with uvloop, with SMTP and with LMTP. Rows about the end of a connection,
about TLS or about buffers are also played with the event loop of the standard library. A row contains

    the behaviour of the peer │ stage, code, enhanced code, trouble │ the decision

and the decision is one of

    DELIVERED           the message is delivered
    RETRY(status)       this message is retried later
    PAUSE(status)       this message is retried later, and other messages for the destination wait too
    GIVE_UP(status)     the delivery becomes a dead letter, and the sender gets a notice with this status
"""

import asyncio
import socket
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import pytest
from msgspec import field
from msgspec.structs import asdict, replace

from tests.kit.certificates import DAY, Authority, authority
from tests.kit.patience import PATIENCE
from tests.kit.peers.scripted_mail_server import (
    CHUNKS,
    CLOSE,
    HANG,
    HEAR,
    LONG,
    PIPED,
    RESET,
    a_parcel,
    a_peer,
    a_route,
    a_transport,
    server_context,
    trusting,
)
from tests.kit.servers.smtp_server import LOOPS
from tests.kit.values import NOW
from waypost.delivery.smtp_client.connection import Timeouts
from waypost.domain.mail.delivery import Policy, Protocol, Queued, Stage, Then, Trouble, decide
from waypost.domain.mail.routes import Tls

DELIVERED = (Then.DELIVERED, "2.0.0", False)


def RETRY(status):
    return (Then.RETRY, status, False)


def PAUSE(status):
    return (Then.RETRY, status, True)


def GIVE_UP(status):
    return (Then.GIVE_UP, status, False)


TIMEOUT, DISCONNECTED, GARBAGE = Trouble.TIMEOUT, Trouble.DISCONNECTED, Trouble.GARBAGE
HTTP = b"HTTP/1.1 400 Bad Request\r\n\r\n"
ENDLESS = b"250-" + b"x" * 5000
LARGE = b"0123456789abcd\r\n" * 500_000


def row(name, script, facts, decided, **options):
    """One row. `options` are options of the peer, or `tls`, `parcel` and `timeouts`."""
    return pytest.param(script, facts, decided, options, id=name)


def a(stage, trouble=None, code=None, enhanced=""):
    """The expected result of the transport."""
    return stage, code, enhanced, trouble


BOTH = [
    # Greeting
    row("accepts and closes", {"CONNECT": CLOSE}, a(Stage.GREETING, DISCONNECTED), PAUSE("4.4.2")),
    row("accepts and resets", {"CONNECT": RESET}, a(Stage.GREETING, DISCONNECTED), PAUSE("4.4.2")),
    row("never greets", {"GREETING": HANG}, a(Stage.GREETING, TIMEOUT), PAUSE("4.4.2")),
    row("sends half a greeting", {"GREETING": [b"220 pe", HANG]}, a(Stage.GREETING, TIMEOUT), PAUSE("4.4.2")),
    row("speaks HTTP", {"GREETING": HTTP}, a(Stage.GREETING, GARBAGE), PAUSE("4.4.2")),
    row("sends an endless greeting", {"GREETING": b"220-x\r\n" * 101}, a(Stage.GREETING, GARBAGE), PAUSE("4.4.2")),
    row("sends an endless greeting line", {"GREETING": ENDLESS}, a(Stage.GREETING, GARBAGE), PAUSE("4.4.2")),
    row("greets with 421", {"GREETING": "421 4.3.2 busy"}, a(Stage.GREETING, None, 421, "4.3.2"), PAUSE("4.3.2")),
    row("greets with 554", {"GREETING": "554 5.7.1 no"}, a(Stage.GREETING, None, 554, "5.7.1"), PAUSE("4.0.0")),
    # Hello
    row("hello: closes", {"HELLO": CLOSE}, a(Stage.HELLO, DISCONNECTED), PAUSE("4.4.2")),
    row("hello: silent", {"HELLO": HANG}, a(Stage.HELLO, TIMEOUT), PAUSE("4.4.2")),
    row("hello: garbage", {"HELLO": HTTP}, a(Stage.HELLO, GARBAGE), PAUSE("4.4.2")),
    row("hello: two codes", {"HELLO": "250-a\r\n550 b"}, a(Stage.HELLO, GARBAGE), PAUSE("4.4.2")),
    row("hello: 450", {"HELLO": "450 4.7.0 later"}, a(Stage.HELLO, None, 450, "4.7.0"), PAUSE("4.7.0")),
    # MAIL
    row("mail: 451", {"MAIL": "451 4.3.0 x"}, a(Stage.MAIL, None, 451, "4.3.0"), RETRY("4.3.0")),
    row("mail: 421", {"MAIL": "421 4.3.2 x"}, a(Stage.MAIL, None, 421, "4.3.2"), PAUSE("4.3.2")),
    row("mail: 550", {"MAIL": "550 5.7.1 x"}, a(Stage.MAIL, None, 550, "5.7.1"), GIVE_UP("5.7.1")),
    row("mail: 550 without enhanced code", {"MAIL": "550 x"}, a(Stage.MAIL, None, 550), GIVE_UP("5.1.0")),
    row("mail: 530, no authentication", {"MAIL": "530 5.7.0 x"}, a(Stage.MAIL, None, 530, "5.7.0"), RETRY("4.0.0")),
    row("mail: closes", {"MAIL": CLOSE}, a(Stage.MAIL, DISCONNECTED), RETRY("4.4.2")),
    row("mail: silent", {"MAIL": HANG}, a(Stage.MAIL, TIMEOUT), RETRY("4.4.2")),
    row("mail: garbage", {"MAIL": HTTP}, a(Stage.MAIL, GARBAGE), RETRY("4.4.2")),
    # RCPT
    row("rcpt: 450 greylisted", {"RCPT": "450 4.2.0 x"}, a(Stage.RCPT, None, 450, "4.2.0"), RETRY("4.2.0")),
    row("rcpt: 452 full", {"RCPT": "452 4.2.2 x"}, a(Stage.RCPT, None, 452, "4.2.2"), RETRY("4.2.2")),
    row("rcpt: 421", {"RCPT": "421 x"}, a(Stage.RCPT, None, 421), PAUSE("4.0.0")),
    row("rcpt: 550 unknown", {"RCPT": "550 5.1.1 x"}, a(Stage.RCPT, None, 550, "5.1.1"), GIVE_UP("5.1.1")),
    row("rcpt: 550 without enhanced code", {"RCPT": "550 x"}, a(Stage.RCPT, None, 550), GIVE_UP("5.1.1")),
    row("rcpt: 550 with a 4", {"RCPT": "550 4.2.1 x"}, a(Stage.RCPT, None, 550), GIVE_UP("5.1.1")),
    row("rcpt: 552 without enhanced code", {"RCPT": "552 too many"}, a(Stage.RCPT, None, 552), RETRY("4.0.0")),
    row("rcpt: 552 full", {"RCPT": "552 5.2.2 x"}, a(Stage.RCPT, None, 552, "5.2.2"), GIVE_UP("5.2.2")),
    row("rcpt: 503", {"RCPT": "503 5.5.1 x"}, a(Stage.RCPT, None, 503, "5.5.1"), RETRY("4.0.0")),
    row("rcpt: closes", {"RCPT": CLOSE}, a(Stage.RCPT, DISCONNECTED), RETRY("4.4.2")),
    row("rcpt: resets", {"RCPT": RESET}, a(Stage.RCPT, DISCONNECTED), RETRY("4.4.2")),
    row("rcpt: silent", {"RCPT": HANG}, a(Stage.RCPT, TIMEOUT), RETRY("4.4.2")),
    row("rcpt: garbage", {"RCPT": HTTP}, a(Stage.RCPT, GARBAGE), RETRY("4.4.2")),
    row(
        "rcpt: 550, then closes",
        {"RCPT": ["550 5.1.1 x", CLOSE]}, a(Stage.RCPT, None, 550, "5.1.1"), GIVE_UP("5.1.1"),
    ),
    row(
        "rcpt: 550, then 354",
        {"RCPT": "550 5.1.1 x", "DATA WITHOUT RCPT": "354 go"}, a(Stage.RCPT, None, 550, "5.1.1"), GIVE_UP("5.1.1"),
    ),
    # DATA
    row("data: 451", {"DATA": "451 4.3.0 x"}, a(Stage.DATA, None, 451, "4.3.0"), RETRY("4.3.0")),
    row("data: 421", {"DATA": "421 4.3.2 x"}, a(Stage.DATA, None, 421, "4.3.2"), PAUSE("4.3.2")),
    row("data: 554", {"DATA": "554 5.7.1 x"}, a(Stage.DATA, None, 554, "5.7.1"), GIVE_UP("5.7.1")),
    row("data: 250", {"DATA": "250 x"}, a(Stage.DATA, GARBAGE, 250), RETRY("4.4.2")),
    row("data: closes", {"DATA": CLOSE}, a(Stage.DATA, DISCONNECTED), RETRY("4.4.2")),
    row("data: silent", {"DATA": HANG}, a(Stage.DATA, TIMEOUT), RETRY("4.4.2")),
    row("data: garbage", {"DATA": HTTP}, a(Stage.DATA, GARBAGE), RETRY("4.4.2")),
    row("data: two replies", {"DATA": "354 go\r\n250 taken"}, a(Stage.BODY, GARBAGE), RETRY("4.4.2")),
    # During the message
    row("body: closes", {"BODY": CLOSE}, a(Stage.BODY, DISCONNECTED), RETRY("4.4.2"), parcel=LARGE),
    row("body: resets", {"BODY": RESET}, a(Stage.BODY, DISCONNECTED), RETRY("4.4.2"), parcel=LARGE),
    row("body: stops reading", {"BODY": HANG}, a(Stage.BODY, TIMEOUT), RETRY("4.4.2"), parcel=LARGE),
    row("body: 552", {"BODY": "552 5.3.4 x"}, a(Stage.BODY, None, 552, "5.3.4"), RETRY("4.0.0"), parcel=LARGE),
    row("body: 421", {"BODY": "421 4.3.2 x"}, a(Stage.BODY, None, 421, "4.3.2"), PAUSE("4.3.2"), parcel=LARGE),
    row("body: 250", {"BODY": "250 x"}, a(Stage.BODY, GARBAGE, 250), RETRY("4.4.2"), parcel=LARGE),
    row("body: garbage", {"BODY": HTTP}, a(Stage.BODY, GARBAGE), RETRY("4.4.2"), parcel=LARGE),
    # After the final dot
    row("end: 250", {}, a(Stage.END, None, 250, "2.0.0"), DELIVERED),
    row("end: 250, then closes", {"END": ["250 x", CLOSE]}, a(Stage.END, None, 250), DELIVERED),
    row("end: 250 and 421", {"END": "250 x\r\n421 y"}, a(Stage.END, None, 250), DELIVERED),
    row("end: 250, then resets", {"END": ["250 x", RESET]}, a(Stage.END, None, 250), DELIVERED),
    row("end: half a 250", {"END": [b"250-x\r\n250", CLOSE]}, a(Stage.END, None, 250), DELIVERED),
    row("end: 250 and garbage", {"END": [b"250-x\r\nhuh\r\n", HANG]}, a(Stage.END, None, 250), DELIVERED),
    row("end: 250 with an endless line", {"END": [b"250 " + b"x" * 9_000, HANG]}, a(Stage.END, None, 250), DELIVERED),
    row("end: 451", {"END": "451 4.3.0 x"}, a(Stage.END, None, 451, "4.3.0"), RETRY("4.3.0")),
    row("end: 452 full", {"END": "452 4.2.2 x"}, a(Stage.END, None, 452, "4.2.2"), RETRY("4.2.2")),
    row("end: 421", {"END": "421 4.3.2 x"}, a(Stage.END, None, 421, "4.3.2"), PAUSE("4.3.2")),
    row("end: 550 spam", {"END": "550 5.7.1 x"}, a(Stage.END, None, 550, "5.7.1"), GIVE_UP("5.7.1")),
    row("end: 554 without enhanced code", {"END": "554 x"}, a(Stage.END, None, 554), GIVE_UP("5.0.0")),
    row("end: 554 loop", {"END": "554 5.4.6 x"}, a(Stage.END, None, 554, "5.4.6"), GIVE_UP("5.4.6")),
    row("end: 354", {"END": "354 x"}, a(Stage.END, GARBAGE, 354), RETRY("4.4.2")),
    row("end: closes", {"END": CLOSE}, a(Stage.END, DISCONNECTED), RETRY("4.4.2")),
    row("end: resets", {"END": RESET}, a(Stage.END, DISCONNECTED), RETRY("4.4.2")),
    row("end: silent", {"END": HANG}, a(Stage.END, TIMEOUT), RETRY("4.4.2")),
    row("end: garbage", {"END": HTTP}, a(Stage.END, GARBAGE), RETRY("4.4.2")),
    # Chunks
    row("last chunk: 250", {}, a(Stage.END, None, 250, "2.0.0"), DELIVERED, offer=CHUNKS),
    row("last chunk: 554", {"LAST": "554 5.6.0 x"}, a(Stage.END, None, 554, "5.6.0"), GIVE_UP("5.6.0"), offer=CHUNKS),
    row("last chunk: 452", {"LAST": "452 4.2.2 x"}, a(Stage.END, None, 452, "4.2.2"), RETRY("4.2.2"), offer=CHUNKS),
    row("last chunk: closes", {"LAST": CLOSE}, a(Stage.END, DISCONNECTED), RETRY("4.4.2"), offer=CHUNKS),
    row(
        "last chunk: silent",
        {"LAST": HANG}, a(Stage.END, TIMEOUT), RETRY("4.4.2"), offer=CHUNKS,
    ),
    row("mail closes after all was sent", {"MAIL": CLOSE}, a(Stage.END, DISCONNECTED), RETRY("4.4.2"), offer=CHUNKS),
    row(
        "rcpt: 550 before a chunk",
        {"RCPT": "550 5.1.1 x"}, a(Stage.RCPT, None, 550, "5.1.1"), GIVE_UP("5.1.1"), offer=CHUNKS,
    ),
    row(
        "chunk: 552",
        {"BDAT": "552 5.3.4 x"}, a(Stage.DATA, None, 552, "5.3.4"), GIVE_UP("5.3.4"), offer=CHUNKS, parcel=LARGE,
    ),
    row("chunk: 451", {"BDAT": "451 x"}, a(Stage.DATA, None, 451), RETRY("4.0.0"), offer=CHUNKS, parcel=LARGE),
    row("chunk: closes", {"CHUNK": CLOSE}, a(Stage.BODY, DISCONNECTED), RETRY("4.4.2"), offer=CHUNKS, parcel=LARGE),
    row("chunk: garbage", {"BDAT": HTTP}, a(Stage.BODY, GARBAGE), RETRY("4.4.2"), offer=CHUNKS, parcel=LARGE),
    row(
        "chunk: silent",
        {"BDAT": HANG}, a(Stage.BODY, TIMEOUT), RETRY("4.4.2"), offer=CHUNKS, parcel=LARGE,
    ),
    # Messages that the peer does not support
    row("message is too big", {}, a(Stage.MAIL, Trouble.TOO_BIG), GIVE_UP("5.3.4"), offer=("SIZE 10",)),
    row("no binary", {}, a(Stage.MAIL, Trouble.NEEDS_BINARY), GIVE_UP("5.6.3"), body="BINARYMIME"),
    row("no utf8", {}, a(Stage.MAIL, Trouble.NEEDS_UTF8), GIVE_UP("5.6.7"), sender="grün@client.example"),
    # Required TLS
    row("tls: not offered", {}, a(Stage.TLS, Trouble.NO_TLS), PAUSE("4.0.0"), tls=Tls.REQUIRE, has_tls=False),
    row("tls: 454", {"STARTTLS": "454 4.7.0 x"}, a(Stage.TLS, None, 454, "4.7.0"), PAUSE("4.7.0"), tls=Tls.REQUIRE),
    row("tls: 502", {"STARTTLS": "502 x"}, a(Stage.TLS, None, 502), PAUSE("4.0.0"), tls=Tls.REQUIRE),
    row("tls: closes", {"STARTTLS": CLOSE}, a(Stage.TLS, DISCONNECTED), PAUSE("4.4.2"), tls=Tls.REQUIRE),
    row("tls: silent", {"STARTTLS": HANG}, a(Stage.TLS, TIMEOUT), PAUSE("4.4.2"), tls=Tls.REQUIRE),
    row("tls: garbage", {"STARTTLS": HTTP}, a(Stage.TLS, GARBAGE), PAUSE("4.4.2"), tls=Tls.REQUIRE),
    row(
        "tls: injection",
        {"STARTTLS": ["220 go\r\n250 AUTH PLAIN", HANG]}, a(Stage.TLS, GARBAGE), PAUSE("4.4.2"), tls=Tls.REQUIRE,
    ),
    row("handshake: closes", {"HANDSHAKE": CLOSE}, a(Stage.TLS, Trouble.BAD_TLS), PAUSE("4.0.0"), tls=Tls.REQUIRE),
    row("handshake: resets", {"HANDSHAKE": RESET}, a(Stage.TLS, Trouble.BAD_TLS), PAUSE("4.0.0"), tls=Tls.REQUIRE),
    row(
        "handshake: garbage",
        {"HANDSHAKE": [HEAR, HTTP, HANG]}, a(Stage.TLS, Trouble.BAD_TLS), PAUSE("4.0.0"), tls=Tls.REQUIRE,
    ),
    row(
        "handshake: silent",
        {"HANDSHAKE": HANG}, a(Stage.TLS, Trouble.BAD_TLS), PAUSE("4.0.0"), tls=Tls.REQUIRE, handshake=0.1,
    ),
    row("verify: good", {}, a(Stage.END, None, 250, "2.0.0"), DELIVERED, tls=Tls.VERIFY),
    row("verify: unknown", {}, a(Stage.TLS, Trouble.BAD_TLS), PAUSE("4.0.0"), tls=Tls.VERIFY, certificate="unknown"),
    row("verify: expired", {}, a(Stage.TLS, Trouble.BAD_TLS), PAUSE("4.0.0"), tls=Tls.VERIFY, certificate="expired"),
    row("require: unknown", {}, a(Stage.END, None, 250, "2.0.0"), DELIVERED, tls=Tls.REQUIRE, certificate="unknown"),
    row("after tls: silent", {"HELLO AGAIN": HANG}, a(Stage.HELLO, TIMEOUT), PAUSE("4.4.2"), tls=Tls.REQUIRE,
        good_waits=1),
    row("after tls: 421", {"HELLO AGAIN": "421 x"}, a(Stage.HELLO, None, 421), PAUSE("4.0.0"), tls=Tls.REQUIRE),
    # Optional TLS (opportunistic)
    row("optional: not offered", {}, a(Stage.END, None, 250, "2.0.0"), DELIVERED, tls=Tls.OPPORTUNISTIC, has_tls=False),
    row("optional: 454", {"STARTTLS": "454 x"}, a(Stage.END, None, 250, "2.0.0"), DELIVERED, tls=Tls.OPPORTUNISTIC),
    row("optional: closes", {"STARTTLS": CLOSE}, a(Stage.END, None, 250, "2.0.0"), DELIVERED, tls=Tls.OPPORTUNISTIC),
    row(
        "optional: handshake closes",
        {"HANDSHAKE": CLOSE}, a(Stage.END, None, 250, "2.0.0"), DELIVERED, tls=Tls.OPPORTUNISTIC,
    ),
    row(
        "optional: handshake garbage",
        {"HANDSHAKE": [HEAR, HTTP, HANG]}, a(Stage.END, None, 250, "2.0.0"), DELIVERED, tls=Tls.OPPORTUNISTIC,
    ),
    row(
        "optional: injection",
        {"STARTTLS": ["220 go\r\n250 AUTH PLAIN", HANG]}, a(Stage.TLS, GARBAGE), PAUSE("4.4.2"), tls=Tls.OPPORTUNISTIC,
    ),
    row(
        "optional: unknown authority",
        {}, a(Stage.END, None, 250, "2.0.0"), DELIVERED, tls=Tls.OPPORTUNISTIC, certificate="unknown",
    ),
]  # fmt: skip

SMTP_ONLY = [
    row("hello: 500, hello again", {"HELLO": "500 x"}, a(Stage.END, None, 250, "2.0.0"), DELIVERED),
    row("hello: 500 twice", {"HELLO": "500 x", "HELO": "554 x"}, a(Stage.HELLO, None, 554), PAUSE("4.0.0")),
    row("hello: this server's name", {}, a(Stage.END, None, 250, "2.0.0"), DELIVERED, hostname="mail.example"),
    row("auth: not offered", {}, a(Stage.AUTH, Trouble.NO_AUTH), PAUSE("4.0.0"), tls=Tls.VERIFY, user="me"),
    row(
        "auth: 535",
        {"AUTH": "535 5.7.8 x"},
        a(Stage.AUTH, None, 535, "5.7.8"),
        PAUSE("4.0.0"),
        tls=Tls.VERIFY,
        user="me",
        offer=("AUTH PLAIN",),
    ),
    row(
        "auth: 454",
        {"AUTH": "454 4.7.0 x"},
        a(Stage.AUTH, None, 454, "4.7.0"),
        PAUSE("4.7.0"),
        tls=Tls.VERIFY,
        user="me",
        offer=("AUTH PLAIN",),
    ),
    row(
        "auth: closes",
        {"AUTH USER": CLOSE},
        a(Stage.AUTH, DISCONNECTED),
        PAUSE("4.4.2"),
        tls=Tls.VERIFY,
        user="me",
        offer=("AUTH LOGIN",),
    ),
    row(
        "auth: silent",
        {"AUTH LOGIN": HANG},
        a(Stage.AUTH, TIMEOUT),
        PAUSE("4.4.2"),
        tls=Tls.VERIFY,
        user="me",
        offer=("AUTH LOGIN",),
    ),
    row(
        "auth: good",
        {},
        a(Stage.END, None, 250, "2.0.0"),
        DELIVERED,
        tls=Tls.VERIFY,
        user="me",
        offer=("AUTH LOGIN",),
    ),
]

LMTP_ONLY = [
    row("hello: 500", {"HELLO": "500 x"}, a(Stage.HELLO, None, 500), PAUSE("4.0.0")),
    row("hello: this server's name", {}, a(Stage.END, None, 250, "2.0.0"), DELIVERED, hostname="mail.example"),
]

KEPT = [
    # The connection ended while it was idle, or when it was used again. The message is sent over another connection.
    row("mail: closes", {"MAIL": CLOSE}, a(Stage.END, None, 250, "2.0.0"), DELIVERED, to_connection=1),
    row("mail: 421", {"MAIL": "421 x"}, a(Stage.END, None, 250, "2.0.0"), DELIVERED, to_connection=1),
    row("mail: 421, chunks", {"MAIL": "421 x"}, a(Stage.END, None, 250, "2.0.0"), DELIVERED, to_connection=1,
        offer=CHUNKS),
    # The message is sent over another connection only once.
    row("mail: always closes", {"MAIL": CLOSE}, a(Stage.MAIL, DISCONNECTED), RETRY("4.4.2")),
    row("mail: always 421", {"MAIL": "421 x"}, a(Stage.MAIL, None, 421), PAUSE("4.0.0")),
    # The peer has replied, or may have accepted the message, so the message is not sent again immediately.
    row("mail closes after all was sent", {"MAIL": CLOSE}, a(Stage.END, DISCONNECTED), RETRY("4.4.2"), to_connection=1,
        offer=CHUNKS),
    row("mail: silent", {"MAIL": HANG}, a(Stage.MAIL, TIMEOUT), RETRY("4.4.2"), to_connection=1, good_waits=1),
    row("mail: garbage", {"MAIL": HTTP}, a(Stage.MAIL, GARBAGE), RETRY("4.4.2"), to_connection=1),
    row("rcpt: closes", {"RCPT": CLOSE}, a(Stage.RCPT, DISCONNECTED), RETRY("4.4.2"), to_connection=1),
    row("rcpt: 421", {"RCPT": "421 x"}, a(Stage.RCPT, None, 421), PAUSE("4.0.0"), to_connection=1),
    row("data: closes", {"DATA": CLOSE}, a(Stage.DATA, DISCONNECTED), RETRY("4.4.2"), to_connection=1),
    row("body: closes", {"BODY": CLOSE}, a(Stage.BODY, DISCONNECTED), RETRY("4.4.2"), to_connection=1, parcel=LARGE),
    row("end: closes", {"END": CLOSE}, a(Stage.END, DISCONNECTED), RETRY("4.4.2"), to_connection=1),
    row("end: 451", {"END": "451 4.3.0 x"}, a(Stage.END, None, 451, "4.3.0"), RETRY("4.3.0"), to_connection=1),
]  # fmt: skip


@dataclass
class Case:
    """The options of a row, apart from its script."""

    is_lmtp: bool
    tls: Tls = Tls.NONE
    parcel: bytes | None = None
    timeouts: Timeouts = LONG
    good_waits: int = 0
    """The number of replies of the peer at a stage before the peer becomes silent at that stage."""
    handshake: float = 0
    has_tls: bool = True
    certificate: str = ""
    user: str = ""
    body: str = "7BIT"
    sender: str = "a@client.example"
    offer: tuple = PIPED
    hostname: str = "peer.example"
    to_connection: int = 1 << 30


class ShortAt(Timeouts, frozen=True, kw_only=True):
    """Short time limits at the stage at which the peer becomes silent. Before that, the limits allow for a slow
    machine.
    """

    stage: Stage
    good_waits: int = 0
    _waits: list = field(default_factory=list)

    def of(self, need, stage):
        if stage is self.stage:
            self._waits.append(need)
        return 0.03 if stage is self.stage and len(self._waits) > self.good_waits else LONG.of(need, stage)


def certificate(which):
    """The certificate that the peer presents."""
    if which == "unknown":
        return Authority("an unknown authority").issue()
    return authority().issue(ends=-DAY / 2) if which == "expired" else None


@asynccontextmanager
async def playing(script, case, *, from_message=0):
    """Start the peer of a row. Yields the peer, and a function that attempts a delivery to it."""
    timeouts = replace(case.timeouts, connect=case.handshake) if case.handshake else case.timeouts
    options = {"offer": case.offer, "hostname": case.hostname, "is_lmtp": case.is_lmtp, "from_message": from_message}
    tls = server_context(certificate(case.certificate)) if case.has_tls and case.tls is not Tls.NONE else None
    route = {"tls": case.tls} | ({"user": case.user, "secret": "secret"} if case.user else {})
    parcel = {"body": case.body, "sender": case.sender}
    async with a_peer(script, tls=tls, **options) as peer, a_transport(timeouts, context=trusting) as transport:
        peer.to_connection = case.to_connection

        async def attempt(*raw):
            return await transport.attempt(a_parcel(*raw, **parcel), a_route(peer.url, **route))

        yield peer, attempt


def check(result, facts, decided, protocol):
    """Check the result of the transport, and the decision that follows."""
    assert (result.stage, result.code, result.enhanced, result.trouble) == facts, result
    assert result.protocol is protocol
    assert result.text or result.stage is Stage.END
    decision = decide(Queued(delivery_id="d", attempts=0, queued_at=NOW), result, NOW, Policy())
    assert (decision.then, decision.status, decision.is_of_destination) == decided
    assert decision.is_loop is (decided == GIVE_UP("5.4.6"))
    assert "\n" not in decision.because


def run(loop, test):
    """Run a coroutine on this loop, and check that the loop reported no unhandled error."""
    went_wrong = []

    async def guarded():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: went_wrong.append(context))
        await asyncio.wait_for(test, 2 * PATIENCE)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(guarded())
    assert went_wrong == []


on_loops = pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
PROTOCOLS = [Protocol.SMTP, Protocol.LMTP]


def loops_of(protocol, script, options):
    """The event loops with which a row is played: both loops only if the loop affects the row."""
    steps = [step for steps in script.values() for step in (steps if isinstance(steps, list) else [steps])]
    is_of_loop = {CLOSE, RESET} & set(steps) or {"tls", "parcel"} & options.keys()
    return ["asyncio", "uvloop"] if protocol is Protocol.SMTP and is_of_loop else ["uvloop"]


def rows_of(table, of_protocol):
    """The rows of a table for each protocol and loop."""
    loops = dict(zip(["asyncio", "uvloop"], LOOPS, strict=True))
    return [
        pytest.param(loops[loop], protocol, *one.values, id=f"{protocol}, {one.id}-{loop}")
        for protocol in PROTOCOLS
        for one in [*table, *of_protocol.get(protocol, ())]
        for loop in loops_of(protocol, one.values[0], one.values[-1])
    ]


def timeouts_of(facts, options):
    """The time limits of a row in which the peer becomes silent."""
    stage, *_, trouble = facts
    short = {"stage": stage, "good_waits": options.get("good_waits", 0)}
    return {"timeouts": ShortAt(**asdict(LONG), **short)} if trouble is TIMEOUT else {}


@pytest.mark.parametrize(
    ("loop", "protocol", "script", "facts", "decided", "options"),
    rows_of(BOTH, {Protocol.SMTP: SMTP_ONLY, Protocol.LMTP: LMTP_ONLY}),
)
def test_each_fault_on_a_new_connection_has_its_result_and_decision(*, loop, protocol, script, facts, decided, options):
    case = Case(protocol is Protocol.LMTP, **timeouts_of(facts, options) | options)

    async def play():
        async with playing(script, case) as (peer, attempt):
            result = await attempt(*([case.parcel] if case.parcel else []))
            check(result, facts, decided, protocol)
            if decided == DELIVERED:
                assert len(peer.got) == 1
            assert len(peer.got) <= (result.stage is Stage.END)

    run(loop, play())


@pytest.mark.parametrize(("loop", "protocol", "script", "facts", "decided", "options"), rows_of(KEPT, {}))
def test_each_fault_on_a_reused_connection_has_its_result_and_decision(
    *, loop, protocol, script, facts, decided, options
):
    case = Case(protocol is Protocol.LMTP, **timeouts_of(facts, options) | options)

    async def play():
        async with playing(script, case, from_message=1) as (peer, attempt):
            assert (await attempt()).code == 250
            assert peer.connections == 1
            result = await attempt(*([case.parcel] if case.parcel else []))
            check(result, facts, decided, protocol)
            assert len(peer.got) <= 1 + (result.stage is Stage.END)
            assert peer.connections <= 2

    run(loop, play())


# Failed connections


@contextmanager
def closed_port():
    """A port on which no server listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@contextmanager
def full_backlog():
    """A port whose backlog of connections is full, so that connection requests get no reply."""
    with socket.socket() as server, socket.socket() as first, socket.socket() as second:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for one in (first, second):
            one.setblocking(False)
            one.connect_ex(server.getsockname())
        yield server.getsockname()[1]


@on_loops
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("where", "seconds", "trouble", "status"),
    [
        pytest.param(closed_port, PATIENCE, Trouble.UNREACHABLE, "4.4.1", id="refuses"),
        pytest.param(full_backlog, 0.1, Trouble.TIMEOUT, "4.4.2", id="does not answer"),
    ],
)
def test_a_failed_connection_is_retried_later(*, loop, protocol, where, seconds, trouble, status):
    async def play():
        with where() as port:
            async with a_transport(replace(LONG, connect=seconds)) as transport:
                result = await transport.attempt(a_parcel(), a_route(f"{protocol}://127.0.0.1:{port}"))
                check(result, a(Stage.CONNECT, trouble), PAUSE(status), protocol)
                assert result.peer == f"[127.0.0.1]:{port}"

    run(loop, play())


@on_loops
def test_a_missing_unix_socket_is_unreachable(loop, tmp_path):
    async def play():
        async with a_transport() as transport:
            result = await transport.attempt(a_parcel(), a_route(f"lmtp://{tmp_path}/none"))
            check(result, a(Stage.CONNECT, Trouble.UNREACHABLE), PAUSE("4.4.1"), Protocol.LMTP)
            assert result.peer == f"{tmp_path}/none"

    run(loop, play())
