"""Runs a command with the restrictions on system calls and memory of a systemd unit, without systemd as process 1.

Usage: python unit_sandbox.py UNIT COMMAND...

The filter of system calls is made by libseccomp, which systemd uses too, and the groups of system calls are those of
the installed systemd. The restrictions on files and privileges are not applied, because they need root.
"""

import ctypes
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

LIBRARY = "libseccomp.so.2"
ALLOW = 0x7FFF0000
"""SCMP_ACT_ALLOW of <seccomp.h>."""
REFUSE = 0x00050001
"""SCMP_ACT_ERRNO(EPERM)."""
EQUAL = 4
"""SCMP_CMP_EQ."""
NO_NEW_PRIVILEGES = 38
"""PR_SET_NO_NEW_PRIVS of <linux/prctl.h>."""
DENY_WRITE_EXECUTE = 65
"""PR_SET_MDWE, since Linux 6.3. On an older Linux, the unit's MemoryDenyWriteExecute= is not tested."""


class Comparison(ctypes.Structure):
    """struct scmp_arg_cmp: a condition on an argument of a system call."""

    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    )


def settings_of(unit: str) -> dict[str, list[str]]:
    """Return the values of each setting in the text of a unit, in their order."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", unit, re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


def calls_in(group: str) -> set[str]:
    """Return the names of the system calls in a group such as @system-service."""
    shown = subprocess.run(["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True)
    names = {line.strip() for line in shown.stdout.splitlines()[1:] if not line.strip().startswith("#")} - {""}
    groups = {name for name in names if name.startswith("@")}
    return (names - groups).union(*map(calls_in, groups))


def allowed_calls(filters: list[str]) -> set[str]:
    """Return the system calls that the values of SystemCallFilter= allow. The first value must be a list of allowed
    groups, so that everything else is refused.
    """
    allowed = calls_in("@default")
    for value in filters:
        of_value = set[str]().union(*map(calls_in, value.removeprefix("~").split()))
        allowed = allowed - of_value if value.startswith("~") else allowed | of_value
    return allowed


def restrict(settings: dict[str, list[str]]) -> None:
    """Apply the restrictions of a unit to this process and its future children."""
    calls = allowed_calls(settings["SystemCallFilter"])
    families = [getattr(socket, name) for name in settings["RestrictAddressFamilies"][0].split()]
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0
    if settings["MemoryDenyWriteExecute"] == ["yes"]:
        libc.prctl(DENY_WRITE_EXECUTE, 1, 0, 0, 0)
    library = ctypes.CDLL(LIBRARY)
    library.seccomp_init.restype = ctypes.c_void_p
    made = ctypes.c_void_p(library.seccomp_init(REFUSE))
    for name in calls - {"socket"}:
        if (number := library.seccomp_syscall_resolve_name(name.encode())) >= 0:
            assert library.seccomp_rule_add_array(made, ALLOW, number, 0, None) == 0, name
    for family in families:
        condition = Comparison(0, EQUAL, family, 0)
        number = library.seccomp_syscall_resolve_name(b"socket")
        assert library.seccomp_rule_add_array(made, ALLOW, number, 1, ctypes.byref(condition)) == 0
    assert library.seccomp_load(made) == 0


def main() -> None:
    """Restrict this process, and replace it with the command."""
    unit, *command = sys.argv[1:]
    restrict(settings_of(Path(unit).read_text(encoding="utf-8")))
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
