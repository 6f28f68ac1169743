"""Lets several processes write to one SQLite file in turn.

SQLite has a write lock too, but a process waits for SQLite's lock by sleeping and trying again. Therefore, a busy
process can keep the other processes waiting for a long time. For its turn, a process waits in the operating system,
which wakes the process when its turn begins.
"""

import fcntl
import mmap
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_VERSION_OCTETS = 8
"""The size of a version in the file. The processor reads and writes it in one step."""

_DIRECTORY, _ACCESS_KEYS = range(2)
"""The places of the versions in the file."""

_FILE_OCTETS = 2 * _VERSION_OCTETS

_TRY_EVERY = 0.01
"""Seconds between two attempts of `taken_within`."""


class TurnIsLate(OSError):
    """Another process did not end its turn in time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"another process has been writing to the file for more than {seconds:g} s")


class Turn:
    """The right of one process, or of one store in a process, to write to an SQLite file.

    A turn is a lock on the file `…-turn`. While a process waits for the turn, the process holds a second lock, on the
    file `…-next`. Every process needs that lock first, so a process that has just ended its turn cannot begin another
    turn before the waiting process. The operating system releases the locks of a process that has been killed.

    The file `…-turn` contains a version of the directory and the routes, and a version of the access keys, in memory
    that all processes share.
    """

    def __init__(self, database: Path) -> None:
        """Open the two files beside the file `database`. Create the files if needed. Raises `OSError`."""
        self._path = database.with_name(f"{database.name}-turn")
        self._next = _open(database.with_name(f"{database.name}-next"))
        try:
            self._turn = _open(self._path)
        except OSError:
            os.close(self._next)
            raise
        try:
            size = os.fstat(self._turn).st_size
            if size < _FILE_OCTETS:  # a hole in the file would crash the process if the disk is full
                os.pwrite(self._turn, bytes(_FILE_OCTETS - size), size)
            self._mapped = mmap.mmap(self._turn, _FILE_OCTETS)
            self._versions = memoryview(self._mapped).cast("Q")
        except OSError:
            self._close_files()
            raise

    @property
    def version(self) -> int | None:
        """The version of the directory and the routes, which changes after each transaction that may have changed them;
        None if such a transaction is open, or if a process was killed in it.

        Data that was read after the version was read is still correct if the version is the same.
        """
        return self._version(_DIRECTORY)

    @property
    def version_of_keys(self) -> int | None:
        """The version of the access keys, which works in the same way as `version`."""
        return self._version(_ACCESS_KEYS)

    def _version(self, place: int) -> int | None:
        version = self._versions[place]
        return None if version % 2 else version

    def begin_change(self) -> None:
        """Make the version None until the end of the turn, because the transaction may change the directory or the
        routes. Only the process that has the turn may call this method.
        """
        self._versions[_DIRECTORY] |= 1

    def begin_change_of_keys(self) -> None:
        """Make the version of the access keys None until the end of the turn, because the transaction may change the
        access keys. Only the process that has the turn may call this method.
        """
        self._versions[_ACCESS_KEYS] |= 1

    def take(self) -> None:
        """Wait for the turn, without a time limit. Raises `OSError` if the file `…-turn` was removed or replaced."""
        fcntl.flock(self._next, fcntl.LOCK_EX)
        try:
            fcntl.flock(self._turn, fcntl.LOCK_EX)
        finally:
            fcntl.flock(self._next, fcntl.LOCK_UN)
        self._refuse_other_file()

    def _refuse_other_file(self) -> None:
        """End the turn and raise `OSError` if other processes would now open another file than this process."""
        try:
            is_same = os.path.samestat(os.fstat(self._turn), self._path.stat())
        except FileNotFoundError:
            is_same = False
        if not is_same:
            fcntl.flock(self._turn, fcntl.LOCK_UN)
            raise OSError(f"{self._path} was removed or replaced. Restart Waypost.")

    @contextmanager
    def taken_within(self, seconds: float) -> Iterator[None]:
        """Have the turn during the `with` block. Raises `TurnIsLate` if the turn does not begin in time."""
        deadline = time.monotonic() + seconds
        for lock in (self._next, self._turn):
            while not _is_locked(lock):
                if time.monotonic() >= deadline:
                    fcntl.flock(self._next, fcntl.LOCK_UN)
                    raise TurnIsLate(seconds)
                time.sleep(_TRY_EVERY)
        fcntl.flock(self._next, fcntl.LOCK_UN)
        self._refuse_other_file()
        try:
            yield
        finally:
            self.end()

    def end(self) -> None:
        """End the turn, so that the next process can begin its turn."""
        for place, version in enumerate(self._versions):
            if version % 2:
                self._versions[place] = version + 1
        fcntl.flock(self._turn, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close both files. This ends the turn, if the process has it."""
        self._versions.release()
        self._mapped.close()
        self._close_files()

    def _close_files(self) -> None:
        os.close(self._turn)
        os.close(self._next)


def _is_locked(file: int) -> bool:
    """Lock a file if no other process has locked it. Return whether this process has the lock now."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
