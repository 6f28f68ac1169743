"""The servers that are measured. Each is a context manager that starts and stops its server."""

import base64
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import boto3
import postfix

from waypost.testing.process import Server

PAGE = 500
"""The maximum number of messages in a response of Waypost's inspection API."""

_SMTP_SINK = shutil.which("smtp-sink") or shutil.which("smtp-sink", path="/usr/sbin")


class WrongInbox(Exception):
    """Raised if Waypost replied 250 to a message that is missing in an inbox."""


@dataclass(frozen=True, slots=True)
class Listener:
    """The port of a server, and the id of its process."""

    port: int
    pid: int


class MailPeer(Protocol):
    """A server that accepts mail for `recipient`."""

    port: int
    recipient: str

    def begin_round(self) -> None:
        """Prepare for a new round, whose messages are counted from zero."""

    def wait_for(self, count: int) -> None:
        """Return when `count` messages are delivered. Raises an error if they are not delivered."""


class Waypost:
    """A real `waypost serve`. Every round uses a new alias and a new primary address."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.port = server.smtp[1]
        self.http = Listener(int(server.url.rpartition(":")[2]), server.run.pid)
        self.recipient = ""
        self._connect = boto3.client("connect", **server.client_arguments)
        self.instance_id: str = self._connect.list_instances()["InstanceSummaryList"][0]["Id"]
        self._rounds = 0

    def begin_round(self) -> None:
        self._rounds += 1
        self._inboxes = [f"{side}-{self._rounds}@waypost.example" for side in ("alias", "primary")]
        alias_id, primary_id = (self._create(address) for address in self._inboxes)
        self._connect.associate_email_address_alias(
            InstanceId=self.instance_id,
            EmailAddressId=primary_id,
            AliasConfiguration={"EmailAddressId": alias_id},
        )
        self.recipient = self._inboxes[0]

    def wait_for(self, count: int) -> None:
        # There is no need to wait, because an accepted message is already delivered.
        for address in self._inboxes:
            found = self._count(address)
            if found != count:
                raise WrongInbox(f"{found} of {count} messages are in the inbox of {address}")

    def _create(self, address: str) -> str:
        created = self._connect.create_email_address(InstanceId=self.instance_id, EmailAddress=address)
        email_address_id: str = created["EmailAddressId"]
        return email_address_id

    def _count(self, address: str) -> int:
        count = 0
        query = {"address": address, "limit": str(PAGE)}
        while page := self._messages(query):
            count += len(page)
            query["after"] = page[-1]["id"]
        return count

    def _messages(self, query: dict[str, str]) -> list[dict[str, Any]]:
        key = self.server.profile.key
        password = base64.b64encode(f"{key.id}:{key.secret}".encode()).decode()
        url = f"{self.server.url}/_waypost/messages?{urllib.parse.urlencode(query)}"
        request = urllib.request.Request(url, headers={"Authorization": f"Basic {password}"})
        with urllib.request.urlopen(request) as answer:
            messages: list[dict[str, Any]] = json.load(answer)["messages"]
            return messages


class Sink:
    """A server that accepts and discards mail."""

    recipient = "alias@null.example"

    def __init__(self, port: int) -> None:
        self.port = port

    def begin_round(self) -> None:
        pass

    def wait_for(self, count: int) -> None:
        pass


@contextmanager
def waypost(directory: Path, *options: str, name: str = "waypost") -> Iterator[Waypost]:
    server = Server(directory / name, *options)
    server.start()
    try:
        yield Waypost(server)
    finally:
        server.stop()


@contextmanager
def private_postfix(directory: Path) -> Iterator[postfix.Postfix]:
    instance = postfix.Postfix(directory / "postfix", port=free_port())
    instance.start()
    try:
        yield instance
    finally:
        instance.stop()


@contextmanager
def null_smtp() -> Iterator[Sink]:
    """aiosmtpd with a handler that discards messages."""
    with _bare("null-smtp") as server:
        yield Sink(server.port)


@contextmanager
def smtp_sink() -> Iterator[Sink]:
    """Postfix's smtp-sink, which shows the maximum rate of the generator."""
    assert _SMTP_SINK is not None
    port = free_port()
    with _process([_SMTP_SINK, "-u", "nobody", f"127.0.0.1:{port}", "1024"]):
        _wait_until_open(port)
        yield Sink(port)


def has_smtp_sink() -> bool:
    return _SMTP_SINK is not None


@contextmanager
def echo() -> Iterator[Listener]:
    """The minimal ASGI echo server."""
    with _bare("echo") as server:
        yield server


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def _bare(which: str) -> Iterator[Listener]:
    with _process([sys.executable, str(Path(__file__).with_name("bare.py")), which]) as process:
        assert process.stdout is not None
        yield Listener(int(process.stdout.readline()), process.pid)


@contextmanager
def _process(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def _wait_until_open(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.02)
        else:
            return
    raise TimeoutError(f"nothing listens on port {port}")
