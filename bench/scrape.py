"""Measures how long a monitoring program waits for the metrics of a server that accepts mail (`make scrape`)."""

import argparse
import statistics
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import mail
from peers import peer, waypost

EVERY = 0.1
"""The time between two requests, in seconds. Prometheus waits for 15 s or more."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000, help="the number of messages (default: 10,000)")
    options = parser.parse_args()
    for workers in (1, 2):
        _measure(workers, options.messages)


def _measure(workers: int, messages: int) -> None:
    extra = ("--metrics", "127.0.0.1:0")
    with (
        tempfile.TemporaryDirectory(prefix="waypost-bench-") as name,
        waypost.running(Path(name) / "data", None, workers=workers, extra=extra) as server,
    ):
        load = {"keep_connections": True}
        sending = threading.Thread(
            target=mail.send, args=(server.port, server.recipient(peer.INBOX), messages), kwargs=load
        )
        began = time.perf_counter()
        sending.start()
        first, *later = _waits(f"http://{server.server.run.metrics}/metrics", sending)
        rate = messages / (time.perf_counter() - began)
    later.sort()
    print(f"{workers} worker process{'es' if workers > 1 else ''}, {rate:,.0f} messages/s: {len(later)} requests,")
    print(f"  first {_shown(first)}, later median {_shown(statistics.median(later))}, ", end="")
    print(f"95 % within {_shown(later[len(later) * 95 // 100])}, longest {_shown(later[-1])}")


def _waits(url: str, sending: threading.Thread) -> list[float]:
    """Request the metrics until all mail is sent. Return how long each request took, in seconds."""
    waits = []
    while sending.is_alive():
        began = time.perf_counter()
        with urllib.request.urlopen(url) as page:
            page.read()
        waits.append(time.perf_counter() - began)
        time.sleep(EVERY)
    return waits


def _shown(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


if __name__ == "__main__":
    main()
