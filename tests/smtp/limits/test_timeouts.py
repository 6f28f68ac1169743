"""Tests of the limits on a client's time and errors, over real sockets, and of behaviour that no limit may punish."""

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
from waypost.app.mail.faults import FaultRules
from waypost.domain.mail.fault_rules import Action, FaultRule, Stage
from waypost.observe import events
from waypost.smtp.limits.timeouts import SmtpLimits
from waypost.smtp.server.connection import CHECK_EVERY

GREETING = "220 mail.example ESMTP Waypost"
SILENT = "421 4.4.2 Timeout while waiting for data from the client"
SLOW = "421 4.4.2 Message transfer is too slow"
EARLY = "554 5.5.1 Data received before the greeting"


@asynccontextmanager
async def serving_with_final_checks(store=None, **options):
    """Start a server, and check at the end that it has no connections and no memory in use."""
    async with serving(store, **options) as served:
        yield served
        await served.until_nobody_is_connected()
        assert served.backend.admission.connections.count == 0
        assert served.backend.memory.used == 0


async def trickle(served, client, octets, every):
    """Send bytes one by one until the server ends the session; returns the server's replies and the elapsed seconds."""
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
    """Send bytes, wait until the server has read them, and then advance the clock by this many seconds."""
    read = served.server.octets_read
    client.writer.write(octets)
    await served.until_read(read + len(octets))
    served.clock.advance(seconds)


def closed_because(served):
    """The replies with which the server has closed sessions."""
    return [event.reply for event in served.emitted_of(events.SessionClosed)]


# Commands


@on_both_loops
async def test_single_bytes_of_a_command_do_not_extend_its_time_limit():
    async with serving_with_final_checks(command=300) as served, served.client() as client:
        said, took = await trickle(served, client, b"NOOP " + b"x" * 400, 20)
        assert said == [SILENT]
        assert took == 300
        assert closed_because(served) == [SILENT]


@on_our_loop
async def test_each_complete_command_restarts_the_time_limit():
    async with serving_with_final_checks(command=300) as served, served.client() as client:
        for _ in range(4):
            served.clock.advance(299)
            client.say("NOOP")
            assert await client.hear() == "250 2.0.0 OK"
        served.clock.advance(300)
        assert await client.hear_all() == [SILENT]


@on_our_loop
async def test_an_overlong_line_that_never_ends_does_not_extend_the_time_limit():
    async with serving_with_final_checks(command=300) as served, served.client() as client:
        await send_and_pause(served, client, b"x" * 5_000, 100)
        said, took = await trickle(served, client, b"x" * 100, 20)
        assert said == [SILENT]
        assert took == 200


@on_our_loop
async def test_a_client_that_is_idle_between_commands_of_a_transaction_is_disconnected():
    async with serving_with_final_checks(command=300) as served, served.client() as client:
        client.say(*HELLO[:3])
        await client.hear_until("250 2.1.5")
        served.clock.advance(300)
        assert await client.hear_all() == [SILENT]
        assert closed_because(served) == [SILENT]


@on_both_loops
async def test_a_client_that_is_idle_over_tls_gets_the_timeout_reply_over_tls():
    with tls_setup() as setup:
        of_server = {"certificates": setup.certificates}
        async with serving_with_final_checks(listener={"is_tls": True}, of_server=of_server, command=300) as served:
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
async def test_idle_clients_have_less_time_while_the_server_is_crowded():
    async with serving_with_final_checks(connections=4, command=300, command_when_crowded=10) as served:
        async with served.client() as one, served.client() as two, served.client() as three:
            served.clock.advance(100)
            one.say("NOOP")
            assert await one.hear() == "250 2.0.0 OK"  # with three of four connections, the server is not crowded
            async with served.client() as four:  # with four of four connections, it is crowded
                served.clock.advance(CHECK_EVERY)
                assert await two.hear_all() == [SILENT]
                two.writer.close()
                await served.until(lambda: len(served.server._connections) <= 3)
                for client in (one, three, four):
                    client.say("QUIT")
        assert SILENT in closed_because(served)


@on_our_loop
async def test_the_time_that_the_store_needs_does_not_count_towards_the_client_s_limit():
    store = FakeStore(gate_open=False)
    async with serving_with_final_checks(store, command=100, silence=100) as served, served.client() as client:
        client.writer.write(MESSAGE)
        await store.asked.wait()
        served.clock.advance(300)
        store.gate.set()
        client.say("QUIT")
        *_, answer, bye = await client.hear_all()
        assert ACCEPTED.fullmatch(answer)
        assert bye == "221 2.0.0 Bye"


@on_our_loop
async def test_the_time_limit_of_a_command_begins_with_the_reply_to_the_previous_command():
    store = FakeStore(gate_open=False)
    async with serving_with_final_checks(store, command=300) as served, served.client() as client:
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
async def test_a_client_that_stops_sending_in_the_middle_of_a_message_is_disconnected():
    store = FakeStore()
    async with serving_with_final_checks(store, silence=180, transfer_start=3600) as served, served.client() as client:
        await send_and_pause(served, client, MESSAGE.removesuffix(b".\r\n"), 0)
        await client.hear_until("354")
        served.clock.advance(180)
        assert await client.hear_all() == [SILENT]
        assert closed_because(served) == [SILENT]
        assert store.kept == []


@on_our_loop
async def test_a_client_that_stops_sending_in_or_after_a_chunk_is_disconnected():
    for said in (b"BDAT 100\r\nhalf", b"BDAT 4\r\nhalf"):
        async with serving_with_final_checks(silence=180, transfer_start=3600) as served, served.client() as client:
            client.say(*HELLO[:3])
            await client.hear_until("250 2.1.5")
            await send_and_pause(served, client, said, 0)
            if said.endswith(b"4\r\nhalf"):
                await client.hear_until("250 2.0.0 4")
            served.clock.advance(180)
            assert await client.hear_all() == [SILENT]


@on_our_loop
async def test_each_byte_of_a_message_restarts_the_silence_limit():
    store = FakeStore()
    async with serving_with_final_checks(store, silence=180, transfer_start=3600) as served, served.client() as client:
        client.say(*HELLO)
        await client.hear_until("354")
        for octet in b"Hello.\r\n":
            await send_and_pause(served, client, bytes([octet]), 179)
        client.say(".", "QUIT")
        assert ACCEPTED.fullmatch(await client.hear())
        assert store.kept == [b"Hello.\r\n"]


@on_both_loops
async def test_a_message_that_is_sent_too_slowly_is_refused():
    store = FakeStore()
    async with serving_with_final_checks(store, transfer_start=60, slowest=500) as served, served.client() as client:
        client.say(*HELLO)
        await client.hear_until("354")
        said, took = await trickle(served, client, b"slowly " * 100, 1)
        assert said == [SLOW]
        assert took == 61
        assert closed_because(served) == [SLOW]
        assert store.kept == []


@on_our_loop
async def test_a_message_that_is_sent_fast_enough_gets_the_time_that_it_needs():
    store = FakeStore()
    async with serving_with_final_checks(store, transfer_start=60, slowest=500) as served, served.client() as client:
        client.say(*HELLO)
        await client.hear_until("354")
        for _ in range(80):
            await send_and_pause(served, client, b"fast enough.\r\n" * 100, 2.5)
        client.say(".")
        assert ACCEPTED.fullmatch(await client.hear())
        assert len(store.kept[0]) == 80 * 1_400


@on_our_loop
async def test_a_transfer_is_refused_after_the_longest_transfer_time():
    async with serving_with_final_checks(transfer=600, slowest=1) as served, served.client() as client:
        client.say(*HELLO)
        await client.hear_until("354")
        await send_and_pause(served, client, b"x" * 1_000, 100)
        said, took = await trickle(served, client, b"x" * 200, 10)
        assert said == [SLOW]
        assert took == 500


@on_our_loop
async def test_the_time_limit_of_a_message_begins_with_the_message():
    store = FakeStore()
    async with serving_with_final_checks(store, transfer_start=60, slowest=1e9) as served, served.client() as client:
        for _ in range(3):
            served.clock.advance(50)
            client.writer.write(MESSAGE)
            await client.hear_until("250 2.0.0")
        assert len(store.kept) == 3


@on_our_loop
async def test_the_time_that_the_server_needs_to_write_a_piece_does_not_count_towards_the_client_s_limit():
    store = FakeStore(gate_open=False)
    capabilities = {"piece": 1_000}
    async with (
        serving_with_final_checks(store, capabilities=capabilities, transfer_start=60, silence=180) as served,
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


def test_received_bytes_extend_the_transfer_time_up_to_a_limit():
    bounds = SmtpLimits(transfer_start=60, slowest=500, transfer=3600)
    assert bounds.transfer_time(0) == 60
    assert bounds.transfer_time(5_000) == 70
    assert bounds.transfer_time(40 * 1024 * 1024) == 3600


# The greeting


@on_both_loops
async def test_a_client_that_sends_data_before_a_delayed_greeting_is_refused():
    async with serving_with_final_checks(greeting_delay=5) as served:
        reader, writer = await asyncio.open_connection(*served.address)
        writer.write(MESSAGE)
        assert await until_cut(reader) == f"{EARLY}\r\n".encode()
        writer.close()
        await served.until_nobody_is_connected()
        assert closed_because(served) == [EARLY]


@on_both_loops
async def test_a_client_that_waits_for_the_greeting_gets_it_and_can_send_mail():
    store = FakeStore()
    async with serving_with_final_checks(store, greeting_delay=5) as served:
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
async def test_a_client_that_disconnects_before_the_greeting_leaves_no_connection_or_log_event():
    async with serving_with_final_checks(greeting_delay=5) as served:
        _, writer = await asyncio.open_connection(*served.address)
        await served.until(lambda: served.server._connections)
        writer.close()
        await served.until_nobody_is_connected()
        assert served.emitted == []


@on_both_loops
async def test_stopping_does_not_wait_for_delayed_greetings():
    async with serving_with_final_checks(greeting_delay=5) as served:
        reader, writer = await asyncio.open_connection(*served.address)
        await served.until(lambda: served.server._connections)
        async with asyncio.timeout(PATIENCE):
            await served.server.stop()
        assert await until_cut(reader) == b""
        writer.close()


@on_both_loops
async def test_over_tls_a_client_that_waits_for_the_greeting_gets_it():
    with tls_setup() as setup:
        of_server = {"certificates": setup.certificates}
        async with serving_with_final_checks(
            listener={"is_tls": True}, of_server=of_server, greeting_delay=5
        ) as served:
            reader, writer = await asyncio.open_connection(*served.address)
            client = TlsClient(reader, writer)
            await client.shake_hands()
            await served.until(lambda: not any(each._answering for each in served.server._connections))
            assert not any(each._session for each in served.server._connections)
            served.clock.advance(5)
            assert await client.hear() == GREETING
            writer.close()


@on_both_loops
async def test_over_tls_a_client_that_sends_data_before_the_greeting_is_refused():
    with tls_setup() as setup:
        of_server = {"certificates": setup.certificates}
        async with serving_with_final_checks(
            listener={"is_tls": True}, of_server=of_server, greeting_delay=5
        ) as served:
            heard = await send_before_the_greeting_over_tls(served)
            assert GREETING not in heard
            assert closed_because(served) == [EARLY]


@on_both_loops
async def test_over_tls_a_client_that_sends_data_before_the_greeting_gets_the_refusal():
    with tls_setup() as setup:
        of_server = {"certificates": setup.certificates}
        async with serving_with_final_checks(
            listener={"is_tls": True}, of_server=of_server, greeting_delay=5
        ) as served:
            assert await send_before_the_greeting_over_tls(served) == [EARLY]


async def send_before_the_greeting_over_tls(served):
    """Send a message over TLS before the greeting, and return the server's replies."""
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
    async with serving_with_final_checks(capabilities=capabilities) as served, served.client() as client:
        client.say(*HELLO[:2], *[f"RCPT TO:<u{n}@example.com>" for n in range(10)], HELLO[2])
        heard = await client.hear_all()
        assert [line[:3] for line in heard if not line.startswith("250-")] == ["250", "250", "550", "550", "421"]
        assert heard[-1] == "421 4.7.0 Too many unknown recipients"
        assert closed_because(served) == [heard[-1]]


@on_both_loops
async def test_unknown_recipients_are_counted_over_all_messages_of_a_session():
    store, capabilities = FakeStore(), {"unknown_recipient_limit": 4}
    async with serving_with_final_checks(store, capabilities=capabilities) as served, served.client() as client:
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
    store = FakeStore(at_read=RuntimeError("internal error"))
    async with serving_with_final_checks(store, capabilities=capabilities) as served, served.client() as client:
        client.say(*HELLO[:2], *[HELLO[2]] * 5, "QUIT")
        assert [line[:3] for line in await client.hear_all()][-6:] == ["451"] * 5 + ["221"]


@on_both_loops
async def test_a_recipient_that_a_fault_refuses_does_not_count_as_an_unknown_recipient():
    rule = FaultRule(stage=Stage.RCPT, action=Action.REFUSE, times=3)
    faults, capabilities = FaultRules([rule], allowed=True), {"unknown_recipient_limit": 2}
    async with serving_with_final_checks(faults=faults, capabilities=capabilities) as served, served.client() as client:
        client.say(*HELLO[:2], *[HELLO[2]] * 3, *["RCPT TO:<bounce+support@example.com>"] * 3, "QUIT")
        assert [line[:3] for line in await client.hear_all()][-7:] == ["550"] * 6 + ["221"]


@on_both_loops
async def test_a_client_with_too_many_errors_is_disconnected():
    async with serving_with_final_checks(capabilities={"error_limit": 3}) as served, served.client() as client:
        client.say("HELO client.example", *["NONSENSE"] * 10)
        heard = await client.hear_all()
        assert [line[:3] for line in heard] == ["250", "500", "500", "421"]
        assert closed_because(served) == ["421 4.7.0 Too many errors"]
