"""A small file system in memory for the log (`pg_wal`) of PostgreSQL, which a fault can fill. It needs root."""

import functools
import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from tests.kit.stores.postgresql import _give

SIZE = 64 << 20
"""The size of the file system, in bytes."""


class CannotMount(Exception):
    """The system does not allow this process to mount a file system."""


@functools.cache
def why_not():
    """Return the reason why this process cannot mount a file system; empty if it can."""
    at = Path(tempfile.mkdtemp(prefix="faults-disk-"))
    try:
        _mount(at)
    except CannotMount as error:
        return str(error)
    else:
        _unmount(at)
        return ""
    finally:
        at.rmdir()


def _mount(at):
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0755", "tmpfs", at]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
        raise CannotMount("this process may not mount a file system, which needs root (CAP_SYS_ADMIN)")


def _unmount(at):
    subprocess.run(["umount", "-l", at], capture_output=True, check=False)


class SmallDisk:
    """The file system. The server must be running; it is stopped, and started again with its log there."""

    def __init__(self, database):
        self._database = database
        self._wal = database._postmaster.home / "data" / "pg_wal"

    def __enter__(self):
        self._at = Path(tempfile.mkdtemp(prefix="faults-disk-"))
        try:
            _mount(self._at)
        except CannotMount:
            self._at.rmdir()
            raise
        self._database.stop()
        moved = self._at / "pg_wal"
        shutil.copytree(self._wal, moved)
        shutil.rmtree(self._wal)
        self._wal.symlink_to(moved)
        for directory, directories, files in os.walk(self._at):
            for name in (".", *directories, *files):
                _give(Path(directory, name))
        self._database.start()
        return self

    def __exit__(self, *_):
        if self._database._postmaster.running:
            self._database.stop("immediate")
        _unmount(self._at)
        self._at.rmdir()

    def fill(self):
        """Use all space that is free."""
        with suppress(OSError), (self._at / "filler").open("wb", buffering=0) as file:
            while file.write(bytes(1 << 20)):
                pass
        with suppress(OSError), (self._at / "filler").open("ab", buffering=0) as file:
            while file.write(bytes(4096)):
                pass

    def free(self):
        """Free that space again."""
        (self._at / "filler").unlink(missing_ok=True)
