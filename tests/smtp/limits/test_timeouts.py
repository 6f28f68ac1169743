"""How long a client may take, and how often it may err: each bound on real sockets, and what it does not punish."""

import asyncio
from contextlib import asynccontextmanager

from tests.kit.certificates import TlsClient, tls_setup, until_cut
from tests.kit.patience import PATIENCE
from tests.kit.servers.smtp_server import (
    ACCEPTED,
    HELLO,
    MESSAGE,
    Client,
    FakeStore,
    on_both_loops,
    on_our_loop,
    serving,
)
from waypost.observe import events
from waypost.smtp.limits.timeouts import SmtpLimits
from waypost.smtp.server.connection import CHECK_EVERY

GREETING = "220 mail.example ESMTP Waypost"
SILENT = "421 4.4.2 Timeout while waiting for data from the client"
SLOW = "421 4.4.2 Message transfer is too slow"
EARLY = "554 5.5.1 Data received before the greeting"


@asynccontextmanager
async def serving_watchful(store=None, **options):
    """A server; at the end nobody and nothing is left in it."""
    async with serving(store, **options) as served:
        yield served
        await served.until_nobody_is_connected()
        assert served.backend.admission.connections.count == 0
        assert served.backend.memory.used == 0


async def trickle(served, client, octets, every):
    """Send octets one by one until the server has ended the session; returns what it said, and how long that took."""
    began = served.clock.now
    for octet in octets:
        read = served.server.octets_read
        client.writer.write(bytes([octet]))
        await served.until_read(read + 1)
        served.clock.advance(every)
        if closed_because(served):
            break
    return (await client.reader.read()).decode().splitlines(), served.clock.now - began


async def send_and_pause(served, client, octets, seconds):
    """Send octets, and let time pass when the server has read them."""
    read = served.server.octets_read
    client.writer.write(octets)
    await served.until_read(read + len(octets))
    served.clock.advance(seconds)


def closed_because(served):
    """Why sessions were closed."""
    return [event.reply for event in served.emitted_of(events.SessionClosed)]


# Commands


@on_both_loops
async def test_single_octets_of_a_command_do_not_extend_its_time():
    async with serving_watchful(command=300) as served, served.client() as client:
        said, took = await trickle(served, client, b"NOOP " + b"x" * 400, 20)
        assert said == [SILENT]
        assert took == 300
        assert closed_because(served) == [SILENT]


@on_our_loop
async def test_each_complete_command_starts_the_time_anew():
    async with serving_watchful(command=300) as served, served.client() as client:
        for _ in range(4):
            served.clock.advance(299)
            client.say("NOOP")
            assert await client.hear() == "250 2.0.0 OK"
        served.clock.advance(300)
        assert await client.hear_all() == [SILENT]


@on_our_loop
async def test_a_line_that_is_too_long_and_never_ends_does_not_extend_the_time():
    async with serving_watchful(command=300) as served, served.client() as client:
        await send_and_pause(served, client, b"x" * 5_000, 100)
        said, took = await trickle(served, client, b"x" * 100, 20)
        assert said == [SILENT]
        assert took == 200


@on_our_loop
async def test_a_client_that_is_silent_between_commands_of_a_transaction_is_disconnected():
    async with serving_watchful(command=300) as served, served.client() as client:
        client.say(*HELLO[:3])
        await client.hear_until("250 2.1.5")
        served.clock.advance(300)
        assert await client.hear_all() == [SILENT]
        assert closed_because(served) == [SILENT]


@on_both_loops
async def test_a_client_that_is_silent_over_tls_gets_the_reply_over_tls():
    with tls_setup() as setup:
        of_server = {"certificates": setup.certificates}
        async with serving_watchful(listener={"is_tls": True}, of_server=of_server, command=300) as served:
            reader, writer = await asyncio.open_connection(*served.address)
            client = TlsClient(reader, writer)
            await client.shake_hands()
            assert await client.hear() == GREETING
            served.clock.advance(300)
            assert await client.hear_all() == [SILENT]
            writer.close()
            await served.until_nobody_is_connected()
            assert closed_because(served) == [SILENT]


@on_our_loop
async def test_when_many_are_connected_silent_clients_have_less_time():
    async with serving_watchful(connections=4, command=300, command_when_crowded=10) as served:
        async with served.client() as one, served.client() as two, served.client() as three:
            served.clock.advance(100)
            one.say("NOOP")
            assert await one.hear() == "250 2.0.0 OK"  # three of four are no crowd
            async with served.client() as four:  # which makes it one
                served.clock.advance(CHECK_EVERY)
                assert await two.hear_all() == [SILENT]
                two.writer.close()
                await served.until(lambda: len(served.server._connections) <= 3)
                for client in (one, three, four):
                    client.say("QUIT")
        assert SILENT in closed_because(served)


@on_our_loop
async def test_the_time_that_the_store_takes_does_not_count_for_the_client():
    store = FakeStore(gate_open=False)
    async with serving_watchful(store, command=100, silence=100) as served, served.client() as client:
        client.writer.write(MESSAGE)
        await store.asked.wait()
        served.clock.advance(300)
        store.gate.set()
        client.say("QUIT")
        *_, answer, bye = await client.hear_all()
        assert ACCEPTED.fullmatch(answer)
        assert bye == "221 2.0.0 Bye"


@on_our_loop
async def test_the_time_for_a_command_begins_with_the_reply_to_the_one_before():
    store = FakeStore(gate_open=False)
    async with serving_watchful(store, command=300) as served, served.client() as client:
        client.say(*HELLO)
        await client.hear_until("354")
        client.say("Hello.", ".")
        await store.asked.wait()
        served.clock.advance(400)
        store.gate.set()
        assert ACCEPTED.fullmatch(await client.hear())
        served.clock.advance(299)
        client.say("QUIT")
        assert await client.hear_all() == ["221 2.0.0 Bye"]


# Messages


@on_both_loops
async def test_a_client_that_falls_silent_in_a_message_is_disconnected():
    store = FakeStore()
    async with serving_watchful(store, silence=180, transfer_start=3600) as served, served.client() as client:
        await send_and_pause(served, client, MESSAGE.removesuffix(b".\r\n"), 0)
        await client.hear_until("354")
        served.clock.advance(180)
        assert await client.hear_all() == [SILENT]
        assert closed_because(served) == [SILENT]
        assert store.kept == []


@on_our_loop
async def test_a_client_that_falls_silent_in_a_chunk_or_after_one_is_disconnected():
    for said in (b"BDAT 100\r\nhalf", b"BDAT 4\r\nhalf"):
        async with serving_watchful(silence=180, transfer_start=3600) as served, served.client() as client:
            client.say(*HELLO[:3])
            await client.hear_until("250 2.1.5")
            await send_and_pause(served, client, said, 0)
            if said.endswith(b"4\r\nhalf"):
                await client.hear_until("250 2.0.0 4")
            served.clock.advance(180)
            assert await client.hear_all() == [SILENT]


@on_our_loop
async def test_each_octet_of_a_message_ends_the_silence_and_the_message_is_complete():
    store = FakeStore()
    async with serving_watchful(store, silence=180, transfer_start=3600) as served, served.client() as client:
        client.say(*HELLO)
        await client.hear_until("354")
        for octet in b"Hello.\r\n":
            await send_and_pause(served, client, bytes([octet]), 179)
        client.say(".", "QUIT")
        assert ACCEPTED.fullmatch(await client.hear())
        assert store.kept == [b"Hello.\r\n"]


@on_both_loops
async def test_a_message_that_comes_too_slowly_is_refused():
    store = FakeStore()
    async with serving_watchful(store, transfer_start=60, slowest=500) as served, served.client() as client:
        client.say(*HELLO)
        await client.hear_until("354")
        said, took = await trickle(served, client, b"slowly " * 100, 1)
        assert said == [SLOW]
        assert took == 61
        assert closed_because(served) == [SLOW]
        assert store.kept == []


@on_our_loop
async def test_a_message_that_comes_fast_enough_has_the_time_it_needs():
    store = FakeStore()
    async with serving_watchful(store, transfer_start=60, slowest=500) as served, served.client() as client:
        client.say(*HELLO)
        await client.hear_until("354")
        for _ in range(80):
            await send_and_pause(served, client, b"fast enough.\r\n" * 100, 2.5)
        client.say(".")
        assert ACCEPTED.fullmatch(await client.hear())
        assert len(store.kept[0]) == 80 * 1_400


@on_our_loop
async def test_no_message_has_more_than_the_longest_transfer_time():
    async with serving_watchful(transfer=600, slowest=1) as served, served.client() as client:
        client.say(*HELLO)
        await client.hear_until("354")
        await send_and_pause(served, client, b"x" * 1_000, 100)
        said, took = await trickle(served, client, b"x" * 200, 10)
        assert said == [SLOW]
        assert took == 500


@on_our_loop
async def test_the_time_of_a_message_begins_with_the_message():
    store = FakeStore()
    async with serving_watchful(store, transfer_start=60, slowest=1e9) as served, served.client() as client:
        for _ in range(3):
            served.clock.advance(50)
            client.writer.write(MESSAGE)
            await client.hear_until("250 2.0.0")
        assert len(store.kept) == 3


@on_our_loop
async def test_the_time_in_which_the_server_writes_a_piece_does_not_count_for_the_client():
    store = FakeStore(gate_open=False)
    capabilities = {"piece": 1_000}
    async with (
        serving_watchful(store, capabilities=capabilities, transfer_start=60, silence=180) as served,
        served.client() as client,
    ):
        client.say(*HELLO)
        await client.hear_until("354")
        client.writer.write(b"Subject: x\r\n\r\n" + b"Hello.\r\n" * 150)
        await store.asked.wait()
        served.clock.advance(400)
        store.gate.set()
        await served.until(lambda: not any(each._answering for each in served.server._connections))
        served.clock.advance(50)
        client.say(".", "QUIT")
        assert ACCEPTED.fullmatch(await client.hear())


def test_received_octets_extend_the_time_up_to_a_limit():
    bounds = SmtpLimits(transfer_start=60, slowest=500, transfer=3600)
    assert bounds.transfer_time(0) == 60
    assert bounds.transfer_time(5_000) == 70
    assert bounds.transfer_time(40 * 1024 * 1024) == 3600


# The greeting


@on_both_loops
async def test_a_client_that_speaks_before_a_delayed_greeting_is_refused():
    async with serving_watchful(greeting_delay=5) as served:
        reader, writer = await asyncio.open_connection(*served.address)
        writer.write(MESSAGE)
        assert await until_cut(reader) == f"{EARLY}\r\n".encode()
        writer.close()
        await served.until_nobody_is_connected()
        assert closed_because(served) == [EARLY]


@on_both_loops
async def test_a_client_that_waits_for_the_greeting_is_greeted_and_may_send():
    store = FakeStore()
    async with serving_watchful(store, greeting_delay=5) as served:
        reader, writer = await asyncio.open_connection(*served.address)
        await served.until(lambda: served.server._connections)
        served.clock.advance(4.5)
        assert not any(each._session for each in served.server._connections)
        served.clock.advance(0.5)
        client = Client(reader, writer)
        assert await client.hear() == GREETING
        client.writer.write(MESSAGE)
        await client.hear_until("250 2.0.0")
        writer.close()
        assert len(store.kept) == 1


@on_both_loops
async def test_a_client_that_disconnects_before_the_greeting_leaves_nothing():
    async with serving_watchful(greeting_delay=5) as served:
        _, writer = await asyncio.open_connection(*served.address)
        await served.until(lambda: served.server._connections)
        writer.close()
        await served.until_nobody_is_connected()
        assert served.emitted == []


@on_both_loops
async def test_stopping_does_not_wait_for_greetings_that_are_delayed():
    async with serving_watchful(greeting_delay=5) as served:
        reader, writer = await asyncio.open_connection(*served.address)
        await served.until(lambda: served.server._connections)
        async with asyncio.timeout(PATIENCE):
            await served.server.stop()
        assert await until_cut(reader) == b""
        writer.close()


@on_both_loops
async def test_over_tls_too_a_client_that_waits_for_the_greeting_is_greeted():
    with tls_setup() as setup:
        of_server = {"certificates": setup.certificates}
        async with serving_watchful(listener={"is_tls": True}, of_server=of_server, greeting_delay=5) as served:
            reader, writer = await asyncio.open_connection(*served.address)
            client = TlsClient(reader, writer)
            await client.shake_hands()
            await served.until(lambda: not any(each._answering for each in served.server._connections))
            assert not any(each._session for each in served.server._connections)
            served.clock.advance(5)
            assert await client.hear() == GREETING
            writer.close()


@on_both_loops
async def test_over_tls_too_a_client_that_speaks_before_the_greeting_is_refused():
    with tls_setup() as setup:
        of_server = {"certificates": setup.certificates}
        async with serving_watchful(listener={"is_tls": True}, of_server=of_server, greeting_delay=5) as served:
            heard = await early_over_tls(served)
            assert GREETING not in heard
            assert closed_because(served) == [EARLY]


@on_both_loops
async def test_over_tls_too_a_client_that_speaks_before_the_greeting_gets_the_reply():
    with tls_setup() as setup:
        of_server = {"certificates": setup.certificates}
        async with serving_watchful(listener={"is_tls": True}, of_server=of_server, greeting_delay=5) as served:
            assert await early_over_tls(served) == [EARLY]


async def early_over_tls(served):
    """What a client hears that speaks before the greeting, over TLS."""
    reader, writer = await asyncio.open_connection(*served.address)
    client = TlsClient(reader, writer)
    await client.shake_hands()
    await served.until(lambda: not any(each._answering for each in served.server._connections))
    client.send(MESSAGE)
    heard = await client.hear_all()
    writer.transport.abort()
    await served.until_nobody_is_connected()
    return heard


# Errors


@on_both_loops
async def test_a_client_that_guesses_recipients_is_disconnected():
    capabilities = {"unknown_recipient_limit": 3}
    async with serving_watchful(capabilities=capabilities) as served, served.client() as client:
        client.say(*HELLO[:2], *[f"RCPT TO:<u{n}@example.com>" for n in range(10)], HELLO[2])
        heard = await client.hear_all()
        assert [line[:3] for line in heard if not line.startswith("250-")] == ["250", "250", "550", "550", "421"]
        assert heard[-1] == "421 4.7.0 Too many unknown recipients"
        assert closed_because(served) == [heard[-1]]


@on_both_loops
async def test_unknown_recipients_count_over_all_messages_of_a_session():
    store, capabilities = FakeStore(), {"unknown_recipient_limit": 4}
    async with serving_watchful(store, capabilities=capabilities) as served, served.client() as client:
        for n in range(3):
            client.say(*HELLO[:2], f"RCPT TO:<unknown{n}@example.com>", *HELLO[2:], "Hello.", ".")
            await client.hear_until("354")
            assert ACCEPTED.fullmatch(await client.hear())
        client.say(HELLO[1], "RCPT TO:<postmaster>")
        assert (await client.hear_all())[-1] == "421 4.7.0 Too many unknown recipients"
        assert len(store.kept) == 3


@on_both_loops
async def test_a_temporary_failure_does_not_count_as_an_unknown_recipient():
    capabilities = {"unknown_recipient_limit": 2}
    store = FakeStore(at_read=RuntimeError("of ours"))
    async with serving_watchful(store, capabilities=capabilities) as served, served.client() as client:
        client.say(*HELLO[:2], *[HELLO[2]] * 5, "QUIT")
        assert [line[:3] for line in await client.hear_all()][-6:] == ["451"] * 5 + ["221"]


@on_both_loops
async def test_a_client_that_errs_too_often_is_disconnected():
    async with serving_watchful(capabilities={"error_limit": 3}) as served, served.client() as client:
        client.say("HELO client.example", *["NONSENSE"] * 10)
        heard = await client.hear_all()
        assert [line[:3] for line in heard] == ["250", "500", "500", "421"]
        assert closed_because(served) == ["421 4.7.0 Too many errors"]
