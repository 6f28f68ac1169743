"""Runs a private instance of Postfix in a separate directory."""

import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

from tests.kit.patience import PATIENCE, wait_until

_POSTFIX = shutil.which("postfix") or shutil.which("postfix", path="/usr/sbin")


MAIN = """\
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
maillog_file = {directory}/maillog
maillog_file_prefixes = {directory}
myhostname = postfix.example
myorigin = postfix.example
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
local_recipient_maps =
alias_maps =
alias_database =
smtp_dns_support_level = disabled
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_client_message_rate_limit = 0
smtpd_client_recipient_rate_limit = 0
"""

MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup  unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr    unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce  unix - - n - 0 bounce
defer   unix - - n - 0 bounce
trace   unix - - n - 0 bounce
proxymap unix - - n - - proxymap
tlsmgr  unix - - n 1000? 1 tlsmgr
error   unix - - n - - error
retry   unix - - n - - error
discard unix - - n - - discard
smtp    unix - - n - - smtp
anvil   unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


def why_not() -> str | None:
    """Return the reason why Postfix cannot be used on this machine; None if it can."""
    if _POSTFIX is None:
        return "Postfix is not installed"
    if os.geteuid() != 0:
        return "only root can start Postfix"
    return None


class Postfix:
    """The instance of Postfix."""

    def __init__(self, directory: Path, port: int):
        self.directory = directory
        self.config = directory / "config"
        self.port = port

    @property
    def log(self) -> str:
        path = self.directory / "maillog"
        return path.read_text(errors="replace") if path.exists() else ""

    def command(self, word):
        # The output goes to a file, because the daemons inherit it, and would keep a pipe open while they run.
        output = self.directory / "output"
        with output.open("w") as file:
            words = [_POSTFIX, "-c", self.config, word]
            done = subprocess.run(words, stdout=file, stderr=subprocess.STDOUT, timeout=PATIENCE, check=False)
        assert done.returncode == 0, output.read_text() + self.log


@contextmanager
def running(directory: Path, port: int, settings: str):
    """Run Postfix on a port of 127.0.0.1 with additional settings. Other users must be able to enter the directory."""
    directory.mkdir(mode=0o755)
    instance = Postfix(directory, port)
    for name in ("config", "queue", "data"):
        (directory / name).mkdir()
    shutil.chown(directory / "data", "postfix")
    (instance.config / "main.cf").write_text(MAIN.format(directory=directory) + settings, encoding="utf-8")
    (instance.config / "master.cf").write_text(MASTER.format(port=port))
    instance.command("start")
    try:
        yield instance
    finally:
        instance.command("abort")
        wait_until(lambda: not (directory / "queue/pid/master.pid").exists() or _has_ended(directory))


def _has_ended(directory) -> bool:
    pid = (directory / "queue/pid/master.pid").read_text().strip()
    return not Path(f"/proc/{pid}").exists()
