"""A server with a virtual clock, whose routes have injected faults, and commands that call it."""

import base64
import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from contextlib import ExitStack, contextmanager

import pytest

from tests.kit.patience import PATIENCE, wait_until
from tests.kit.servers.running import NO_PROXY, Answer, System
from waypost import cli, testing
from waypost.cli.outcomes import Exit

SETTINGS = """
clock = "virtual"
testing = true
hostname = "mail.example"

[[route]]
match = "*@late.example"
to = "smtp://127.0.0.1:1"
fault = "tempfail"

[[route]]
match = "*@never.example"
to = "smtp://127.0.0.1:1"
fault = "permfail"

[[route]]
match = "*@both.example"
to = "lmtp://127.0.0.1:1"
fault = "permfail"
keep = true

[[route]]
match = "*@file.example"
to = "maildir:{directory}/maildir"

[[route]]
match = "*@out.example"
to = "{sink}"

[delivery]
srs_domain = "bounces.mail.example"
own_domains = ["ours.example"]
"""


class FailingSystem(System):
    """A server with routes whose destinations do not accept mail."""

    def make(self, domain, name="support") -> str:
        """Create an email address in a domain, and return it."""
        address = self.new_address(name).replace("@example.com", f"@{domain}")
        made = self.connect.create_email_address(InstanceId=self.instance_id, EmailAddress=address)
        self.ids[address] = made["EmailAddressId"]
        return address

    def link(self, alias, primary):
        self.connect.associate_email_address_alias(**self._link(alias, primary))

    def post(self, path, body, *, key=None, kind="application/json", **query) -> Answer:
        """Send a POST request to the inspection API. `body` is bytes, or an object that is converted to JSON."""
        profile = self.server.profile
        key = (profile.key.id, profile.key.secret) if key is None else key
        headers = {"Authorization": "Basic " + base64.b64encode(":".join(key).encode()).decode()} if key else {}
        octets = body if isinstance(body, bytes) else json.dumps(body).encode()
        url = f"{self.server.url}/_waypost/{path}?{urllib.parse.urlencode(query)}"
        request = urllib.request.Request(url, octets, headers | ({"Content-Type": kind} if kind else {}))
        try:
            response = NO_PROXY.open(request, timeout=PATIENCE)
        except urllib.error.HTTPError as error:
            response = error
        with response:
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status, headers, response.read())

    def done(self, path, body, **given):
        answer = self.post(path, body, **given)
        assert answer.status == 200, answer.body
        return answer.json()

    def advance(self, by) -> str:
        """Advance the clock, wait until all due deliveries have been attempted, and return the new time."""
        return self.done("clock/advance", {"by": by})["now"]

    def settle(self):
        """Wait until all due deliveries have been attempted."""
        self.advance("1s")

    def wait_for_refusals(self, address):
        """Wait until the trace has the refusals for an address, which are stored a second later."""
        wait_until(lambda: self.get("trace", what=address).status == 200, f"nothing is known of {address}")

    def events(self, message_id, address) -> list[str]:
        """Return the kinds of events in the trace of a delivery."""
        found = self.json(f"messages/{message_id}")["trace"]
        return [event["event"] for event in found if event.get("address") == address]

    def dead_ids(self, address) -> list[str]:
        return [letter["id"] for letter in self.json("dead-letters", address=address)["dead_letters"]]


@contextmanager
def late_system(directory, sink="smtp://127.0.0.1:1"):
    """Run a `FailingSystem`, and check at the end that its log has no traceback."""
    file = directory / "waypost.toml"
    file.write_text(SETTINGS.format(directory=directory, sink=sink))
    with testing.server("--config", str(file)) as server:
        system = FailingSystem(server)
        yield system
        system.connect.close()
        log = server.log.read_text(encoding="utf-8")
    assert "Traceback" not in log


class Commands:
    """Runs the `waypost` command in this process, which is faster than a subprocess."""

    def __init__(self, data, capsys, monkeypatch):
        self.data = data
        self._capsys, self._monkeypatch = capsys, monkeypatch

    def run(self, *arguments):
        """Run a command, and return its exit code, its output, and its error output."""
        umask = os.umask(0o022)
        with self._monkeypatch.context() as patch, ExitStack() as stack:
            patch.setattr(sys, "argv", ["waypost", *map(str, arguments), "--data", str(self.data)])
            stack.callback(os.umask, umask)
            ended = stack.enter_context(pytest.raises(SystemExit))
            cli.main()
        printed = self._capsys.readouterr()
        return ended.value.code or 0, printed.out, printed.err

    def __call__(self, *arguments) -> str:
        """Run a command that must succeed, and return its output."""
        code, out, err = self.run(*arguments)
        assert (code, err) == (0, "")
        return out

    def json(self, *arguments):
        return json.loads(self(*arguments, "--json"))

    def refused(self, *arguments, exit_code=Exit.REFUSED) -> str:
        """Run a command that must fail, and return its error message, which is one line."""
        code, out, err = self.run(*arguments)
        (message,) = err.splitlines()
        assert (code, out) == (exit_code, "")
        return message.removeprefix("waypost: ")
