"""Runs mail servers in Python that keep nothing: they show what Python's networking alone costs."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from groups import Group

from peers import peer, sinks

_BARE = Path(__file__).parents[1] / "bare.py"
_INBOX = {peer.INBOX: "inbox.example"}


@contextmanager
def aiosmtpd(directory: Path) -> Iterator[peer.MailPeer]:
    """aiosmtpd with a handler that discards messages."""
    with bare(directory, "aiosmtpd") as (port, group):
        yield peer.MailPeer("aiosmtpd, null handler", peer.Kind.DISCARDS, port, (group,), "nowhere", _INBOX)


@contextmanager
def asyncio(directory: Path) -> Iterator[peer.MailPeer]:
    """The smallest mail server on asyncio's protocols, which discards messages."""
    with bare(directory, "asyncio") as (port, group):
        yield peer.MailPeer("asyncio, bare protocol", peer.Kind.DISCARDS, port, (group,), "nowhere", _INBOX)


@contextmanager
def smtplib(directory: Path, next_hops: sinks.NextHops) -> Iterator[peer.MailPeer]:
    """The same server, which sends two copies of each message with smtplib before it replies."""
    with bare(directory, "smtplib", str(next_hops.ports["smtp_port"])) as (port, group):
        relayed = {peer.RELAY: "relay.example"}
        yield peer.MailPeer("asyncio and smtplib", peer.Kind.DISCARDS, port, (group,), "at the next hop", relayed)


@contextmanager
def bare(directory: Path, which: str, *arguments: str) -> Iterator[tuple[int, Group]]:
    """Run one of the servers of `bare.py`, and yield its port and its processes."""
    group, log = Group(which), directory.with_name(f"{directory.name}-{which}.log")
    with peer.running(group, [sys.executable, _BARE, which, *arguments], log, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise peer.PeerFailed(log.read_text())
        yield int(line), group
