"""The `waypost` command: its output, and the one line of its error message if it fails."""

import json
import os
import signal
import smtplib
import socket
import stat
import subprocess
import sys

import boto3
import pytest

from tests.kit.patience import PATIENCE, wait_until
from tests.kit.servers.running import System, banner, handles, logged, waypost, waypost_process
from waypost import cli
from waypost.cli import banner as banners
from waypost.cli.outcomes import Exit
from waypost.config.sources import from_options
from waypost.host.data_directory import DataDirectory
from waypost.host.run_file import Run
from waypost.testing import ServerDied

HELLO = b"Subject: hello\r\n\r\nHello.\r\n"
ON_FREE_PORTS = ("--http", "127.0.0.1:0", "--smtp", "127.0.0.1:0")


def output(system, command, *arguments) -> str:
    """Run a command that must succeed, and return its output."""
    done = waypost(command, *arguments, "--data", system.server.data)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
"""An environment in which Python buffers its output, which is the default."""


def refused(*arguments, code=Exit.REFUSED, run=waypost, **environment) -> str:
    """Run a command that must fail, and return its error message, which is one line."""
    done = run(*arguments, **environment)
    assert (done.returncode, done.stdout) == (code, "")
    messages = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert len(messages) == 1, done.stderr
    return messages[0].removeprefix("waypost: ")


@pytest.fixture
def taken_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_inbox_lists_the_mail_of_an_address(system):
    alias, primary = system.linked_pair()
    assert output(system, "inbox", primary) == f"No mail for {primary} yet.\n"
    message_id = system.deliver(HELLO, alias)
    first, second = output(system, "inbox", primary).splitlines()
    assert first.startswith(f"{message_id}  ")
    assert first.endswith(f"  {len(HELLO)} bytes  forwarded through {alias}")
    assert second == "    from <a@client.example>: hello"
    listed = json.loads(output(system, "inbox", alias, "--limit", "1", "--json"))
    assert listed == {"messages": system.inbox(alias)}


def test_inbox_without_an_address_lists_the_mail_of_the_account(new_server):
    new_server.start()
    system = System(new_server)
    assert output(system, "inbox") == "No mail yet.\n"
    alias, primary = system.linked_pair()
    ids = [system.deliver(HELLO, alias), system.deliver(HELLO, primary)]
    first, _, second, _, third, _ = output(system, "inbox").splitlines()
    assert first.endswith(f"  for {primary}, direct")
    assert second.startswith(ids[0])
    assert third.startswith(ids[0])
    listed = json.loads(output(system, "inbox", "--json"))["messages"]
    assert [(one["id"], one["address"]) for one in listed] == [
        (ids[1], primary),
        *sorted([(ids[0], alias), (ids[0], primary)], key=lambda one: system.ids[one[1]], reverse=True),
    ]
    page, last = (
        output(system, "inbox", "--limit", "2").splitlines()[:-1],
        output(system, "inbox", "--limit", "2").splitlines()[-1],
    )
    assert (page[0], last) == (first, f"There may be more: --after {listed[1]['delivery']}")
    assert output(system, "inbox", "--after", listed[1]["delivery"]).splitlines()[0] == third
    assert output(system, "inbox", "--after", ids[0]) == "No older mail.\n"
    assert output(system, "inbox", primary, "--limit", "1").endswith(f"There may be more: --after {ids[1]}\n")
    system.connect.close()


def test_show_prints_the_exact_bytes_of_a_message_as_it_was_delivered(system):
    alias, primary = system.linked_pair()
    octets = b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\nGr\xfc\xdfe\x00\r\n.\r\n\r\nno end of line\r\n"
    message_id = system.deliver(octets.replace(b"\x00", b"\x01"), alias)
    for arguments, address in (((), alias), (("--address", primary), primary)):
        command = [sys.executable, "-m", "waypost", "show", message_id, "--raw", *arguments]
        printed = subprocess.run([*command, "--data", system.server.data], capture_output=True, timeout=200, check=True)
        assert printed.stdout == system.raw(message_id, address)
        assert printed.stderr == b""


def test_show_prints_the_text_of_a_message(system):
    address = system.new_address()
    head = b"Subject: x\r\nContent-Type: text/plain; charset=iso-8859-1\r\n"
    message_id = system.deliver(
        head + b"Content-Transfer-Encoding: quoted-printable\r\n\r\nGr=FC=DFe=\r\n!\r\n", address
    )
    assert output(system, "show", message_id, "--text") == "Grüße!\n"
    picture = system.deliver(b"Content-Type: image/png\r\n\r\nx\r\n", address)
    message = refused("show", picture, "--text", "--data", system.server.data)
    assert message == (f"Message {picture} has no text; its parts are image/png. Use --raw to print the whole message.")
    assert "was not delivered to" in refused(
        "show", message_id, "--raw", "--address", "other@example.com", "--data", system.server.data
    )


@pytest.mark.parametrize("both", [("--text", "--raw"), ("--raw", "--json"), ("--address", "a@example.com")], ids=str)
def test_show_accepts_only_one_output_option(system, both):
    done = waypost("show", "x", *both, "--data", system.server.data)
    assert (done.returncode, done.stdout) == (Exit.MISUSED, "")


def test_show_prints_the_deliveries_and_the_trace_of_a_message(system):
    alias, primary = system.linked_pair()
    message_id = system.deliver(HELLO, alias)
    printed = output(system, "show", message_id)
    assert f"Message {message_id}, received " in printed
    assert f"{len(HELLO)} bytes" in printed
    assert f"  delivered  {alias}\n" in printed
    assert f"  delivered  {primary}  (through {alias})\n" in printed
    assert printed == output(system, "trace", message_id)
    assert json.loads(output(system, "show", message_id, "--json")) == system.json(f"messages/{message_id}")


def test_explain_shows_what_would_happen_to_mail(system):
    alias, primary = system.linked_pair()
    printed = output(system, "explain", alias)
    assert f"Mail for {alias} would be accepted." in printed
    assert f"forwarded through {alias} -> {primary}" in printed
    assert json.loads(output(system, "explain", alias, "--json")) == system.json("explain", address=alias)


def test_explain_shows_that_mail_would_be_refused(system):
    done = waypost("explain", "unknown@example.com", "--data", system.server.data)
    message = "Mail for unknown@example.com would be refused: unknown@example.com is not an email address of account "
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == f"{message}000000000000.\n"


@pytest.mark.parametrize("command", [("inbox", "unknown@example.com"), ("show", "x"), ("explain", "nobody")], ids=str)
def test_the_error_for_a_missing_resource_is_one_line(system, command):
    assert command[1] in refused(*command, "--data", system.server.data)


def test_explain_shows_that_the_disk_is_full(new_server):
    new_server._options = ["--disk-reserve", "100000GiB"]
    new_server.start()
    address = "support@example.com"
    connect = boto3.client("connect", **new_server.client_arguments)
    instance = connect.list_instances()["InstanceSummaryList"][0]["Id"]
    connect.create_email_address(InstanceId=instance, EmailAddress=address)
    done = waypost("explain", address, "--data", new_server.data)
    assert done.returncode == Exit.REFUSED
    assert f"Mail for {address} would be refused: The free disk space is below the reserve" in done.stdout


def test_the_banner_shows_the_trusted_networks_and_the_checks_of_senders():
    lines = banners.mail_lines(
        from_options(hostname="mx.example", trusted_networks="10.0.0.0/8", authentication="enforce"),
        Run(http="", smtp="127.0.0.1:25"),
    )
    assert [line.split()[:3] for line in lines.splitlines()] == [
        ["mail", "127.0.0.1:25", "(SMTP;"],
        ["host", "name", "mx.example"],
        ["trusted", "10.0.0.0/8"],
        ["senders", "enforce", "(SPF,"],
    ]


def test_the_error_for_replay_without_since_contains_an_example(tmp_path):
    done = waypost("replay", "a@example.com", "--data", tmp_path)
    assert done.returncode == Exit.MISUSED
    assert "such as --since 2h" in done.stderr


def test_the_error_for_a_command_without_a_server_shows_how_to_start_one(tmp_path):
    assert "waypost serve --data" in refused("inbox", "--data", tmp_path, code=Exit.NO_SERVER)


@pytest.mark.slow
@pytest.mark.parametrize("edge", ["http", "smtp"])
def test_the_error_for_a_port_in_use_is_one_line(tmp_path, taken_port, edge):
    message = refused(
        "serve", "--data", tmp_path / "data", *ON_FREE_PORTS, f"--{edge}", taken_port, run=waypost_process
    )
    assert taken_port in message
    assert edge in message


@pytest.mark.parametrize(
    ("name", "value"),
    [("http", "8025"), ("smtp", "localhost:99999"), ("account", "12"), ("region", "here"), ("hostname", "two words")],
)
def test_the_error_for_an_invalid_setting_names_its_option_or_variable(tmp_path, name, value):
    variable = f"WAYPOST_SERVE_{name.upper()}"
    for place, arguments, environment in ((f"--{name}", (f"--{name}", value), {}), (variable, (), {variable: value})):
        message = refused("serve", "--data", tmp_path / "data", *arguments, **environment)
        assert message.startswith(f"{place} must be ")
        assert value in message


def test_the_error_for_an_unusable_data_directory_names_it(tmp_path):
    (tmp_path / "file").touch()
    message = refused("serve", "--data", tmp_path / "file", *ON_FREE_PORTS, run=waypost_process)
    assert message == f"The data directory {tmp_path}/file cannot be used: it is not a directory."


def test_a_second_server_on_the_same_directory_is_refused(system):
    message = refused("serve", "--data", system.server.data, *ON_FREE_PORTS, run=waypost_process)
    assert "Another Waypost server is using" in message
    assert system.get("health").status == 200


FILE = """
clock = "virtual"

[[route]]
match = "a@example.com"
to = "inbox"

[[route]]
match = "*@example.com"
to = "smtp://127.0.0.1:1"
fault = "tempfail"

[[retention]]
match = "*"
age = "30d"
"""


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        ("", "no routes, no retention rules"),
        (FILE, "2 routes (1 with an injected fault), 1 retention rule"),
    ],
)
def test_the_banner_summarizes_the_settings_file(tmp_path, text, summary):
    file = tmp_path / "waypost.toml"
    file.write_text(text)
    shown = banner("--data", tmp_path / "data", "--config", file)
    assert f"  settings     {file}: {summary}\n" in shown
    assert ("  clock        VIRTUAL: advanced by POST /_waypost/clock/advance\n" in shown) is (text == FILE)


def test_the_banner_does_not_mention_a_settings_file_if_there_is_none(tmp_path):
    shown = banner("--data", tmp_path / "data")
    assert "settings  " not in shown
    assert "VIRTUAL" not in shown


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_stops_cleanly_after_a_signal(new_server, number):
    new_server.start()
    assert (new_server.data / "run.json").exists()
    new_server._process.send_signal(number)
    assert new_server._process.wait(timeout=PATIENCE) == 0
    new_server._process.stdout.close()
    assert not (new_server.data / "run.json").exists()
    assert "Traceback" not in new_server.log.read_text(encoding="utf-8")


def test_sighup_makes_the_server_read_its_certificate_again(new_server):
    new_server.start()
    new_server._process.send_signal(signal.SIGHUP)
    system = System(new_server)
    wait_until(lambda: logged(new_server, "reopened"))
    assert system.get("health").status == 200
    assert (new_server.data / "run.json").exists()
    assert new_server.stop() == 0
    system.connect.close()
    assert not (new_server.data / "run.json").exists()


def on_a_terminal(data):
    """Start a server on a new terminal, wait until it is ready, and return it and the other end of the terminal."""
    test_end, server_end = os.openpty()
    command = [
        sys.executable,
        "-c",
        "import os, sys; os.login_tty(int(sys.argv[1])); os.execv(sys.argv[2], sys.argv[2:])",
    ]
    serve = [sys.executable, "-m", "waypost", "serve", "--data", str(data), *ON_FREE_PORTS, "--authentication", "off"]
    process = subprocess.Popen(
        [*command, str(server_end), *serve], pass_fds=[server_end], env=BUFFERED | {"NO_COLOR": "1"}
    )
    os.close(server_end)
    printed = b""
    while b"Ctrl-C stops the server." not in printed:
        printed += os.read(test_end, 4096)
    return process, test_end


@pytest.mark.slow
def test_a_server_stops_cleanly_if_its_terminal_is_closed(tmp_path):
    process, terminal = on_a_terminal(tmp_path / "data")
    assert (tmp_path / "data" / "run.json").exists()
    os.close(terminal)
    assert process.wait(timeout=60) == 0
    assert not (tmp_path / "data" / "run.json").exists()


@pytest.mark.slow
def test_sighup_does_not_stop_the_server_if_its_terminal_is_open(tmp_path):
    process, terminal = on_a_terminal(tmp_path / "data")
    process.send_signal(signal.SIGHUP)
    printed = b""
    while b"reopened" not in printed:
        printed += os.read(terminal, 4096)
    process.terminate()
    while b"stopped" not in printed:
        printed += os.read(terminal, 4096)
    assert process.wait(timeout=60) == 0
    os.close(terminal)


def test_under_nohup_sighup_is_ignored(new_server):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # child processes inherit this
    try:
        new_server.start()
    finally:
        signal.signal(signal.SIGHUP, before)
    new_server._process.send_signal(signal.SIGHUP)
    assert new_server.stop() == 0
    assert not logged(new_server, "reopened")


def test_the_error_for_a_killed_server_shows_how_to_start_it_again(new_server):
    new_server.start()
    new_server.kill()
    message = refused("inbox", "--data", new_server.data, code=Exit.NO_SERVER)
    assert message.endswith(f"If it was killed, start it again: waypost serve --data {new_server.data}")


def test_only_the_owner_can_read_the_files_with_secrets_and_mail(system):
    for name in ("credentials", "master.key", "waypost.sqlite3", "waypost.sqlite3-wal"):
        assert stat.S_IMODE((system.server.data / name).stat().st_mode) == 0o600


@pytest.mark.slow
def test_the_server_continues_if_the_reader_of_its_log_is_gone(tmp_path):
    read_end, write_end = os.pipe()
    command = [sys.executable, "-m", "waypost", "serve", "--data", str(tmp_path / "data")]
    ports = ("--http", "127.0.0.1:0", "--smtp", "127.0.0.1:0")
    with subprocess.Popen(
        [*command, *ports], stdout=subprocess.PIPE, stderr=write_end, text=True, env=BUFFERED
    ) as process:
        os.close(write_end)
        assert "is ready" in process.stdout.readline()
        os.close(read_end)
        host, _, port = DataDirectory(tmp_path / "data").running().smtp.rpartition(":")
        with smtplib.SMTP(host, int(port), timeout=PATIENCE) as mail:
            mail.ehlo()
            mail.mail("")
            assert mail.rcpt("nobody@example.com")[0] == 550
        process.terminate()
        assert process.wait(PATIENCE) == 0


def test_a_restart_keeps_everything(new_server):
    new_server.start()
    system = System(new_server)
    alias, primary = system.linked_pair()
    copy = system.raw(system.deliver(HELLO, alias), primary)
    key, instance_id, inbox = new_server.profile.key, system.instance_id, system.inbox(primary)
    assert new_server.stop() == 0
    new_server.start()
    assert new_server.profile.key == key
    again = System(new_server)
    assert again.instance_id == instance_id
    assert again.inbox(primary) == inbox
    # The master key is the same too, because the server recognizes the loop mark on the copy.
    assert again.send(copy, alias)[0] == 554
    assert new_server.stop() == 0
    system.connect.close()
    again.connect.close()


def test_the_test_kit_raises_the_reason_why_a_server_cannot_start(new_server):
    new_server._options = ("--account", "12")
    with pytest.raises(ServerDied, match="account must be twelve digits"):
        new_server.start()
    new_server._process.stdout.close()


def test_serve_removes_the_run_json_of_a_killed_server_before_it_starts(new_server, monkeypatch):
    new_server.start()
    new_server.kill()
    run_json = new_server.data / "run.json"
    assert run_json.exists()
    existed = []

    def loaded(*_, **__):
        existed.append(run_json.exists())
        raise SystemExit

    monkeypatch.setattr("waypost.server.service.Service", loaded)
    monkeypatch.setattr("sys.argv", ["waypost", "serve", "--data", str(new_server.data)])
    with pytest.raises(SystemExit):
        cli.main()
    assert existed == [False]


@pytest.mark.slow
def test_a_second_server_does_not_change_the_run_json_of_the_first(new_server):
    new_server.start()
    message = refused("serve", "--data", new_server.data, *ON_FREE_PORTS, run=waypost_process)
    assert "Another Waypost server is using" in message
    assert DataDirectory(new_server.data).running() == new_server.run


def test_a_server_starts_with_its_standard_output_closed(tmp_path):
    options = f"--data {tmp_path}/data --http 127.0.0.1:0 --smtp 127.0.0.1:0 --workers"
    for workers in (1, 2):
        command = f"exec {sys.executable} -m waypost serve {options} {workers} >&-"
        with subprocess.Popen(["bash", "-c", command], stderr=subprocess.DEVNULL) as server:
            wait_until(lambda pid=server.pid: handles(pid, signal.SIGTERM))
            wait_until((tmp_path / "data" / "run.json").exists)
            server.terminate()
            assert server.wait(PATIENCE) == 0


def test_arguments_that_are_not_utf_8_cause_no_traceback(new_server):
    new_server.start()
    for command in ("trace", "explain", "inbox", "search", "show"):
        done = waypost(command, "\udcff\udcfe", "--data", new_server.data)
        assert done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        assert done.returncode in {Exit.DONE, Exit.REFUSED, Exit.MISUSED}, command
