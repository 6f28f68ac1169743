"""Runs programs in Debian root directories, because they cannot be installed on the same system as Postfix.

`bench/fetch.sh` creates the directories.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FETCHED = Path(__file__).parents[2] / ".cache" / "bench"
"""The directory in which `bench/fetch.sh` puts everything."""


def why_not(name: str) -> str | None:
    """Return the reason why a root directory cannot be used; None if it can be used."""
    if os.geteuid() != 0:
        return "only root can run programs in a separate Debian root directory"
    if not (FETCHED / name / "complete").exists():
        return "no Debian root directory (apt-get install debootstrap, then bench/fetch.sh)"
    return None


def command(name: str, program: str) -> list[str]:
    """Return the command that runs a program in a root directory."""
    return ["chroot", str(FETCHED / name), program]


@contextmanager
def directory(name: str) -> Iterator[Path]:
    """Yield a temporary directory in a root directory, for all users. Its path is the same inside and outside."""
    inside = Path(tempfile.mkdtemp(prefix="wb-", dir=FETCHED / name / "tmp"))
    inside.chmod(0o777)
    path = Path("/tmp") / inside.name
    path.symlink_to(inside)
    try:
        yield path
    finally:
        path.unlink()
        shutil.rmtree(inside, ignore_errors=True)
