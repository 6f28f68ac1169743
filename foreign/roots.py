"""Runs programs in Debian root directories, because they conflict with Postfix. `make foreign` creates the roots."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOTS = Path(__file__).parents[1] / ".cache" / "foreign"


def why_not(name: str) -> str | None:
    """Return the reason why a root directory cannot be used; None if it can be used."""
    if os.geteuid() != 0:
        return "only root can run programs in a separate Debian root directory"
    if not (ROOTS / name / "complete").exists():
        return f"`make foreign` could not create {ROOTS / name}: apt-get install debootstrap"
    return None


def command(name: str, program: str) -> list[str]:
    """Return the command that runs a program in a root directory."""
    return ["chroot", str(ROOTS / name), program]


@contextmanager
def directory(name: str) -> Iterator[Path]:
    """Yield a temporary directory in a root directory. Its path is the same inside and outside of that root."""
    inside = Path(tempfile.mkdtemp(prefix="wp-", dir=ROOTS / name / "tmp"))
    inside.chmod(0o777)
    path = Path("/tmp") / inside.name
    path.symlink_to(inside)
    try:
        yield path
    finally:
        path.unlink()
        shutil.rmtree(inside, ignore_errors=True)
