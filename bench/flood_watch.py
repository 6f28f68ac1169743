"""Measures the server's memory and processor time in each phase of the flood."""

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import process

EVERY = 0.1
"""The time between two measurements of the memory, in seconds."""

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Phase:
    """The measurements of one phase of the run."""

    name: str
    began: float
    ended: float
    rss_peak: float
    """The memory peak in MiB; the next field is in MiB too."""
    rss_end: float
    cpu: float
    """The processor time, in seconds."""

    @property
    def seconds(self) -> float:
        return self.ended - self.began

    def has(self, moment: float) -> bool:
        return self.began <= moment < self.ended


class Watch:
    """Measures a process and all its children continuously, in a thread."""

    def __init__(self, pid: int) -> None:
        self.phases: list[Phase] = []
        self.peak = 0.0
        """The largest measured memory of all processes together, in MiB. It is known at the end of the run."""
        self._pid = pid
        self._seen: list[tuple[float, float]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Record the block as a phase with this name."""
        began, cpu = time.monotonic(), self._cpu()
        yield
        ended, rss_end = time.monotonic(), self._rss()
        seen = [rss for moment, rss in self._seen if began <= moment <= ended]
        self.phases.append(Phase(name, began, ended, max([*seen, rss_end]), rss_end, self._cpu() - cpu))

    def stop(self) -> None:
        """Stop the measurements. The process must still be running."""
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
            with contextlib.suppress(OSError, AssertionError, IndexError):  # the process has ended in the meantime
                yield measure(pid)


def _high_water(pid: int) -> float:
    """Return the peak memory of a process, in MiB, which the kernel records continuously."""
    status = Path(f"/proc/{pid}/status")
    found = re.search(r"^VmHWM:\s+([0-9]+) kB$", status.read_text() if status.exists() else "", re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def _family(pid: int) -> Iterator[int]:
    """Return the ids of a process and all its descendants."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in children.read_text().split():
                yield from _family(int(child))
