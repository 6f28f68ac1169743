"""Tests of a nearly full disk: mail is refused temporarily at MAIL, at DATA, and in the middle of a large message."""

from dataclasses import replace

from tests.kit.servers.smtp_server import ACCEPTED, HELLO, MESSAGE, on_both_loops, serving
from tests.smtp.backend.test_large_messages import LARGE, CountingStore, begin, half, serving_pieces
from waypost.host import disk
from waypost.host.disk import DiskGuard
from waypost.observe import events

RESERVE = 1_000
NO_DISK = "452 4.3.1 Not enough disk space for a message now; please try again"


class Disk:
    """A disk whose free space a test sets. The clock advances with each check, so that every check reads it again."""

    def __init__(self, served):
        self.free = RESERVE
        self._now = 0.0
        guard = DiskGuard("/", RESERVE, emit=served.backend.emit, free=lambda _: self.free, clock=self._later)
        served.server.backend = served.backend = replace(served.backend, is_full=guard.is_full)

    def _later(self):
        self._now += disk.CHECK_EVERY
        return self._now


@on_both_loops
async def test_a_full_disk_refuses_mail_and_mail_is_accepted_when_there_is_space_again():
    store = CountingStore()
    async with serving(store) as served:
        fake_disk = Disk(served)
        async with served.client() as client:
            fake_disk.free = 999
            client.say(*HELLO[:2])
            assert (await client.hear_until("452"))[-1] == NO_DISK
            fake_disk.free = 1_050
            client.writer.write(MESSAGE)
            assert ACCEPTED.fullmatch((await client.hear_until("250 2.0.0"))[-1])
        assert [event.reply for event in served.emitted_of(events.MessageRefused)] == [NO_DISK]
        assert served.emitted_of(events.DiskFull) == [events.DiskFull(free=999, reserve=RESERVE)]
        assert served.emitted_of(events.DiskFreed) == [events.DiskFreed(free=1_050, reserve=RESERVE)]
        assert store.kept == [b"Hello.\r\n"]


@on_both_loops
async def test_a_full_disk_also_refuses_mail_on_a_trusted_listener():
    async with serving(listener={"trusted": True}, capabilities={"lmtp": True}) as served:
        fake_disk = Disk(served)
        async with served.client("220 mail.example LMTP Waypost") as client:
            fake_disk.free = 0
            client.say("LHLO client.example", HELLO[1])
            assert (await client.hear_until("452"))[-1] == NO_DISK


@on_both_loops
async def test_a_message_is_refused_at_data_if_the_disk_became_full_after_mail():
    store = CountingStore()
    async with serving(store) as served:
        fake_disk = Disk(served)
        async with served.client() as client:
            client.say(*HELLO[:3])
            await client.hear_until("250 2.1.5")
            fake_disk.free = 0
            client.say("DATA")
            assert await client.hear() == NO_DISK
            client.writer.write(b"BDAT 8 LAST\r\nHello.\r\n")
            assert await client.hear() == NO_DISK
        assert store.kept == []


@on_both_loops
async def test_a_large_message_is_refused_when_the_disk_becomes_full_and_its_pieces_are_deleted():
    store = CountingStore()
    async with serving_pieces(store) as served:
        fake_disk = Disk(served)
        async with served.client() as client:
            await half(client, store)
            fake_disk.free = 0
            client.writer.write(LARGE[len(LARGE) // 2 :])
            await served.until(lambda: store.begun == {})
            client.say(".")
            assert await client.hear() == NO_DISK
            assert store.kept == []
            fake_disk.free = 2_000
            await begin(client, *HELLO[1:])
            client.writer.write(LARGE + b".\r\n")
            assert ACCEPTED.fullmatch(await client.hear())
            assert store.kept == [LARGE]
