"""The worker and messages whose stored bytes are damaged: it sends none of them, keeps them, and tells the operator."""

import asyncio
import random

import pytest

from tests.kit.patience import PATIENCE
from tests.kit.servers.worker_alone import GONE, TAKEN, Scripted, a_system
from tests.kit.values import NOW
from waypost.domain.mail.delivery import AttemptResult, Policy, Protocol, Queued, Stage, Status, Then, Trouble, decide
from waypost.observe import events

SMALL, LARGE = b"Subject: hello\r\n\r\nHello.\r\n", random.Random(3).randbytes(600_000)


def reading(then):
    """Return a transport that reads each message before it returns TAKEN. After a failure to read, it raises the error,
    or returns `then`.
    """

    async def answer(parcel):
        try:
            async with parcel.reading() as parts:
                transport.read.append(b"".join([part async for part in parts]))
        except Exception:
            if then is None:
                raise
            return then
        return TAKEN

    transport = Scripted(answer=lambda parcel, _: answer(parcel))
    transport.read = []
    return transport


async def set_bytes(system, message_id, octets, checksum):
    def change(tx):
        changed = "UPDATE message_bodies SET octets = ?, checksum = ? WHERE message_id = ? AND start = ?"
        tx.connection.execute(changed, (octets[1], checksum, message_id, octets[0]))

    await system.store.write(change)


async def last_piece(system, message_id):
    query = "SELECT start, octets, checksum FROM message_bodies WHERE message_id = ? ORDER BY start DESC"
    start, octets, checksum = await system.store.read(
        lambda tx: tuple(tx.connection.execute(query, (message_id,)).fetchone())
    )
    return (start, octets), checksum


@pytest.mark.parametrize("octets", [SMALL, LARGE], ids=["in the claim", "in parts"])
@pytest.mark.parametrize("then", [None, GONE, TAKEN], ids=["raises", "blames the peer", "does not notice"])
def test_damaged_mail_is_not_sent_but_waits_until_it_is_restored(tmp_path, octets, then):
    async def scenario():
        transport = reading(then)
        async with a_system(tmp_path, transport, start=False) as system:
            damaged = await system.send("support", octets=octets)
            piece, checksum = await last_piece(system, damaged)
            await set_bytes(system, damaged, (piece[0], bytes([piece[1][0] ^ 1]) + piece[1][1:]), checksum)
            sound = await system.send("support")
            await system.worker.start()
            await system.rest()
            assert transport.read == [SMALL]  # the destination is not paused either
            assert (await system.delivery(sound, "support")).status is Status.DELIVERED
            assert await system.events(damaged) == ["accepted", "queued", "deferred"]
            detail = (await system.trace(damaged))[-1].detail
            assert (detail.attempt.trouble, detail.attempt.peer) == ("damaged", "")
            found = [event for event in system.emitted if isinstance(event, events.Damaged)]
            assert found == [events.Damaged(where="delivery", id=f"{damaged}.support", message_id=damaged)]
            await set_bytes(system, damaged, piece, checksum)
            await system.advance(days=1)
            assert transport.read == [SMALL, octets]

    asyncio.run(asyncio.wait_for(scenario(), 2 * PATIENCE))


def test_damaged_mail_becomes_a_dead_letter_with_a_notice_that_has_none_of_its_bytes(tmp_path):
    async def scenario():
        transport = reading(None)
        async with a_system(tmp_path, transport, names=("support", "ann"), start=False) as system:
            message_id = await system.send("support", sender="ann@example.com", octets=SMALL)
            piece, checksum = await last_piece(system, message_id)
            await set_bytes(system, message_id, piece, checksum ^ 1)
            await system.worker.start()
            await system.advance(days=10)
            assert (await system.delivery(message_id, "support")).status is Status.DEAD
            assert (await last_piece(system, message_id))[0] == piece
            (notice,) = [one for one in await system.inbox("ann") if one.envelope.sender == ""]
            octets = await system.store.long_read(
                lambda tx: tx.octets(notice.id, start=0, limit=notice.size), what="the data of a test"
            )
            assert b"5.4.7" in octets
            assert b"Hello" not in octets
            assert b"Subject: hello" not in octets

    asyncio.run(asyncio.wait_for(scenario(), 2 * PATIENCE))


@pytest.mark.parametrize("protocol", Protocol)
def test_the_destination_of_a_damaged_message_is_not_paused(protocol):
    result = AttemptResult(protocol=protocol, stage=Stage.END, trouble=Trouble.DAMAGED)
    found = decide(Queued(delivery_id="m.e", attempts=0, queued_at=NOW), result, NOW, Policy())
    assert (found.then, found.is_of_destination) == (Then.RETRY, False)
