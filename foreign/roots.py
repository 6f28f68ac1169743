"""Debian roots with programs that must not be installed beside Postfix; `make foreign` makes them."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOTS = Path(__file__).parents[1] / ".cache" / "foreign"


def why_not(name: str) -> str | None:
    """Why a root cannot be used, or None if it can."""
    if os.geteuid() != 0:
        return "only root can run programs in a Debian root of their own"
    if not (ROOTS / name / "complete").exists():
        return f"`make foreign` could not make {ROOTS / name}: apt-get install debootstrap"
    return None


def command(name: str, program: str) -> list[str]:
    """How to run a program of a root, as root."""
    return ["chroot", str(ROOTS / name), program]


@contextmanager
def directory(name: str) -> Iterator[Path]:
    """A temporary directory in a root, with the same path outside of it."""
    inside = Path(tempfile.mkdtemp(prefix="wp-", dir=ROOTS / name / "tmp"))
    inside.chmod(0o777)
    path = Path("/tmp") / inside.name
    path.symlink_to(inside)
    try:
        yield path
    finally:
        path.unlink()
        shutil.rmtree(inside, ignore_errors=True)
