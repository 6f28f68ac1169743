"""`waypost routes` lists, adds and removes routes, with or without a running server."""

import contextlib
import json
import os
import sys

import pytest

from tests.kit.peers.mail_sink import Sink
from waypost import cli, testing
from waypost.delivery.smtp_client.dns import Resolver
from waypost.host.data_directory import DataDirectory
from waypost.host.run_file import Run

PASSWORD = "hunter2 hunter2 hunter2"


class Routes:
    """Runs `waypost routes` on one data directory, in this process, which is faster than a subprocess."""

    def __init__(self, data, capsys, monkeypatch):
        self.data = data
        self._capsys, self._monkeypatch = capsys, monkeypatch

    def run(self, *arguments, command="routes", **data):
        """Run a command, and return its exit code, its output, and its error output.

        `data` replaces the data directory; if `data` is None, the command gets no --data option.
        """
        where = data.get("data", self.data)
        umask = os.umask(0o022)
        data_option = ["--data", str(where)] if where else []
        with self._monkeypatch.context() as patch, contextlib.ExitStack() as stack:
            patch.setattr(sys, "argv", ["waypost", command, *map(str, arguments), *data_option])
            stack.callback(os.umask, umask)
            ended = stack.enter_context(pytest.raises(SystemExit))
            cli.main()
        printed = self._capsys.readouterr()
        return ended.value.code or 0, printed.out, printed.err

    def __call__(self, *arguments, **data):
        """Run a command that must succeed, and return its output."""
        code, out, err = self.run(*arguments, **data)
        assert (code, err) == (0, "")
        return out

    def refused(self, *arguments, **data):
        """Run a command that must fail, and return its error message, which is one line."""
        code, out, err = self.run(*arguments, **data)
        (message,) = err.splitlines()
        assert (code, out) == (1, "")
        return message.removeprefix("waypost: ")

    def add(self, *arguments):
        """Add a route without a check of its destination."""
        return self("add", *arguments, "--unchecked")

    def list(self, *arguments):
        """Return all routes."""
        return json.loads(self("list", "--json", *arguments))["routes"]


@pytest.fixture
def routes(tmp_path, capsys, monkeypatch):
    """`waypost routes` on a data directory on which no server runs."""
    made = Routes(tmp_path / "data", capsys, monkeypatch)
    code, _, _ = made.run("create", command="keys")
    assert code == 0
    return made


@pytest.fixture
def secret_file(tmp_path):
    path = tmp_path / "secret"
    path.write_text(PASSWORD)
    path.chmod(0o600)
    return path


def test_a_route_is_added_listed_and_removed(routes):
    assert routes.list() == []
    output = routes.add("Support@Example.com", "smtp://127.0.0.1:2600", "--keep")
    assert output == "Added route 1: support@example.com  ->  smtp://127.0.0.1:2600  (and in the inbox)\n"
    assert routes.list() == [
        {
            "number": 1,
            "source": "command",
            "log_name": "ca743be8c02c",
            "match": "support@example.com",
            "to": "smtp://127.0.0.1:2600",
            "keep": True,
            "tls": "opportunistic",
            "user": "",
            "has_secret": False,
            "rewrite_sender": True,
            "allow_private": False,
            "connections": 10,
            "line_ends": "lf",
            "fault": None,
        }
    ]
    output = routes("remove", "1")
    assert output == "Removed route 1: support@example.com  ->  smtp://127.0.0.1:2600  (and in the inbox)\n"
    assert routes.list() == []


def test_routes_add_accepts_all_options(routes, secret_file):
    options = ["--tls", "verify", "--user", "me", "--secret-file", secret_file, "--connections", "3"]
    routes.add("*", "smtp://relay.example", *options, "--no-rewrite-sender", "--fault", "drop-after-data")
    routes.add(
        "*@example.com", "http://127.0.0.1/mail", "--secret-file", secret_file, "--allow-private", "--before", "1"
    )
    (webhook, relay) = routes.list()
    assert (webhook["number"], webhook["allow_private"], webhook["has_secret"]) == (1, True, True)
    assert {name: relay[name] for name in ("number", "tls", "user", "has_secret", "connections")} == {
        "number": 2,
        "tls": "verify",
        "user": "me",
        "has_secret": True,
        "connections": 3,
    }
    assert (relay["rewrite_sender"], relay["fault"]) == (False, "drop after data")


def test_routes_list_shows_the_line_ends_of_a_maildir(routes, tmp_path):
    output = routes.add("*", f"maildir:{tmp_path}/Maildir", "--line-ends", "as-received")
    assert output == f"Added route 1: *  ->  maildir:{tmp_path}/Maildir  (line ends as received)\n"
    assert routes.list()[0]["line_ends"] == "as received"


def test_routes_list_shows_the_order_of_all_routes_without_secrets(routes, secret_file, tmp_path):
    file = tmp_path / "waypost.toml"
    file.write_text(
        '[[route]]\nmatch = "a@example.com"\nto = "https://hooks.example/a"\nsecret_file = "secret"\nfault = "slow"\n'
    )
    routes.add("*", "smtp://relay.example", "--tls", "verify", "--user", "me", "--secret-file", secret_file)
    routes.add("*@example.com", "inbox", "--before", "1")
    printed = routes("list", "--config", file)
    assert printed.splitlines() == [
        "file  a07489dae765  a@example.com  ->  https://hooks.example/a  (INJECTED FAULT: slow)",
        "   1  651fef290376  *@example.com  ->  inbox",
        "   2  556b6624c8a5  *  ->  smtp://relay.example  (TLS verify, as me)",
    ]  # the output has no line about other mail, because the route for * matches all mail
    as_json = routes.list("--config", file)
    assert [route["number"] for route in as_json] == [None, 1, 2]
    assert PASSWORD not in printed + json.dumps(as_json)


def test_routes_list_reports_that_there_are_no_routes(routes, tmp_path):
    file = tmp_path / "waypost.toml"
    file.write_text("")
    printed = routes("list", "--config", file)
    assert printed.startswith("There are no routes: all mail goes to the inbox of its recipient.")


def test_routes_list_without_a_server_or_settings_file_prints_a_hint(routes):
    routes.add("*@example.com", "inbox")
    assert routes("list").splitlines() == [
        "   1  651fef290376  *@example.com  ->  inbox",
        "      No server is running. To see the routes in a settings file, name the file with --config.",
    ]


def test_the_database_contains_no_unencrypted_secret(routes, secret_file):
    routes.add("*", "https://hooks.example/a", "--secret-file", secret_file)
    octets = b"".join(path.read_bytes() for path in routes.data.glob("waypost.sqlite3*"))
    assert b"hooks.example" in octets
    assert PASSWORD.encode() not in octets


def test_the_settings_file_can_name_the_data_directory(routes, tmp_path):
    routes.add("*", "smtp://relay.example")
    file = tmp_path / "waypost.toml"
    file.write_text('data = "data"\n')
    assert "smtp://relay.example" in routes("list", "--config", file, data=None)
    assert "There is no Waypost data in" in routes.refused("list", "--config", file, data=tmp_path / "not there")
    routes._monkeypatch.setenv("WAYPOST_SERVE_CONFIG", str(file))
    assert "smtp://relay.example" in routes("list", data=None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("add", "*", "gopher://a", "--unchecked"), "`to`: 'gopher://a' is not a target: use inbox, "),
        (("add", "a", "inbox", "--unchecked"), "`match`: 'a' is not an email address: use "),
        (
            ("add", "*", "smtp://a", "--connections", "0", "--unchecked"),
            "`connections` must be a number from 1 to 1000",
        ),
        (("add", "*", "smtp://a", "--tls", "yes", "--unchecked"), '`tls` must be "none", '),
        (("add", "*", "smtp://a", "--fault", "x", "--unchecked"), '`fault` must be "tempfail", '),
        (
            ("add", "*", "smtp://a", "--user", "me", "--unchecked"),
            "`user` is only for smtp, smtps and mx, and requires a ",
        ),
        (("add", "*", "smtp://a", "--secret-file", "/none", "--unchecked"), "`secret_file`: /none cannot be read: "),
        (
            ("add", "*", "smtp://a", "--before", "1", "--unchecked"),
            "There is no route 1. Commands have set no routes.",
        ),
        (("remove", "1"), "There is no route 1. Commands have set no routes."),
        (("remove", "a@example.com"), "NUMBER must be a number that `waypost routes list` shows, not "),
        (("remove", "١"), "NUMBER must be a number that `waypost routes list` shows, not "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_the_error_for_an_invalid_command_is_one_line(routes, arguments, message):
    assert routes.refused(*arguments).startswith(message)
    assert routes.list() == []


def test_routes_list_without_a_data_directory_is_refused(tmp_path, capsys, monkeypatch):
    nowhere = Routes(tmp_path / "data", capsys, monkeypatch)
    assert "There is no Waypost data in" in nowhere.refused("list")
    assert not nowhere.data.exists()


# The check of a route that is added while a server runs


def announce(routes, **facts):
    """Write the file with which a running server announces itself, so that commands detect a server."""
    DataDirectory(routes.data).announce(Run("127.0.0.1:1", "127.0.0.1:1", **facts))


def test_a_route_is_checked_against_all_listeners_of_the_running_server(routes):
    with Sink() as sink:
        announce(routes, listeners=["127.0.0.1:1", f"0.0.0.0:{sink.port}"])
        assert "leads back to this server" in routes.refused("add", "*", sink.to)
        announce(routes, listeners=["127.0.0.1:1"])
        routes("add", "*", sink.to)


def test_a_route_to_the_mail_servers_of_the_server_s_own_host_name_is_refused(routes, monkeypatch):
    async def mail_hosts(_, __):
        return ["sink.example"]

    monkeypatch.setattr(Resolver, "mail_hosts", mail_hosts)
    announce(routes, hostname="sink.example")
    with Sink() as sink:
        routes("add", "a@example.com", sink.to)
    assert "leads back to this server" in routes.refused("add", "b@example.com", "mx:")


def test_a_route_that_the_running_server_s_settings_file_shadows_is_refused(routes, tmp_path):
    config = tmp_path / "waypost.toml"
    config.write_text('[[route]]\nmatch = "*@example.com"\nto = "inbox"\n')
    announce(routes, config=str(config))
    message = routes.refused("add", "a@example.com", "smtp://127.0.0.1:2600", "--unchecked")
    assert "The settings file has a route for *@example.com." in message
    config.write_text("not TOML")
    routes.add("a@example.com", "smtp://127.0.0.1:2600")


def test_without_a_server_the_check_of_a_route_uses_the_settings_and_environment(routes, tmp_path, monkeypatch):
    config = tmp_path / "waypost.toml"
    with Sink() as sink:
        config.write_text(f'smtp = "127.0.0.1:{sink.port}"\n')
        assert "leads back to this server" in routes.refused("add", "*", sink.to, "--config", config)
        monkeypatch.setenv("WAYPOST_SERVE_LMTP", f"127.0.0.1:{sink.port}")
        assert "leads back to this server" in routes.refused("add", "*", sink.to)
        monkeypatch.delenv("WAYPOST_SERVE_LMTP")
        routes("add", "*", sink.to)


FILE = '[[route]]\nmatch = "a@example.com"\nto = "smtp://127.0.0.1:1"\nfault = "slow"\n'


def test_routes_list_shows_the_routes_that_the_running_server_uses(tmp_path, capsys, monkeypatch):
    file = tmp_path / "waypost.toml"
    file.write_text(FILE)
    server = testing.Server(tmp_path / "data", "--config", str(file))
    server.start()
    routes = Routes(server.data, capsys, monkeypatch)
    routes.add("*@example.com", "inbox")
    expected = [
        "file  d4ec46717aca  a@example.com  ->  smtp://127.0.0.1:1  (INJECTED FAULT: slow)",
        "   1  651fef290376  *@example.com  ->  inbox",
        "      All other mail goes to the inbox of its recipient.",
    ]
    assert routes("list").splitlines() == routes("list", "--config", file).splitlines() == expected
    assert [(one["number"], one["source"]) for one in routes.list()] == [(None, "file"), (1, "command")]
    assert json.loads(routes("list", "--json"))["is_running"] is True

    file.write_text("")  # the server read the file when it started
    changed = f"      The routes in {file} differ from the routes that the running server read when it started."
    assert routes("list", "--config", file).splitlines() == [*expected, changed]
    server.kill()
    assert routes("list").splitlines()[:-1] == expected[1:2]
    assert json.loads(routes("list", "--json"))["is_running"] is False


def test_routes_list_shows_no_secret_of_the_settings_file(tmp_path, capsys, monkeypatch, secret_file):
    file = tmp_path / "waypost.toml"
    route = f'[[route]]\nmatch = "a@b.example"\nto = "https://hooks.example/a"\nsecret_file = "{secret_file}"\n'
    file.write_text(route)
    server = testing.Server(tmp_path / "data", "--config", str(file))
    server.start()
    printed = Routes(server.data, capsys, monkeypatch)("list", "--json")
    assert json.loads(printed)["routes"][0]["has_secret"] is True
    assert PASSWORD not in printed + (server.data / "run.json").read_text()
    assert server.stop() == 0
