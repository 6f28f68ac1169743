"""Tests of the limits on connections and messages, first of the rules alone, then over sockets with many clients."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from tests.kit.certificates import TlsClient, tls_setup, until_cut
from tests.kit.servers.smtp_server import HELLO, FakeStore, on_both_loops, on_our_loop, run_on, serving
from waypost.app.limit_state import OwnState
from waypost.domain.directory import addresses
from waypost.observe import events
from waypost.smtp.backend.reception import Reception
from waypost.smtp.limits.admission import UNKNOWN, Admission
from waypost.smtp.limits.timeouts import SmtpLimits
from waypost.smtp.protocol import replies
from waypost.smtp.protocol.requests import RecipientGiven

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
GREETING = "220 mail.example ESMTP Waypost"
FULL = "421 4.7.0 Too many connections; please try again later"
TOO_MANY = "421 4.7.0 Too many connections from your address; please try again later"


def an_admission(**bounds):
    return Admission(SmtpLimits(**bounds), OwnState())


# The rules


def test_connections_are_limited_in_total_and_one_that_closes_makes_room_for_another():
    admission = an_admission(connections=3)
    assert [admission.enter(f"192.0.2.{n}", NOW) for n in range(5)] == [None] * 3 + [replies.SERVER_FULL] * 2
    admission.leave("192.0.2.0")
    assert admission.enter("192.0.2.9", NOW) is None
    assert admission.enter("192.0.2.10", NOW) is replies.SERVER_FULL


def test_connections_are_limited_for_each_address():
    admission = an_admission(connections_each=2)
    assert [admission.enter("192.0.2.1", NOW) for _ in range(3)] == [None, None, replies.TOO_MANY_CONNECTIONS]
    assert admission.enter("192.0.2.2", NOW) is None
    admission.leave("192.0.2.1")
    assert admission.enter("192.0.2.1", NOW) is None


def test_refused_connections_are_not_counted():
    admission = an_admission(connections=10, connections_each=1)
    admission.enter("192.0.2.1", NOW)
    assert {admission.enter("192.0.2.1", NOW) for _ in range(100)} == {replies.TOO_MANY_CONNECTIONS}
    assert [admission.enter(f"192.0.2.{n}", NOW) for n in range(2, 11)] == [None] * 9


def test_the_networks_of_one_ipv6_customer_can_use_half_of_the_connections_together():
    admission = an_admission(connections=10, connections_each=2)
    answers = [admission.enter(f"2001:db8:7:{n:x}::1", NOW) for n in range(9)]
    assert answers == [None] * 5 + [replies.TOO_MANY_CONNECTIONS] * 4
    assert [admission.enter(f"2001:db8:8:{n:x}::1", NOW) for n in range(4)] == [None] * 4
    assert admission.enter("192.0.2.1", NOW) is None
    admission.leave("2001:db8:7:3::1")
    assert admission.enter("2001:db8:7:ffff::1", NOW) is None


@pytest.mark.parametrize("connections", [1, 3])
def test_one_ipv6_address_can_use_as_many_connections_as_the_setting_allows(connections):
    admission = an_admission(connections=connections, connections_each=connections)
    assert [admission.enter("::1", NOW) for _ in range(connections)] == [None] * connections


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        ("2001:db8::1", "2001:db8::2", True),
        ("2001:db8::1", "2001:db8:0:0:ffff:ffff:ffff:ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("2001:db8::1", "2001:db9::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("::1", "127.0.0.1", False),
    ],
)
def test_connections_are_counted_by_network_for_ipv6_and_by_address_for_ipv4(first, second, is_same):
    admission = an_admission(connections_each=1)
    assert admission.enter(first, NOW) is None
    assert admission.enter(second, NOW) is (replies.TOO_MANY_CONNECTIONS if is_same else None)


def test_nothing_is_kept_of_closed_connections():
    admission = an_admission()
    for n in range(100):
        admission.enter(f"192.0.2.{n}", NOW)
    for n in range(100):
        admission.leave(f"192.0.2.{n}")
    assert admission.connections.count == 0
    assert admission.connections.networks == 0


def test_the_server_is_crowded_if_more_than_three_quarters_of_the_connections_are_in_use():
    admission = an_admission(connections=8)
    crowded = []
    for n in range(8):
        admission.enter(f"192.0.2.{n}", NOW)
        crowded.append(admission.is_crowded)
    assert crowded == [False] * 6 + [True] * 2
    admission.leave("192.0.2.7")
    admission.leave("192.0.2.6")
    assert not admission.is_crowded


def test_messages_per_minute_are_limited_for_each_network():
    admission = an_admission(messages_a_minute=6)
    answers = [admission.message_from(f"2001:db8::{n}", NOW) for n in range(8)]
    assert answers == [None] * 6 + [replies.TOO_MANY_MESSAGES] * 2
    assert admission.message_from("192.0.2.1", NOW) is None
    assert admission.message_from("2001:db8::1", NOW + timedelta(seconds=9)) is replies.TOO_MANY_MESSAGES
    assert admission.message_from("2001:db8::1", NOW + timedelta(seconds=11)) is None


def test_without_a_limit_any_number_of_messages_is_accepted():
    admission = an_admission()
    assert {admission.message_from("192.0.2.1", NOW) for _ in range(10_000)} == {None}


# On sockets


async def connect(served):
    """Connect a client, and return its streams and the first line from the server."""
    reader, writer = await asyncio.open_connection(*served.address)
    line = (await reader.readline()).decode().rstrip("\r\n")
    return reader, writer, line


async def refused_counts(served):
    """Stop the server, and return the number of refused connections for each reply, as logged."""
    await served.server.stop()
    return {event.reply: event.count for event in served.emitted_of(events.ConnectionsRefused)}


@pytest.mark.parametrize(("bound", "reply"), [("connections", FULL), ("connections_each", TOO_MANY)])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_client_over_the_limit_is_refused_until_another_client_disconnects(bound, reply, loop):
    async def scenario():
        async with serving(**{bound: 2}) as served:
            inside = [await connect(served) for _ in range(2)]
            assert [line for *_, line in inside] == [GREETING] * 2
            for _ in range(3):
                reader, writer, line = await connect(served)
                assert (line, await until_cut(reader)) == (reply, b"")
                writer.close()
            reader, writer, _ = inside.pop()
            writer.write(b"QUIT\r\n")
            assert await until_cut(reader) == b"221 2.0.0 Bye\r\n"
            writer.close()
            await served.until(lambda: len(served.server._connections) == 1)
            inside.append(await connect(served))
            assert inside[-1][2] == GREETING
            for _, writer, _ in inside:
                writer.close()
            await served.until_nobody_is_connected()
            assert served.backend.admission.connections.count == 0
            assert await refused_counts(served) == {reply: 3}
            assert served.emitted_of(events.SessionClosed) == []

    run_on(loop, scenario)


@on_our_loop
async def test_every_client_of_a_flood_gets_a_reply_and_the_log_has_one_event():
    async with serving(connections=5) as served:
        inside = [await connect(served) for _ in range(5)]
        heard = await asyncio.gather(*(connect(served) for _ in range(500)))
        assert {line for *_, line in heard} == {FULL}
        assert served.backend.admission.connections.networks == 1
        assert served.backend.admission.connections.count == 5
        for _, writer, _ in heard:
            writer.close()
        await served.until(lambda: len(served.server._connections) == 5)
        reader, writer, _ = inside[0]
        writer.write(b"NOOP\r\n")
        assert await reader.readline() == b"250 2.0.0 OK\r\n"
        for _, writer, _ in inside:
            writer.close()
        await served.until_nobody_is_connected()
        assert await refused_counts(served) == {FULL: 500}


@on_our_loop
async def test_a_refused_client_that_does_not_disconnect_is_cut_off():
    async with serving(connections=1, linger=0.1) as served:
        _, writer, _ = await connect(served)
        others = [await connect(served) for _ in range(50)]
        await served.until(lambda: len(served.server._connections) == 1)
        for _, other, _ in [*others, (0, writer, 0)]:
            other.close()


@on_both_loops
async def test_on_a_tls_listener_a_refused_client_gets_no_reply_in_cleartext():
    with tls_setup() as setup:
        of_server = {"certificates": setup.certificates}
        async with serving(listener={"is_tls": True}, of_server=of_server, connections=1) as served:
            reader, writer = await asyncio.open_connection(*served.address)
            await TlsClient(reader, writer).shake_hands()
            other, other_writer = await asyncio.open_connection(*served.address)
            assert await until_cut(other) == b""
            for each in (writer, other_writer):
                each.transport.abort()
            await served.until_nobody_is_connected()
            assert await refused_counts(served) == {FULL: 1}


@on_both_loops
async def test_a_handshake_counts_as_a_connection():
    with tls_setup() as setup:
        of_server = {"certificates": setup.certificates}
        async with serving(listener={"is_tls": True}, of_server=of_server, connections=1, handshake=0.1) as served:
            silent, silent_writer = await asyncio.open_connection(*served.address)
            await served.until(lambda: served.server._connections)
            other, other_writer = await asyncio.open_connection(*served.address)
            assert await until_cut(other) == b""
            await until_cut(silent)
            await served.until_nobody_is_connected()
            assert served.backend.admission.connections.count == 0
            for each in (silent_writer, other_writer):
                each.close()


@on_both_loops
async def test_a_message_over_the_limit_per_minute_gets_a_temporary_failure():
    store = FakeStore()
    async with serving(store, messages_a_minute=2) as served, served.client() as client:
        send = [HELLO[1], HELLO[2], "DATA", "Hello.", "."]
        client.say(HELLO[0], *send, *send, *send[:2], "QUIT")
        codes = [line[:3] for line in await client.hear_all() if not line.startswith("250-")]
        assert codes == ["250", *["250", "250", "354", "250"] * 2, "450", "503", "221"]
        assert len(store.kept) == 2
        async with served.client() as again:
            again.say(*HELLO[:2], "QUIT")
            assert "450 4.7.1 Too many messages from your address; please try again later" in await again.hear_all()


def test_new_connections_per_minute_are_limited_for_each_address():
    admission = Admission(SmtpLimits(new_connections_a_minute=2), OwnState())
    assert [admission.enter("192.0.2.1", NOW) for _ in range(3)] == [None, None, replies.TOO_MANY_CONNECTIONS]
    assert admission.enter("192.0.2.2", NOW) is None
    assert admission.enter("192.0.2.1", NOW + timedelta(seconds=31)) is None
    assert admission.enter("192.0.2.1", NOW + timedelta(seconds=31), trusted=True) is None


def test_a_trusted_listener_limits_connections_only_in_total():
    admission = Admission(SmtpLimits(connections=5, connections_each=2), OwnState())
    assert [admission.enter("192.0.2.1", NOW, trusted=True) for _ in range(6)] == [None] * 5 + [replies.SERVER_FULL]


def test_unknown_recipients_are_counted_for_each_address_over_all_sessions():
    admission = Admission(SmtpLimits(), OwnState())
    guesses = [admission.unknown_from("192.0.2.1", NOW) for _ in range(UNKNOWN.burst + 1)]
    assert guesses == [None] * UNKNOWN.burst + [replies.TOO_MANY_UNKNOWN]
    assert admission.unknown_from("192.0.2.2", NOW) is None
    assert admission.unknown_from("192.0.2.1", NOW + timedelta(seconds=11)) is None


async def no_pause(seconds):
    """Replaces the delay before a reply, and does not wait."""


GUESSERS = {
    "untrusted": ("192.0.2.1", {"trusted": False}, replies.TOO_MANY_UNKNOWN),
    "untrusted, on loopback": ("127.0.0.1", {"trusted": False}, replies.TOO_MANY_UNKNOWN),
    "trusted listener": ("192.0.2.1", {"trusted": True}, replies.NO_SUCH_USER),
    "trusted network": ("192.0.2.1", {"trusted": False, "in_trusted_network": True}, replies.NO_SUCH_USER),
}


@pytest.mark.parametrize("who", GUESSERS)
def test_only_an_untrusted_client_that_continues_guessing_in_new_sessions_is_refused(who):
    peer, options, last = GUESSERS[who]
    guess = RecipientGiven(addresses.parse("guess@example.com"))

    async def scenario():
        async with serving() as served:
            answers = []
            for _ in range(UNKNOWN.burst + 1):
                reception = Reception(served.backend, peer=peer, **options)
                answers.append(await reception.answer(guess, no_pause))
            assert set(answers[:20]) == {replies.NO_SUCH_USER}
            assert answers[-1] == last

    asyncio.run(scenario())
