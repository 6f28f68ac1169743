"""Clients for a running server: the AWS SDK, a mail client, the inspection API, and the `waypost` command."""

import base64
import http.client
import io
import itertools
import json
import os
import re
import smtplib
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import boto3
import botocore.config
import pytest

from tests.kit.patience import PATIENCE
from tests.kit.stores.direct_writes import umask_kept
from waypost import cli, testing
from waypost.host.master_key import MASTER_KEY_VARIABLE
from waypost.testing import process

ACCEPTED = re.compile(rb"2\.0\.0 (?P<id>[0-9a-f-]{36}) accepted")
SOURCES = map("127.1.{0[0]}.{0[1]}".format, itertools.cycle(itertools.product(range(250), range(1, 251))))
"""Source addresses for requests, a different one for each, because the server delays addresses with many failures.
Several threads may take addresses at the same time, which they may not from a generator.
"""


class _FromAnywhere(urllib.request.HTTPHandler):
    def http_open(self, request):
        source = (next(SOURCES), 0) if sys.platform == "linux" else None
        return self.do_open(partial(http.client.HTTPConnection, source_address=source), request)


NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}), _FromAnywhere)

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Answer:
    """A response of the inspection API."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self):
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.body)


@contextmanager
def shared_system():
    """Run a server that several tests share, and yield its `System`. At the end, its log must contain no traceback."""
    with testing.server("--hostname", "mail.example") as server:
        system = System(server)
        yield system
        system.connect.close()
        log = server.log.read_text(encoding="utf-8")
    assert "Traceback" not in log


def inspect(server, path, *, key=None, **query) -> Answer:
    """Send a GET request to the inspection API of a server.

    `key` is the id and the secret of an access key. None is the owner's key, and an empty tuple is no key.
    """
    profile = server.profile
    key = (profile.key.id, profile.key.secret) if key is None else key
    headers = {"Authorization": "Basic " + base64.b64encode(":".join(key).encode()).decode()} if key else {}
    return fetch(f"{server.url}/_waypost/{path}?{urllib.parse.urlencode(query)}", headers)


BUSY = ("Another call is changing", "Other calls are constantly changing")
"""The beginnings of the error messages of calls that were not carried out, because other calls lock the resource."""


class System:
    """Convenience methods for a server."""

    def __init__(self, server):
        self.server = server
        self.connect = boto3.client(
            "connect",
            **server.client_arguments,
            config=botocore.config.Config(proxies={}, retries={"total_max_attempts": 1}),
        )
        self.instance_id = self.json("instance", region=server.profile.region)["id"]
        self.ids = {}
        """The ids of the email addresses that this object has created, by address."""

    def new_address(self, name="support") -> str:
        """Create a unique email address, and return it."""
        address = f"{name}.{next(_numbers)}@example.com"
        made = self.connect.create_email_address(InstanceId=self.instance_id, EmailAddress=address)
        self.ids[address] = made["EmailAddressId"]
        return address

    def linked_pair(self) -> tuple[str, str]:
        """Create an alias and its primary, and return their addresses."""
        alias, primary = self.new_address("help"), self.new_address("support")
        self.connect.associate_email_address_alias(**self._link(alias, primary))
        return alias, primary

    def unlink(self, alias, primary):
        self.connect.disassociate_email_address_alias(**self._link(alias, primary))

    def delete(self, address):
        self.connect.delete_email_address(InstanceId=self.instance_id, EmailAddressId=self.ids[address])

    def send(self, message: bytes, *recipients, sender="a@client.example") -> tuple[int, bytes]:
        """Send a message, and return the code and the text of the last reply."""
        with smtplib.SMTP(*self.server.smtp, local_hostname="client.example", timeout=PATIENCE) as client:
            client.ehlo()
            client.mail(sender)
            for recipient in recipients:
                assert client.rcpt(recipient)[0] == 250
            return client.data(message)

    def rcpt(self, recipient) -> tuple[int, bytes]:
        """Return the reply to a recipient, without sending a message."""
        with smtplib.SMTP(*self.server.smtp, local_hostname="client.example", timeout=PATIENCE) as client:
            client.ehlo()
            client.mail("a@client.example")
            return client.rcpt(recipient)

    def deliver(self, message: bytes, *recipients, **envelope) -> str:
        """Send a message that must be accepted, and return its id."""
        code, text = self.send(message, *recipients, **envelope)
        assert code == 250
        return ACCEPTED.fullmatch(text)["id"].decode()

    def get(self, path, *, key=None, **query) -> Answer:
        """Send a GET request to the inspection API, as `inspect` does."""
        return inspect(self.server, path, key=key, **query)

    def json(self, path, **query):
        answer = self.get(path, **query)
        assert answer.status == 200, answer.body
        return answer.json()

    def raw(self, message_id, address) -> bytes:
        """Return the exact bytes of a message that arrived at an address."""
        answer = self.get(f"messages/{message_id}/raw", address=address)
        assert answer.status == 200, answer.body
        assert answer.headers["content-type"] == "message/rfc822"
        return answer.body

    def inbox(self, address, **query):
        return self.json("messages", address=address, **query)["messages"]

    def ids_at(self, address, **query) -> list[str]:
        return [message["id"] for message in self.inbox(address, **query)]

    def all_ids_at(self, address) -> list[str]:
        """Return the ids of all messages in an inbox, which is read page by page."""
        found, page = [], self.ids_at(address, limit=500)
        while page:
            found += page
            page = self.ids_at(address, limit=500, after=page[-1])
        return found

    def _link(self, alias, primary):
        return {
            "InstanceId": self.instance_id,
            "EmailAddressId": self.ids[primary],
            "AliasConfiguration": {"EmailAddressId": self.ids[alias]},
        }


def fetch(url, headers=None, method="GET") -> Answer:
    """Send a request to a URL, and return the response."""
    request = urllib.request.Request(url, headers=headers or {}, method=method)
    try:
        response = NO_PROXY.open(request, timeout=PATIENCE)
    except urllib.error.HTTPError as error:
        response = error
    with response:
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status, headers, response.read())


def waypost(*arguments, **environment) -> subprocess.CompletedProcess:
    """Run the `waypost` command in this process, which saves the half second that a new process needs to start."""
    words = ["waypost", *map(str, arguments)]
    out, err = io.StringIO(), io.StringIO()
    with umask_kept(), redirect_stdout(out), redirect_stderr(err), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", words)
        for name, value in {"NO_COLOR": "1", **environment}.items():
            patch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            cli.main()
    return subprocess.CompletedProcess(words, ended.value.code or 0, out.getvalue(), err.getvalue())


def waypost_process(*arguments, **environment) -> subprocess.CompletedProcess:
    """Run the `waypost` command in a separate process, as is necessary for a command that starts a server."""
    return subprocess.run(
        [sys.executable, "-m", "waypost", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env={**os.environ, "NO_COLOR": "1", **environment},
    )


def handles(pid, number) -> bool:
    """Return whether a process has a handler for a signal, or ignores it. Without one, the signal ends the process."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except FileNotFoundError:
        return False
    masks = (int(re.search(rf"^Sig{kind}:\s*(\w+)", status, re.MULTILINE)[1], 16) for kind in ("Cgt", "Ign"))
    return any(mask >> (number - 1) & 1 for mask in masks)


@contextmanager
def serving(*options, log=os.devnull, **environment):
    """Run `waypost serve` as a person does, and yield its banner. `log` is the file for its log."""
    command = [sys.executable, "-m", "waypost", "serve", "--http", "127.0.0.1:0", "--smtp", "127.0.0.1:0"]
    with Path(log).open("w", encoding="utf-8") as file:
        started = process.subprocess.Popen(
            [*command, *map(str, options)],
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            env={**os.environ, **environment},
        )
        try:
            yield "".join(itertools.takewhile(lambda line: "Ctrl-C" not in line, started.stdout))
        finally:
            started.terminate()
            assert started.wait(PATIENCE) == 0
            started.stdout.close()


def banner(*options, **environment) -> str:
    """Start a server, stop it, and return the banner that it has printed."""
    with serving(*options, **environment) as shown:
        return shown


# Several servers on one PostgreSQL database

MASTER_KEY = base64.urlsafe_b64encode(b"thirty-two octets, and no secret").decode()


@contextmanager
def running_on(url, *directories, options=()):
    """Start servers on one PostgreSQL database at the same time, and yield a `System` for each data directory.

    Check at the end that no server has logged an unexpected error.
    """
    servers = [testing.Server(directory, "--database", url, *options) for directory in directories]
    with ThreadPoolExecutor() as threads, ExitStack() as opened:
        for server in servers:
            opened.callback(end, server)
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv(MASTER_KEY_VARIABLE, MASTER_KEY)
            list(threads.map(testing.Server.start, servers))
        systems = [System(server) for server in servers]
        for system in systems:
            opened.callback(system.connect.close)
        yield systems
    for server in servers:
        assert not logged(server, "failed")


def restart(server):
    """Start a server on PostgreSQL again after it was stopped or killed."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(MASTER_KEY_VARIABLE, MASTER_KEY)
        server.start()


def end(server):
    """Stop a server if it is running."""
    if server._process and server._process.poll() is None:
        server.stop()


@contextmanager
def started(server):
    """Start a server, and yield its system. At the end, its log must contain no unexpected error."""
    server.start()
    system = System(server)
    try:
        yield system
    finally:
        system.connect.close()
        end(server)
    assert not logged(server, "failed")


@contextmanager
def configured(directory, settings, *options, name="data"):
    """Run a server with a settings file of this content, and yield its system. At the end, nothing must have failed."""
    path = directory / f"{name}.toml"
    path.write_text(settings)
    with started(testing.Server(directory / name, "--config", str(path), *options)) as system:
        yield system


def logged(server, *events):
    """Return the lines of a server's log with these events."""
    return [line for line in lines_of_log(server) if line["event"] in events]


def worker_pids(server):
    """Return the process ids of a server's worker processes, by their numbers; none without a supervisor."""
    return {line["worker"]: line["pid"] for line in logged(server, "worker_started")}


def lines_of_log(server):
    """Return the lines of a server's log."""
    return [json.loads(line) for line in server.log.read_text(encoding="utf-8").splitlines() if line.startswith("{")]


@contextmanager
def system_started_by(changed):
    """Run a server with a changed command line. `changed` gets the words of the command line and returns new ones."""

    class Changing:
        PIPE, TimeoutExpired = subprocess.PIPE, subprocess.TimeoutExpired

        @staticmethod
        def Popen(command, **options):
            return subprocess.Popen(changed(command), **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "subprocess", Changing)
        with testing.server("--hostname", "mail.example") as server:
            system = System(server)
            yield system
            system.connect.close()
