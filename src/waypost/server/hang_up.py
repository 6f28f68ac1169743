"""SIGHUP: it means that the terminal is gone, or that a program asks the server to read its files again.

If the process had a terminal at its start and has none now, SIGHUP means that the terminal is gone. Otherwise, a
program such as logrotate asks for a reload. Under `nohup`, the process keeps ignoring SIGHUP.

Until the server can reload, this module remembers the signal, which would otherwise end the process.
"""

import os
import signal
from collections.abc import Callable
from types import FrameType


class _Memory:
    """What has happened in this process since `remember` was called."""

    had_terminal = False
    was_received = False
    handler: Callable[[], object] | None = None
    """The function that handles SIGHUP; None if it is only remembered."""


def remember() -> None:
    """Remember SIGHUP from now on, instead of ending. Call this function as early as possible, and when the function
    that was given to `handle` can handle it no more.
    """
    _Memory.had_terminal = has_terminal()
    _Memory.was_received = False
    _Memory.handler = None
    if not is_ignored():
        signal.signal(signal.SIGHUP, _note)


def handle(handler: Callable[[], object]) -> None:
    """Call a function for each SIGHUP from now on, in the main thread, unless the process ignores SIGHUP.

    The handler of the event loop is not used: when the loop removes it, SIGHUP ends the process.
    """
    _Memory.handler = handler
    if not is_ignored():
        signal.signal(signal.SIGHUP, _note)


def ignore() -> None:
    """Ignore SIGHUP until the process has ended. Otherwise the signal would end the process while Python ends."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def was_received() -> bool:
    """Return whether the process has received SIGHUP since the last call."""
    was, _Memory.was_received = _Memory.was_received, False
    return was


def is_ignored() -> bool:
    """Return whether the process ignores SIGHUP, as under `nohup`."""
    return signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def has_terminal() -> bool:
    """Whether this process has a controlling terminal that still exists."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _note(number: int, _: FrameType | None) -> None:
    if _Memory.handler:
        _Memory.handler()
        return
    if _Memory.had_terminal and not has_terminal():
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    _Memory.was_received = True
