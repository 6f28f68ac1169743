"""Runs `waypost serve` with one of its stores and a number of worker processes, and counts its inboxes."""

import base64
import functools
import json
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from groups import Group

from peers import peer, sinks
from peers.postgresql import Database
from waypost.testing.process import Server

PAGE = 500
"""The maximum number of messages in a response of Waypost's inspection API."""

_CONNECTIONS = ("--smtp-connections-each", "1000")
"""All sessions come from one address, and a case has more sessions than the default of 100."""

_ROUTES = """\
[[route]]
match = "*@relay.example"
to = "smtp://127.0.0.1:{smtp_port}"

[[route]]
match = "*@lmtp.example"
to = "lmtp://127.0.0.1:{lmtp_port}"
"""


class Waypost(peer.MailPeer):
    """A running Waypost server. Every round uses a new alias and a new primary address."""

    server: Server
    instance_id: str

    @property
    def http_port(self) -> int:
        return int(self.server.url.rpartition(":")[2])

    def connect(self, server: Server) -> None:
        """Prepare to call the server's API."""
        self.server = server
        self._connect = boto3.client("connect", **server.client_arguments)
        self.instance_id = self._connect.list_instances()["InstanceSummaryList"][0]["Id"]
        self._pairs = 0

    def recipient(self, path: str) -> str:
        self._pairs += 1
        domain = self.domains[path]
        addresses = [f"{side}-{self._pairs}@{domain}" for side in ("alias", "primary")]
        alias_id, primary_id = (self._create(address) for address in addresses)
        self._connect.associate_email_address_alias(
            InstanceId=self.instance_id,
            EmailAddressId=primary_id,
            AliasConfiguration={"EmailAddressId": alias_id},
        )
        self.inboxes = Inboxes(self.server, addresses)
        return addresses[0]

    def _create(self, address: str) -> str:
        created = self._connect.create_email_address(InstanceId=self.instance_id, EmailAddress=address)
        email_address_id: str = created["EmailAddressId"]
        return email_address_id


class Inboxes:
    """The inboxes of new email addresses."""

    def __init__(self, server: Server, addresses: list[str]) -> None:
        self._server = server
        self._addresses = addresses

    def begin(self) -> None:
        pass

    def has(self, count: int) -> bool:
        return all(self._count(address) == count for address in self._addresses)

    def _count(self, address: str) -> int:
        count = 0
        query = {"address": address, "limit": str(PAGE)}
        while page := self._messages(query):
            count += len(page)
            query["after"] = page[-1]["id"]
        return count

    def _messages(self, query: dict[str, str]) -> list[dict[str, Any]]:
        key = self._server.profile.key
        password = base64.b64encode(f"{key.id}:{key.secret}".encode()).decode()
        url = f"{self._server.url}/_waypost/messages?{urllib.parse.urlencode(query)}"
        request = urllib.request.Request(url, headers={"Authorization": f"Basic {password}"})
        with urllib.request.urlopen(request) as answer:
            messages: list[dict[str, Any]] = json.load(answer)["messages"]
            return messages


@functools.cache
def has_workers() -> bool:
    """Return whether this version of Waypost can run several worker processes."""
    command = [sys.executable, "-m", "waypost", "serve", "--help"]
    return "--workers" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def name(store: str, workers: int) -> str:
    return f"Waypost, {store}" + (f", {workers} workers" if workers > 1 else "")


@contextmanager
def running(
    directory: Path,
    next_hops: sinks.NextHops | None,
    *,
    workers: int = 1,
    database: Database | None = None,
    extra: Sequence[str] = (),
) -> Iterator[Waypost]:
    """Run Waypost on SQLite, or on a database of a PostgreSQL server. `extra` are more options of `waypost serve`."""
    settings = directory.with_name(f"{directory.name}.toml")
    settings.write_text(_ROUTES.format(**next_hops.ports) if next_hops else "")
    options = ["--config", str(settings), "--hostname", "waypost.example", *_CONNECTIONS, *extra]
    options += ["--workers", str(workers)] if workers > 1 else []
    options += ["--database", database.url] if database else []
    store = "PostgreSQL" if database else "SQLite"
    server, group = Server(directory, *options), Group(directory.name)
    with group.starting():
        server.start()
    group.add(server.run.pid)
    domains = sinks.domains(next_hops, peer.INBOX, peer.RELAY, peer.LMTP)
    groups = (group, database.group) if database else (group,)
    kind = peer.Kind.WAYPOST if workers == 1 else peer.Kind.WORKERS
    shown, port = name(store, workers), server.smtp[1]
    running_peer = Waypost(shown, kind, port, groups, "in its database", domains, directory=directory)
    running_peer.connect(server)
    try:
        yield running_peer
    finally:
        try:
            server.stop()
        finally:
            group.remove()
