"""The common features of all commands: help, version, completion, exit codes, and the format of `--json`."""

import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from scripts.write_reference import commands as all_commands
from tests.kit.servers.failing_deliveries import Commands
from tests.kit.servers.running import waypost
from tests.kit.stores import postgresql
from waypost import __version__
from waypost.cli import program
from waypost.cli.outcomes import JSON, Exit
from waypost.host.data_directory import DataDirectory
from waypost.host.run_file import Run

LIKE_A_TIME = re.compile(r"\d{4}-\d\d-\d\dT.*")
A_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
HELLO = b"Subject: hello\r\n\r\nHello.\r\n"
WITH_NAMES_OF_AWS = ("env", "keys create")
"""The commands whose JSON members have the names that AWS gives them."""


@pytest.fixture
def empty_database():
    """The URL of an empty PostgreSQL database."""
    url = postgresql.new_database()
    yield url
    postgresql.drop_database(url)


@pytest.fixture
def arguments(late, tmp_path, empty_database):
    """The arguments for each command with --json, chosen so that its output is not empty."""
    alias, primary = late.linked_pair()
    dead = late.make("never.example")
    message_id = late.deliver(HELLO, alias)
    late.deliver(HELLO, dead)
    late.settle()
    (letter,) = late.json("dead-letters", address=dead)["dead_letters"]
    file = tmp_path / "waypost.toml"
    file.write_text('[[retention]]\nmatch = "*"\nage = "3650d"\n[[route]]\nmatch = "a@b.example"\nto = "inbox"\n')
    return {
        "doctor": ["--config", file],
        "search": ["from:a@client.example", "is:direct"],
        "show": [message_id],
        "explain": [alias],
        "trace": [alias],
        "dead list": ["--address", dead],
        "dead show": [letter["id"]],
        "dead redrive": [letter["id"]],
        "dead remove": ("--destination", "smtp://no.example:25", "--yes"),
        "replay": [alias, "--since", "1h"],
        "purge": ["--dry-run", "--config", file],
        "backup": [tmp_path / "backup"],
        "restore": [tmp_path / "backup"],
        "copy": [tmp_path / "copy", "--to-database", empty_database],
        "migrate": ["--plan"],
        "keys create": ["--expires", "1h"],
        "routes list": ["--config", file],
        "routes test": [primary],
    }


def times_in(value):
    """Return all strings in a JSON value that look like times."""
    if isinstance(value, dict):
        return [found for inner in value.values() for found in times_in(inner)]
    if isinstance(value, list):
        return [found for inner in value for found in times_in(inner)]
    return [value] if isinstance(value, str) and LIKE_A_TIME.fullmatch(value) else []


def names_in(value):
    if isinstance(value, dict):
        return [*value, *(name for inner in value.values() for name in names_in(inner))]
    return [name for inner in value for name in names_in(inner)] if isinstance(value, list) else []


def test_the_json_of_every_command_has_the_same_format(commands, arguments, tmp_path, capsys, monkeypatch):
    restored = Commands(tmp_path / "restored", capsys, monkeypatch)
    elsewhere = {"restore": restored, "copy": restored}
    with_json = {name for name, command in all_commands() for option in command.params if "--json" in option.opts}
    assert set(JSON) == with_json
    count = 0
    for name, members in JSON.items():
        found = elsewhere.get(name, commands).json(*name.split(), *arguments.get(name, ()))
        assert isinstance(found, dict), name
        assert set(members) <= set(found), name
        times = times_in(found)
        assert [time for time in times if not A_TIME.fullmatch(time)] == [], name
        count += len(times)
        if name not in WITH_NAMES_OF_AWS:
            found.pop("keys", None)  # it contains policies, whose members have the names of IAM
            assert [one for one in names_in(found) if not re.fullmatch("[a-z][a-z0-9_]*", one)] == [], name
    assert count > 20


REQUIRED = {
    "search": ["x"],
    "show": ["x"],
    "explain": ["x"],
    "trace": ["x"],
    "dead show": ["x"],
    "replay": ["x", "--since", "1h"],
    "routes test": ["x"],
    "backup": ["{data}/file"],
    "restore": ["{data}/nothing"],
    "copy": ["{data}/copy"],
    "migrate": ["--run"],
    "keys create": ["--expires", "x"],
    "doctor": ["--config", "{data}/nothing"],
}
"""For some commands with `--json`: arguments with which they fail, if the data directory contains only the file `file`.
"""


def failing(name, data):
    return [*name.split(), *(one.format(data=data) for one in REQUIRED.get(name, ())), "--data", data, "--json"]


@pytest.mark.parametrize("name", JSON)
def test_an_error_of_a_command_with_json_is_json_on_standard_error(name, tmp_path):
    (tmp_path / "file").write_text("")
    done = waypost(*failing(name, tmp_path))
    assert done.returncode in (Exit.REFUSED, Exit.NO_SERVER), done
    assert done.stdout == ""
    assert done.stderr.endswith("\n")
    error = json.loads(done.stderr)
    assert error == {"error": error["error"], "code": Exit(done.returncode).name.lower(), "exit_code": done.returncode}
    assert len(error["error"]) > 10


@pytest.mark.parametrize("name", JSON)
def test_a_wrong_option_of_a_command_with_json_is_an_error_in_json(name, tmp_path):
    done = waypost(*failing(name, tmp_path), "--no-such-option")
    assert (done.returncode, done.stdout) == (Exit.MISUSED, "")
    error = json.loads(done.stderr)
    assert (error["code"], error["exit_code"]) == ("misused", 2)
    assert "--no-such-option" in error["error"]


def test_json_after_two_hyphens_is_not_the_option():
    done = waypost("show", "--no-such-option", "--", "--json")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (2, "Error: No such option '--no-such-option'.")


def test_help_beside_json_is_no_error():
    done = waypost("inbox", "--json", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: waypost inbox" in done.stdout


@pytest.mark.parametrize("name", ["", "dead", "keys", "routes", *(name for name, _ in all_commands())])
def test_every_command_has_a_short_option_for_its_help(name):
    shown = CliRunner().invoke(program.app, [*name.split(), "-h"], prog_name="waypost")
    assert shown.exit_code == 0
    assert f"Usage: waypost {name}".strip() in shown.stdout


def test_the_version_has_a_short_option():
    for option in ("-V", "--version"):
        done = waypost(option)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"waypost {__version__}\n", "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "expected"),
    [("waypost in", {"inbox"}), ("waypost dead re", {"redrive", "remove"}), ("waypost show --te", {"--text"})],
)
def test_a_shell_completes_commands_and_options(words, expected):
    command = Path(sys.executable).with_name("waypost")
    completion = {"_WAYPOST_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run(
        [command], env=os.environ | completion, capture_output=True, text=True, timeout=200, check=False
    )
    assert (done.returncode, {line.partition(",")[2] for line in done.stdout.splitlines()}) == (0, expected)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_script_of_a_shell(shell):
    done = waypost("completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"_WAYPOST_COMPLETE={shell}_complete" in done.stdout


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("inbox",), Exit.DONE),
        (("inbox", "unknown@example.com"), Exit.REFUSED),
        (("explain", "unknown@example.com"), Exit.REFUSED),
        (("routes", "remove", "9"), Exit.REFUSED),
        (("keys", "delete", "AKIANOBODY"), Exit.REFUSED),
        (("inbox", "--unknown"), Exit.MISUSED),
        (("show",), Exit.MISUSED),
        (("unknown",), Exit.MISUSED),
    ],
    ids=str,
)
def test_the_exit_code_shows_the_kind_of_failure(commands, command, code):
    assert commands.run(*command)[0] == code


@pytest.mark.parametrize("command", [("env",), ("inbox",), ("show", "x"), ("queue",), ("dead", "list")], ids=str)
def test_a_command_without_a_server_has_its_own_exit_code(tmp_path, capsys, monkeypatch, command):
    assert Commands(tmp_path, capsys, monkeypatch).run(*command)[0] == Exit.NO_SERVER


def test_every_exit_code_is_documented():
    page = (Path(__file__).parents[3] / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    assert [int(code) for code in re.findall(r"^\| (\d+) \| \S", page, re.MULTILINE)] == list(Exit)


class _Unavailable(http.server.BaseHTTPRequestHandler):
    """An HTTP server that responds like a server whose database is unavailable."""

    def do_GET(self):
        self.send_response(503)
        self.end_headers()
        self.wfile.write(b'{"error": "The store is not available (id 1). Please try again."}')

    def log_message(self, *_):
        pass


def test_a_failure_of_the_server_and_a_refusal_have_different_exit_codes(late, tmp_path, capsys, monkeypatch):
    shutil.copy(late.server.data / "credentials", tmp_path)
    with http.server.HTTPServer(("127.0.0.1", 0), _Unavailable) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        DataDirectory(tmp_path).announce(Run(f"127.0.0.1:{server.server_port}", "127.0.0.1:1"))
        code, out, err = Commands(tmp_path, capsys, monkeypatch).run("inbox")
        server.shutdown()
        thread.join()
    assert (code, out) == (Exit.NO_SERVER, "")
    assert err == "waypost: The store is not available (id 1). Please try again.\n"


def test_the_help_of_inbox_shows_its_argument_in_one_pair_of_brackets():
    help_text = CliRunner().invoke(program.app, ["inbox", "--help"], env={"COLUMNS": "100"}).output
    assert "waypost inbox [OPTIONS] [ADDRESS]" in help_text


def test_the_help_of_a_command_explains_its_arguments_once():
    help_text = CliRunner().invoke(program.app, ["routes", "add", "--help"], env={"COLUMNS": "100"}).output
    assert help_text.count("The destination: ") == 1
