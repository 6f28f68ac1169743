"""The power-cut layer loses what a program has not synced, for some seed, and nothing that it has synced."""

import sqlite3
from contextlib import closing

import pytest

from faults import preload
from faults.power_cut import Lost, PowerCut
from tests.faults.programs import after_cuts, some

pytestmark = pytest.mark.skipif(bool(preload.why_not()), reason=preload.why_not())

SYNC_DIRECTORY = "fd = os.open('.', os.O_RDONLY); os.fsync(fd); os.close(fd)\n"
WRITE = "import os\nfile = open('mail', 'wb', buffering=0)\n" + SYNC_DIRECTORY + "file.write(b'a' * 10_000)\n"
ORIGINAL = "import os\nfile = open('mail', 'wb'); file.write(b'old' * 5_000); file.flush(); os.fsync(file.fileno())\n"
ORIGINAL += SYNC_DIRECTORY
MANY = 12
"""The number of seeds for which nothing may be lost."""


def content(directory, name="mail"):
    return (directory / name).read_bytes() if (directory / name).exists() else None


def test_a_program_that_does_not_sync_loses_what_it_wrote(tmp_path):
    assert some(tmp_path, WRITE, lambda directory: content(directory) == b"")


@pytest.mark.parametrize("sync", ["os.fsync(file.fileno())", "os.sync()"])
def test_a_program_that_syncs_its_file_and_directory_loses_nothing(tmp_path, sync):
    for directory, lost in after_cuts(tmp_path, WRITE + sync, seeds=MANY // 3, tear=512):
        assert content(directory) == b"a" * 10_000
        assert lost == Lost()


@pytest.mark.long
@pytest.mark.slow
def test_a_synced_file_whose_directory_was_not_synced_loses_its_name(tmp_path):
    program = "import os\nfile = open('mail', 'wb', buffering=0); file.write(b'a'); os.fsync(file.fileno())"
    assert some(tmp_path, program, lambda directory: content(directory) is None)


def test_a_rename_without_a_sync_of_the_directory_loses_the_new_name(tmp_path):
    program = WRITE + "os.fsync(file.fileno())\nos.rename('mail', 'new')\n"
    assert some(tmp_path, program, lambda directory: content(directory, "new") is None)
    for directory, _ in after_cuts(tmp_path, program + SYNC_DIRECTORY, seeds=4):
        assert content(directory, "new") == b"a" * 10_000
        assert content(directory) is None


def test_a_rename_before_the_contents_were_synced_can_leave_an_empty_file(tmp_path):
    program = WRITE + "os.rename('mail', 'new')\n" + SYNC_DIRECTORY
    assert some(tmp_path, program, lambda directory: content(directory, "new") == b"")


@pytest.mark.long
@pytest.mark.slow
def test_a_file_that_a_rename_replaced_comes_back(tmp_path):
    program = ORIGINAL + "open('other', 'wb').write(b'new'); os.rename('other', 'mail')"
    assert some(tmp_path, program, lambda directory: content(directory) == b"old" * 5_000)


@pytest.mark.long
@pytest.mark.slow
def test_a_removed_file_comes_back_with_its_contents(tmp_path):
    assert some(tmp_path, ORIGINAL + "os.unlink('mail')", lambda directory: content(directory) == b"old" * 5_000)
    for directory, _ in after_cuts(tmp_path, ORIGINAL + "os.unlink('mail')\n" + SYNC_DIRECTORY, seeds=4):
        assert content(directory) is None


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        "os.ftruncate(file.fileno(), 100)",
        "os.truncate('mail', 100)",
        "open('mail', 'wb')",
        "os.pwrite(file.fileno(), b'new', 6_000)",
        "os.writev(file.fileno(), [b'new', b'er'])",
        "os.pwritev(file.fileno(), [b'new', b'er'], 14_000)",
        "os.posix_fallocate(file.fileno(), 0, 100_000)",
        "os.sendfile(file.fileno(), os.open('mail', os.O_RDONLY), 0, 100)",
        "os.copy_file_range(os.open('mail', os.O_RDONLY), file.fileno(), 100)",
        "os.dup2(file.fileno(), 90); os.write(90, b'new')",
        "open('mail', 'ab').write(b'new')",
        "import mmap; m = mmap.mmap(os.open('mail', os.O_RDWR), 4096); m[:3] = b'new'",
    ],
)
def test_each_way_to_change_a_file_can_be_undone(tmp_path, change):
    old = b"old" * 5_000
    found = {content(directory) for directory, _ in after_cuts(tmp_path, ORIGINAL + change, seeds=8)}
    assert old in found
    assert len(found) > 1


@pytest.mark.long
@pytest.mark.slow
def test_memory_that_is_shared_with_a_file_survives_after_msync(tmp_path):
    change = "import mmap; m = mmap.mmap(os.open('mail', os.O_RDWR), 4096); m[:3] = b'new'; m.flush(); m[:3] = b'not'"
    found = {content(directory)[:3] for directory, _ in after_cuts(tmp_path, ORIGINAL + change, seeds=20)}
    assert found == {b"new", b"not"}


@pytest.mark.long
@pytest.mark.slow
def test_a_file_without_a_name_that_gets_one_can_lose_it(tmp_path):
    program = "import os\nfd = os.open('.', os.O_TMPFILE | os.O_WRONLY); os.write(fd, b'a'); os.fsync(fd)\n"
    program += "os.link(f'/proc/self/fd/{fd}', 'mail', src_dir_fd=fd)\n"
    found = {content(directory) for directory, _ in after_cuts(tmp_path, program, seeds=20)}
    assert found == {None, b"a"}


@pytest.mark.long
@pytest.mark.slow
def test_new_directories_and_links_can_be_lost_and_removed_directories_come_back(tmp_path):
    program = "import os\nos.mkdir('a'); os.mkdir('gone'); open('a/b', 'w'); " + SYNC_DIRECTORY
    program += "os.mkdir('c'); os.link('a/b', 'c/b'); os.symlink('a', 'd'); os.rmdir('gone'); os.remove('a/b')"
    found = set()
    for directory, _ in after_cuts(tmp_path, program, seeds=30):
        found |= {frozenset(str(path.relative_to(directory)) for path in directory.rglob("*"))}
    names = set().union(*found)
    assert names == {"a", "a/b", "gone", "c", "c/b", "d"}
    for name in names - {"a"}:
        assert any(name in one for one in found), name
        assert any(name not in one for one in found), name
    assert all("a" in one for one in found)


@pytest.mark.slow
def test_a_write_is_torn_at_a_sector(tmp_path):
    found = {content(directory) for directory, _ in after_cuts(tmp_path, WRITE, seeds=20, tear=512)}
    torn = [octets for octets in found if octets not in (b"", b"a" * 10_000)]
    assert torn
    for octets in torn:
        assert all(len(set(octets[start : start + 512])) == 1 for start in range(0, len(octets), 512))
        assert any(octets[start : start + 512] == b"a" * 512 for start in range(0, len(octets), 512))


@pytest.mark.long
@pytest.mark.slow
def test_without_reordering_only_the_last_changes_are_lost(tmp_path):
    program = WRITE + "for n in range(20): os.pwrite(file.fileno(), bytes([n]) * 100, 10_000 + 100 * n)"
    whole = b"a" * 10_000 + b"".join(bytes([n]) * 100 for n in range(20))
    found = {content(directory) for directory, _ in after_cuts(tmp_path, program, seeds=15, reorder=False)}
    assert len(found) > 3
    assert all(whole.startswith(octets) for octets in found)
    found = {content(directory) for directory, _ in after_cuts(tmp_path, program, seeds=15)}
    assert not all(whole.startswith(octets) for octets in found)


@pytest.mark.long
@pytest.mark.slow
def test_the_same_log_and_seed_lose_the_same(tmp_path):
    program = WRITE + "for n in range(20): os.pwrite(file.fileno(), bytes([n]) * 600, 500 * n)"
    found = []
    for base in (tmp_path / "one", tmp_path / "other"):
        base.mkdir()
        found.append([(content(each), lost) for each, lost in after_cuts(base, program, seeds=4, tear=512)])
    assert found[0] == found[1]


@pytest.mark.slow
def test_two_processes_and_a_fork_share_the_log(tmp_path):
    """A sync by one process makes what another process wrote durable, but not what it writes afterwards."""
    program = """
import os
file = os.open('mail', os.O_RDWR | os.O_CREAT)
fd = os.open('.', os.O_RDONLY); os.fsync(fd)
def other(code):
    os.posix_spawn('/proc/self/exe', ['python', '-S', '-E', '-c', code], os.environ)
    assert os.wait()[1] == 0
other("import os; os.write(os.open('mail', os.O_WRONLY), b'one')")
if not os.fork():
    os.pwrite(file, b'two', 3)
    os._exit(0)
os.wait()
os.fsync(file)
other("import os; os.pwrite(os.open('mail', os.O_WRONLY), b'three', 6)")
"""
    found = {content(directory) for directory, _ in after_cuts(tmp_path, program, seeds=12, tear=512)}
    assert found - {b"onetwo" + bytes(5)} == {b"onetwo", b"onetwothree"}


@pytest.mark.long
@pytest.mark.slow
def test_a_process_that_is_killed_while_it_writes_leaves_the_others_working(tmp_path):
    """The killed process may hold the lock. The other process then finishes, and nothing synced is lost."""
    program = """
import os, signal
child = os.fork()
if not child:
    file = os.open('scratch', os.O_RDWR | os.O_CREAT)
    while True:
        os.pwrite(file, b'x' * 50_000, 0)
while not os.path.exists('scratch'): pass
file = os.open('mail', os.O_RDWR | os.O_CREAT)
fd = os.open('.', os.O_RDONLY); os.fsync(fd)
for n in range(200):
    os.pwrite(file, b'abc', 3 * n); os.fsync(file)
os.kill(child, signal.SIGKILL); os.wait()
os.pwrite(file, b'end', 600); os.fsync(file)
"""
    for directory, _ in after_cuts(tmp_path, program, seeds=6):
        assert content(directory) == b"abc" * 200 + b"end"


SQLITE = """
import os, sqlite3
c = sqlite3.connect('base', isolation_level=None)
c.execute('PRAGMA journal_mode = {mode}'); c.execute('PRAGMA synchronous = {synchronous}')
c.execute('CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY, octets BLOB)')
for n in range(32):
    c.execute('INSERT INTO t VALUES (?, zeroblob(3000))', (n,))
    if n % 10 == 9:
        c.execute('PRAGMA wal_checkpoint')
os.kill(os.getpid(), 9)
"""


ROWS = 32
"""The last two rows are in no checkpoint."""


def rows_of(directory):
    """Return the number of rows of the database; None if it is damaged."""
    with closing(sqlite3.connect(directory / "base")) as connection:
        try:
            if connection.execute("PRAGMA integrity_check").fetchone() != ("ok",):
                return None
            return connection.execute("SELECT count(*) FROM t").fetchone()[0]
        except sqlite3.Error:
            return None


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(("mode", "synchronous"), [("WAL", "OFF"), ("WAL", "NORMAL"), ("DELETE", "OFF")])
def test_sqlite_without_full_synchronisation_loses_commits(tmp_path, mode, synchronous):
    program = SQLITE.format(mode=mode, synchronous=synchronous)
    assert some(tmp_path, program, lambda directory: rows_of(directory) != ROWS, tear=4096)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_sqlite_with_full_synchronisation_loses_no_commit(tmp_path, mode):
    options = [{"tear": tear, "reorder": reorder} for tear in (0, 512, 4096) for reorder in (True, False)]
    synchronous = "FULL" if mode == "WAL" else "EXTRA"  # with a journal, FULL does not sync the journal's removal
    for number, option in enumerate(options):
        base = tmp_path / str(number)
        base.mkdir()
        program = SQLITE.format(mode=mode, synchronous=synchronous)
        for directory, _ in after_cuts(base, program, seeds=2, **option):
            assert rows_of(directory) == ROWS


def test_files_elsewhere_are_not_touched(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    for _, lost in after_cuts(tmp_path, f"open({str(elsewhere)!r}, 'w').write('kept')", seeds=2):
        assert lost == Lost()
        assert elsewhere.read_text() == "kept"


def test_the_log_must_be_outside_of_the_directory(tmp_path):
    with pytest.raises(ValueError, match="must not be below"):
        PowerCut(tmp_path, tmp_path / "log")


def test_without_a_compiler_the_error_says_so(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(preload.CannotCompile, match="no C compiler was found"):
        preload.compiled(None)
