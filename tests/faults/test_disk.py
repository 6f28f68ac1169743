"""Each rule of `DiskFaults` affects the calls that it is for, and no others."""

import errno
import os
import shutil
import subprocess
import sys

import pytest

from faults import preload
from faults.disk import ALWAYS, DiskFaults
from faults.power_cut import PowerCut
from tests.faults.programs import run
from tests.kit.patience import PATIENCE

pytestmark = pytest.mark.skipif(bool(preload.why_not()), reason=preload.why_not())


@pytest.fixture
def faults(tmp_path):
    (tmp_path / "files").mkdir()
    return DiskFaults(tmp_path / "files", tmp_path / "control")


TRYING = """
import os
def trying(call, *arguments, **more):
    try:
        result = call(*arguments, **more)
    except OSError as error:
        result = os.strerror(error.errno)
    print(result)
"""


def tried(faults, program):
    return run(TRYING + program, faults.directory, faults.environment()).splitlines()


def test_a_rule_affects_some_calls_on_some_files(faults):
    rule = faults.fail("write", errno.ENOSPC, "*-wal", after=1, times=2)
    program = "wal, other = (os.open(name, os.O_CREAT | os.O_RDWR) for name in ('a-wal', 'a'))\n"
    program += "for _ in range(5): trying(os.write, wal, b'abc'); trying(os.pwrite, other, b'abc', 0)"
    full = os.strerror(errno.ENOSPC)
    assert tried(faults, program) == ["3", "3", full, "3", full, "3", "3", "3", "3", "3"]
    assert faults.hits(rule) == 2


CALLS = {
    "open": "os.open('a', os.O_RDONLY)",
    "read": "os.pread(file, 1, 0)",
    "write": "os.writev(file, [b'a'])",
    "fsync": "os.fdatasync(file)",
    "truncate": "os.ftruncate(file, 1)",
    "rename": "os.rename('a', 'a')",
    "unlink": "os.unlink('a')",
    "link": "os.link('b', 'a')",
    "mkdir": "os.mkdir('a')",
}


@pytest.mark.parametrize("call", CALLS)
def test_each_kind_of_call_fails_until_the_rules_are_cleared(faults, call):
    program = "file = os.open('a', os.O_CREAT | os.O_RDWR); os.close(os.open('b', os.O_CREAT))\n"
    name, _, arguments = CALLS[call].partition("(")
    program += f"trying({name}, {arguments}"
    faults.fail(call, errno.EDQUOT, "a", after=call == "open", times=ALWAYS)
    assert tried(faults, program) == [os.strerror(errno.EDQUOT)]
    faults.clear()
    assert tried(faults, program) != [os.strerror(errno.EDQUOT)]


def test_a_write_can_be_short(faults):
    faults.shorten("mail")
    program = "file = os.open('mail', os.O_CREAT | os.O_RDWR); trying(os.write, file, b'abcdefgh'); "
    assert tried(faults, program + "trying(os.write, file, b'efgh')") == ["4", "4"]
    assert (faults.directory / "mail").read_bytes() == b"abcdefgh"


def test_a_file_system_can_become_read_only(faults):
    (faults.directory / "a").write_text("old")
    faults.make_read_only()
    program = "file = os.open('a', os.O_RDWR); trying(os.write, file, b'new'); trying(os.rename, 'a', 'b'); "
    assert tried(faults, program + "trying(os.read, file, 3)")[::2] == [os.strerror(errno.EROFS), "b'old'"]
    assert [path.name for path in faults.directory.iterdir()] == ["a"]


def test_an_fsync_hangs_until_the_rules_are_cleared(faults):
    rule = faults.hang("mail")
    program = TRYING + "file = os.open('mail', os.O_CREAT | os.O_RDWR); trying(os.fsync, file)"
    command = [sys.executable, "-S", "-E", "-c", program]
    environment = {**os.environ, **faults.environment()}
    with subprocess.Popen(command, env=environment, cwd=faults.directory, stdout=subprocess.PIPE) as started:
        faults.wait_for_hit(rule)
        assert started.poll() is None
        faults.clear()
        assert started.communicate(timeout=PATIENCE) == (b"None\n", None)


def test_an_fsync_can_be_slow(faults):
    rule = faults.slow(0.05)
    program = "import time; file = os.open('mail', os.O_CREAT | os.O_RDWR); began = time.monotonic(); os.fsync(file)\n"
    assert tried(faults, program + "print(time.monotonic() - began >= 0.05)") == ["True"]
    assert faults.hits(rule) == 1


@pytest.mark.parametrize("is_written_again", [False, True])
def test_after_a_failed_fsync_a_later_one_does_not_make_the_same_writes_durable(tmp_path, is_written_again):
    """What is written again, after the failed fsync, is durable."""
    program = TRYING + "file = os.open('mail', os.O_CREAT | os.O_RDWR); at = os.open('.', 0); os.fsync(at)\n"
    program += "trying(os.write, file, b'first'); trying(os.fsync, file)\n"
    if is_written_again:
        program += "trying(os.pwrite, file, b'first', 0)\n"
    program += "trying(os.write, file, b'second'); trying(os.fsync, file)"
    for seed in range(3):
        shutil.rmtree(tmp_path / "files", ignore_errors=True)
        (tmp_path / "files").mkdir()
        faults = DiskFaults(tmp_path / "files", tmp_path / "control")
        cut = PowerCut(tmp_path / "files", tmp_path / "cut")
        faults.fail("fsync", errno.EIO, "mail")
        printed = run(program, faults.directory, preload.joined(faults.environment(), cut.environment())).splitlines()
        assert printed[:2] == ["5", os.strerror(errno.EIO)]
        assert printed[-2:] == ["6", "None"]
        cut.cut(seed)
        first = b"first" if is_written_again else bytes(5)
        assert (tmp_path / "files" / "mail").read_bytes() == first + b"second"
