"""Lets a server see a wrong clock, with libfaketime. Its monotonic clock stays right, as after `date --set`."""

import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from waypost.testing import process

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


def why_not():
    """Return the reason why no program can have a wrong clock; empty if it can."""
    return "" if LIBRARY else "libfaketime is not installed: apt-get install faketime"


needs_faketime = pytest.mark.skipif(bool(why_not()), reason=why_not())


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
            for name, value in self.environment().items():
                environment.setenv(name, value)
            yield

    def environment(self, *, is_read_each_second=False):
        """Return the environment variables of a process with this clock. The process reads the file of the clock each
        time that it needs the time, or only once a second, which is much faster.
        """
        how_often = {"FAKETIME_CACHE_DURATION": "1"} if is_read_each_second else {"FAKETIME_NO_CACHE": "1"}
        return how_often | {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",  # the same in versions before 0.9.8
            "NO_FAKE_STAT": "1",
        }
