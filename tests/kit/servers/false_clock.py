"""Lets a server see a wrong clock, with libfaketime. Its monotonic clock stays right, as after `date --set`."""

import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from waypost.testing import process

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)

needs_faketime = pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed: apt-get install faketime")


class FalseClock:
    """The clock of the processes that are started in `applies`."""

    def __init__(self, directory):
        self._file = directory / "clock"
        self.set(0)

    def set(self, seconds):
        """Let the clock be ahead by so many seconds; behind, if the number is negative."""
        draft = self._file.with_suffix(".new")
        draft.write_text(f"{seconds:+d}\n")
        draft.replace(self._file)

    @contextmanager
    def applies(self):
        """Let the processes that are started now have this clock. They are not forked, because a library can only be
        preloaded into a new program.
        """
        with pytest.MonkeyPatch.context() as environment:
            environment.setattr(process, "subprocess", subprocess)
            for name, value in {
                "LD_PRELOAD": LIBRARY,
                "FAKETIME_TIMESTAMP_FILE": self._file,
                "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "DONT_FAKE_MONOTONIC": "1",  # the same in versions before 0.9.8
                "NO_FAKE_STAT": "1",
            }.items():
                environment.setenv(name, str(value))
            yield
