"""Tests of clients that are slow, idle or numerous, that do not read replies, or that disconnect early."""

import asyncio
import socket
from contextlib import suppress
from unittest.mock import Mock

from tests.kit.servers.smtp_server import (
    ACCEPTED,
    MESSAGE,
    RESET_ON_CLOSE,
    FakeStore,
    on_both_loops,
    on_our_loop,
    reset,
    serving,
)
from waypost.observe import events
from waypost.smtp.protocol.capabilities import Capabilities
from waypost.smtp.server.connection import Connection
from waypost.smtp.server.interfaces import Listener


@on_both_loops
async def test_a_client_that_sends_a_message_and_closes_its_side_gets_its_replies():
    store = FakeStore(gate_open=False)
    async with serving(store) as served, served.client() as client:
        client.writer.write(MESSAGE)
        client.writer.write_eof()
        await store.asked.wait()
        store.gate.set()
        assert ACCEPTED.fullmatch((await client.hear_all())[-1])
        assert len(store.kept) == 1


@on_both_loops
async def test_a_client_that_sends_two_messages_and_closes_its_side_gets_both_replies():
    store = FakeStore(gate_open=False)
    async with serving(store) as served, served.client() as client:
        client.writer.write(MESSAGE + MESSAGE)
        client.writer.write_eof()
        await store.asked.wait()
        (connection,) = served.server._connections
        await served.until(lambda: connection._client_is_done)
        store.gate.set()
        answers = [line for line in await client.hear_all() if ACCEPTED.fullmatch(line)]
        assert len(answers) == len(store.kept) == 2


@on_our_loop
async def test_the_server_stops_reading_from_a_client_that_does_not_read():
    async with serving() as served:
        served.buffer_little()
        async with served.silent_socket() as client:
            sending = asyncio.create_task(send_without_end(client))
            await served.until(lambda: any(each._is_write_paused for each in served.server._connections))
            (connection,) = served.server._connections
            assert not connection._transport.is_reading()
            assert connection._transport.get_write_buffer_size() < 10_000_000
            before = served.server.octets_read
            await asyncio.sleep(0.1)  # the server must read nothing while the client does not read
            assert served.server.octets_read == before < 20_000_000
            sending.cancel()
            with suppress(asyncio.CancelledError):
                await sending


async def send_without_end(client):
    while True:
        await asyncio.get_running_loop().sock_sendall(client, b"HELP\r\n" * 1_000)


@on_our_loop
async def test_a_client_that_quits_and_does_not_read_is_disconnected():
    async with serving(silence=180) as served:
        served.buffer_little()
        async with served.silent_socket() as client:
            await asyncio.get_running_loop().sock_sendall(client, b"HELP\r\n" * 2_000 + b"QUIT\r\n")
            await until_disconnected_for_not_reading(served)


@on_our_loop
async def test_a_client_that_closes_its_side_and_does_not_read_is_disconnected():
    async with serving(silence=180) as served:
        served.buffer_little()
        async with served.silent_socket() as client:
            await asyncio.get_running_loop().sock_sendall(client, b"HELP\r\n" * 2_000)
            client.shutdown(socket.SHUT_WR)
            await until_disconnected_for_not_reading(served)


async def until_disconnected_for_not_reading(served):
    """Check that the server disconnects the client exactly at the time limit for clients that do not read."""
    await served.until(lambda: any(each._is_write_paused for each in served.server._connections))
    served.clock.advance(179)
    assert served.server._connections
    served.clock.advance(1)
    await served.until_nobody_is_connected()


@on_both_loops
async def test_a_client_that_is_idle_for_too_long_is_disconnected():
    async with serving(command=300) as served, served.client() as client:
        served.clock.advance(300)
        assert await client.hear_all() == ["421 4.4.2 Timeout while waiting for data from the client"]
        (closed,) = served.emitted_of(events.SessionClosed)
        assert closed.reply == "421 4.4.2 Timeout while waiting for data from the client"


@on_both_loops
async def test_the_time_that_the_server_needs_does_not_count_as_idle_time_of_the_client():
    store = FakeStore(gate_open=False)
    async with serving(store, command=300) as served, served.client() as client:
        client.writer.write(MESSAGE)
        client.say("QUIT")
        await store.asked.wait()
        served.clock.advance(1_000)
        store.gate.set()
        *_, answer, farewell = await client.hear_all()
        assert ACCEPTED.fullmatch(answer)
        assert farewell == "221 2.0.0 Bye"


@on_both_loops
async def test_a_client_that_violates_the_protocol_and_continues_sending_gets_the_reply():
    async with serving() as served, served.client() as client:
        client.say("HELO client.example", "NOOP\n")
        client.writer.write(b"x" * 1_000_000)
        replies = await client.hear_all()
        assert replies[-1].startswith("521 5.5.2 ")
        (closed,) = served.emitted_of(events.SessionClosed)
        assert closed.reply == replies[-1]


@on_both_loops
async def test_a_message_is_stored_even_if_the_client_disconnects_before_the_reply():
    store = FakeStore(gate_open=False)
    async with serving(store) as served:
        async with served.client() as client:
            client.writer.write(MESSAGE)
            await store.asked.wait()
            reset(client.writer)
        (connection,) = served.server._connections
        await served.until(lambda: connection._is_lost)
        store.gate.set()
        await served.until(lambda: served.emitted_of(events.MessageAccepted))
        assert store.kept == [b"Hello.\r\n"]


@on_both_loops
async def test_an_incomplete_message_is_not_stored():
    store = FakeStore()
    async with serving(store) as served:
        async with served.client() as client:
            client.writer.write(MESSAGE.removesuffix(b".\r\n"))
        await served.until_nobody_is_connected()
        assert store.kept == []
        assert served.emitted == []


def test_clients_that_connect_and_immediately_reset_do_no_harm():
    async def scenario():
        async with serving() as served:
            for _ in range(30):
                with socket.socket() as client:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                    client.connect(served.address)
            async with served.client() as client:
                client.say("QUIT")
                assert await client.hear() == "221 2.0.0 Bye"
            await served.until_nobody_is_connected()

    asyncio.run(scenario())


def test_a_client_that_disconnects_before_its_address_is_read_does_no_harm():
    async def scenario():
        async with serving() as served:
            transport = Mock(asyncio.Transport)
            transport.get_extra_info.return_value = None
            connection = Connection(
                served.server, Listener(name="smtp", capabilities=Capabilities(hostname="mail.example"))
            )
            connection.connection_made(transport)
            assert transport.abort.called or transport.close.called
            connection.connection_lost(None)

    asyncio.run(scenario())


@on_both_loops
async def test_two_hundred_clients_at_the_same_time_each_get_an_id():
    store = FakeStore()
    async with serving(store) as served:

        async def send():
            async with served.client() as client:
                client.writer.write(MESSAGE)
                client.say("QUIT")
                return ACCEPTED.fullmatch((await client.hear_all())[-2])["id"]

        ids = await asyncio.gather(*(send() for _ in range(200)))
        assert len(set(ids)) == len(store.kept) == 200
        assert {event.id for event in served.emitted_of(events.MessageAccepted)} == set(ids)


@on_both_loops
async def test_after_a_reset_at_most_one_message_is_accepted_without_a_reply_to_the_client():
    store = FakeStore(gate_open=False)
    async with serving(store) as served:
        async with served.client() as client:
            client.writer.write(MESSAGE + MESSAGE * 20)
            await store.asked.wait()
            reset(client.writer)
        (connection,) = served.server._connections
        await served.until(lambda: connection._is_lost)
        store.gate.set()
        await served.until_nobody_is_connected()
        assert store.kept == [b"Hello.\r\n"]
