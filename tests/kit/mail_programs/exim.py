"""Runs Exim with a separate configuration and spool, as a sender, and as a server that keeps received mail."""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.kit.patience import PATIENCE

EXIM = shutil.which("exim4") or shutil.which("exim") or shutil.which("exim4", path="/usr/sbin")
COMMAND = (EXIM,)
"""The command for Exim. Debian cannot install it together with Postfix, so `make foreign` runs it in a Debian root."""


_MAIN = """\
primary_hostname = exim.example
spool_directory = {directory}/spool
log_file_path = {directory}/log-%s
keep_environment =
host_lookup =
rfc1413_query_timeout = 0s
queue_only = {queue_only}
acl_smtp_rcpt = accept
acl_smtp_data = accept
begin routers
"""

_KEEPS = """\
here:
  driver = accept
  transport = keep
begin transports
keep:
  driver = appendfile
  file = /dev/null
"""

_RELAYS = """\
there:
  driver = manualroute
  route_list = * {host}
  self = send
  transport = relay
begin transports
relay:
  driver = smtp
  port = {port}
  {tls}
"""


def why_not() -> str | None:
    """Return the reason why Exim cannot be used on this machine; None if it can."""
    if EXIM is None:
        return "Exim is not installed"
    if os.geteuid() != 0:
        return "Exim accepts an alternative configuration only from root"
    return None


def configure(directory: Path, text: str, **values) -> Path:
    """Write a configuration and return its path. Other users must be able to enter the parent directory."""
    directory.mkdir(mode=0o755)
    (directory / "spool").mkdir(mode=0o777)
    (directory / "spool").chmod(0o777)
    directory.chmod(0o777)
    path = directory / "exim.conf"
    path.write_text((_MAIN + text).format(directory=directory, **values))
    path.chmod(0o644)
    return path


def send(
    directory: Path,
    address: tuple[str, int],
    message: bytes,
    sender: str,
    recipient: str,
    *,
    tls: bool,
    command: Sequence[str] = COMMAND,
):
    """Let Exim deliver a message to the server at `address`, and wait until it is delivered."""
    options = "hosts_require_tls = *\n  tls_verify_hosts =\n  tls_try_verify_hosts =" if tls else "hosts_avoid_tls = *"
    config = configure(directory, _RELAYS, queue_only="false", host=address[0], port=address[1], tls=options)
    arguments = ["-C", config, "-odf", "-oi", "-f", sender, recipient]
    done = subprocess.run([*command, *arguments], input=message, capture_output=True, timeout=PATIENCE, check=False)
    log = "".join(path.read_text(errors="replace") for path in directory.glob("log-*"))
    assert done.returncode == 0, done.stderr + done.stdout
    assert " => " in log, log
    assert (" X=TLS" in log) == tls, log


class Keeping:
    """Exim as a server that leaves all mail in its queue."""

    name = "Exim"
    told_id = re.compile(rb"OK id=(\S+)")
    may_be_half_closed = True

    def __init__(self, directory, port):
        self.address = ("127.0.0.1", port)
        self._log = directory / "log-main"

    def settle(self, told):
        """Return immediately, because no message is in transit after the reply."""

    def count(self) -> int:
        """Return the number of accepted messages, which Exim logs before it replies."""
        return self._log.read_text(errors="replace").count(" <= ") if self._log.exists() else 0


@contextmanager
def running(directory: Path, port: int):
    """Run Exim on a port of 127.0.0.1. It accepts everything."""
    config = configure(directory, _KEEPS, queue_only="true")
    command = [*COMMAND, "-C", config, "-bdf", "-oX", f"127.0.0.1.{port}", "-oP", directory / "pid"]
    with (directory / "output").open("w") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            _wait_until_open(port, process, directory / "output")
            yield Keeping(directory, port)
        finally:
            process.terminate()


def _wait_until_open(port, process, output):
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < give_up
            time.sleep(0.02)
        else:
            return
