"""Lets the supervisor wait for signals and for reports of worker processes at the same time."""

import os
import selectors
import signal
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

from msgspec import Struct

from waypost.server import hang_up

HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


class Signals(Struct, frozen=True):
    """The signals that the process has received, as bytes in a pipe."""

    pipe: int

    def wait(self, reports: Iterable[int], seconds: float | None) -> tuple[list[signal.Signals], list[int]]:
        """Wait for a signal, or until one of the file descriptors `reports` can be read, but at most `seconds`.

        Return the received signals, and the file descriptors that can be read. None means no time limit.
        """
        with selectors.DefaultSelector() as selector:
            for descriptor in (self.pipe, *reports):
                selector.register(descriptor, selectors.EVENT_READ)
            found = [key.fd for key, _ in selector.select(seconds)]
        received = [signal.Signals(number) for number in os.read(self.pipe, 4096)] if self.pipe in found else []
        return received, [descriptor for descriptor in found if descriptor != self.pipe]


@contextmanager
def handled() -> Iterator[Signals]:
    """Handle the signals of the supervisor during the `with` block. If the process ignores SIGHUP, it keeps ignoring
    it.
    """
    pipe, writing = os.pipe()
    os.set_blocking(writing, False)
    ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()
    before = {each: signal.signal(each, lambda *_: None) for each in HANDLED if each not in ignored}
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    if hang_up.was_received():
        os.write(writing, bytes([signal.SIGHUP]))
    try:
        yield Signals(pipe)
    finally:
        signal.set_wakeup_fd(-1)
        for each, handler in before.items():
            signal.signal(each, handler)
        os.close(pipe)
        os.close(writing)


def restore_in_worker(blocked: Collection[signal.Signals | int]) -> None:
    """Remove the supervisor's handlers in a new worker process, so that signals end it until it has its own handlers.
    SIGHUP does not end it, but is remembered. Afterwards, block only the signals `blocked`, which were blocked before
    the fork.
    """
    signal.set_wakeup_fd(-1)
    for each in HANDLED:
        if signal.getsignal(each) is not signal.SIG_IGN:
            signal.signal(each, signal.SIG_DFL)
    hang_up.remember()
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
