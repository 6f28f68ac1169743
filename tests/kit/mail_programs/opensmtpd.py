"""OpenSMTPD as a sender: the daemon in the foreground, with a relay as its only action."""

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
"""How to run OpenSMTPD. It cannot be installed beside Postfix: `make foreign` runs one in a Debian root instead."""


_CONFIG = """\
listen on 127.0.0.1 port {own_port} hostname opensmtpd.example
action "there" relay host "{scheme}://{host}:{port}" {tls}
match from any for any action "there"
"""


def why_not() -> str | None:
    """Why OpenSMTPD cannot take part here, or None if it can."""
    if SMTPD is None:
        return "OpenSMTPD is not installed"
    if os.geteuid() != 0:
        return "OpenSMTPD can be started by root only"
    return None


def relaying(
    directory: Path, address: tuple[str, int], own_port: int, *, tls: bool, command: Sequence[str] = COMMAND
) -> subprocess.Popen:
    """The daemon, which takes mail on a port of its own, and takes it there."""
    directory.mkdir()
    config = directory / "smtpd.conf"
    scheme, how = ("smtp+tls", "tls no-verify") if tls else ("smtp+notls", "")
    config.write_text(_CONFIG.format(own_port=own_port, scheme=scheme, host=address[0], port=address[1], tls=how))
    with (directory / "output").open("w") as output:
        return subprocess.Popen([*command, "-d", "-f", config], stdout=output, stderr=output)


def wait_until_open(port: int, process: subprocess.Popen, directory: Path):
    """Wait until it takes connections."""
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
    """Wait until its log says so."""
    give_up = time.monotonic() + PATIENCE
    while True:
        log = (directory / "output").read_text(errors="replace")
        if 'result="Ok"' in log:
            return
        assert time.monotonic() < give_up, log
        assert "TempFail" not in log, log
        assert "PermFail" not in log, log
        time.sleep(0.02)
