"""A server whose mail goes wrong on purpose, whose clock can be moved on, and that is asked by commands."""

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


class LateHouse(System):
    """A system from which mail goes to places that do not take it."""

    def make(self, domain, name="support") -> str:
        """A new email address in a domain."""
        address = self.new_address(name).replace("@example.com", f"@{domain}")
        made = self.connect.create_email_address(InstanceId=self.instance_id, EmailAddress=address)
        self.ids[address] = made["EmailAddressId"]
        return address

    def link(self, alias, primary):
        self.connect.associate_email_address_alias(**self._link(alias, primary))

    def post(self, path, body, *, key=None, kind="application/json", **query) -> Answer:
        """Have something done; `body` is octets, or becomes JSON."""
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
        """Move the clock on; what becomes due meanwhile has been attempted."""
        return self.done("clock/advance", {"by": by})["now"]

    def settle(self):
        """Wait until all that is due has been attempted."""
        self.advance("1s")

    def wait_for_refusals(self, address):
        """What was refused can be told a second later."""
        wait_until(lambda: self.get("trace", what=address).status == 200, f"nothing is known of {address}")

    def events(self, message_id, address) -> list[str]:
        """What happened to a delivery."""
        found = self.json(f"messages/{message_id}")["trace"]
        return [event["event"] for event in found if event.get("address") == address]

    def dead_ids(self, address) -> list[str]:
        return [letter["id"] for letter in self.json("dead-letters", address=address)["dead_letters"]]


@contextmanager
def late_system(directory, sink="smtp://127.0.0.1:1"):
    """It, running."""
    file = directory / "waypost.toml"
    file.write_text(SETTINGS.format(directory=directory, sink=sink))
    with testing.server("--config", str(file)) as server:
        system = LateHouse(server)
        yield system
        system.connect.close()
        log = server.log.read_text(encoding="utf-8")
    assert "Traceback" not in log


class Commands:
    """`waypost` asked in this process: it is the same command, and quicker."""

    def __init__(self, data, capsys, monkeypatch):
        self.data = data
        self._capsys, self._monkeypatch = capsys, monkeypatch

    def run(self, *arguments):
        """The exit code, and what was printed where."""
        umask = os.umask(0o022)
        with self._monkeypatch.context() as patch, ExitStack() as stack:
            patch.setattr(sys, "argv", ["waypost", *map(str, arguments), "--data", str(self.data)])
            stack.callback(os.umask, umask)
            ended = stack.enter_context(pytest.raises(SystemExit))
            cli.main()
        printed = self._capsys.readouterr()
        return ended.value.code or 0, printed.out, printed.err

    def __call__(self, *arguments) -> str:
        """What a command that succeeds prints."""
        code, out, err = self.run(*arguments)
        assert (code, err) == (0, "")
        return out

    def json(self, *arguments):
        return json.loads(self(*arguments, "--json"))

    def refused(self, *arguments, exit_code=Exit.REFUSED) -> str:
        """The one sentence of a command that fails."""
        code, out, err = self.run(*arguments)
        (said,) = err.splitlines()
        assert (code, out) == (exit_code, "")
        return said.removeprefix("waypost: ")
