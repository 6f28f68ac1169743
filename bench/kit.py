"""Measures the test kit: the start of a server, and a reset of a server with 1,000 messages (`make kit`, a minute)."""

import argparse
import smtplib
import statistics
import time

from waypost.testing import Waypost

RECIPIENT = "queue@bench.example"
CONTENT = b"Subject: Where is my order?\r\n\r\nHello!\r\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="the number of servers")
    parser.add_argument("--messages", type=int, default=1_000, help="the number of messages before a reset")
    options = parser.parse_args()
    starts, resets = zip(*(_round(options.messages) for _ in range(options.rounds)), strict=True)
    print(f"start of a server: {_shown(starts)}")
    print(f"reset of a server with {options.messages:,} messages: {_shown(resets)}")


def _round(messages: int) -> tuple[float, float]:
    """Return how long the start of a server and its reset took, in seconds."""
    began = time.perf_counter()
    with Waypost() as waypost:
        start = time.perf_counter() - began
        waypost.address(RECIPIENT)
        with smtplib.SMTP(*waypost.smtp, local_hostname="client.example") as client:
            for _ in range(messages):
                client.sendmail("ann@client.example", RECIPIENT, CONTENT)
        began = time.perf_counter()
        waypost.reset()
        return start, time.perf_counter() - began


def _shown(seconds: tuple[float, ...]) -> str:
    return f"median {statistics.median(seconds) * 1000:.0f} ms, longest {max(seconds) * 1000:.0f} ms"


if __name__ == "__main__":
    main()
