"""The disk guard: when the disk counts as full, how often the guard checks it, and which events it emits."""

import pytest

from waypost.host import disk
from waypost.host.disk import DiskGuard
from waypost.observe import events

MIB = 1024 * 1024


class Disk:
    """A disk guard on a simulated disk, whose free space the test sets, with a clock that the test advances."""

    def __init__(self, free=1000, reusable=0):
        self.free, self.reusable = free, reusable
        self.now = 100.0
        self.checks = 0
        self.is_gone = False
        self.emitted = []
        self.guard = DiskGuard(
            "/data",
            1000,
            emit=self.emitted.append,
            free=self._free,
            reusable=lambda: self.reusable,
            clock=lambda: self.now,
        )

    def _free(self, directory):
        assert directory == "/data"
        self.checks += 1
        if self.is_gone:
            raise FileNotFoundError(directory)
        return self.free

    def later(self, free=None, *, seconds=disk.CHECK_EVERY):
        """Advance the clock, set the free space if given, and return whether the guard says that the disk is full."""
        self.now += seconds
        self.free = self.free if free is None else free
        return self.guard.is_full()


@pytest.mark.parametrize(("free", "is_full"), [(10_000, False), (1000, False), (999, True), (0, True)])
def test_the_disk_is_full_if_it_has_less_free_space_than_the_reserve(free, is_full):
    assert Disk(free).guard.is_full() is is_full


def test_the_guard_checks_the_disk_at_most_once_a_second():
    empty_disk = Disk(1000)
    assert [empty_disk.guard.is_full() for _ in range(9)] == [False] * 9
    assert not empty_disk.later(0, seconds=0.99)
    assert empty_disk.checks == 1
    assert empty_disk.later(0, seconds=0.01)
    assert empty_disk.checks == 2


def test_the_disk_is_full_until_a_little_more_than_the_reserve_is_free():
    full = Disk(999)
    assert [full.later(free) for free in (999, 1000, 1049, 1050, 1000, 999, 1049)] == [
        *(True, True, True),
        *(False, False),
        *(True, True),
    ]


def test_each_change_is_logged_once():
    changing = Disk(1000)
    for free in (1000, 999, 5, 1049, 2000, 2000, 1000, 400):
        changing.later(free)
    assert changing.emitted == [
        events.DiskFull(free=999, reserve=1000),
        events.DiskFreed(free=2000, reserve=1000),
        events.DiskFull(free=400, reserve=1000),
    ]


@pytest.mark.parametrize(
    ("free", "reusable", "is_full"),
    [(600, 400, False), (600, 399, True), (250, 750, False), (249, 10_000, True)],
)
def test_reusable_space_in_files_counts_if_the_disk_itself_has_some_free_space(free, reusable, is_full):
    assert Disk(free, reusable).guard.is_full() is is_full


def test_the_state_is_unchanged_if_the_disk_cannot_be_checked():
    lost = Disk(1000)
    lost.is_gone = True
    assert not lost.later()
    lost.is_gone = False
    assert lost.later(0)
    lost.is_gone = True
    assert lost.later(10_000)
    assert len(lost.emitted) == 1


def test_the_free_space_of_the_real_disk_is_plausible(tmp_path):
    assert 0 < disk.free_octets(tmp_path) < 1 << 70
    emitted = []
    assert DiskGuard(tmp_path, 1 << 70, emit=emitted.append).is_full()
    assert not DiskGuard(tmp_path, 0, emit=emitted.append).is_full()
    assert not DiskGuard(tmp_path / "gone", 1 << 70, emit=emitted.append).is_full()
    assert len(emitted) == 1
