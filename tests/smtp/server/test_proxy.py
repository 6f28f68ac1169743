"""Tests of the PROXY protocol: only load balancers in listed networks can send the address of a client."""

import asyncio
import struct
from contextlib import asynccontextmanager, suppress
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.kit.certificates import TlsClient, tls_setup, until_cut
from tests.kit.patience import NEVER, PATIENCE
from tests.kit.servers.smtp_server import ACCEPTED, MESSAGE, FakeStore, on_both_loops, run_on, serving
from waypost.observe import events
from waypost.smtp.server import proxy
from waypost.smtp.server.proxy import HEAD, SIGNATURE, BadHeader, client, remaining_length

GREETING = b"220 mail.example ESMTP Waypost\r\n"
LOOPBACK = [ip_network("127.0.0.0/8")]
ELSEWHERE = [ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")]
LOCAL, PROXY = 0x20, 0x21
UNSPEC, TCP4, TCP6, UNIX = 0x00, 0x11, 0x21, 0x31
V4 = IPv4Address("192.0.2.7").packed + IPv4Address("127.0.0.1").packed + struct.pack("!HH", 4711, 25)
V6 = IPv6Address("2001:db8::7").packed + IPv6Address("::1").packed + struct.pack("!HH", 4711, 25)
MAPPED = IPv6Address("::ffff:192.0.2.7").packed + IPv6Address("::ffff:127.0.0.1").packed + struct.pack("!HH", 4711, 25)
EXTENSIONS = b"\x02\x00\x0cmail.example" + b"\x04\x00\x03\0\0\0" + b"\x20\x00\x05\x01\0\0\0\0"


def header(family, addresses=b"", *, command=PROXY, length=None, signature=SIGNATURE):
    """Build a header of version 2 of the PROXY protocol."""
    return HEAD.pack(signature, command, family, len(addresses) if length is None else length) + addresses


HEADERS = {
    "TCP4": (header(TCP4, V4), "192.0.2.7"),
    "TCP6": (header(TCP6, V6), "2001:db8::7"),
    "IPv4 as IPv6": (header(TCP6, MAPPED), "192.0.2.7"),
    "LOCAL": (header(UNSPEC, command=LOCAL), "127.0.0.1"),
    "LOCAL with addresses": (header(TCP4, V4, command=LOCAL), "127.0.0.1"),
    "UNSPEC": (header(UNSPEC), "127.0.0.1"),
    "UNSPEC with addresses": (header(UNSPEC, b"anything"), "127.0.0.1"),
    "UNIX": (header(UNIX, b"/run/a".ljust(108, b"\0") + b"/run/b".ljust(108, b"\0")), "127.0.0.1"),
    "TCP4 with extensions": (header(TCP4, V4 + EXTENSIONS), "192.0.2.7"),
    "TCP6 with extensions": (header(TCP6, V6 + EXTENSIONS * 50), "2001:db8::7"),
    "longest header": (header(TCP4, V4.ljust(proxy.ADDRESSES_LIMIT, b"\0")), "192.0.2.7"),
}

REFUSED = {
    "SMTP": (b"EHLO client.example\r\n", "the header does not begin with the signature of version 2"),
    "version 1": (
        b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 25\r\n",
        "the header does not begin with the signature of version 2",
    ),
    "signature": (
        header(TCP4, V4, signature=SIGNATURE[:-1] + b"\r"),
        "the header does not begin with the signature of version 2",
    ),
    "version 3": (header(TCP4, V4, command=0x31), "the header has an unknown version or command (0x31)"),
    "command": (header(TCP4, V4, command=0x22), "the header has an unknown version or command (0x22)"),
    "too long": (header(TCP4, V4, length=4_097), "the header has 4097 more bytes, but the limit is 4096"),
    "much too long": (header(TCP4, V4, length=0xFFFF), "the header has 65535 more bytes, but the limit is 4096"),
    "too short": (header(TCP4, V4[:11]), "the header has family 0x11 with 11 bytes, which is invalid"),
    "nothing": (header(TCP6), "the header has family 0x21 with 0 bytes, which is invalid"),
    "family": (header(0x41, V6), "the header has family 0x41 with 36 bytes, which is invalid"),
}


@asynccontextmanager
async def behind(*, networks=LOOPBACK, store=None, of_server=None, **options):
    """Start a server that requires PROXY headers from these networks; check at the end that it has no connections."""
    of_server = {"proxy_networks": networks} | (of_server or {})
    async with serving(store, of_server=of_server, **options) as served:
        yield served
        await served.until_nobody_is_connected()
        assert served.backend.admission.connections.count == 0
        assert served.backend.memory.used == 0


@asynccontextmanager
async def connected(served):
    """Open a connection to the server, without sending anything."""
    reader, writer = await asyncio.open_connection(*served.address)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def deliver(served, *octets):
    """Send these parts one after the other, and return everything that the server sends."""
    async with connected(served) as (reader, writer):
        for part in octets:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        return await until_cut(reader)


def peers(store):
    """Yield the client's address and the first line of the Received field of each message."""
    rows = store._tx.connection.execute("SELECT id FROM messages ORDER BY id").fetchall()
    for (message_id,) in rows:
        (delivery,) = store._tx.deliveries_of("000000000000", message_id)
        received = delivery.trace_header.decode().partition("Received: ")[2].partition("\r\n")[0]
        yield store._tx.message("000000000000", message_id).envelope.peer, received


@pytest.mark.parametrize("what", HEADERS)
def test_the_message_comes_from_the_client_in_the_proxy_header(what):
    sent, peer = HEADERS[what]

    async def scenario():
        store = FakeStore()
        async with behind(store=store) as served:
            heard = await deliver(served, sent, MESSAGE, b"QUIT\r\n")
            assert heard.startswith(GREETING)
            literal = f"IPv6:{peer}" if ":" in peer else peer
            assert list(peers(store)) == [(peer, f"from client.example ([{literal}])")]
            (accepted,) = served.emitted_of(events.MessageAccepted)
            assert accepted.peer == peer
            assert served.emitted_of(events.ProxyHeaderRefused) == []

    asyncio.run(scenario())


@on_both_loops
async def test_the_header_and_the_first_commands_can_be_in_one_packet():
    store = FakeStore()
    async with behind(store=store) as served:
        heard = await deliver(served, header(TCP4, V4 + EXTENSIONS) + MESSAGE + b"QUIT\r\n")
        assert heard.startswith(GREETING)
        assert heard.endswith(b"221 2.0.0 Bye\r\n")
        assert [peer for peer, _ in peers(store)] == ["192.0.2.7"]


@on_both_loops
async def test_the_header_can_arrive_byte_by_byte():
    store = FakeStore()
    async with behind(store=store) as served, connected(served) as (reader, writer):
        sent = header(TCP6, V6 + EXTENSIONS)
        for octet in sent:
            writer.write(bytes([octet]))
            for _ in range(4):  # the server runs on the same loop, and reads in between
                await asyncio.sleep(0)
        writer.write(MESSAGE + b"QUIT\r\n")
        assert (await until_cut(reader)).startswith(GREETING)
        assert [peer for peer, _ in peers(store)] == ["2001:db8::7"]


@on_both_loops
async def test_the_server_sends_nothing_before_the_header_is_complete():
    async with behind() as served, connected(served) as (reader, writer):
        sent = header(TCP4, V4)
        writer.write(sent[:-1])
        with suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                assert await reader.read(1) is None
        assert not served.server._connections
        writer.write(sent[-1:] + b"QUIT\r\n")
        assert (await until_cut(reader)).startswith(GREETING)


@on_both_loops
async def test_the_header_and_the_tls_handshake_can_be_in_one_packet():
    store = FakeStore()
    with tls_setup() as setup:
        certificates = {"certificates": setup.certificates}
        async with (
            behind(store=store, listener={"is_tls": True}, of_server=certificates) as served,
            connected(served) as (reader, writer),
        ):
            tls = TlsClient(reader, writer)
            writer.write(header(TCP4, V4) + tls.first_flight())
            await tls.shake_hands()
            assert (await tls.hear()).encode() + b"\r\n" == GREETING
            tls.send(MESSAGE)
            assert ACCEPTED.fullmatch((await tls.hear_until("250 2.0.0"))[-1])
            assert [peer for peer, _ in peers(store)] == ["192.0.2.7"]
            tls.say("QUIT")
            await tls.hear_all()
            writer.transport.abort()
        assert served.emitted_of(events.TlsFailed) == []


@on_both_loops
async def test_starttls_works_after_a_proxy_header():
    with tls_setup() as setup:
        capabilities = {"offers_tls": True}
        async with (
            behind(capabilities=capabilities, of_server={"certificates": setup.certificates}) as served,
            connected(served) as (reader, writer),
        ):
            writer.write(header(TCP4, V4) + b"EHLO client.example\r\nSTARTTLS\r\n")
            assert b"220 2.0.0 Ready to start TLS\r\n" in await reader.readuntil(b"Ready to start TLS\r\n")
            await TlsClient(reader, writer).shake_hands()
            (connection,) = served.server._connections
            assert connection.peer == "192.0.2.7"
            writer.transport.abort()


@on_both_loops
async def test_a_failed_handshake_is_logged_with_the_client_in_the_proxy_header():
    with tls_setup() as setup:
        certificates = {"certificates": setup.certificates}
        async with behind(listener={"is_tls": True}, of_server=certificates) as served:
            await deliver(served, header(TCP4, V4), b"no handshake\r\n")
            await served.until(lambda: served.emitted_of(events.TlsFailed))
            assert {event.peer for event in served.emitted_of(events.TlsFailed)} == {"192.0.2.7"}


@on_both_loops
async def test_a_proxy_header_from_an_unlisted_network_is_refused():
    store = FakeStore()
    async with behind(networks=ELSEWHERE, store=store) as served:
        heard = await deliver(served, header(TCP4, V4), MESSAGE, b"QUIT\r\n")
        assert heard.startswith(GREETING + b"5")
        assert not store.kept
        assert all(event.peer == "127.0.0.1" for event in served.emitted if hasattr(event, "peer"))
        assert served.emitted_of(events.ProxyHeaderRefused) == []


@on_both_loops
async def test_mail_from_an_unlisted_network_is_accepted_without_a_proxy_header():
    store = FakeStore()
    async with behind(networks=ELSEWHERE, store=store) as served:
        await deliver(served, MESSAGE, b"QUIT\r\n")
        assert [peer for peer, _ in peers(store)] == ["127.0.0.1"]


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("what", REFUSED)
def test_a_connection_with_an_invalid_header_is_closed_and_logged_once(what, loop):
    sent, reason = REFUSED[what]

    async def scenario():
        store = FakeStore()
        async with behind(store=store) as served:
            assert await deliver(served, sent + b"\0" * 40, MESSAGE) == b""
            await served.until(lambda: served.emitted)
            assert served.emitted == [events.ProxyHeaderRefused(peer="127.0.0.1", reason=reason)]
            assert not store.kept
            await deliver(served, header(TCP4, V4), MESSAGE, b"QUIT\r\n")
            assert len(store.kept) == 1

    run_on(loop, scenario)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("octets", [0, 1, 15, 16, 17, len(header(TCP4, V4)) - 1])
def test_a_connection_without_a_complete_header_in_time_is_closed_and_logged_once(octets, loop):
    async def scenario():
        async with behind(handshake=0.05) as served:
            assert await deliver(served, header(TCP4, V4)[:octets]) == b""
            await served.until(lambda: served.emitted)
            assert served.emitted == [
                events.ProxyHeaderRefused(peer="127.0.0.1", reason="the header did not arrive in time")
            ]

    run_on(loop, scenario)


@on_both_loops
async def test_the_bytes_of_a_slow_header_do_not_extend_its_time_limit():
    async with behind(handshake=0.1) as served, connected(served) as (reader, writer):
        sent = header(TCP4, V4 + EXTENSIONS)
        for number, octet in enumerate(sent):  # noqa: B007
            with suppress(ConnectionError):
                writer.write(bytes([octet]))
            with suppress(TimeoutError):
                async with asyncio.timeout(0.01):
                    await until_cut(reader)
                    break
        assert number < len(sent) - 1
        assert [type(event) for event in served.emitted] == [events.ProxyHeaderRefused]


@on_both_loops
async def test_the_health_checks_of_a_load_balancer_do_no_harm():
    """A health check connects, sends nothing or half of a header, and closes the connection."""
    async with behind() as served:
        for octets in (0, 0, 16, 20):
            async with connected(served) as (_, writer):
                writer.write(header(TCP4, V4)[:octets])
                writer.write_eof()
        await deliver(served, header(UNSPEC, command=LOCAL), b"QUIT\r\n")
        assert served.emitted == []


@on_both_loops
async def test_stopping_closes_connections_without_a_complete_header():
    async with behind(handshake=NEVER) as served, connected(served) as (reader, writer):
        writer.write(header(TCP4, V4)[:20])
        await asyncio.sleep(0)
        await deliver(served, header(UNSPEC, command=LOCAL), b"QUIT\r\n")  # connected after the client above
        await served.server.stop()
        async with asyncio.timeout(PATIENCE):
            assert await until_cut(reader) == b""


@on_both_loops
async def test_connections_are_counted_for_the_client_in_the_proxy_header():
    async with behind(connections_each=1) as served:
        async with connected(served) as (reader, writer):
            writer.write(header(TCP4, V4))
            assert await reader.readline() == GREETING
            assert (await deliver(served, header(TCP6, MAPPED))).startswith(b"421 4.7.0 Too many connections from")
            assert (await deliver(served, header(TCP6, V6), b"QUIT\r\n")).startswith(GREETING)
            served.server._refused.log_rest()
            (refused,) = served.emitted_of(events.ConnectionsRefused)
            assert refused.count == 1
        await served.until_nobody_is_connected()
        assert (await deliver(served, header(TCP4, V4), b"QUIT\r\n")).startswith(GREETING)


@on_both_loops
async def test_a_closed_session_is_logged_with_the_client_in_the_proxy_header():
    async with behind() as served:
        heard = await deliver(served, header(TCP6, V6), b"bare\nline end\r\n")
        assert heard.startswith(GREETING + b"521 ")
        (closed,) = served.emitted_of(events.SessionClosed)
        assert closed.peer == "2001:db8::7"


# The header alone


@pytest.mark.parametrize("what", HEADERS)
def test_a_valid_header_gives_the_client_or_none(what):
    sent, peer = HEADERS[what]
    head, addresses = sent[: HEAD.size], sent[HEAD.size :]
    assert remaining_length(head) == len(addresses)
    assert client(head, addresses) == (None if peer == "127.0.0.1" else peer)


@pytest.mark.parametrize("what", REFUSED)
def test_an_invalid_header_raises_an_exception_with_the_reason(what):
    sent, reason = REFUSED[what]
    with pytest.raises(BadHeader) as raised:
        client(sent[: HEAD.size], sent[HEAD.size :][: remaining_length(sent[: HEAD.size])])
    assert str(raised.value) == reason


HEADS = st.one_of(
    st.binary(min_size=16, max_size=16),
    st.builds(
        HEAD.pack,
        st.just(SIGNATURE),
        st.sampled_from([LOCAL, PROXY]) | st.integers(0, 255),
        st.sampled_from([UNSPEC, TCP4, TCP6, UNIX]) | st.integers(0, 255),
        st.integers(0, 0xFFFF),
    ),
)


@given(HEADS, st.binary(max_size=64))
@example(header(TCP6), b"\0" * 35)
@example(header(TCP4), b"\0" * 12)
def test_any_sixteen_bytes_are_a_header_or_are_refused(head, addresses):
    found = None
    with suppress(BadHeader):
        assert 0 <= remaining_length(head) <= proxy.ADDRESSES_LIMIT
        found = client(head, addresses)
    assert found is None or ip_address(found)
