"""The signals that a server obeys: SIGTERM and SIGINT stop it in order, and so does a terminal that goes away.

SIGHUP has two meanings: the kernel or the shell says that the terminal is gone, or a program that rotates logs or
renews certificates asks to read files again. The first is meant if the process had a terminal at its start and has
none now. Under `nohup` SIGHUP stays ignored.
"""

import asyncio
import os
import signal
from collections.abc import Callable


class Signals:
    """The signals of one process, on the running event loop."""

    def __init__(self, reopen: Callable[[], None]) -> None:
        """From now on SIGHUP calls `reopen`, or asks the server to stop. Where SIGHUP is ignored, it stays so."""
        self._loop = asyncio.get_running_loop()
        self._asked: asyncio.Future[str] = self._loop.create_future()
        self._reopen = reopen
        self._had_terminal = _has_terminal()
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            self._loop.add_signal_handler(signal.SIGHUP, self._hang_up)

    def obey(self) -> None:
        """From now on SIGTERM and SIGINT ask the server to stop; before, they end the process at once."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop, number)

    async def asked_to_stop(self) -> str:
        """Wait until the server is to stop; returns the name of the signal."""
        return await self._asked

    def _stop(self, number: signal.Signals) -> None:
        if not self._asked.done():
            self._asked.set_result(number.name)

    def _hang_up(self) -> None:
        if self._had_terminal and not _has_terminal():
            self._stop(signal.SIGHUP)
        else:
            self._reopen()


def _has_terminal() -> bool:
    """Whether this process has a controlling terminal that is still there."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
