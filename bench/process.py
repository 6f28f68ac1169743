"""Measures the Waypost process: its start time, its memory and its processor time."""

import os
import re
import socket
import statistics
import time
import urllib.request
from pathlib import Path

from waypost.testing.process import Server


def rss(pid: int) -> float:
    """Return the resident memory of a process, in MB of 1000 × 1000 bytes."""
    found = re.search(r"^VmRSS:\s+([0-9]+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024 / 1e6


def cpu_seconds(pid: int) -> float:
    """Return the processor time of all threads of a process, in user and kernel mode, in seconds."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


def seconds_to_first_answers(directory: Path, *, starts: int) -> float:
    """Return the median time from a start to the first replies of HTTP and SMTP, in seconds, each with new data."""
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
