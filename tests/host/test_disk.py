"""The disk guard: when it says that the disk is full, how often it looks, and what it tells."""

import pytest

from waypost.host import disk
from waypost.host.disk import DiskGuard
from waypost.observe import events

MIB = 1024 * 1024


class Disk:
    """A disk that has as much room as is said, and a clock."""

    def __init__(self, free=1000, reusable=0):
        self.free, self.reusable = free, reusable
        self.now = 100.0
        self.looks = 0
        self.is_gone = False
        self.told = []
        self.guard = DiskGuard(
            "/data",
            1000,
            emit=self.told.append,
            free=self._free,
            reusable=lambda: self.reusable,
            clock=lambda: self.now,
        )

    def _free(self, directory):
        assert directory == "/data"
        self.looks += 1
        if self.is_gone:
            raise FileNotFoundError(directory)
        return self.free

    def later(self, free=None, *, seconds=disk.LOOK_EVERY):
        """What the guard says some time later, perhaps with other room."""
        self.now += seconds
        self.free = self.free if free is None else free
        return self.guard.is_full()


@pytest.mark.parametrize(("free", "is_full"), [(10_000, False), (1000, False), (999, True), (0, True)])
def test_with_less_free_than_the_reserve_it_is_full(free, is_full):
    assert Disk(free).guard.is_full() is is_full


def test_it_looks_at_most_once_a_second():
    with_room = Disk(1000)
    assert [with_room.guard.is_full() for _ in range(9)] == [False] * 9
    assert not with_room.later(0, seconds=0.99)
    assert with_room.looks == 1
    assert with_room.later(0, seconds=0.01)
    assert with_room.looks == 2


def test_it_is_full_until_there_is_a_little_more_room_than_the_reserve():
    full = Disk(999)
    assert [full.later(free) for free in (999, 1000, 1049, 1050, 1000, 999, 1049)] == [
        *(True, True, True),
        *(False, False),
        *(True, True),
    ]


def test_each_change_is_told_once():
    changing = Disk(1000)
    for free in (1000, 999, 5, 1049, 2000, 2000, 1000, 400):
        changing.later(free)
    assert changing.told == [
        events.DiskFull(free=999, reserve=1000),
        events.DiskFreed(free=2000, reserve=1000),
        events.DiskFull(free=400, reserve=1000),
    ]


@pytest.mark.parametrize(
    ("free", "reusable", "is_full"),
    [(600, 400, False), (600, 399, True), (250, 750, False), (249, 10_000, True)],
)
def test_room_within_files_counts_as_long_as_the_disk_itself_has_some(free, reusable, is_full):
    assert Disk(free, reusable).guard.is_full() is is_full


def test_a_disk_that_cannot_be_asked_is_as_it_was():
    lost = Disk(1000)
    lost.is_gone = True
    assert not lost.later()
    lost.is_gone = False
    assert lost.later(0)
    lost.is_gone = True
    assert lost.later(10_000)
    assert len(lost.told) == 1


def test_the_real_disk_has_some_octets_and_no_end_of_them(tmp_path):
    assert 0 < disk.free_octets(tmp_path) < 1 << 70
    told = []
    assert DiskGuard(tmp_path, 1 << 70, emit=told.append).is_full()
    assert not DiskGuard(tmp_path, 0, emit=told.append).is_full()
    assert not DiskGuard(tmp_path / "gone", 1 << 70, emit=told.append).is_full()
    assert len(told) == 1
