"""The SMTP and LMTP transport on real connections: idle connections, exact bytes, TLS, and the choice of hosts."""

import asyncio
import os
import shutil
import socket
import ssl
import tempfile
import threading
import tracemalloc
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from aiosmtpd.controller import UnthreadedController
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.kit.certificates import authority, in_files, tls_setup
from tests.kit.examples import examples
from tests.kit.patience import PATIENCE, until
from tests.kit.peers.scripted_mail_server import (
    CHUNKS,
    CLOSE,
    HANG,
    HEADER,
    HELLO,
    LONG,
    PIECE,
    Hosts,
    Peer,
    a_listener,
    a_parcel,
    a_peer,
    a_route,
    a_transport,
    server_context,
    trusting,
)
from tests.kit.servers.smtp_server import LOOPS, FakeStore, on_both_loops, serving
from waypost.delivery.smtp_client import transport as smtp
from waypost.delivery.smtp_client.connection import TRANSACTIONS, UNSENT, Connection, Timeouts
from waypost.delivery.smtp_client.dns import DnsFailed, NoSuchDomain, NullMx
from waypost.delivery.smtp_client.protocol.dialogue import Need, SessionOptions
from waypost.domain.mail.delivery import Protocol, Stage, Trouble
from waypost.domain.mail.routes import Tls, parse_target

GOODBYE = replace(LONG, goodbye=PATIENCE)
"""Time limits for peers that reply to QUIT."""
SINK = shutil.which("smtp-sink", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


async def send(transport, route, *raw, **options):
    """Send a parcel, and check that the peer accepted it."""
    result = await transport.attempt(a_parcel(*raw, **options), route)
    assert (result.stage, result.code, result.trouble) == (Stage.END, 250, None), result
    return result


# Idle connections


@on_both_loops
async def test_a_connection_is_kept_for_the_next_parcel():
    async with a_peer() as peer, a_transport(GOODBYE) as transport:
        for _ in range(5):
            await send(transport, a_route(peer.url))
        assert peer.connections == 1
        assert len(peer.got) == 5
        await transport.close()
        await until(lambda: not peer.open)
        assert peer.heard[-1] == "QUIT"


@on_both_loops
async def test_a_connection_is_reused_after_a_refusal():
    async with a_peer({"RCPT": "550 5.1.1 no"}) as peer, a_transport() as transport:
        assert (await transport.attempt(a_parcel(), a_route(peer.url))).code == 550
        peer.script = {}
        await send(transport, a_route(peer.url))
        assert peer.connections == 1


@on_both_loops
async def test_a_connection_is_closed_after_the_maximum_number_of_parcels():
    async with a_peer(offer=CHUNKS) as peer, a_transport(GOODBYE) as transport:
        for _ in range(TRANSACTIONS + 1):
            await send(transport, a_route(peer.url))
        assert peer.connections == 2
        assert peer.heard.count("QUIT") == 1


@on_both_loops
async def test_an_idle_connection_is_closed_after_the_time_limit():
    async with a_peer() as peer, a_transport(replace(GOODBYE, idle=0.05)) as transport:
        await send(transport, a_route(peer.url))
        await until(lambda: not peer.open)
        assert peer.heard[-1] == "QUIT"
        assert not transport._idle
        await send(transport, a_route(peer.url))
        assert peer.connections == 2


@on_both_loops
async def test_no_more_idle_connections_are_kept_than_the_route_allows():
    async with a_peer() as peer, a_transport() as transport:
        route = a_route(peer.url, connections=2)
        await asyncio.gather(*(send(transport, route) for _ in range(5)))
        await until(lambda: peer.open == 2)
        await asyncio.gather(*(send(transport, route) for _ in range(2)))
        assert peer.connections == 5


@on_both_loops
async def test_each_destination_user_and_tls_mode_has_separate_connections():
    async with (
        a_peer(tls=server_context(), offer=("AUTH PLAIN",)) as peer,
        a_peer() as other,
        a_transport(context=trusting) as transport,
    ):
        routes = [
            a_route(peer.url),
            a_route(peer.url, tls=Tls.REQUIRE),
            a_route(peer.url, tls=Tls.VERIFY),
            a_route(peer.url, tls=Tls.VERIFY, user="me", secret="a"),
            a_route(peer.url, tls=Tls.VERIFY, user="me", secret="b"),
            a_route(other.url),
        ]
        for route in [*routes, *routes]:
            await send(transport, route)
        assert (peer.connections, other.connections) == (5, 1)


@on_both_loops
async def test_a_connection_that_ended_while_it_was_idle_is_not_used():
    async with a_peer() as peer, a_transport() as transport:
        await send(transport, a_route(peer.url))
        peer.end()
        await until(lambda: not peer.open)
        await until(lambda: not any(one.is_usable for kept in transport._idle.values() for one in kept))
        await send(transport, a_route(peer.url))
        assert peer.connections == 2


@on_both_loops
async def test_a_connection_on_which_the_peer_sent_421_is_not_reused():
    async with a_peer({"END": "250 taken\r\n421 bye"}) as peer, a_transport() as transport:
        await send(transport, a_route(peer.url))
        await send(transport, a_route(peer.url))
        assert peer.connections == 2


@on_both_loops
async def test_a_cancelled_attempt_leaves_no_connection():
    for script in ({"GREETING": HANG}, {"MAIL": HANG}, {"END": HANG}, {"HANDSHAKE": HANG}):
        async with a_peer(script, tls=server_context()) as peer, a_transport() as transport:
            tls = Tls.REQUIRE if "HANDSHAKE" in script else Tls.NONE
            attempt = asyncio.create_task(transport.attempt(a_parcel(), a_route(peer.url, tls=tls)))
            await until(lambda peer=peer: peer.connections)
            await asyncio.sleep(0)
            attempt.cancel()
            with pytest.raises(asyncio.CancelledError):
                await attempt
            assert not transport._idle


# Exact bytes


@on_both_loops
async def test_the_peer_gets_the_trace_header_and_then_the_exact_bytes():
    raw = b".\r\n..\r\n\r\n.a\r\n" + bytes(range(128, 256)) + b"\r\n.\r\n"
    for offer in ((), CHUNKS):
        async with a_peer(offer=offer) as peer, a_transport() as transport:
            await send(transport, a_route(peer.url), raw)
            assert peer.got[0].octets == HEADER + raw


@on_both_loops
async def test_a_message_in_chunks_arrives_unchanged_even_with_bare_line_endings():
    raw = os.urandom(3 * PIECE + 7)
    async with a_peer(offer=CHUNKS) as peer, a_transport() as transport:
        result = await send(transport, a_route(peer.url), raw, body="BINARYMIME")
        assert peer.got[0].octets == HEADER + raw
        assert sum(command.startswith("BDAT") for command in peer.heard) > 1
        assert result.stage is Stage.END


@settings(max_examples=examples(20))
@given(st.lists(st.sampled_from([b"\r\n", b".", b"a", b"\r\n.\r\n", b"x" * 9]), max_size=30), st.integers(1, 9))
def test_a_real_server_reads_the_exact_message_however_the_store_splits_it(words, size):
    raw = b"".join(words)

    async def octets():
        for start in range(0, len(raw), size):
            yield raw[start : start + size]

    async def play():
        store = FakeStore()
        async with serving(store) as served, a_transport(hostname="us.example") as transport:
            route = a_route(f"smtp://127.0.0.1:{served.address[1]}")
            await send(transport, route, raw, octets=octets)
            assert store.kept == [HEADER + raw]

    asyncio.run(play())


@pytest.mark.slow
@on_both_loops
async def test_a_large_message_is_not_kept_in_memory():
    size = 40 * 1024 * 1024
    piece = (b"0123456789abcd\r\n" * (PIECE // 16))[:PIECE]

    async def octets():
        for _ in range(size // PIECE):
            yield piece

    class Counted(bytes):
        def __len__(self):
            return size

    for offer in ((), CHUNKS):
        async with counting(offer) as (url, count), a_transport() as transport:
            parcel = a_parcel(Counted(), octets=octets)
            tracemalloc.start()
            result = await transport.attempt(parcel, a_route(url))
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert result.code == 250
            assert count() >= size
            assert peak < 4 * 1024 * 1024


@asynccontextmanager
async def counting(offer):
    """A peer that stores nothing, and counts the bytes of one message."""
    octets = 0

    async def serve(reader, writer):
        nonlocal octets
        replies = ["220 peer", *("\r\n".join(f"250-{word}" for word in ("peer", *offer)) + "\r\n250 OK",)]
        writer.write(f"{replies[0]}\r\n".encode())
        while line := await reader.readline():
            verb, _, rest = line.decode().strip().partition(" ")
            reply = replies[1] if verb == "EHLO" else "221 bye" if verb == "QUIT" else "250 ok"
            if verb == "BDAT":
                left = int(rest.split()[0])
                while left:
                    part = await reader.read(min(left, PIECE))
                    left -= len(part)
                    octets += len(part)
            elif verb == "DATA":
                writer.write(b"354 go\r\n")
                end = b""
                while end != b"\r\n.\r\n":
                    part = await reader.read(PIECE)
                    octets += len(part)
                    end = (end + part)[-5:]
            writer.write(f"{reply}\r\n".encode())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}", lambda: octets


class SlowTransport:
    """A transport whose write buffer has these sizes, one after the other."""

    def __init__(self, *unread):
        self.unread = list(unread)

    def get_write_buffer_size(self):
        return self.unread.pop(0)

    def set_write_buffer_limits(self, high):
        assert high == UNSENT


@on_both_loops
async def test_the_connection_to_a_slow_peer_stays_open_while_the_peer_reads():
    for later, is_closed in ((299_999, False), (300_000, True)):
        options = SessionOptions(protocol=Protocol.SMTP, hostname="mail.example", tls=Tls.NONE)
        connection = Connection(options, host="peer.example", timeouts=replace(LONG, data=0.01), context=None)
        connection.connection_made(SlowTransport(300_000, later))
        connection.data_received(b"220 peer\r\n")
        connection.data_received(b"250 peer\r\n")
        connection.dialogue.begin(a_parcel())
        await connection._wait()
        assert connection.dialogue.is_over is is_closed


@on_both_loops
async def test_a_message_that_was_read_with_its_claim_is_not_read_again():
    message = b"Subject: hi\r\n\r\n.hi\r\n"
    for offer in ((), CHUNKS):
        async with a_peer(offer=offer) as peer, a_transport() as transport:
            for _ in range(2):
                parcel = replace(a_parcel(message, octets=pytest.fail), whole=message)
                assert (await transport.attempt(parcel, a_route(peer.url))).code == 250
            assert [got.octets for got in peer.got] == [parcel.header + message] * 2


@on_both_loops
async def test_nothing_is_written_to_a_peer_that_disconnects_while_the_store_is_read():
    connection_was_lost = asyncio.Event()

    class Watched(Connection):
        def connection_lost(self, exc):
            super().connection_lost(exc)
            connection_was_lost.set()

    async def octets():
        yield b"x" * PIECE
        await connection_was_lost.wait()
        yield b"x" * PIECE

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(smtp, "Connection", Watched)
        async with a_peer({"DATA": ["354 go", CLOSE]}) as peer, a_transport() as transport:
            result = await transport.attempt(a_parcel(b"x" * 2 * PIECE, octets=octets), a_route(peer.url))
            assert (result.stage, result.trouble) == (Stage.BODY, Trouble.DISCONNECTED)


@on_both_loops
async def test_a_message_is_not_completed_if_the_store_fails_during_the_transfer():
    async def breaks():
        yield b"x" * PIECE
        raise OSError("the disk is gone")

    async def too_little():
        yield b"x" * 10

    async def too_much():
        yield b"x" * 100_001

    for octets in (breaks, too_little, too_much):
        for offer in ((), CHUNKS):
            async with a_peer(offer=offer) as peer, a_transport() as transport:
                parcel = a_parcel(b"x" * 100_000, octets=octets)
                result = await transport.attempt(parcel, a_route(peer.url))
                assert result.trouble is Trouble.FAILED
                assert result.stage in {Stage.MAIL, Stage.BODY}
                assert not peer.got
                await until(lambda peer=peer: not peer.open)


# TLS


@on_both_loops
async def test_smtps_routes_use_implicit_tls():
    listener = {"is_tls": True}
    with tls_setup() as setup:
        options = {"listener": listener, "of_server": {"certificates": setup.certificates}}
        ours = {"context": trusting, "hostname": "us.example"}
        async with serving(**options) as served, a_transport(**ours) as transport:
            for tls in (Tls.OPPORTUNISTIC, Tls.REQUIRE, Tls.VERIFY):
                result = await send(transport, a_route(f"smtps://127.0.0.1:{served.address[1]}", tls=tls))
                assert result.tls.startswith("TLSv1.3 TLS_")
                assert result.tls.endswith(", certificate not verified") is (tls is Tls.REQUIRE)


@on_both_loops
async def test_over_smtps_an_unverified_certificate_is_accepted_only_if_the_route_says_require():
    with tls_setup() as setup:
        options = {"listener": {"is_tls": True}, "of_server": {"certificates": setup.certificates}}
        async with serving(**options) as served, a_transport(hostname="us.example") as transport:
            url = f"smtps://127.0.0.1:{served.address[1]}"
            for tls in (Tls.NONE, Tls.OPPORTUNISTIC, Tls.VERIFY):  # as an earlier version may have stored them
                result = await transport.attempt(a_parcel(), a_route(url, tls=tls))
                assert (result.stage, result.trouble) == (Stage.TLS, Trouble.BAD_TLS)
                assert "certificate was rejected" in result.text
            await send(transport, a_route(url, tls=Tls.REQUIRE))


@on_both_loops
async def test_a_greeting_without_tls_is_refused_on_an_smtps_connection():
    async with a_peer() as peer, a_transport(LONG) as transport:
        url = peer.url.replace("smtp:", "smtps:")
        result = await transport.attempt(a_parcel(), a_route(url, tls=Tls.OPPORTUNISTIC))
        assert result.stage is Stage.TLS
        assert result.trouble in {Trouble.BAD_TLS, Trouble.GARBAGE}
        assert not peer.got


@on_both_loops
async def test_a_disconnection_immediately_after_the_handshake_is_detected():
    async def serve(_reader, writer):
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context())
    async with server, a_transport() as transport:
        url = f"smtps://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        result = await transport.attempt(a_parcel(), a_route(url, tls=Tls.REQUIRE))
        assert (result.stage, result.trouble) == (Stage.GREETING, Trouble.DISCONNECTED)


@on_both_loops
async def test_a_certificate_must_be_valid_for_the_name_of_the_host():
    async with a_peer(tls=server_context()) as peer, a_transport(context=trusting) as transport:
        url = peer.url.replace("127.0.0.1", "localhost")
        result = await transport.attempt(a_parcel(), a_route(url, tls=Tls.VERIFY))
        assert (result.stage, result.trouble) == (Stage.TLS, Trouble.BAD_TLS)
        assert "localhost" in result.text
        assert not peer.got


@on_both_loops
async def test_certificates_are_verified_with_the_system_s_authorities():
    with in_files(authority=authority().pem) as here, pytest.MonkeyPatch.context() as patch:
        async with a_peer(tls=server_context()) as peer:
            route = a_route(peer.url, tls=Tls.VERIFY)
            async with a_transport() as transport:
                result = await transport.attempt(a_parcel(), route)
                assert (result.stage, result.trouble) == (Stage.TLS, Trouble.BAD_TLS)
            patch.setenv("SSL_CERT_FILE", str(here / "authority.pem"))
            async with a_transport() as transport:
                assert (await send(transport, route)).tls


class TlsServer:
    """A server in a thread, which does one blocking TLS handshake and records the alert if the handshake fails."""

    def __init__(self, context, *, implicit):
        self.context, self.implicit = context, implicit
        self.alert = None

    def __enter__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE)
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._thread.join()
        self._listener.close()

    def _serve(self):
        client, _ = self._listener.accept()
        with client, client.makefile("rb") as commands:
            client.settimeout(PATIENCE)
            if not self.implicit:
                client.sendall(b"220 peer.example\r\n")
                commands.readline()
                client.sendall(b"250-peer.example\r\n250 STARTTLS\r\n")
                commands.readline()
                client.sendall(b"220 go ahead\r\n")
            try:
                with self.context.wrap_socket(client, server_side=True) as tls:
                    tls.recv(1)
            except ssl.SSLError as error:
                self.alert = error.reason


def of_version(version, certificate=None):
    """Return a server context that supports only this version of TLS."""
    context = server_context(certificate)
    context.minimum_version = context.maximum_version = version
    return context


def expired():
    return authority().issue(begins=-timedelta(days=3), ends=-timedelta(days=2))


REJECTED = {
    "of an unknown authority": (lambda: None, smtp.client_context, "127.0.0.1", "TLSV1_ALERT_UNKNOWN_CA"),
    "expired": (expired, trusting, "127.0.0.1", "SSLV3_ALERT_CERTIFICATE_EXPIRED"),
    "for another name": (lambda: None, trusting, "localhost", "SSLV3_ALERT_BAD_CERTIFICATE"),
}


@pytest.mark.parametrize("implicit", [False, True], ids=["STARTTLS", "implicit TLS"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["TLS 1.2", "TLS 1.3"])
@pytest.mark.parametrize("case", REJECTED)
@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
def test_a_peer_whose_certificate_is_rejected_gets_an_alert(loop, case, version, implicit):
    make, context, host, alert = REJECTED[case]

    async def scenario(port):
        async with a_transport(context=context) as transport:
            route = a_route(f"{'smtps' if implicit else 'smtp'}://{host}:{port}", tls=Tls.VERIFY)
            return await transport.attempt(a_parcel(), route)

    with TlsServer(of_version(version, make()), implicit=implicit) as peer, asyncio.Runner(loop_factory=loop) as runner:
        result = runner.run(scenario(peer.port))
    assert (result.stage, result.trouble) == (Stage.TLS, Trouble.BAD_TLS)
    assert peer.alert == alert


def test_old_versions_of_tls_are_not_supported():
    for verifies in (True, False):
        context = smtp.client_context(verifies=verifies)
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
        assert context.check_hostname is verifies
        assert (context.verify_mode is ssl.CERT_REQUIRED) is verifies


@on_both_loops
async def test_with_opportunistic_tls_mail_is_sent_without_tls_on_a_new_connection_if_tls_fails():
    async with a_peer({"HANDSHAKE": CLOSE}, tls=server_context()) as peer, a_transport() as transport:
        result = await send(transport, a_route(peer.url, tls=Tls.OPPORTUNISTIC))
        assert result.tls == ""
        assert peer.connections == 2


@on_both_loops
async def test_a_password_is_never_sent_over_a_connection_without_tls():
    offer = ("AUTH PLAIN LOGIN",)
    async with a_peer({"HANDSHAKE": CLOSE}, tls=server_context(), offer=offer) as peer, a_transport() as transport:
        for tls in (Tls.NONE, Tls.OPPORTUNISTIC, Tls.VERIFY):
            route = a_route(peer.url, tls=tls, user="me", secret="secret")
            assert (await transport.attempt(a_parcel(), route)).trouble in {Trouble.NO_AUTH, Trouble.BAD_TLS}
        assert not any(command.startswith(("AUTH", "MAIL")) for command in peer.heard)


# The choice of hosts


@asynccontextmanager
async def known(**addresses):
    """A context in which host names have these addresses."""
    loop = asyncio.get_running_loop()

    async def getaddrinfo(host, port, **_):
        found = addresses.get(host.replace(".", "_"), socket.gaierror(socket.EAI_NONAME, "no such name"))
        if isinstance(found, Exception):
            raise found
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    class Loop:
        """The event loop with another name resolution."""

        def __getattr__(self, name):
            return getattr(loop, name)

    knowing = Loop()
    knowing.getaddrinfo = getaddrinfo
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(smtp.asyncio, "get_running_loop", lambda: knowing)
        yield


@asynccontextmanager
async def mail_servers(*scripts, **options):
    """Mail servers at 127.0.0.1, 127.0.0.2 and so on, with the same port, to which all targets then lead."""
    listeners, peers = [], []
    port = 0
    for number, script in enumerate(scripts, 1):
        listener = a_listener(f"127.0.0.{number}", port)
        port = listener.getsockname()[1]
        listeners.append(listener)
        peers.append(Peer(script, **options))
    servers = [
        await asyncio.start_server(peer.serve, sock=listener) for peer, listener in zip(peers, listeners, strict=True)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(smtp, "parse_target", lambda to: replace(parse_target(to), port=port))
        yield peers
    for server, peer in zip(servers, peers, strict=True):
        server.close()
        peer.end()
    await until(lambda: not any(peer.open for peer in peers))


MX = {f"mx{number}_example": [f"127.0.0.{number}"] for number in range(1, 8)}
THREE = Hosts(example_com=["mx1.example", "mx2.example", "mx3.example"])


FAULTY_SCRIPTS = [
    {"CONNECT": CLOSE},
    {"GREETING": "421 4.3.2 busy"},
    {"GREETING": "554 5.3.2 no"},
    {"HELLO": "450 4.3.2 later"},
    {"HELLO": b"garbage\r\n"},
    {"HELLO": CLOSE},
]


@on_both_loops
async def test_if_a_mail_server_fails_the_next_one_is_tried():
    for script in FAULTY_SCRIPTS:
        async with mail_servers(script, {}, {}) as peers, known(**MX), a_transport(hosts=THREE) as transport:
            result = await send(transport, a_route("mx:", allow_private=True))
            assert result.peer.startswith("mx2.example [127.0.0.2]:")
            assert [len(peer.got) for peer in peers] == [0, 1, 0]
            await send(transport, a_route("mx:", allow_private=True))
            assert [peer.connections for peer in peers] == [1, 1, 0]


PRIVATE_ADDRESSES = ["127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.0.1", "::1", "fd00::1", "::ffff:127.0.0.1"]


@on_both_loops
async def test_an_external_domain_cannot_cause_a_connection_to_a_private_address():
    for target in ("mx:", "mx:example.com"):
        for address in PRIVATE_ADDRESSES:
            hosts = Hosts(example_com=["mx1.example"])
            async with mail_servers({}) as peers, known(mx1_example=[address]), a_transport(hosts=hosts) as transport:
                result = await transport.attempt(a_parcel(), a_route(target))
            assert (result.stage, result.trouble) == (Stage.CONNECT, Trouble.FORBIDDEN)
            assert result.peer.startswith(f"mx1.example [{address}]:")
            assert peers[0].connections == 0


@on_both_loops
async def test_a_private_address_of_a_mail_server_is_skipped_and_the_next_address_is_tried():
    hosts, names = Hosts(example_com=["mx1.example"]), {"mx1_example": ["127.0.0.1", "127.0.0.2"]}
    async with mail_servers({}, {}) as peers, known(**names), a_transport(hosts=hosts) as transport:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(smtp, "is_public", lambda address: address == "127.0.0.2")
            result = await send(transport, a_route("mx:"))
        assert result.peer.startswith("mx1.example [127.0.0.2]:")
        assert [peer.connections for peer in peers] == [0, 1]


@on_both_loops
async def test_a_host_that_the_route_names_may_have_a_private_address():
    async with mail_servers({}) as peers, known(mx1_example=["127.0.0.1"]), a_transport() as transport:
        await send(transport, a_route("smtp://mx1.example"))
        assert peers[0].connections == 1


@on_both_loops
async def test_a_connection_to_a_private_address_is_not_used_by_a_route_that_forbids_it():
    async with mail_servers({}) as peers, known(**MX), a_transport(hosts=THREE) as transport:
        await send(transport, a_route("mx:", allow_private=True))
        result = await transport.attempt(a_parcel(), a_route("mx:"))
        assert result.trouble is Trouble.FORBIDDEN
        assert peers[0].connections == 1


@on_both_loops
async def test_an_unreachable_mail_server_is_skipped():
    hosts = Hosts(example_com=["gone.example", "mx7.example", "mx1.example"])
    async with mail_servers({}) as peers, known(**MX), a_transport(hosts=hosts) as transport:
        await send(transport, a_route("mx:", allow_private=True))
        assert len(peers[0].got) == 1


@on_both_loops
async def test_the_next_mail_server_is_not_tried_after_a_reply_about_the_message():
    async with mail_servers({"MAIL": "451 later"}, {}) as peers, known(**MX), a_transport(hosts=THREE) as transport:
        assert (await transport.attempt(a_parcel(), a_route("mx:", allow_private=True))).code == 451
        assert peers[1].connections == 0


@on_both_loops
async def test_at_most_five_mail_servers_are_tried():
    hosts = Hosts(example_com=[f"mx{number}.example" for number in range(1, 8)])
    scripts = [{"GREETING": f"421 number {number}"} for number in range(1, 7)]
    async with mail_servers(*scripts) as peers, known(**MX), a_transport(hosts=hosts) as transport:
        result = await transport.attempt(a_parcel(), a_route("mx:", allow_private=True))
        assert (result.stage, result.text) == (Stage.GREETING, "number 5")
        assert [peer.connections for peer in peers] == [1, 1, 1, 1, 1, 0]


@on_both_loops
async def test_each_address_of_a_host_is_tried():
    async with mail_servers({"CONNECT": CLOSE}, {}) as peers, known(mx_example=["127.0.0.1", "127.0.0.2"]):
        async with a_transport() as transport:
            await send(transport, a_route("smtp://mx.example"))
        assert [peer.connections for peer in peers] == [1, 1]


@on_both_loops
async def test_a_host_with_a_final_dot_is_looked_up_with_the_dot_and_verified_without_it():
    asked = server_context(authority().issue("mx.example"))
    async with mail_servers({}, tls=asked) as peers, known(mx_example_=["127.0.0.1"]):
        async with a_transport(context=trusting) as transport:
            result = await send(transport, a_route("smtp://mx.example.", tls=Tls.VERIFY))
            assert result.peer.startswith("mx.example ")
        assert peers[0].connections == 1


@on_both_loops
async def test_a_service_name_of_docker_compose_is_a_valid_host():
    async with mail_servers({}) as peers, known(mail_server=["127.0.0.1"]):
        async with a_transport() as transport:
            result = await send(transport, a_route("smtp://mail_server"))
            assert result.peer.startswith("mail_server ")
        assert peers[0].connections == 1


@on_both_loops
async def test_a_certificate_is_verified_for_the_name_of_the_mail_server():
    hosts = Hosts(example_com=["mail.example", "mx1.example"])
    options = {"tls": server_context(authority().issue("mx1.example"))}
    names = {"mail_example": ["127.0.0.1"]} | MX
    async with mail_servers({}, **options) as peers, known(**names):
        async with a_transport(hosts=hosts, context=trusting, hostname="us.example") as transport:
            result = await send(transport, a_route("mx:", allow_private=True, tls=Tls.VERIFY))
            assert result.peer.startswith("mx1.example ")
        assert peers[0].connections == 2


@on_both_loops
async def test_this_server_and_less_preferred_mail_servers_are_not_tried():
    hosts = Hosts(example_com=["mx1.example", "Mail.example", "mx2.example"], we_example=["mail.example"])
    async with mail_servers({"GREETING": "421 busy"}, {}) as peers, known(**MX), a_transport(hosts=hosts) as transport:
        assert (await transport.attempt(a_parcel(), a_route("mx:", allow_private=True))).code == 421
        assert peers[1].connections == 0
        result = await transport.attempt(a_parcel(), a_route("mx:we.example", allow_private=True))
        assert (result.stage, result.trouble) == (Stage.CONNECT, Trouble.IS_OURSELVES)


@on_both_loops
async def test_a_mail_server_that_only_announces_this_server_s_name_gets_mail():
    async with mail_servers({}, {}, hostname="mail.example") as peers, known(**MX), a_transport(hosts=THREE) as ours:
        result = await ours.attempt(a_parcel(), a_route("mx:", allow_private=True))
        assert (result.code, result.trouble) == (250, None)
        assert peers[1].connections == 0


@on_both_loops
async def test_this_server_s_name_is_recognized_with_and_without_a_final_dot():
    for named, own in (("mail.example", "mail.example."), ("MAIL.example.", "mail.Example")):
        async with a_transport(hosts=Hosts(example_com=[named]), hostname=own) as transport:
            assert (
                await transport.attempt(a_parcel(), a_route("mx:", allow_private=True))
            ).trouble is Trouble.IS_OURSELVES


DOMAIN_ANSWERS = [
    (NullMx("takes none"), Trouble.NULL_MX),
    (NoSuchDomain("not there"), Trouble.NO_SUCH_HOST),
    (DnsFailed("no answer"), Trouble.DNS_FAILED),
    ([], Trouble.NO_SUCH_HOST),
]


@on_both_loops
async def test_each_failed_lookup_of_a_domain_has_its_trouble():
    for answer, trouble in DOMAIN_ANSWERS:
        async with a_transport(hosts=Hosts(example_com=answer)) as transport:
            result = await transport.attempt(a_parcel(), a_route("mx:", allow_private=True))
            assert (result.stage, result.trouble, result.peer) == (Stage.CONNECT, trouble, "example.com")
            assert result.text


HOST_ANSWERS = [
    (socket.gaierror(socket.EAI_NONAME, "unknown"), Trouble.NO_SUCH_HOST),
    (socket.gaierror(socket.EAI_AGAIN, "try again"), Trouble.DNS_FAILED),
    (UnicodeError("too long"), Trouble.NO_SUCH_HOST),
    (TimeoutError(), Trouble.DNS_FAILED),
]


@on_both_loops
async def test_each_failed_lookup_of_a_host_has_its_trouble():
    for answer, trouble in HOST_ANSWERS:
        async with known(host_example=answer), a_transport() as transport:
            result = await transport.attempt(a_parcel(), a_route("smtp://host.example"))
            assert (result.stage, result.trouble, result.peer) == (Stage.CONNECT, trouble, "host.example")
            assert "host.example" in result.text


@on_both_loops
async def test_mail_for_different_domains_does_not_share_connections():
    hosts = Hosts(example_com=["mx1.example"], example_org=["mx1.example"])
    async with mail_servers({}) as peers, known(**MX), a_transport(hosts=hosts) as transport:
        for domain in ("example.com", "example.org", "example.com"):
            await send(transport, a_route("mx:", allow_private=True), to=f"support@{domain}")
        assert peers[0].connections == 2
        assert hosts.asked == ["example.com", "example.org"]


# Other peers


@on_both_loops
async def test_mail_is_delivered_by_lmtp_over_a_unix_socket():
    with tempfile.TemporaryDirectory() as here:
        path = f"{here}/lmtp"
        async with a_peer(path=path, is_lmtp=True, tls=server_context()) as peer, a_transport() as transport:
            for tls in (Tls.OPPORTUNISTIC, Tls.NONE):
                result = await send(transport, a_route(f"lmtp://{path}", tls=tls))
                assert (result.peer, result.tls, result.protocol) == (path, "", Protocol.LMTP)
            assert peer.heard[0] == "LHLO mail.example"


@on_both_loops
async def test_a_waypost_server_accepts_the_mail():
    for lmtp in (False, True):
        store = FakeStore()
        async with (
            serving(store, capabilities={"lmtp": lmtp}) as served,
            a_transport(hostname="we.example") as transport,
        ):
            route = a_route(f"{'lmtp' if lmtp else 'smtp'}://127.0.0.1:{served.address[1]}")
            wishes = {"notify": ("SUCCESS", "DELAY"), "ret": "HDRS", "envid": "a+b", "orcpt": "rfc822;x@y.example"}
            result = await send(transport, route, b"Subject: x\r\n\r\n\r\n.\r\nno end", **wishes)
            assert result.notifies
            await send(transport, route, b"Subject: x\r\n\r\n" + os.urandom(300_000), body="BINARYMIME")
            await send(transport, route, "Subject: ü\r\n\r\n".encode(), protocol="UTF8SMTP", sender="ü@x.example")
            unknown = await transport.attempt(a_parcel(to="nobody@example.com"), route)
            assert (unknown.stage, unknown.code, unknown.enhanced) == (Stage.RCPT, 550, "5.1.1")
            await send(transport, route)
            assert len(store.kept) == 4
            assert store.kept[0] == HEADER + b"Subject: x\r\n\r\n\r\n.\r\nno end"


@on_both_loops
async def test_aiosmtpd_accepts_the_mail():
    got = []

    class Handler:
        async def handle_DATA(self, _server, _session, envelope):
            got.append((envelope.mail_from, envelope.rcpt_tos, envelope.original_content))
            return "250 2.0.0 ok"

    controller = UnthreadedController(Handler(), "127.0.0.1", 0, loop=asyncio.get_running_loop())
    server = await asyncio.get_running_loop().create_server(controller.factory, "127.0.0.1", 0)
    async with a_transport() as transport:
        route = a_route(f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        for raw in (HELLO, b"\r\n.\r\n..\r\n"):
            await send(transport, route, raw)
    server.close()
    expected = [("a@client.example", ["support@example.com"], HEADER + raw) for raw in (HELLO, b"\r\n.\r\n..\r\n")]
    assert got == expected


@pytest.mark.skipif(not SINK, reason="Postfix's smtp-sink is not installed")
@on_both_loops
async def test_postfix_smtp_sink_accepts_the_mail():
    raw = b"Subject: x\r\n\r\n.\r\n..dots\r\nend\r\n"
    for kind in ("smtp", "lmtp"):
        with tempfile.TemporaryDirectory() as here:
            os.chmod(here, 0o777)  # noqa: PTH101 - smtp-sink may have to drop root privileges
            path, dumped = f"{here}/socket", f"{here}/message."
            options = ["-L"] if kind == "lmtp" else []
            user = ["-u", "nobody"] if os.getuid() == 0 else []
            sink = await asyncio.create_subprocess_exec(SINK, *options, *user, "-d", dumped, f"unix:{path}", "10")
            try:
                await until_a_server_listens(path)
                # A URL with smtp:// cannot name a socket, and smtp-sink cannot choose a free port, so a relay connects
                # them.
                async with relay(path) as port, a_transport() as transport:
                    for _ in range(3):
                        await send(transport, a_route(f"{kind}://127.0.0.1:{port}"), raw)
            finally:
                with suppress(ProcessLookupError):
                    sink.terminate()
                await sink.wait()
            kept = dumped_in(here)
            assert len(kept) == 3
            expected = (HEADER + raw).replace(b"\r\n", b"\n")
            assert all(expected in each.replace(b"\r\n", b"\n") for each in kept)


async def until_a_server_listens(path):
    """Wait until a connection to a socket is possible, which is a moment after the socket file appears."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(FileNotFoundError, ConnectionRefusedError):
                _, writer = await asyncio.open_unix_connection(path)
                writer.close()
                return
            await asyncio.sleep(0.001)


def dumped_in(directory):
    return [each.read_bytes() for each in Path(directory).glob("message.*")]


@asynccontextmanager
async def relay(path):
    """A port that forwards connections to a Unix socket."""
    tasks = set()

    async def copy(reader, writer):
        with suppress(ConnectionError):
            while octets := await reader.read(1 << 16):
                writer.write(octets)
        writer.close()

    async def serve(reader, writer):
        other_reader, other_writer = await asyncio.open_unix_connection(path)
        for pair in ((reader, other_writer), (other_reader, writer)):
            task = asyncio.create_task(copy(*pair))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        await until(lambda: not tasks)


def test_each_stage_has_its_time_limit():
    times = Timeouts()
    table = {
        (Need.REPLY, Stage.GREETING): 60,
        (Need.REPLY, Stage.HELLO): 60,
        (Need.REPLY, Stage.RCPT): 60,
        (Need.OCTETS, Stage.BODY): 180,
        (Need.REPLY, Stage.BODY): 180,
        (Need.REPLY, Stage.END): 600,
    }
    assert {place: times.of(*place) for place in table} == table
