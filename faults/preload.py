"""Compiles the libraries in C that a server loads with LD_PRELOAD, and joins the environment variables of several."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from waypost.testing import process

BUILT = Path(__file__).parents[1] / ".cache" / "faults"
"""The directory of the compiled libraries. Git ignores it."""

OPTIONS = (
    "-std=gnu11",
    "-O2",
    "-g",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-U_FORTIFY_SOURCE",
    "-fPIC",
    "-fvisibility=hidden",
)
LINKED = ("-shared", "-Wl,-Bsymbolic", "-pthread", "-ldl")
"""The functions of a library call each other directly, and not the functions of a library that was loaded before it."""


class CannotCompile(Exception):
    """The libraries cannot be used on this machine. The message says why."""


def why_not() -> str:
    """Return the reason why the libraries cannot be used on this machine; empty if they can."""
    if not sys.platform.startswith("linux") or sys.maxsize < 2**62:
        return "the fault-injecting libraries need 64-bit Linux"
    if not _compiler():
        return "no C compiler was found (cc, gcc or clang) to compile the fault-injecting libraries"
    return ""


def compiled(source: Path) -> Path:
    """Compile a library if it has changed since it was last compiled, and return its path. Raises `CannotCompile`."""
    if why := why_not():
        raise CannotCompile(why)
    digest = hashlib.sha256("\0".join((source.read_text(), *OPTIONS, *LINKED)).encode()).hexdigest()[:16]
    target = BUILT / f"{source.stem}-{digest}.so"
    if not target.exists():
        BUILT.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=BUILT) as directory:
            built = Path(directory) / target.name
            command = [_compiler(), *OPTIONS, "-o", built, source, *LINKED]
            ran = subprocess.run(command, capture_output=True, text=True, check=False)
            if ran.returncode:
                raise CannotCompile(f"{source.name} could not be compiled:\n{ran.stderr}")
            built.replace(target)  # several processes may compile it at the same time
    return target


def joined(*environments: dict[str, str]) -> dict[str, str]:
    """Return the variables of several libraries. A call passes through the libraries in this order.

    The library that makes calls fail comes before the library that records changes, so that a call that fails is not
    recorded.
    """
    variables: dict[str, str] = {}
    for environment in environments:
        libraries = filter(None, (variables.get("LD_PRELOAD"), environment.get("LD_PRELOAD")))
        variables |= {**environment, "LD_PRELOAD": ":".join(libraries)}
    return variables


class Library(Protocol):
    """A library, such as a `DiskFaults` or a `PowerCut`."""

    def environment(self) -> dict[str, str]:
        """Return the environment variables for the programs that load it."""


@contextmanager
def loaded(*libraries: Library) -> Iterator[None]:
    """Let the servers of `waypost.testing` that are started in the `with` block load these libraries.

    The order is that of `joined`. Tests usually fork servers from a process that runs already, which would not load a
    library. In the block, servers are new processes.
    """
    given = joined(*(library.environment() for library in libraries))
    before = {name: os.environ.get(name) for name in given}
    usual, process.subprocess = process.subprocess, subprocess
    os.environ.update(given)
    try:
        yield
    finally:
        process.subprocess = usual
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _compiler() -> str | None:
    names = (os.environ.get("CC", ""), "cc", "gcc", "clang")
    return next((found for name in names if name and (found := shutil.which(name))), None)
