"""Runs the `waypost` command as another user, which only root can.

`python -m tests.kit.servers.as_user UID GID ARGUMENTS…`

Before it changes the user, the program loads all modules by running commands that are refused. The other user therefore
does not need read access to the Python installation.
"""

import contextlib
import encodings.idna  # noqa: F401 - uvloop imports it when it starts to listen
import io
import os
import sys

import uvloop  # noqa: F401 - a server imports it when it starts

from waypost import cli
from waypost.server import opening, routes_check, service  # noqa: F401 - loaded before the change of user


def load():
    """Run commands that fail after all modules are loaded."""
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
