"""Runs the `waypost` command as another user, which only root can.

`python -m tests.kit.servers.as_user UID GID ARGUMENTS…`

All of the command is loaded before, by commands that are refused: the other user need not be able to read the place
where Python is installed.
"""

import contextlib
import encodings.idna  # noqa: F401 - uvloop looks it up when it listens
import io
import os
import sys

import uvloop  # noqa: F401 - it is loaded when a server starts

from waypost import cli
from waypost.server import opening, routes_check, service  # noqa: F401 - as said above


def load():
    """Run commands as far as they need nothing."""
    for words in (["serve", "--account", "none"], ["keys", "list", "--data", "/dev/null/none"]):
        sys.argv = ["waypost", *words]
        with contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(SystemExit):
            cli.main()


if __name__ == "__main__":
    user, group, *arguments = sys.argv[1:]
    load()
    os.setgroups([int(group)])
    os.setgid(int(group))
    os.setuid(int(user))
    sys.argv = ["waypost", *arguments]
    cli.main()
