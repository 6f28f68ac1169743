"""Measures all processes of a server: their processor time and their memory.

A control group (version 2) contains all processes that a server starts, and counts the processor time of ended
processes too. Without permission to create one, the processes are the tree below the server's first process. Then the
processor time of some ended processes is missing: of those whose parent ignores SIGCHLD, as Exim does, or has ended.
"""

import contextlib
import os
import re
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import cores

TICKS = os.sysconf("SC_CLK_TCK")


class Group:
    """The processes of one server."""

    def __init__(self, name: str, *, on: frozenset[int] = cores.HERE.servers) -> None:
        """`on` are the cores on which the processes run."""
        self._cores = on
        self._roots: list[int] = []
        self._around, self._cgroup = _new_control_group(re.sub(r"\W+", "-", name))

    @property
    def is_complete(self) -> bool:
        """Whether the processor time of all ended processes is counted."""
        return self._cgroup is not None

    @contextlib.contextmanager
    def starting(self) -> Iterator[None]:
        """Processes that are started in this block belong to the group, and run on its cores."""
        with cores.used(self._cores):
            if self._cgroup is None:
                yield
                return
            (self._cgroup / "cgroup.procs").write_text(str(os.getpid()))
            try:
                yield
            finally:
                (self._around / "cgroup.procs").write_text(str(os.getpid()))

    def add(self, pid: int) -> None:
        """Name the first process of the server, or one more."""
        self._roots.append(pid)

    def pids(self) -> list[int]:
        if self._cgroup is not None:
            return [int(line) for line in (self._cgroup / "cgroup.procs").read_text().split()]
        return tree(self._roots, _parents())

    def cpu_seconds(self) -> float:
        """Return the processor time of all processes so far, in user and kernel mode, in seconds."""
        if self._cgroup is not None:
            return usage((self._cgroup / "cpu.stat").read_text())
        return sum(with_ended_children(stat) for stat in _each(self.pids(), "stat"))

    def pss(self) -> float:
        """Return the proportional set size of all processes, in MB of 1000 × 1000 bytes.

        A page that several processes share counts once, divided between them.
        """
        return sum(pss_of(rollup) for rollup in _each(self.pids(), "smaps_rollup"))

    def remove(self) -> None:
        """Kill the processes that are left, such as deliveries of a stopped mail server, and remove the group."""
        give_up = time.monotonic() + 5
        while self._cgroup is not None and self._cgroup.exists() and time.monotonic() < give_up:
            for pid in self.pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            try:
                self._cgroup.rmdir()
            except OSError:  # a process is still ending
                time.sleep(0.02)


def usage(cpu_stat: str) -> float:
    """Return the processor time in a control group's `cpu.stat`, in seconds."""
    found = re.search(r"^usage_usec ([0-9]+)$", cpu_stat, re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1e6


def with_ended_children(stat: str, ticks: int = TICKS) -> float:
    """Return the processor time in a `/proc/PID/stat` (proc(5)) in seconds, with that of children that have ended."""
    after_name = stat.rpartition(")")[2].split()
    return sum(int(field) for field in after_name[11:15]) / ticks


def pss_of(smaps_rollup: str) -> float:
    """Return the proportional set size in a `/proc/PID/smaps_rollup`, in MB; 0 for a process that has ended."""
    found = re.search(r"^Pss:\s+([0-9]+) kB$", smaps_rollup, re.MULTILINE)
    return int(found[1]) * 1024 / 1e6 if found else 0.0


def tree(roots: Iterable[int], parents: Mapping[int, int]) -> list[int]:
    """Return the roots and all their descendants. `parents` has the parent of each process."""
    found = list(dict.fromkeys(roots))
    for pid in found:  # the list grows meanwhile
        found += [child for child, parent in parents.items() if parent == pid and child not in found]
    return found


def _parents() -> dict[int, int]:
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    stats = ((pid, stat) for pid in pids for stat in _each([pid], "stat"))
    return {pid: int(stat.rpartition(")")[2].split()[1]) for pid, stat in stats}


def _each(pids: Iterable[int], file: str) -> Iterator[str]:
    for pid in pids:
        with contextlib.suppress(OSError):  # the process has ended in the meantime
            yield Path(f"/proc/{pid}/{file}").read_text()


def _new_control_group(name: str) -> tuple[Path, Path | None]:
    """Return the control group of this process, and a new group in it; None if it cannot be created."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    own = re.search(r"^0::/(.*)$", Path("/proc/self/cgroup").read_text(), re.MULTILINE)
    for point, kind in mounts:
        if kind == "cgroup2" and own is not None:
            around = Path(point, own[1])
            group = around / f"bench-{os.getpid()}-{name}"
            with contextlib.suppress(OSError):
                group.mkdir()
                (group / "cgroup.procs").write_text(str(os.getpid()))
                (around / "cgroup.procs").write_text(str(os.getpid()))
                return around, group
            with contextlib.suppress(OSError):
                group.rmdir()
    return Path("/"), None
