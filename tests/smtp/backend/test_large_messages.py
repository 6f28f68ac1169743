"""Tests of large messages and of scarce memory.

Pieces are written to the store as they arrive, and pieces of incomplete messages are deleted.
"""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from tests.kit.patience import until
from tests.kit.servers.smtp_server import ACCEPTED, HELLO, MESSAGE, TRY_AGAIN, FakeStore, on_both_loops, run_on, serving
from waypost.app import ports
from waypost.observe import events
from waypost.smtp.backend.backend import PIECES_AT_ONCE
from waypost.smtp.server.connection import PAUSE_AT, READ, SCARCE_READ

PIECE = {"piece": 1_000}
HEADER = b"Subject: large\r\n\r\n"
BODY = b"".join(b"%06d of a large message\r\n" % n for n in range(400))
LARGE = HEADER + BODY
NO_MEMORY = "452 4.3.1 Not enough memory for a message now; please try again"


class CountingStore(FakeStore):
    """Counts the writes that run at the same time. `fails_at` has the numbers of the writes that fail."""

    def __init__(self, *, fails_at=(), **options):
        super().__init__(**options)
        self.now = self.most = self.writes = 0
        self._fails_at = fails_at

    async def write(self, use_case, **_):
        self.writes += 1
        number = self.writes
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            self.asked.set()
            await self.gate.wait()
            await asyncio.sleep(0)
            if number in self._fails_at:
                raise ports.StoreUnavailable("the disk is full")
            return use_case(self._tx)
        finally:
            self.now -= 1


@asynccontextmanager
async def serving_pieces(store, *, capabilities=None, **options):
    """Start a server with small pieces, and check at the end that no client is connected and no memory is in use."""
    async with serving(store, capabilities=PIECE | (capabilities or {}), **options) as served:
        yield served
        await served.until_nobody_is_connected()
        assert served.backend.memory.used == 0
        await served.until(lambda: store.begun == {})  # pieces are deleted after the connection has ended


async def begin(client, *commands):
    """Send the commands up to DATA, and wait for the 354 reply."""
    client.say(*(commands or HELLO))
    await client.hear_until("354")


async def half(client, store):
    """Send half of a large message, and wait until the store has its pieces."""
    await begin(client)
    client.writer.write(LARGE[: len(LARGE) // 2])
    await until(lambda: sum(store.begun.values()) >= len(LARGE) // 2 - 1_000)


# Scarce memory


@on_both_loops
async def test_a_message_that_arrives_while_memory_is_scarce_is_written_to_disk_and_complete_at_the_end():
    store = CountingStore()
    async with (
        serving_pieces(store, capabilities={"piece": 100_000}, memory=100_000) as served,
        served.client() as client,
    ):
        await begin(client)
        client.writer.write(LARGE[:5_000])
        await served.until(lambda: served.backend.memory.used >= 4_990)
        served.backend.memory.change(60_000)
        client.writer.write(LARGE[5_000:6_000])
        await served.until(lambda: sum(store.begun.values()) >= 4_990)
        (connection,) = served.server._connections
        assert connection._held < 1_100
        served.backend.memory.change(-60_000)
        client.writer.write(LARGE[6_000:] + b".\r\nQUIT\r\n")
        answer, _ = await client.hear_all()
        assert ACCEPTED.fullmatch(answer)
        assert store.kept == [LARGE]


@pytest.mark.slow
@on_both_loops
async def test_many_clients_that_send_at_the_same_time_hardly_exceed_the_memory_limit():
    clients, memory = 60, 1_000_000
    store = FakeStore(gate_open=False)
    async with serving(store, memory=memory, connections_each=clients) as served, AsyncExitStack() as open_clients:
        senders = [await open_clients.enter_async_context(served.client()) for _ in range(clients)]
        for sender in senders:
            await begin(sender)
        for sender in senders:
            sender.writer.write(b"Subject: x\r\n\r\n" + b"y" * 300_000)
        peak = 0

        def all_paused():
            nonlocal peak
            peak = max(peak, served.backend.memory.used)
            return not any(each._transport.is_reading() for each in served.server._connections)

        await served.until(all_paused)
        assert peak < memory + READ + clients * 2 * SCARCE_READ
        store.gate.set()
        for sender in senders:
            sender.writer.transport.abort()
        await served.until_nobody_is_connected()
        assert served.backend.memory.used == 0


@on_both_loops
async def test_small_messages_are_not_split_while_there_is_enough_memory():
    store = CountingStore()
    async with serving_pieces(store, capabilities={"piece": 100_000}) as served, served.client() as client:
        await begin(client)
        client.writer.write(LARGE + b".\r\n")
        assert ACCEPTED.fullmatch(await client.hear())
        assert store.writes == 1


@on_both_loops
async def test_without_memory_a_message_gets_a_temporary_failure_and_is_accepted_later():
    store = CountingStore()
    async with serving_pieces(store, memory=10_000) as served, served.client() as client:
        served.backend.memory.change(10_000)
        client.say(*HELLO)
        assert (await client.hear_until("452"))[-1] == NO_MEMORY
        client.writer.write(b"BDAT 6\r\nHello.BDAT 2 LAST\r\n\r\n")
        assert await client.hear() == NO_MEMORY
        assert (await client.hear())[:3] in {"452", "503"}  # the transaction has ended
        served.backend.memory.change(-10_000)
        client.writer.write(MESSAGE)
        assert ACCEPTED.fullmatch((await client.hear_until("250 2.0.0"))[-1])
        assert store.kept == [b"Hello.\r\n"]


@on_both_loops
async def test_after_a_temporary_failure_of_data_the_client_can_send_data_again():
    store = CountingStore()
    async with serving_pieces(store, memory=10_000) as served, served.client() as client:
        served.backend.memory.change(10_000)
        client.say(*HELLO)
        await client.hear_until("452")
        served.backend.memory.change(-10_000)
        await begin(client, "DATA")
        client.say("Hello.", ".")
        assert ACCEPTED.fullmatch(await client.hear())


@on_both_loops
async def test_input_that_arrives_while_a_message_is_stored_is_counted_as_memory_in_use():
    store = CountingStore(gate_open=False)
    async with serving_pieces(store, capabilities={"piece": 1 << 20}) as served, served.client() as client:
        client.writer.write(MESSAGE)
        await store.asked.wait()
        client.writer.write(b"NOOP\r\n" * 5_000)
        await served.until(lambda: served.backend.memory.used >= 30_000)
        client.say("QUIT")
        store.gate.set()
        await client.hear_all()


@on_both_loops
async def test_the_server_stops_reading_from_a_client_while_all_memory_is_in_use():
    store = CountingStore(gate_open=False)
    async with serving_pieces(store, memory=10_000) as served, served.client() as client:
        client.writer.write(MESSAGE)
        await store.asked.wait()
        served.backend.memory.change(10_000)
        client.writer.write(b"NOOP\r\n" * (PAUSE_AT // 12))
        (connection,) = served.server._connections
        await served.until(lambda: not connection._transport.is_reading())
        served.backend.memory.change(-10_000)
        client.say("QUIT")
        store.gate.set()
        answers = await client.hear_all()
        assert answers.count("250 2.0.0 OK") == PAUSE_AT // 12


# The ways in which a connection can end


async def quits(client, store, _served):
    await half(client, store)
    client.writer.write(LARGE[len(LARGE) // 2 :] + b".\r\nQUIT\r\n")
    assert (await client.hear_all())[-1] == "221 2.0.0 Bye"
    assert store.kept == [LARGE]


async def disconnects(client, store, _served):
    await half(client, store)
    client.writer.transport.abort()


async def closes_its_side(client, store, _served):
    await half(client, store)
    client.writer.write_eof()
    assert await client.hear_all() == []


async def breaks_the_protocol(client, store, _served):
    await half(client, store)
    client.writer.write(b"bare\nline end\r\n")
    assert (await client.hear_all())[-1].startswith("554 5.5.2 ")


async def is_stopped(client, store, served):
    await half(client, store)
    stopping = asyncio.create_task(served.server.stop())
    assert (await client.hear_all())[-1].startswith("421 4.3.2 ")
    client.writer.close()
    await stopping


async def disconnects_in_a_chunk(client, store, served):
    client.say(*HELLO[:3])
    client.writer.write(b"BDAT 5000 LAST\r\n" + LARGE[:3_000])
    await served.until(lambda: sum(store.begun.values()) >= 2_000)
    client.writer.transport.abort()


WAYS = [quits, disconnects, closes_its_side, breaks_the_protocol, is_stopped, disconnects_in_a_chunk]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_after_every_kind_of_connection_end_no_piece_and_no_memory_is_left(way, loop):
    async def scenario():
        store = CountingStore()
        async with serving_pieces(store) as served:
            async with served.client() as client:
                await way(client, store, served)
            await served.until_nobody_is_connected()
            assert served.backend.memory.used == 0
            await served.until(lambda: store.begun == {})
            assert len(store.kept) == (way is quits)
            assert served.emitted_of(events.Failed) == served.emitted_of(events.StoreFailed) == []

    run_on(loop, scenario)


@on_both_loops
async def test_a_client_that_disconnects_while_a_piece_is_written_leaves_nothing_in_the_store():
    store = CountingStore(gate_open=False)
    async with serving_pieces(store) as served:
        async with served.client() as client:
            await begin(client)
            client.writer.write(LARGE[:3_000])
            await store.asked.wait()
            client.writer.transport.abort()
        (connection,) = served.server._connections
        await served.until(lambda: connection._client_is_done or connection._is_lost)
        store.gate.set()
        await served.until_nobody_is_connected()
        await served.until(lambda: store.begun == {})
        assert store.kept == []


@on_both_loops
async def test_a_failure_to_delete_pieces_is_logged_and_the_connection_ends():
    store = CountingStore(fails_at=[2])
    async with serving(store, capabilities=PIECE) as served:
        async with served.client() as client:
            await begin(client)
            client.writer.write(LARGE[:1_500])
            await served.until(lambda: store.begun)
        await served.until_nobody_is_connected()
        assert served.backend.admission.connections.count == served.backend.memory.used == 0
        await served.until(lambda: served.emitted_of(events.StoreFailed))
        assert len(served.emitted_of(events.StoreFailed)) == 1


# Messages that are not completed


@on_both_loops
async def test_chunks_before_rset_are_deleted_by_the_next_message():
    store = CountingStore()
    async with serving_pieces(store) as served, served.client() as client:
        client.say(*HELLO[:3])
        client.writer.write(b"BDAT 5000\r\n" + LARGE[:5_000])
        await client.hear_until("250 2.0.0 5000")
        (first,) = store.begun
        client.say("RSET", *HELLO[1:])
        await client.hear_until("354")
        client.say("Hello.", ".")
        assert ACCEPTED.fullmatch(await client.hear())["id"] != first
        assert store.kept == [b"Hello.\r\n"]
        assert store.begun == {}


@on_both_loops
async def test_chunks_before_rset_are_not_part_of_the_next_large_message():
    store = CountingStore()
    async with serving_pieces(store) as served, served.client() as client:
        client.say(*HELLO[:3])
        client.writer.write(b"BDAT 5000\r\n" + b"x" * 5_000 + b"RSET\r\n")
        client.say(*HELLO[1:3])
        client.writer.write(b"BDAT %d LAST\r\n" % len(LARGE) + LARGE)
        await client.hear_until("250 2.0.0 5000")
        await client.hear_until("250 2.1.5")
        assert ACCEPTED.fullmatch(await client.hear())
        assert store.kept == [LARGE]
        assert store.begun == {}


@on_both_loops
async def test_nothing_is_kept_of_a_message_that_is_too_big_and_the_session_continues():
    store = CountingStore()
    async with (
        serving_pieces(store, capabilities={"message_limit": len(LARGE) - 1}) as served,
        served.client() as client,
    ):
        await begin(client)
        client.writer.write(LARGE + b".\r\n")
        assert (await client.hear())[:3] == "552"
        client.writer.write(MESSAGE)
        assert ACCEPTED.fullmatch((await client.hear_until("250 2.0.0"))[-1])
        assert store.kept == [b"Hello.\r\n"]
        assert store.begun == {}


@on_both_loops
async def test_a_loop_is_found_in_the_header_of_a_large_message_and_its_pieces_are_deleted():
    store = CountingStore()
    async with serving_pieces(store, capabilities={"piece": 4_000}) as served, served.client() as client:
        await begin(client)
        client.writer.write(b"Received: x\r\n" * 101 + HEADER + BODY + b".\r\n")
        assert await client.hear() == "554 5.4.6 Too many hops: more than 100 Received lines"
        assert store.begun != {}
        client.writer.write(MESSAGE)
        assert ACCEPTED.fullmatch((await client.hear_until("250 2.0.0"))[-1])
        assert store.begun == {}
        assert store.kept == [b"Hello.\r\n"]


@on_both_loops
async def test_chunks_before_starttls_are_discarded():
    from tests.kit.certificates import TlsClient, tls_setup

    store = CountingStore()
    with tls_setup() as setup:
        of_server = {"certificates": setup.certificates}
        async with (
            serving_pieces(store, capabilities={"offers_tls": True}, of_server=of_server) as served,
            served.client() as client,
        ):
            client.say(*HELLO[:3])
            client.writer.write(b"BDAT 5000\r\n" + LARGE[:5_000] + b"STARTTLS\r\n")
            await client.hear_until("220")
            tls = TlsClient(client.reader, client.writer)
            await tls.shake_hands()
            await served.until(lambda: not any(each._answering for each in served.server._connections))
            tls.send(b"BDAT 5 LAST\r\nHello" + MESSAGE)
            assert (await tls.hear())[:3] == "503"
            assert ACCEPTED.fullmatch((await tls.hear_until("250 2.0.0"))[-1])
            assert store.kept == [b"Hello.\r\n"]
            assert store.begun == {}
            client.writer.transport.abort()


# A store that fails or is slow


@pytest.mark.parametrize("number", [1, 2, 5])
@pytest.mark.parametrize("how", ["DATA", "BDAT"])
def test_a_failure_to_store_a_piece_is_reported_at_the_end_of_the_message_and_the_session_continues(number, how):
    async def scenario():
        store = CountingStore(fails_at=[number])
        async with serving_pieces(store) as served, served.client() as client:
            if how == "DATA":
                await begin(client)
                client.writer.write(LARGE + b".\r\n")
            else:
                client.say(*HELLO[:3])
                await client.hear_until("250 2.1.5")
                client.writer.write(b"BDAT %d LAST\r\n" % len(LARGE) + LARGE)
            failure = TRY_AGAIN.fullmatch(await client.hear())
            (failed,) = served.emitted_of(events.StoreFailed)
            assert failed.id == failure["id"]
            await begin(client, *HELLO[1:])
            client.writer.write(LARGE + b".\r\nQUIT\r\n")
            answer, _ = await client.hear_all()
            assert ACCEPTED.fullmatch(answer)
            assert store.kept == [LARGE]

    asyncio.run(scenario())


@on_both_loops
async def test_the_number_of_pieces_written_at_the_same_time_is_limited_over_all_connections():
    store = CountingStore(gate_open=False)
    async with serving_pieces(store) as served:

        async def send():
            async with served.client() as client:
                await begin(client)
                client.writer.write(LARGE + b".\r\nQUIT\r\n")
                return await client.hear_all()

        sending = [asyncio.create_task(send()) for _ in range(3 * PIECES_AT_ONCE)]
        await served.until(lambda: len(served.backend.pieces._waiters or ()) == 2 * PIECES_AT_ONCE)
        assert store.now == PIECES_AT_ONCE
        store.gate.set()
        for heard in await asyncio.gather(*sending):
            assert ACCEPTED.fullmatch(heard[0])
        assert store.kept == [LARGE] * (3 * PIECES_AT_ONCE)


@on_both_loops
async def test_small_messages_do_not_wait_for_pieces_of_large_messages():
    store = CountingStore()
    async with serving_pieces(store) as served, served.client() as client:
        for _ in range(PIECES_AT_ONCE):
            await served.backend.pieces.acquire()
        client.writer.write(MESSAGE)
        assert ACCEPTED.fullmatch((await client.hear_until("250 2.0.0"))[-1])
        for _ in range(PIECES_AT_ONCE):
            served.backend.pieces.release()
