"""Runs Exim in its own Debian root directory, with an alias, two Maildirs and two next hops."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from groups import Group

from peers import peer, roots, sinks

_PROGRAM = "/usr/sbin/exim4"

# Without the limits that would make Exim leave mail in its queue, or refuse sessions.
_CONFIG = """\
primary_hostname = exim.example
spool_directory = {directory}/spool
log_file_path = {directory}/log-%s
keep_environment =
host_lookup =
rfc1413_query_timeout = 0s
smtp_accept_max = 0
smtp_accept_max_per_connection = 0
smtp_accept_queue = 0
smtp_accept_queue_per_connection = 0
smtp_connect_backlog = 1024
acl_smtp_rcpt = accept
acl_smtp_data = accept

begin routers
alias:
  driver = redirect
  local_parts = alias
  data = alias@$domain, primary@$domain
inbox:
  driver = accept
  domains = inbox.example
  transport = maildir
relay:
  driver = manualroute
  domains = relay.example
  route_list = * 127.0.0.1
  self = send
  transport = smtp
lmtp:
  driver = manualroute
  domains = lmtp.example
  route_list = * 127.0.0.1
  self = send
  transport = lmtp

begin transports
maildir:
  driver = appendfile
  maildir_format
  directory = {directory}/mailboxes/${{if eq {{$local_part}}{{alias}} {{alias}}{{primary}}}}
  create_directory
  user = nobody
  group = nogroup
# A copy for each recipient, as Waypost sends them.
smtp:
  driver = smtp
  port = {smtp_port}
  hosts_avoid_tls = *
  max_rcpt = 1
lmtp:
  driver = smtp
  protocol = lmtp
  port = {lmtp_port}
  hosts_avoid_tls = *
  max_rcpt = 1
"""


def why_not() -> str | None:
    """Return the reason why Exim cannot be used on this machine; None if it can be used."""
    return roots.why_not("exim")


@contextmanager
def running(next_hops: sinks.NextHops | None) -> Iterator[peer.MailPeer]:
    """Run Exim with its configuration and its spool in its root directory."""
    command = roots.command("exim", _PROGRAM)
    told = subprocess.run([*command, "-bV"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"Exim version (\S+)", told)
    with roots.directory("exim") as directory:
        for part in ("spool", "mailboxes"):
            (directory / part).mkdir()
            (directory / part).chmod(0o777)
        port = peer.free_port()
        ports = next_hops.ports if next_hops else {"smtp_port": 0, "lmtp_port": 0}
        # The delivery processes of Exim keep their privileges only with the configuration in this place.
        (roots.FETCHED / "exim" / "etc/exim4/exim4.conf").write_text(_CONFIG.format(directory=directory, **ports))
        group, log = Group("exim"), directory / "output"
        # -odb: a delivery process for each message starts at once, which is the default.
        options = ["-bdf", "-q1m", "-odb", "-oX", f"127.0.0.1.{port}", "-oP", directory / "pid"]
        with peer.running(group, [*command, *options], log) as process:
            peer.wait_until_open(port, log, process)
            maildirs = peer.Maildirs(directory / "mailboxes" / "alias", directory / "mailboxes" / "primary")
            domains = sinks.domains(next_hops, peer.INBOX, peer.RELAY, peer.LMTP)
            name = f"Exim {version[1] if version else ''}".strip()
            keeps, data = "in its spool", directory.resolve()
            yield peer.MailPeer(name, peer.Kind.KEEPS, port, (group,), keeps, domains, maildirs, data)
