"""What the server takes while it is flooded, and when: its memory and processor time, phase by phase."""

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import process

EVERY = 0.1
"""Seconds between two looks at the memory."""

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of the run."""

    name: str
    began: float
    ended: float
    rss_peak: float
    """MiB, as are those below."""
    rss_end: float
    cpu: float
    """Seconds of processor time."""

    @property
    def seconds(self) -> float:
        return self.ended - self.began

    def has(self, moment: float) -> bool:
        return self.began <= moment < self.ended


class Watch:
    """Looks at a process and all its children from a thread, all the time."""

    def __init__(self, pid: int) -> None:
        self.phases: list[Phase] = []
        self.peak = 0.0
        """The most memory that was seen in all processes together, in MiB; known at the end."""
        self._pid = pid
        self._seen: list[tuple[float, float]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """What happens inside is a phase of this name."""
        began, cpu = time.monotonic(), self._cpu()
        yield
        ended, rss_end = time.monotonic(), self._rss()
        seen = [rss for moment, rss in self._seen if began <= moment <= ended]
        self.phases.append(Phase(name, began, ended, max([*seen, rss_end]), rss_end, self._cpu() - cpu))

    def stop(self) -> None:
        """Look no more, while the process is still there."""
        self._over.set()
        self._thread.join()
        self.peak = max([_high_water(self._pid), *(rss for _, rss in self._seen)])

    def _look(self) -> None:
        while not self._over.wait(EVERY):
            self._seen.append((time.monotonic(), self._rss()))

    def _rss(self) -> float:
        return sum(self._of_all(process.rss)) * 1e6 / MIB

    def _cpu(self) -> float:
        return sum(self._of_all(process.cpu_seconds))

    def _of_all(self, measure: Callable[[int], float]) -> Iterator[float]:
        for pid in _family(self._pid):
            with contextlib.suppress(OSError, AssertionError, IndexError):  # it has ended meanwhile
                yield measure(pid)


def _high_water(pid: int) -> float:
    """The most memory that a process ever had, in MiB: the system keeps this without gaps."""
    status = Path(f"/proc/{pid}/status")
    found = re.search(r"^VmHWM:\s+([0-9]+) kB$", status.read_text() if status.exists() else "", re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def _family(pid: int) -> Iterator[int]:
    """A process and all below it."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in children.read_text().split():
                yield from _family(int(child))
