"""Waypost sends the secret in a webhook's URL with each request, and shows it nowhere."""

import http.server
import json
import threading
from contextlib import contextmanager

import pytest

from tests.kit.patience import wait_until
from tests.kit.servers.failing_deliveries import FailingSystem
from tests.kit.servers.running import waypost
from waypost import testing

HELLO = b"Subject: hello\r\n\r\nHello.\r\n"
TOKEN = "s3cret-t0ken"
OTHER_TOKEN = "another-t0ken"

SETTINGS = """
[[route]]
match = "*@late.example"
to = "{hook}/late?token={token}"
allow_private = true
secret_file = "secret"

[[route]]
match = "*@also.example"
to = "{hook}/late?token={other}"
allow_private = true
secret_file = "secret"

[[route]]
match = "*@dead.example"
to = "{hook}/dead?token={token}"
allow_private = true
secret_file = "secret"

[[route]]
match = "*@fault.example"
to = "{hook}/fault?token={token}"
allow_private = true
secret_file = "secret"
fault = "permfail"

[[route]]
match = "*@inside.example"
to = "https://127.0.0.1:{port}/inside?token={token}"
secret_file = "secret"

[delivery]
bounces = "always"
"""


class Echoing(http.server.BaseHTTPRequestHandler):
    """Refuses every request, and repeats its path in the response, as many servers do."""

    def do_POST(self):
        self.server.requested.append(self.path)
        self.rfile.read(int(self.headers["Content-Length"]))
        octets = f"Cannot POST {self.path}\n".encode()
        self.send_response(410 if self.path.startswith("/dead") else 503, f"No hook at {self.path}")
        self.send_header("Content-Length", str(len(octets)))
        self.end_headers()
        self.wfile.write(octets)

    def log_message(self, *_):
        """Suppress the log."""


@contextmanager
def receiver():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echoing) as server:
        server.requested = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def hooked(tmp_path_factory):
    """A server with webhooks that refuse its mail, after one message for each webhook was attempted.

    The sender of the messages is an address of the server, so that it gets bounces.
    """
    directory = tmp_path_factory.mktemp("hooked")
    with receiver() as hook:
        port = hook.server_address[1]
        file, secret = directory / "waypost.toml", directory / "secret"
        secret.write_text("0123456789abcdef\n")
        secret.chmod(0o600)
        file.write_text(SETTINGS.format(hook=f"http://127.0.0.1:{port}", port=port, token=TOKEN, other=OTHER_TOKEN))
        server = testing.Server(directory / "data", "--config", str(file))
        server.start()
        system = FailingSystem(server)
        system.config, system.hook = file, hook
        system.sender = system.new_address("sender")
        domains = ("late", "also", "dead", "fault", "inside")
        system.addresses = {domain: system.make(f"{domain}.example") for domain in domains}
        system.messages = {
            domain: system.deliver(HELLO, address, sender=system.sender) for domain, address in system.addresses.items()
        }
        attempted = {"deferred", "dead"}
        for message in system.messages.values():
            wait_until(
                lambda message=message: (
                    attempted & {line["event"] for line in system.json(f"messages/{message}")["trace"]}
                )
            )
        yield system
        system.connect.close()
        server.stop()


def shown_by(system):
    """Return all output of the server and its commands, as a dictionary from source to text."""
    output = {
        path: system.get(path).body.decode()
        for path in ("queue", "dead-letters", *(f"messages/{message}" for message in system.messages.values()))
    }
    for address in system.addresses.values():
        output[f"explain {address}"] = system.get("explain", address=address).body.decode()
        output[f"trace {address}"] = system.get("trace", of=address).body.decode()
    data = system.server.data
    commands = [
        ["queue"],
        ["queue", "--json"],
        ["dead", "list"],
        *(["trace", message] for message in system.messages.values()),
        *(["explain", address] for address in system.addresses.values()),
        ["routes", "list"],
        ["routes", "list", "--json"],
        ["routes", "list", "--config", system.config],
    ]
    for words in commands:
        ended = waypost(*words, "--data", data)
        assert ended.returncode == 0, ended
        output[" ".join(map(str, words))] = ended.stdout + ended.stderr
    notices = system.inbox(system.sender)
    assert len(notices) >= 2
    for notice in notices:
        output[f"notice {notice['id']}"] = system.raw(notice["id"], system.sender).decode()
    output["run.json"] = (data / "run.json").read_text()
    output["log"] = system.server.log.read_text()
    return output


def test_the_query_of_a_webhook_is_sent_and_never_shown(hooked):
    assert f"/late?token={TOKEN}" in hooked.hook.requested
    output = shown_by(hooked)
    assert [source for source, text in output.items() if TOKEN in text or OTHER_TOKEN in text] == []
    assert "/late?…" in json.dumps(hooked.json("queue"), ensure_ascii=False)
    assert "/late?…" in output["routes list"]


def test_waiting_deliveries_are_found_by_the_displayed_destination(hooked):
    """Two webhooks that differ only in their query are shown with the same destination, and are found by it."""
    shown = hooked.json(f"messages/{hooked.messages['late']}")["deliveries"][0]["destination"]
    found = hooked.json("queue", destination=shown)
    expected = sorted(hooked.messages[domain] for domain in ("late", "also"))
    assert [line["message"] for line in found["deliveries"]] == expected
    assert [one["destination"] for one in found["destinations"]] == [shown, shown]
    (first,) = hooked.json("queue", destination=shown, limit=1)["deliveries"]
    (second,) = hooked.json("queue", destination=shown, limit=1, after=first["id"])["deliveries"]
    assert [first["message"], second["message"]] == expected
    whole = f"{shown.partition('?')[0]}?token={OTHER_TOKEN}"
    assert [line["message"] for line in hooked.json("queue", destination=whole)["deliveries"]] == [
        hooked.messages["also"]
    ]
    assert hooked.json("queue", destination="http://nowhere.example/?…")["deliveries"] == []


@pytest.mark.parametrize(
    "target",
    [
        f"https://127.0.0.1:1/hook?token={TOKEN}",
        f"https://user:{TOKEN}@hook.example/",
        f"https://hook..example/?token={TOKEN}",
        f"https://hook.example:port/?token={TOKEN}",
        f"https://hook.example/a b?token={TOKEN}",
        f"smtp://mail.example/?token={TOKEN}",
        f"htps://hook.example/?token={TOKEN}",
        f"https://hook.example/{'x' * 1000}?token={TOKEN}",
    ],
)
def test_the_error_for_a_refused_destination_does_not_contain_its_secret(hooked, target):
    secret = hooked.config.with_name("secret")
    ended = waypost("routes", "add", "*@new.example", target, "--secret-file", secret, "--data", hooked.server.data)
    assert ended.returncode != 0
    assert TOKEN not in ended.stdout + ended.stderr


def test_adding_and_removing_a_route_does_not_print_its_secret(hooked):
    secret, data = hooked.config.with_name("secret"), hooked.server.data
    target = f"https://hook.example/?token={TOKEN}"
    added = waypost("routes", "add", "*@new.example", target, "--unchecked", "--secret-file", secret, "--data", data)
    removed = waypost("routes", "remove", "1", "--data", data)
    for ended in (added, removed):
        assert ended.returncode == 0
        assert "https://hook.example/?…" in ended.stdout
        assert TOKEN not in ended.stdout + ended.stderr
