"""Who may connect, and how often: the rules alone, and on sockets when a crowd comes."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from tests.kit.certificates import TlsClient, tls_setup, until_cut
from tests.kit.servers.smtp_server import HELLO, FakeStore, on_both_loops, on_our_loop, run_on, serving
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


def admission(**bounds):
    return Admission(SmtpLimits(**bounds))


# The rules


def test_so_many_may_come_in_all_and_one_more_when_one_has_left():
    door = admission(connections=3)
    assert [door.enter(f"192.0.2.{n}", NOW) for n in range(5)] == [None] * 3 + [replies.SERVER_FULL] * 2
    door.leave("192.0.2.0")
    assert door.enter("192.0.2.9", NOW) is None
    assert door.enter("192.0.2.10", NOW) is replies.SERVER_FULL


def test_so_many_may_come_from_one_address_and_others_still_may():
    door = admission(connections_each=2)
    assert [door.enter("192.0.2.1", NOW) for _ in range(3)] == [None, None, replies.TOO_MANY_CONNECTIONS]
    assert door.enter("192.0.2.2", NOW) is None
    door.leave("192.0.2.1")
    assert door.enter("192.0.2.1", NOW) is None


def test_who_was_refused_is_not_counted():
    door = admission(connections=10, connections_each=1)
    door.enter("192.0.2.1", NOW)
    assert {door.enter("192.0.2.1", NOW) for _ in range(100)} == {replies.TOO_MANY_CONNECTIONS}
    assert [door.enter(f"192.0.2.{n}", NOW) for n in range(2, 11)] == [None] * 9


def test_the_networks_of_one_ipv6_customer_have_half_of_the_connections_together():
    door = admission(connections=10, connections_each=2)
    came = [door.enter(f"2001:db8:7:{n:x}::1", NOW) for n in range(9)]
    assert came == [None] * 5 + [replies.TOO_MANY_CONNECTIONS] * 4
    assert [door.enter(f"2001:db8:8:{n:x}::1", NOW) for n in range(4)] == [None] * 4
    assert door.enter("192.0.2.1", NOW) is None
    door.leave("2001:db8:7:3::1")
    assert door.enter("2001:db8:7:ffff::1", NOW) is None


@pytest.mark.parametrize("connections", [1, 3])
def test_one_address_may_have_as_many_connections_as_the_setting_says_also_with_ipv6(connections):
    door = admission(connections=connections, connections_each=connections)
    assert [door.enter("::1", NOW) for _ in range(connections)] == [None] * connections


@pytest.mark.parametrize(
    ("first", "second", "is_one"),
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
def test_with_ipv6_a_network_counts_and_with_ipv4_an_address(first, second, is_one):
    door = admission(connections_each=1)
    assert door.enter(first, NOW) is None
    assert door.enter(second, NOW) is (replies.TOO_MANY_CONNECTIONS if is_one else None)


def test_what_has_left_is_forgotten():
    door = admission()
    for n in range(100):
        door.enter(f"192.0.2.{n}", NOW)
    for n in range(100):
        door.leave(f"192.0.2.{n}")
    assert door.connections.count == 0
    assert door.connections.networks == 0


def test_it_is_crowded_above_three_quarters():
    door = admission(connections=8)
    crowded = []
    for n in range(8):
        door.enter(f"192.0.2.{n}", NOW)
        crowded.append(door.is_crowded)
    assert crowded == [False] * 6 + [True] * 2
    door.leave("192.0.2.7")
    door.leave("192.0.2.6")
    assert not door.is_crowded


def test_so_many_messages_may_come_in_a_minute_from_one_network():
    door = admission(messages_a_minute=6)
    told = [door.message_from(f"2001:db8::{n}", NOW) for n in range(8)]
    assert told == [None] * 6 + [replies.TOO_MANY_MESSAGES] * 2
    assert door.message_from("192.0.2.1", NOW) is None
    assert door.message_from("2001:db8::1", NOW + timedelta(seconds=9)) is replies.TOO_MANY_MESSAGES
    assert door.message_from("2001:db8::1", NOW + timedelta(seconds=11)) is None


def test_without_a_bound_any_number_of_messages_may_come():
    door = admission()
    assert {door.message_from("192.0.2.1", NOW) for _ in range(10_000)} == {None}


# On sockets


async def connect(served):
    """A client, and the first line that it hears."""
    reader, writer = await asyncio.open_connection(*served.address)
    line = (await reader.readline()).decode().rstrip("\r\n")
    return reader, writer, line


async def refused_counts(served):
    """What is told of those who were sent away, when the server stops."""
    await served.server.stop()
    return {event.reply: event.count for event in served.emitted_of(events.ConnectionsRefused)}


@pytest.mark.parametrize(("bound", "reply"), [("connections", FULL), ("connections_each", TOO_MANY)])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_who_is_one_too_many_is_sent_away_until_another_leaves(bound, reply, loop):
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
async def test_a_flood_is_answered_to_the_last_and_told_in_one_line():
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
async def test_who_is_sent_away_and_does_not_go_is_cut_off():
    async with serving(connections=1, linger=0.1) as served:
        _, writer, _ = await connect(served)
        others = [await connect(served) for _ in range(50)]
        await served.until(lambda: len(served.server._connections) == 1)
        for _, other, _ in [*others, (0, writer, 0)]:
            other.close()


@on_both_loops
async def test_where_tls_is_there_from_the_beginning_nobody_hears_in_clear_that_we_are_full():
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
async def test_one_message_too_many_in_a_minute_is_refused_for_now():
    store = FakeStore()
    async with serving(store, messages_a_minute=2) as served, served.client() as client:
        send = [HELLO[1], HELLO[2], "DATA", "Hello.", "."]
        client.say(HELLO[0], *send, *send, *send[:2], "QUIT")
        told = [line[:3] for line in await client.hear_all() if not line.startswith("250-")]
        assert told == ["250", *["250", "250", "354", "250"] * 2, "450", "503", "221"]
        assert len(store.kept) == 2
        async with served.client() as again:
            again.say(*HELLO[:2], "QUIT")
            assert "450 4.7.1 Too many messages from your address; please try again later" in await again.hear_all()


def test_so_many_connections_a_minute_from_one_address_and_more_later():
    door = Admission(SmtpLimits(new_connections_a_minute=2))
    assert [door.enter("192.0.2.1", NOW) for _ in range(3)] == [None, None, replies.TOO_MANY_CONNECTIONS]
    assert door.enter("192.0.2.2", NOW) is None
    assert door.enter("192.0.2.1", NOW + timedelta(seconds=31)) is None
    assert door.enter("192.0.2.1", NOW + timedelta(seconds=31), trusted=True) is None


def test_a_mail_server_of_ours_may_have_as_many_connections_as_there_are():
    door = Admission(SmtpLimits(connections=5, connections_each=2))
    assert [door.enter("192.0.2.1", NOW, trusted=True) for _ in range(6)] == [None] * 5 + [replies.SERVER_FULL]


def test_who_guesses_addresses_in_many_sessions_is_known_by_where_they_come_from():
    door = Admission(SmtpLimits())
    guesses = [door.unknown_from("192.0.2.1", NOW) for _ in range(UNKNOWN.burst + 1)]
    assert guesses == [None] * UNKNOWN.burst + [replies.TOO_MANY_UNKNOWN]
    assert door.unknown_from("192.0.2.2", NOW) is None
    assert door.unknown_from("192.0.2.1", NOW + timedelta(seconds=11)) is None


async def no_pause(seconds):
    """Do not wait before a reply."""


GUESSERS = {
    "untrusted": ("192.0.2.1", {"trusted": False}, replies.TOO_MANY_UNKNOWN),
    "untrusted, on loopback": ("127.0.0.1", {"trusted": False}, replies.TOO_MANY_UNKNOWN),
    "a mail server of ours": ("192.0.2.1", {"trusted": True}, replies.NO_SUCH_USER),
    "trusted": ("192.0.2.1", {"trusted": False, "in_trusted_network": True}, replies.NO_SUCH_USER),
}


@pytest.mark.parametrize("who", GUESSERS)
def test_who_goes_on_guessing_in_new_sessions_is_sent_away(who):
    peer, what, last = GUESSERS[who]
    guess = RecipientGiven(addresses.parse("guess@example.com"))

    async def scenario():
        async with serving() as served:
            told = []
            for _ in range(UNKNOWN.burst + 1):
                reception = Reception(served.backend, peer=peer, **what)
                told.append(await reception.answer(guess, no_pause))
            assert set(told[:20]) == {replies.NO_SUCH_USER}
            assert told[-1] == last

    asyncio.run(scenario())
