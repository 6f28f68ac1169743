"""The table of the kinds of fault."""

from collections.abc import Callable
from dataclasses import dataclass

from faults import failpoints, preload, small_disk
from faults.campaign import clocks, damage, databases, disks, histories, kills, limits
from tests.kit.servers import false_clock

SQLITE, POSTGRESQL = "sqlite", "postgresql"
BOTH = (SQLITE, POSTGRESQL)
POSTGRES = (POSTGRESQL,)


@dataclass(frozen=True)
class FaultKind:
    """A kind of fault. `inject(site, chance)` injects one, and returns when the server works again.

    `chance` is a random generator, which makes all random choices.
    """

    name: str
    inject: Callable
    stores: tuple[str, ...] = BOTH
    workers: tuple[int, ...] = (1, 2)
    site: str = "plain"
    """The kind of deployment that it needs: see `SITES` in runner.py."""
    is_ordered: bool = True
    """Whether the inboxes must keep the order of each client's messages, which a wrong clock can change."""
    expects_failures: bool = False
    """Whether the server may log an unexpected error, such as a lack of memory."""
    may_lose_leases: bool = True
    """Whether a lease may end during an attempt because the machine is slow, as the event `lease_lost` says."""
    has_doubt: bool = False
    """Whether a message that an SQLite server answers with a temporary failure may be stored, because the write that
    overwrites its failed commit fails too (docs/durability.md). It must then be stored as a whole, or not at all."""


KINDS = [
    FaultKind("kill the server", kills.kill_server),
    FaultKind("kill a worker", kills.kill_worker, workers=(2,)),
    FaultKind("kill the supervisor", kills.kill_supervisor, workers=(2,)),
    *(
        FaultKind(
            f"kill {point}",
            kills.kill_at(point),
            stores=(SQLITE,) if point in failpoints.OF_SQLITE_ALONE else BOTH,
        )
        for point in failpoints.POINTS
    ),
    FaultKind("kill while peers fail", kills.kill_while_peers_fail),
    FaultKind("SIGSTOP for longer than the lease", kills.stop_for_longer_than_the_lease),
    FaultKind("SIGSTOP after the peer's reply", kills.stop_at_reply, workers=(2,)),
    FaultKind(
        "peer slower than the lease", kills.wait_for_slow_peer, workers=(2,), site="long leases", may_lose_leases=False
    ),
    FaultKind("out of memory", limits.out_of_memory, expects_failures=True),
    FaultKind("no file descriptors", limits.no_descriptors, expects_failures=True),
    FaultKind("clock set by minutes", clocks.jump, site="clock", is_ordered=False),
    FaultKind("clock set by hours", clocks.jump_far, site="clock", is_ordered=False),
    FaultKind("clock set, and kill", clocks.jump_and_kill, site="clock", is_ordered=False),
    FaultKind("clocks of two servers drift", clocks.drift, POSTGRES, (1,), site="drifting clocks", is_ordered=False),
    FaultKind("power cut", disks.cut_power, (SQLITE,), site="power cut"),
    FaultKind("files damaged at rest", damage.at_rest, (SQLITE,), site="damage"),
    FaultKind("fsync fails", disks.fail_calls("fsync"), (SQLITE,), site="disk"),
    FaultKind("fsync of the log fails", disks.fail_calls("fsync", "*-wal"), (SQLITE,), site="disk"),
    FaultKind("write fails", disks.fail_calls("write"), (SQLITE,), site="disk"),
    FaultKind("write to a Maildir fails", disks.fail_calls("write", "maildir/*", after=4), (SQLITE,), site="disk"),
    FaultKind("fsync of a Maildir fails, and power cut", disks.fail_sync_and_cut, (SQLITE,), site="disk and power cut"),
    FaultKind("a system call fails, and power cut", disks.fail_call_and_cut, (SQLITE,), site="disk and power cut"),
    FaultKind(
        "fsync of the log fails, kill, and power cut",
        disks.fail_log_sync_kill_and_cut,
        (SQLITE,),
        site="disk and power cut",
    ),
    FaultKind("disk full", disks.no_space, (SQLITE,), site="disk"),
    FaultKind("file system read-only", disks.read_only, (SQLITE,), site="disk", has_doubt=True),
    FaultKind("short writes", disks.shorten, (SQLITE,), site="disk"),
    FaultKind("fsync slow and hanging", disks.slow_sync, (SQLITE,), site="disk"),
    FaultKind("PostgreSQL kill -9", databases.kill, POSTGRES),
    FaultKind("PostgreSQL kill -9 in a checkpoint", databases.kill_in_checkpoint, POSTGRES),
    FaultKind("PostgreSQL immediate stop", databases.stop("immediate"), POSTGRES),
    FaultKind("PostgreSQL fast stop", databases.stop("fast"), POSTGRES),
    FaultKind("connection cut before COMMIT", databases.cut_commit("before"), POSTGRES),
    FaultKind("connection cut after COMMIT", databases.cut_commit("after"), POSTGRES),
    FaultKind("connections to PostgreSQL reset", databases.reset, POSTGRES),
    FaultKind("network to PostgreSQL delayed", databases.delay, POSTGRES),
    FaultKind("network to PostgreSQL cut one way", databases.cut_one_way, POSTGRES),
    FaultKind("connections of PostgreSQL exhausted", databases.exhaust, POSTGRES),
    FaultKind("failover to a synchronous standby", databases.fail_over, POSTGRES, site="standby"),
    FaultKind("concurrent calls to two servers", histories.conflict, POSTGRES, (1,), site="two servers"),
    FaultKind("kill one of two servers", kills.kill_server, POSTGRES, (1,), site="two servers"),
    FaultKind("SIGSTOP one of two servers", kills.stop_for_longer_than_the_lease, POSTGRES, (1,), site="two servers"),
    FaultKind("PostgreSQL's disk full", databases.disk_full, POSTGRES, site="small disk"),
]

BY_NAME = {kind.name: kind for kind in KINDS}
assert len(BY_NAME) == len(KINDS), "two kinds of fault have the same name"

NEEDS = {
    "power cut": preload.why_not,
    "disk": preload.why_not,
    "disk and power cut": preload.why_not,
    "clock": false_clock.why_not,
    "drifting clocks": false_clock.why_not,
    "small disk": small_disk.why_not,
}
"""Functions that return the reason why this machine cannot have a kind of deployment; empty if it can."""


def why_not(kind: FaultKind) -> str:
    """Return the reason why this machine cannot inject a kind of fault; empty if it can."""
    return NEEDS[kind.site]() if kind.site in NEEDS else ""
