"""Power cuts and failing disks, by the libraries that the servers preload (`faults.power_cut` and `faults.disk`)."""

import errno
import time
from contextlib import suppress

from faults import preload
from faults.campaign.kills import start
from faults.campaign.limits import recover
from faults.disk import DiskFaults
from faults.power_cut import PowerCut

ERRORS = (errno.EIO, errno.ENOSPC, errno.EDQUOT)

HIT_WITHIN = 10.0
"""The time, in seconds, in which a server under load makes almost every kind of system call. After it, the fault ends
without an effect.
"""

CALLS = (
    ("fsync", "*-wal"),
    ("fsync", "*/waypost.sqlite3"),
    ("fsync", "1"),
    ("write", "*-wal"),
    ("write", "*/waypost.sqlite3"),
    ("truncate", "*"),
    ("fsync", "maildir/*"),
    ("write", "maildir/tmp/*"),
    ("rename", "maildir/new/*"),
)
"""The system calls of which one fails before a power cut, and the files. `1` is the data directory."""


def power_cut_layer(site):
    """Return the environment of servers whose power can be cut. What they have not synced is then lost."""
    site.power = PowerCut(site.data, site.directory / "not-synced")
    return site.power.environment()


def disk_layer(site):
    """Return the environment of servers whose disk can fail."""
    site.disk = DiskFaults(site.data, site.directory / "disk-faults")
    return site.disk.environment()


def both_layers(site):
    """Return the environment of servers whose disk can fail and whose power can be cut."""
    return preload.joined(disk_layer(site), power_cut_layer(site))


def fail_sync_and_cut(site, chance):
    """Let some fsync of files in a Maildir fail, which drops what was written; then cut the power."""
    site.disk.fail("fsync", errno.EIO, "maildir/*", times=chance.randint(1, 4))
    time.sleep(chance.uniform(0.3, 1.0))
    site.disk.clear()
    cut_power(site, chance)


def fail_call_and_cut(site, chance):
    """Let one system call fail, let the server accept more mail, and cut the power. Sometimes restart the server after
    the failed call, so that it finds in memory what is not on the disk.
    """
    began = time.monotonic()
    calls, path = chance.choice(CALLS)
    rule = site.disk.fail(calls, chance.choice(ERRORS), path, after=chance.randint(0, 20))
    _wait_for_hit(site, rule)
    _repair(site, chance)
    time.sleep(chance.uniform(0.3, 1.0))
    cut_power(site, chance)
    site.window(f"{calls} failed, and power cut", began)


def fail_log_sync_kill_and_cut(site, chance):
    """Let each fsync of the log fail, kill the server and start it again, and cut the power when it has accepted more.

    The log of the killed server ends with a transaction that was refused.
    """
    began = time.monotonic()
    rule = site.disk.fail("fsync", errno.EIO, "*-wal", after=chance.randint(0, 20), times=1 << 30)
    _wait_for_hit(site, rule)
    time.sleep(chance.uniform(0.05, 0.3))
    site.server.kill()
    site.disk.clear()
    start(site.server)
    site.window("kill of the server", began)
    time.sleep(chance.uniform(0.1, 1.0))
    cut_power(site, chance)


def cut_power(site, chance):
    """Kill all processes, and undo a part of what was not synced: also reordered, and torn within a write."""
    time.sleep(chance.uniform(0, 0.2))
    began = time.monotonic()
    site.server.kill()
    site.power.cut(chance.randrange(1 << 32), tear=chance.choice([0, 512, 4096]), reorder=chance.random() < 0.7)
    start(site.server)
    site.window("power cut", began)


def fail_calls(calls, path="*", *, after=20):
    """Return an injector that makes some system calls on files that match `path` fail, after up to `after` others."""

    def fail(site, chance):
        began = time.monotonic()
        rule = site.disk.fail(
            calls, chance.choice(ERRORS), path, after=chance.randint(0, after), times=chance.choice([1, 1, 2, 20])
        )
        _wait_for_hit(site, rule)
        _repair(site, chance)
        site.window(f"{calls} failed", began)

    return fail


def no_space(site, chance):
    """Let the disk be full for some time."""
    began = time.monotonic()
    site.disk.fail(("write", "truncate", "mkdir"), errno.ENOSPC, times=1 << 30)
    time.sleep(chance.uniform(0.2, 1.5))
    _repair(site, chance)
    site.window("no space", began)


def read_only(site, chance):
    """Let the file system be mounted for reading only, as after an error; then repair it and start the server again."""
    began = time.monotonic()
    site.disk.make_read_only()
    time.sleep(chance.uniform(0.2, 1.0))
    _repair(site, chance)
    site.window("read-only", began)


def shorten(site, chance):
    """Let writes write half of their octets."""
    began = time.monotonic()
    rule = site.disk.shorten(after=chance.randint(0, 20), times=chance.choice([1, 2, 20]))
    _wait_for_hit(site, rule)
    _repair(site, chance)
    site.window("short writes", began)


def slow_sync(site, chance):
    """Let fsync take long, and once hang."""
    began = time.monotonic()
    site.disk.slow(chance.uniform(0.02, 0.2))
    time.sleep(chance.uniform(0.2, 1.0))
    site.disk.clear()
    site.disk.hang(times=1)
    time.sleep(chance.uniform(0.2, 1.5))
    site.disk.clear()
    site.window("slow fsync", began)


def _wait_for_hit(site, rule):
    with suppress(TimeoutError):
        site.disk.wait_for_hit(rule, seconds=HIT_WITHIN)


def _repair(site, chance):
    """Let the disk work again. Sometimes restart the server, as an operator does after an error of the disk."""
    site.disk.clear()
    if chance.random() < 0.5 and site.server.is_running:
        site.server.kill()
        start(site.server)
    recover(site)
