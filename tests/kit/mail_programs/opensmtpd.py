"""Runs OpenSMTPD as a sender: a daemon in the foreground that only relays mail."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tests.kit.patience import PATIENCE

SMTPD = shutil.which("smtpd") or shutil.which("smtpd", path="/usr/sbin")
COMMAND = (SMTPD,)
"""The command for OpenSMTPD. It cannot be installed together with Postfix: `make foreign` runs it in a Debian root."""


_CONFIG = """\
listen on 127.0.0.1 port {own_port} hostname opensmtpd.example
action "there" relay host "{scheme}://{host}:{port}" {tls}
match from any for any action "there"
"""


def why_not() -> str | None:
    """Return the reason why OpenSMTPD cannot be used on this machine; None if it can."""
    if SMTPD is None:
        return "OpenSMTPD is not installed"
    if os.geteuid() != 0:
        return "only root can start OpenSMTPD"
    return None


def relaying(
    directory: Path, address: tuple[str, int], own_port: int, *, tls: bool, command: Sequence[str] = COMMAND
) -> subprocess.Popen:
    """Start the daemon, which accepts mail on `own_port` and relays it to the server at `address`."""
    directory.mkdir()
    config = directory / "smtpd.conf"
    scheme, how = ("smtp+tls", "tls no-verify") if tls else ("smtp+notls", "")
    config.write_text(_CONFIG.format(own_port=own_port, scheme=scheme, host=address[0], port=address[1], tls=how))
    with (directory / "output").open("w") as output:
        return subprocess.Popen([*command, "-d", "-f", config], stdout=output, stderr=output)


def wait_until_open(port: int, process: subprocess.Popen, directory: Path):
    """Wait until the daemon accepts connections."""
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert process.poll() is None, (directory / "output").read_text()
            assert time.monotonic() < give_up
            time.sleep(0.02)
        else:
            return


def wait_until_delivered(directory: Path):
    """Wait until the daemon's log says that the message was delivered."""
    give_up = time.monotonic() + PATIENCE
    while True:
        log = (directory / "output").read_text(errors="replace")
        if 'result="Ok"' in log:
            return
        assert time.monotonic() < give_up, log
        assert "TempFail" not in log, log
        assert "PermFail" not in log, log
        time.sleep(0.02)
