"""Makes system calls of running programs fail, take long or do half of their work, by rules."""

import errno as errors
import mmap
import struct
import time
from pathlib import Path

from faults import preload

_SOURCE = Path(__file__).parent / "disk_faults.c"

CALLS = {
    name: 1 << number
    for number, name in enumerate(("open", "read", "write", "fsync", "truncate", "rename", "unlink", "link", "mkdir"))
}
"""The kinds of calls. Each has all functions that do the same: `write` has pwrite, writev and sendfile, `fsync` has
fdatasync, `truncate` has fallocate, `unlink` has rmdir. A rule for `rename` or `link` is for the new name.
"""

CHANGES = ("write", "truncate", "rename", "unlink", "link", "mkdir")
"""The calls that fail on a file system that was mounted again for reading only, besides opening a new file."""

ALWAYS = 2**64 - 1
"""The number of times that means: until `clear`."""

_HEADER = struct.Struct("<II")
_RULE = struct.Struct("<IIIiQQQQ208s")
_MOST = 63
_FAIL, _SHORTEN, _SLOW, _HANG = range(1, 5)
_HITS_AT = struct.calcsize("<IIIiQQ")


class DiskFaults:
    """Rules for the programs that use the files below a directory. The programs are started with `environment`.

    `path` is a pattern for the file's path below the directory, as in `fnmatch`, such as `*-wal`. The first `after`
    calls that a rule is for pass, and then `times` calls are affected. Each method returns the number of the rule.
    """

    def __init__(self, directory: Path, control: Path) -> None:
        """`control` is the file for the rules, which this method creates. Raises `preload.CannotCompile`."""
        self.directory, self.control = directory.resolve(strict=True), control.absolute()
        self._library = preload.compiled(_SOURCE)
        self.control.write_bytes(bytes(_HEADER.size + _MOST * _RULE.size))
        with self.control.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)
        self._calls = self._added = 0

    def environment(self) -> dict[str, str]:
        """Return the environment variables for the programs. `preload.joined` adds those of a `PowerCut` after it."""
        return {
            "LD_PRELOAD": str(self._library),
            "DISK_FAULTS_DIRECTORY": str(self.directory),
            "DISK_FAULTS_CONTROL": str(self.control),
            "UV_USE_IO_URING": "0",
        }

    def fail(self, calls: str | tuple[str, ...], error: int, path: str = "*", *, after: int = 0, times: int = 1) -> int:
        """Make calls fail with an error, such as `errno.EIO`.

        A failed fsync drops what was written before it: if the programs have a `PowerCut` too, a later fsync that
        succeeds does not make it durable.
        """
        return self._add(calls, _FAIL, path, error=error, after=after, times=times)

    def make_read_only(self) -> None:
        """Make all changes fail, as on a file system that was mounted again for reading only after an error."""
        self.fail(CHANGES, errors.EROFS, times=ALWAYS)
        self.fail("fsync", errors.EIO, times=ALWAYS)

    def shorten(self, path: str = "*", *, after: int = 0, times: int = 1) -> int:
        """Make writes write half of their octets."""
        return self._add("write", _SHORTEN, path, after=after, times=times)

    def slow(self, seconds: float, path: str = "*", *, calls: str = "fsync", times: int = ALWAYS) -> int:
        """Let calls begin so many seconds later."""
        return self._add(calls, _SLOW, path, times=times, milliseconds=round(seconds * 1000))

    def hang(self, path: str = "*", *, calls: str = "fsync", after: int = 0, times: int = ALWAYS) -> int:
        """Let calls hang until `clear`, and then succeed."""
        return self._add(calls, _HANG, path, after=after, times=times)

    def hits(self, rule: int) -> int:
        """Return the number of calls that a rule has affected, also after `clear`."""
        return struct.unpack_from("<Q", self._memory, self._place(rule) + _HITS_AT)[0]

    def clear(self) -> None:
        """Remove all rules. Calls that hang continue."""
        for rule in range(_MOST):
            struct.pack_into("<I", self._memory, self._place(rule), 0)
        self._calls = 0
        _HEADER.pack_into(self._memory, 0, 0, _MOST)

    def wait_for_hit(self, rule: int, *, seconds: float = 120.0) -> None:
        """Wait until a rule has affected a call. Raises `TimeoutError`."""
        deadline = time.monotonic() + seconds
        while not self.hits(rule):
            if time.monotonic() > deadline:
                raise TimeoutError(f"no call was affected by rule {rule}")
            time.sleep(0.002)

    def _add(self, calls, action, path, *, error=0, after=0, times=1, milliseconds=0) -> int:
        # A call that hangs looks at its own rule, so the next rules are elsewhere, also after `clear`.
        rule, pattern = self._added % _MOST, path.encode()
        if len(pattern) > 207:
            raise ValueError(f"a pattern can have at most 207 octets, but this one has {len(pattern)}")
        bits = sum(CALLS[call] for call in ((calls,) if isinstance(calls, str) else calls))
        values = bits, action, error, after, times, 0, milliseconds, pattern
        _RULE.pack_into(self._memory, self._place(rule), 0, *values)
        struct.pack_into("<I", self._memory, self._place(rule), 1)
        self._calls, self._added = self._calls | bits, self._added + 1
        _HEADER.pack_into(self._memory, 0, self._calls, _MOST)
        return rule

    @staticmethod
    def _place(rule: int) -> int:
        return _HEADER.size + rule * _RULE.size
