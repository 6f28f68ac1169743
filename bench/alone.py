"""Measures what a server shows best while no other server runs: its memory, and what it syncs to disk."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cases
import mail
import probe
import rounds
import syncs
from peers import peer
from peers.sinks import NextHops

SETTLE = 0.5
"""The time for which an idle server settles before its memory is measured, in seconds."""

EVERY = 0.1
"""The time between two measurements of the memory under load, in seconds."""


def measured(one: peer.MailPeer, hops: NextHops | None, log: Path, *, seconds: float) -> dict[str, object]:
    """Return the memory of a server in MB, idle and, if `seconds` is not 0, under load, and its durability."""
    time.sleep(SETTLE)
    found: dict[str, object] = {"keeps": one.keeps, "path": one.main_path, "idle": one.pss()}
    case = cases.Case("alone", "the base case", path=one.main_path)
    warm, _ = rounds.measure(one, case, 2 * case.sessions, hops)  # so that all processes and files exist
    found["durability"] = syncs.why_not() or _durability(one, log)
    if seconds:
        with _watched(one) as seen:
            rounds.measure(one, case, cases.amount(case, warm["delivered"], seconds), hops)
        found["loaded"] = max(seen)
    return found


def _durability(one: peer.MailPeer, log: Path) -> dict[str, list[str]] | str:
    """Return what the server syncs before and after its reply to a message, or the reason why it is not known."""
    time.sleep(SETTLE)
    recipient = one.recipient(one.main_path)
    session, message = probe.Session(one.port), probe.message_of(cases.BASE.size, recipient)
    pids = [pid for group in one.groups for pid in group.pids()]  # with the process for this session

    def send_one() -> float:
        session.send(recipient, message)
        return time.time()

    try:
        calls, accepted = syncs.traced(pids, send_one, log)
        session.quit()
    except (OSError, mail.MailFailed) as failure:
        return f"strace failed: {failure}"
    return syncs.summary(calls, accepted, one.directory or Path("/"))


@contextmanager
def _watched(one: peer.MailPeer) -> Iterator[list[float]]:
    """Measure the memory all the time, in a thread, and yield the list of figures."""
    seen, over = [one.pss()], threading.Event()

    def look() -> None:
        while not over.wait(EVERY):
            seen.append(one.pss())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()
