"""A disk that is nearly full: mail is refused for now at MAIL, at DATA, and in the midst of a large message."""

from dataclasses import replace

from tests.kit.servers.smtp_server import ACCEPTED, HELLO, MESSAGE, on_both_loops, serving
from tests.smtp.backend.test_large_messages import LARGE, WatchedStore, begin, half, serving_pieces
from waypost.host import disk
from waypost.host.disk import DiskGuard
from waypost.observe import events

RESERVE = 1_000
NO_DISK = "452 4.3.1 Not enough disk space for a message now; please try again"


class Disk:
    """A disk with as much room as a test says; at each look it is late enough for one."""

    def __init__(self, served):
        self.free = RESERVE
        self._now = 0.0
        guard = DiskGuard("/", RESERVE, emit=served.backend.emit, free=lambda _: self.free, clock=self._later)
        served.server.backend = served.backend = replace(served.backend, is_full=guard.is_full)

    def _later(self):
        self._now += disk.LOOK_EVERY
        return self._now


@on_both_loops
async def test_mail_is_refused_at_mail_and_taken_when_there_is_room_again():
    store = WatchedStore()
    async with serving(store) as served:
        room = Disk(served)
        async with served.client() as client:
            room.free = 999
            client.say(*HELLO[:2])
            assert (await client.hear_until("452"))[-1] == NO_DISK
            room.free = 1_050
            client.writer.write(MESSAGE)
            assert ACCEPTED.fullmatch((await client.hear_until("250 2.0.0"))[-1])
        assert [event.reply for event in served.emitted_of(events.MessageRefused)] == [NO_DISK]
        assert served.emitted_of(events.DiskFull) == [events.DiskFull(free=999, reserve=RESERVE)]
        assert served.emitted_of(events.DiskFreed) == [events.DiskFreed(free=1_050, reserve=RESERVE)]
        assert store.kept == [b"Hello.\r\n"]


@on_both_loops
async def test_mail_of_our_own_servers_is_put_off_as_well():
    async with serving(listener={"trusted": True}, capabilities={"lmtp": True}) as served:
        room = Disk(served)
        async with served.client("220 mail.example LMTP Waypost") as client:
            room.free = 0
            client.say("LHLO client.example", HELLO[1])
            assert (await client.hear_until("452"))[-1] == NO_DISK


@on_both_loops
async def test_who_was_let_in_is_refused_at_data_if_the_disk_is_full_by_then():
    store = WatchedStore()
    async with serving(store) as served:
        room = Disk(served)
        async with served.client() as client:
            client.say(*HELLO[:3])
            await client.hear_until("250 2.1.5")
            room.free = 0
            client.say("DATA")
            assert await client.hear() == NO_DISK
            client.writer.write(b"BDAT 8 LAST\r\nHello.\r\n")
            assert await client.hear() == NO_DISK
        assert store.kept == []


@on_both_loops
async def test_a_large_message_is_given_up_when_the_disk_gets_full_and_gives_back_what_it_took():
    store = WatchedStore()
    async with serving_pieces(store) as served:
        room = Disk(served)
        async with served.client() as client:
            await half(client, store)
            room.free = 0
            client.writer.write(LARGE[len(LARGE) // 2 :])
            await served.until(lambda: store.begun == {})
            client.say(".")
            assert await client.hear() == NO_DISK
            assert store.kept == []
            room.free = 2_000
            await begin(client, *HELLO[1:])
            client.writer.write(LARGE + b".\r\n")
            assert ACCEPTED.fullmatch(await client.hear())
            assert store.kept == [LARGE]
