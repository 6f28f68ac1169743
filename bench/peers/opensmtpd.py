"""Runs OpenSMTPD in its own Debian root directory, with an alias, two Maildirs and two next hops."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from groups import Group

from peers import peer, roots, sinks

_PROGRAM = "/usr/sbin/smtpd"

# Sessions may have more messages than the default of 100, and sending on does not wait between connections.
_CONFIG = """\
smtp limit max-mails 1000000
mta limit conn-delay-host 0
mta limit conn-delay-source 0
mta limit conn-delay-connector 0
mta limit conn-delay-relay 0
mta limit conn-delay-domain 0
mta limit session-mail-max 1000000
mta limit task-hiwat 1000000
queue ttl 1h
table users {{ "alias" = "65534:65534:{directory}", "primary" = "65534:65534:{directory}" }}
table inboxes {{ "alias@inbox.example" = "alias, primary" }}
table relayed {{ "alias@relay.example" = "alias@one.relay.example, primary@two.relay.example" }}
table by_lmtp {{ "alias@lmtp.example" = "alias@one.lmtp.example, primary@two.lmtp.example" }}
listen on 127.0.0.1 port {port} hostname opensmtpd.example
action "keep" maildir "{directory}/mailboxes/%{{user.username}}" virtual <inboxes> userbase <users>
action "alias of relay" expand-only virtual <relayed>
action "alias of lmtp" expand-only virtual <by_lmtp>
# Two hosts get two copies, as Waypost sends them; one host would get one copy for both recipients.
action "relay one" relay host "smtp+notls://127.0.0.1:{smtp_port}"
action "relay two" relay host "smtp+notls://localhost:{smtp_port}"
action "lmtp one" relay host "lmtp://127.0.0.1:{lmtp_port}"
action "lmtp two" relay host "lmtp://localhost:{lmtp_port}"
match from any for domain "inbox.example" action "keep"
match from any for domain "relay.example" action "alias of relay"
match from any for domain "lmtp.example" action "alias of lmtp"
match from any for domain "one.relay.example" action "relay one"
match from any for domain "two.relay.example" action "relay two"
match from any for domain "one.lmtp.example" action "lmtp one"
match from any for domain "two.lmtp.example" action "lmtp two"
"""


def why_not() -> str | None:
    """Return the reason why OpenSMTPD cannot be used on this machine; None if it can be used."""
    return roots.why_not("opensmtpd")


@contextmanager
def running(next_hops: sinks.NextHops | None) -> Iterator[peer.MailPeer]:
    """Run OpenSMTPD. Its queue is always /var/spool/smtpd of its root directory, which is emptied first."""
    root = roots.FETCHED / "opensmtpd"
    for old in (root / "var/spool/smtpd").glob("*/*"):
        shutil.rmtree(old, ignore_errors=True)
    (root / "etc" / "hosts").write_text("127.0.0.1 localhost\n")
    command = roots.command("opensmtpd", _PROGRAM)
    told = subprocess.run([*command, "-h"], capture_output=True, text=True, check=False)
    version = re.search(r"OpenSMTPD (\S+)", told.stdout + told.stderr)
    with roots.directory("opensmtpd") as directory:
        (directory / "mailboxes").mkdir()
        (directory / "mailboxes").chmod(0o777)
        port, config = peer.free_port(), directory / "smtpd.conf"
        ports = next_hops.ports if next_hops else {"smtp_port": 1, "lmtp_port": 1}
        config.write_text(_CONFIG.format(directory=directory, port=port, **ports))
        group, log = Group("opensmtpd"), directory / "output"
        with peer.running(group, [*command, "-d", "-f", config], log) as process:
            peer.wait_until_open(port, log, process)
            maildirs = peer.Maildirs(directory / "mailboxes" / "alias", directory / "mailboxes" / "primary")
            domains = sinks.domains(next_hops, peer.INBOX, peer.RELAY, peer.LMTP)
            name = f"OpenSMTPD {version[1] if version else ''}".strip().removesuffix("-portable")
            keeps, data = "in its queue", root.resolve()
            yield peer.MailPeer(name, peer.Kind.KEEPS, port, (group,), keeps, domains, maildirs, data)
