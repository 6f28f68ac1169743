"""The interface of the power-cut layer: starts programs whose changes are recorded, and undoes what was not synced."""

import fcntl
import shutil
import time
from collections import defaultdict
from pathlib import Path

from faults import preload
from faults.power_cut import contents, names, records
from faults.power_cut.lost import Choice, Lost

_SOURCE = Path(__file__).parent / "power_cut.c"


PATIENCE = 120.0
"""The time, in seconds, that killed programs have to end."""


class StillRunning(Exception):
    """A program that should have been killed is running."""


class PowerCut:
    """Cuts the power of the programs that use the files below a directory.

    The programs are started with `environment`, and killed with SIGKILL before `cut`.

    The model is that of a file system with a journal (docs/decisions/0066-power-cuts.md).
    """

    def __init__(self, directory: Path, log: Path) -> None:
        """`directory` must exist; a cut never removes it itself. `log` is created if necessary. It must be on the same
        file system, but not below `directory`, because removed files are moved there.

        Raises `ValueError` if the two directories do not fit, and `preload.CannotCompile`.
        """
        self.directory, self.log = directory.resolve(strict=True), log.absolute().resolve()
        if self.log.is_relative_to(self.directory) or self.directory.is_relative_to(self.log):
            raise ValueError(f"{log} must not be below {directory}, or above it")
        self.log.mkdir(parents=True, exist_ok=True)
        if self.log.stat().st_dev != self.directory.stat().st_dev:
            raise ValueError(f"{log} must be on the file system of {directory}")
        self._library = preload.compiled(_SOURCE)
        self.forget()

    def wait_for_end(self) -> None:
        """Wait until all programs have ended, because the system may need some time to end a killed process.

        Raises `StillRunning`.
        """
        try:
            file = (self.log / "control").open("rb")
        except FileNotFoundError:
            return
        deadline = time.monotonic() + PATIENCE
        with file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise StillRunning(f"A program still uses the files below {self.directory}.") from None
                    time.sleep(0.005)

    def environment(self) -> dict[str, str]:
        """Return the environment variables for the programs."""
        return {
            "LD_PRELOAD": str(self._library),
            "POWER_CUT_DIRECTORY": str(self.directory),
            "POWER_CUT_LOG": str(self.log),
            "UV_USE_IO_URING": "0",  # the library does not see what libuv would do through io_uring
        }

    def cut(self, seed: int, *, tear: int = 0, reorder: bool = True) -> Lost:
        """Undo some of the changes that were not synced, and return what was undone, by kind. The log is then empty.

        All programs must have been killed. The same log and seed give the same result. `tear` is 0 if the disk writes
        each write as a whole, or else the size of its sectors: 512 or 4096. If `reorder` is false, only the last
        changes are lost; otherwise any of them. Raises `StillRunning` and `OSError`.
        """
        self.wait_for_end()
        changes = records.read(self.log)
        choice, lost = Choice(seed, changes, tear=tear, reorder=reorder), Lost()
        tree = names.Tree(self.directory, self.log / "kept")
        names.settle(tree, [change for change in changes if isinstance(change, records.Names)], choice, lost)
        of_files = defaultdict(list)
        for change in changes:
            if isinstance(change, records.Contents):
                of_files[change.inode].append(change)
        tree = names.Tree(self.directory, self.log / "kept")
        for inode, of_file in of_files.items():
            path = tree.paths.get(inode)
            if path is not None and not tree.is_lost(path):
                _settle_file(path, of_file, choice, lost)
        self.forget()
        return lost

    def forget(self) -> None:
        """Empty the log, as if everything were durable. All programs must have ended."""
        for name in ("control", "log"):
            (self.log / name).unlink(missing_ok=True)
        shutil.rmtree(self.log / "kept", ignore_errors=True)
        (self.log / "kept").mkdir()


def _settle_file(path: Path, changes: list[records.Contents], choice: Choice, lost: Lost) -> None:
    octets = bytearray(path.read_bytes())
    found = bytes(octets)
    contents.settle(octets, changes, choice, lost)
    if octets != found:
        with path.open("r+b") as file:
            file.write(octets)
            file.truncate()
