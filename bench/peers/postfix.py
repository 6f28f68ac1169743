"""Runs Postfix as a private instance in its own directory, with a virtual alias, two Maildirs and two next hops."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from groups import Group

from peers import peer, sinks

_POSTFIX = peer.program("postfix")

_OWNER = 65534
"""The user and group of the mailboxes: nobody, because virtual(8) does not deliver as root."""

_MAIN = """\
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
maillog_file = {directory}/maillog
maillog_file_prefixes = {directory}
myhostname = postfix.example
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
virtual_mailbox_domains = inbox.example
virtual_mailbox_base = {directory}/mailboxes
virtual_mailbox_maps = inline:{{ {{primary@inbox.example = primary/}}, {{alias@inbox.example = alias/}} }}
virtual_mailbox_limit = 0
virtual_alias_domains =
virtual_alias_maps = inline:{{
    {{alias@inbox.example = alias@inbox.example, primary@inbox.example}},
    {{alias@relay.example = alias@relay.example, primary@relay.example}},
    {{alias@lmtp.example = alias@lmtp.example, primary@lmtp.example}} }}
virtual_uid_maps = static:{owner}
virtual_gid_maps = static:{owner}
transport_maps = inline:{{
    {{relay.example = smtp:[127.0.0.1]:{smtp_port}}},
    {{lmtp.example = lmtp:inet:127.0.0.1:{lmtp_port}}} }}
# A copy for each recipient, as Waypost sends them.
smtp_destination_recipient_limit = 1
lmtp_destination_recipient_limit = 1
"""

# Up to 250 processes for connections, because a case has 200 sessions.
_MASTER = """\
127.0.0.1:{port} inet n - n - 250 smtpd
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
smtp    unix - - n - - smtp
lmtp    unix - - n - - lmtp
scache  unix - - n - 1 scache
virtual unix - n n - - virtual
anvil   unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


def why_not() -> str | None:
    """Return the reason why Postfix cannot be used on this machine; None if it can be used."""
    if _POSTFIX is None:
        return "not installed (apt-get install postfix)"
    if os.geteuid() != 0:
        return "can only be started by root"
    return None


def name() -> str:
    postconf = Path(_POSTFIX or "").with_name("postconf")
    version = subprocess.run([postconf, "-dh", "mail_version"], capture_output=True, text=True, check=True).stdout
    return f"Postfix {version.strip()}"


@contextmanager
def running(directory: Path, next_hops: sinks.NextHops | None) -> Iterator[peer.MailPeer]:
    """Run Postfix. Its processes run as another user, who must be able to enter the parent directory."""
    directory.mkdir(mode=0o755)
    for part in ("config", "queue", "data", "mailboxes"):
        (directory / part).mkdir()
    shutil.chown(directory / "data", "postfix")
    os.chown(directory / "mailboxes", _OWNER, _OWNER)
    port = peer.free_port()
    ports = {"port": port, "smtp_port": 0, "lmtp_port": 0} | (next_hops.ports if next_hops else {})
    for file, text in (("main.cf", _MAIN), ("master.cf", _MASTER)):
        (directory / "config" / file).write_text(text.format(directory=directory, owner=_OWNER, **ports))
    group = Group("postfix")
    with group.starting():
        _command(directory, "start")
    group.add(int((directory / "queue" / "pid" / "master.pid").read_text()))
    try:
        peer.wait_until_open(port, directory / "maillog")
        maildirs = peer.Maildirs(directory / "mailboxes" / "alias", directory / "mailboxes" / "primary")
        domains = sinks.domains(next_hops, peer.INBOX, peer.RELAY, peer.LMTP)
        yield peer.MailPeer(name(), peer.Kind.KEEPS, port, (group,), "in its queue", domains, maildirs, directory)
    finally:
        _command(directory, "stop")
        group.remove()


def _command(directory: Path, command: str) -> None:
    assert _POSTFIX is not None
    # Write the output to a file, because the daemons inherit it and would keep a pipe open.
    output = directory / "output"
    with output.open("w") as file:
        words = [_POSTFIX, "-c", directory / "config", command]
        done = subprocess.run(words, stdout=file, stderr=subprocess.STDOUT, timeout=peer.TIME_LIMIT, check=False)
    if done.returncode:
        raise peer.PeerFailed(f"postfix {command}: {output.read_text()}")
