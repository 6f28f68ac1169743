"""Runs Postfix as a private instance in its own directory, with a virtual alias and two Maildirs."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

DOMAIN = "postfix.example"

TIME_LIMIT = 60.0
"""The time limit, in seconds, for the delivery of all accepted messages."""

_POSTFIX = shutil.which("postfix") or shutil.which("postfix", path="/usr/sbin")

_OWNER = 65534
"""The user and group of the mailboxes: nobody, because virtual(8) does not deliver as root."""

_MAIN = """\
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
maillog_file = {directory}/maillog
maillog_file_prefixes = {directory}
myhostname = {domain}
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
local_recipient_maps =
alias_maps =
alias_database =
smtp_dns_support_level = disabled
smtpd_peername_lookup = no
smtpd_tls_security_level = none
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_client_message_rate_limit = 0
smtpd_client_recipient_rate_limit = 0
virtual_mailbox_domains = {domain}
virtual_mailbox_base = {directory}/mailboxes
virtual_mailbox_maps = inline:{{ {{primary@{domain} = primary/}}, {{alias@{domain} = alias/}} }}
virtual_mailbox_limit = 0
virtual_alias_domains =
virtual_alias_maps = inline:{{ {{alias@{domain} = alias@{domain}, primary@{domain}}} }}
virtual_uid_maps = static:{owner}
virtual_gid_maps = static:{owner}
"""

_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup  unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr    unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce  unix - - n - 0 bounce
defer   unix - - n - 0 bounce
trace   unix - - n - 0 bounce
proxymap unix - - n - - proxymap
error   unix - - n - - error
retry   unix - - n - - error
virtual unix - n n - - virtual
anvil   unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


class PostfixFailed(Exception):
    """Raised if Postfix cannot be started, or does not deliver accepted messages."""


class Postfix:
    """A private Postfix instance, which delivers each message for `recipient` to two mailboxes."""

    recipient = f"alias@{DOMAIN}"

    def __init__(self, directory: Path, *, port: int) -> None:
        """`start` creates `directory`, and the caller must remove it; `port` must be a free port."""
        self.directory = directory
        self.port = port
        self._config = directory / "config"
        self._mailboxes = [directory / "mailboxes" / name / "new" for name in ("alias", "primary")]

    def start(self) -> None:
        """Start Postfix, and wait until it accepts connections. Raises `PostfixFailed`."""
        self._prepare()
        self._command("start")
        give_up = time.monotonic() + TIME_LIMIT
        while not _answers(self.port):
            if time.monotonic() > give_up:
                self.stop()
                raise PostfixFailed("Postfix does not accept connections")
            time.sleep(0.05)

    def stop(self) -> None:
        self._command("stop")

    def begin_round(self) -> None:
        """Begin a new count. Old messages stay, because Postfix was half as fast in emptied mailboxes on ext4."""
        self._already = [_files(mailbox) for mailbox in self._mailboxes]

    def wait_for(self, count: int) -> None:
        """Return when both mailboxes have `count` new messages. Raises `PostfixFailed`."""
        wanted = [already + count for already in self._already]
        give_up = time.monotonic() + TIME_LIMIT
        while any(_files(mailbox) < files for mailbox, files in zip(self._mailboxes, wanted, strict=True)):
            if time.monotonic() > give_up:
                raise PostfixFailed(f"Postfix has not delivered {count} messages in {TIME_LIMIT:.0f} s")
            time.sleep(0.02)

    def _prepare(self) -> None:
        # Postfix's processes run as another user, who must be able to access the directory.
        self.directory.mkdir(mode=0o755)
        for name in ("config", "queue", "data", "mailboxes"):
            (self.directory / name).mkdir()
        shutil.chown(self.directory / "data", "postfix")
        os.chown(self.directory / "mailboxes", _OWNER, _OWNER)
        values = {"directory": self.directory, "domain": DOMAIN, "owner": _OWNER, "port": self.port}
        (self._config / "main.cf").write_text(_MAIN.format(**values))
        (self._config / "master.cf").write_text(_MASTER.format(**values))

    def _command(self, command: str) -> None:
        assert _POSTFIX is not None
        # Write the output to a file, because the daemons inherit it and would keep a pipe open.
        output = self.directory / "output"
        with output.open("w") as file:
            words = [_POSTFIX, "-c", self._config, command]
            done = subprocess.run(words, stdout=file, stderr=subprocess.STDOUT, timeout=TIME_LIMIT, check=False)
        if done.returncode:
            raise PostfixFailed(f"postfix {command}: {output.read_text()}")


def why_not() -> str | None:
    """Return the reason why Postfix cannot be used on this machine; None if it can be used."""
    if _POSTFIX is None:
        return "not installed"
    if os.geteuid() != 0:
        return "can only be started by root"
    return None


def version() -> str:
    postconf = Path(_POSTFIX or "").with_name("postconf")
    return subprocess.run([postconf, "-dh", "mail_version"], capture_output=True, text=True, check=True).stdout.strip()


def _files(directory: Path) -> int:
    """Return the number of files in a directory, as cheaply as possible, because this runs during the measurement."""
    return len(os.listdir(directory)) if directory.exists() else 0  # noqa: PTH208


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=TIME_LIMIT) as connection:
            return connection.recv(3) == b"220"
    except ConnectionRefusedError:
        return False
