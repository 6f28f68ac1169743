"""Tests of clients that send faster than the server answers, or read slowly: other clients and memory do not suffer."""

import asyncio
from contextlib import suppress
from ipaddress import ip_network
from unittest.mock import Mock

import pytest

from tests.kit.servers.smtp_server import ACCEPTED, MESSAGE, TRY_AGAIN, FakeStore, on_both_loops, on_our_loop, serving
from waypost.observe import events
from waypost.smtp.protocol.capabilities import Capabilities
from waypost.smtp.protocol.session import Session
from waypost.smtp.server import connection as smtp_connection
from waypost.smtp.server.interfaces import Listener


@on_both_loops
async def test_the_server_pauses_reading_from_a_client_that_sends_while_its_message_is_stored():
    store = FakeStore(gate_open=False)
    async with serving(store) as served, served.client() as client:
        client.writer.write(MESSAGE)
        await store.asked.wait()
        client.writer.write(b"NOOP\r\n" * (3 * smtp_connection.PAUSE_AT // 6) + b"QUIT\r\n")
        (connection,) = served.server._connections
        await served.until(lambda: not connection._transport.is_reading())
        store.gate.set()
        answers = await client.hear_all()
        assert len(list(filter(ACCEPTED.fullmatch, answers))) == 1
        assert answers[-1] == "221 2.0.0 Bye"
        assert answers.count("250 2.0.0 OK") == 3 * smtp_connection.PAUSE_AT // 6


@on_our_loop
async def test_a_client_that_reads_late_gets_all_replies_and_can_continue():
    async with serving() as served:
        served.buffer_little()
        async with served.client() as client:
            client.writer.transport.pause_reading()
            client.writer.write(b"HELP\r\n" * 20_000)
            (connection,) = served.server._connections
            await served.until(lambda: connection._is_write_paused)
            client.writer.transport.resume_reading()
            client.say("QUIT")
            answers = await client.hear_all()
            assert answers[-1] == "221 2.0.0 Bye"
            assert len(answers) == 2 * 20_000 + 1


@on_both_loops
async def test_more_recipients_than_fit_into_one_turn_all_get_a_reply():
    of_server = {"trusted_networks": [ip_network("127.0.0.0/8")]}
    async with serving(of_server=of_server) as served, served.client() as client:
        client.say(
            "HELO client.example",
            "MAIL FROM:<>",
            *["RCPT TO:<unknown@example.com>"] * (2 * smtp_connection.REQUESTS_A_TURN),
            "QUIT",
        )
        answers = await client.hear_all()
        assert answers.count("550 5.1.1 No such address here") == 2 * smtp_connection.REQUESTS_A_TURN


@pytest.mark.parametrize("where", ["next_request", "answer"])
def test_an_exception_in_the_session_is_a_temporary_failure_and_ends_the_session(monkeypatch, where):
    def fail(*_):
        raise RuntimeError("secret /var/lib")

    async def scenario():
        async with serving() as served, served.client() as client:
            monkeypatch.setattr(Session, where, fail)
            client.say("HELO client.example", "MAIL FROM:<>", "RCPT TO:<support@example.com>")
            *_, last = await client.hear_all()
            assert TRY_AGAIN.fullmatch(last)
            assert served.emitted_of(events.Failed)
            monkeypatch.undo()

    asyncio.run(scenario())


def test_a_client_that_connects_while_the_server_stops_gets_a_421_reply():
    async def scenario():
        async with serving() as served:
            served.server._is_stopping = True
            transport = Mock(asyncio.Transport)
            transport.get_extra_info.return_value = ("192.0.2.1", 4711)
            transport.is_closing.return_value = False
            listener = Listener(name="smtp", capabilities=Capabilities(hostname="mail.example"))
            connection = smtp_connection.Connection(served.server, listener)
            connection.connection_made(transport)
            said = b"".join(call.args[0] for call in transport.write.call_args_list)
            assert said.endswith(b"421 4.3.2 Server is shutting down; please try again later\r\n")
            connection.connection_lost(None)

    asyncio.run(scenario())


@on_our_loop
async def test_the_server_carries_out_no_commands_while_the_client_does_not_read_replies():
    async with serving() as served:
        served.buffer_little()
        async with served.silent_socket() as client:
            sending = asyncio.create_task(send(client, b"EHLO a\r\n" * 100_000))
            await served.until(lambda: any(each._resumed for each in served.server._connections))
            (connection,) = served.server._connections
            assert connection._transport.get_write_buffer_size() < 150_000
            assert len(connection._session._exchange.output) < 20_000
            sending.cancel()
            with suppress(asyncio.CancelledError):
                await sending


async def send(client, octets):
    await asyncio.get_running_loop().sock_sendall(client, octets)


@on_our_loop
async def test_a_client_that_reads_no_replies_for_too_long_is_disconnected():
    async with serving(silence=180) as served:
        served.buffer_little()
        async with served.silent_socket() as client:
            await send(client, b"EHLO a\r\n" * 4_000)
            await served.until(lambda: any(each._is_write_paused for each in served.server._connections))
            served.clock.advance(180)
            await served.until_nobody_is_connected()
            assert served.backend.memory.used == 0
