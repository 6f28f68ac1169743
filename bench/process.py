"""The Waypost process itself: how soon it answers, and how much memory it holds."""

import os
import re
import socket
import statistics
import time
import urllib.request
from pathlib import Path

from waypost.testing.process import Server


def rss(pid: int) -> float:
    """The resident memory of a process now, in MB of 1000 × 1000 octets."""
    found = re.search(r"^VmRSS:\s+([0-9]+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024 / 1e6


def cpu_seconds(pid: int) -> float:
    """The processor time that a process has used, all threads, in user and kernel."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


def seconds_to_first_answers(directory: Path, *, starts: int) -> float:
    """From the start of the process to an answer of both edges, the median of some starts, each on new data."""
    seconds = []
    for number in range(starts):
        server = Server(directory / f"start-{number}")
        began = time.perf_counter()
        server.start()
        try:
            _ask_both(server)
            seconds.append(time.perf_counter() - began)
        finally:
            server.stop()
    return statistics.median(seconds)


def _ask_both(server: Server) -> None:
    with urllib.request.urlopen(f"{server.url}/_waypost/health") as answer:
        assert answer.status == 200
    with socket.create_connection(server.smtp) as connection:
        assert connection.recv(4) == b"220 "
