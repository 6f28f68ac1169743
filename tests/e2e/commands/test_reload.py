"""SIGHUP to a real server: its log file, its settings, and what systemd is told. With one process, and two workers."""

import json
import os
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path

import botocore.exceptions
import pytest
from cryptography import x509

from tests.kit.patience import PATIENCE, wait_until
from tests.kit.servers.running import System, end, handles, logged, waypost, waypost_process, worker_pids
from waypost import testing
from waypost.host import certificates
from waypost.host.data_directory import DataDirectory

MESSAGE = b"Subject: hello\r\n\r\n"


class Reloadable(System):
    """A running server with a settings file."""

    def __init__(self, server, file, processes):
        super().__init__(server)
        self.file = file
        self.processes = processes
        """The number of processes that serve clients."""

    def write(self, text):
        self.file.write_text(text, encoding="utf-8")

    def reload(self):
        """Send SIGHUP, and wait until all processes have finished the reload."""
        before = len(logged(self.server, "reopened"))
        os.kill(self.server._process.pid, signal.SIGHUP)
        wait_until(lambda: len(logged(self.server, "reopened")) == before + self.processes)

    def logged(self, *events):
        return logged(self.server, *events)


@pytest.fixture(params=[1, 2], ids=["one process", "two workers"])
def start(request, tmp_path):
    """A function that starts a server with a settings file."""
    with ExitStack() as opened:

        def start(text, *options):
            file = tmp_path / "waypost.toml"
            file.write_text(text, encoding="utf-8")
            workers = ["--workers", str(request.param)]
            server = testing.Server(tmp_path / "data", *workers, "--config", str(file), *options)
            server.start()
            opened.callback(end, server)
            system = Reloadable(server, file, request.param)
            opened.callback(system.connect.close)
            return system

        yield start


def lines_of(file):
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_a_log_file_that_is_rotated_under_load_loses_no_line(start, tmp_path):
    system = start('log_file = "waypost.log"\n')
    file, rotated = tmp_path / "waypost.log", []
    address = system.new_address()
    ids, enough = [], threading.Event()

    def send():
        while not enough.is_set():
            ids.append(system.deliver(MESSAGE, address))

    senders = [threading.Thread(target=send) for _ in range(4)]
    for sender in senders:
        sender.start()
    try:
        for number in range(5):
            rotated.append(file.rename(tmp_path / f"waypost.log.{number}"))
            os.kill(system.server._process.pid, signal.SIGHUP)
            wait_until(
                lambda: file.exists() and file.read_text(encoding="utf-8").count('"reopened"') == system.processes
            )
            wait_until(lambda: '"message_accepted"' in file.read_text(encoding="utf-8"))
    finally:
        enough.set()
        for sender in senders:
            sender.join()
    assert system.server.stop() == 0
    found = [line for each in (*rotated, file) for line in lines_of(each)]
    assert sorted(line["id"] for line in found if line["event"] == "message_accepted") == sorted(ids)
    assert not [line for line in found if line["event"] == "lines_dropped"]
    assert not system.logged("message_accepted", "reopened")


def test_no_process_keeps_a_rotated_log_file_open(start, tmp_path):
    system = start('log_file = "waypost.log"\n')
    file = tmp_path / "waypost.log"
    file.rename(tmp_path / "waypost.log.1")
    os.kill(system.server._process.pid, signal.SIGHUP)
    wait_until(lambda: file.exists() and file.read_text(encoding="utf-8").count('"reopened"') == system.processes)
    group = system.server._process.pid
    open_files = {
        str(link.readlink())
        for process in Path("/proc").glob("[0-9]*")
        if is_in_group(process, group)
        for link in (process / "fd").iterdir()
        if link.is_symlink()
    }
    assert str(file) in open_files
    assert str(tmp_path / "waypost.log.1") not in open_files


def is_in_group(process, group):
    try:
        return os.getpgid(int(process.name)) == group
    except ProcessLookupError:
        return False


def test_the_level_and_the_format_of_the_log_are_settings_and_can_be_reloaded(start):
    system = start('log_level = "warning"\n')
    system.deliver(MESSAGE, system.new_address())
    system.write('log_format = "text"\n')
    os.kill(system.server._process.pid, signal.SIGHUP)
    wait_until(lambda: "] reopened" in system.server.log.read_text(encoding="utf-8"))
    system.deliver(MESSAGE, system.new_address())
    wait_until(lambda: "message_accepted" in system.server.log.read_text(encoding="utf-8"))
    text = system.server.log.read_text(encoding="utf-8")
    assert '"event"' not in text  # no JSON
    assert "\x1b" not in text
    assert text.count("message_accepted") == 1
    assert "listening" not in text


def test_a_log_file_that_cannot_be_opened_again_is_named_in_the_old_file(start, tmp_path):
    (tmp_path / "log").mkdir()
    system = start('log_file = "log/waypost.log"\n')
    (tmp_path / "log").rename(tmp_path / "old")
    old = tmp_path / "old" / "waypost.log"
    os.kill(system.server._process.pid, signal.SIGHUP)

    def refused():
        return [line for line in lines_of(old) if line["event"] == "log_file_refused"]

    wait_until(lambda: {line.get("worker", 0) for line in refused()} == ({0} if system.processes == 1 else {0, 1, 2}))
    assert {line["reason"] for line in refused()} == {"No such file or directory"}
    message_id = system.deliver(MESSAGE, system.new_address())
    wait_until(lambda: message_id in old.read_text(encoding="utf-8"))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_whose_log_file_cannot_be_opened_does_not_start(tmp_path, workers):
    options = ["--http", "127.0.0.1:0", "--smtp", "127.0.0.1:0", "--workers", workers]
    options += ["--log-file", tmp_path / "missing" / "waypost.log", "--data", tmp_path / "data"]
    ended = subprocess.run(
        [sys.executable, "-m", "waypost", "serve", *options],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == 1
    reason = f"The log file {tmp_path}/missing/waypost.log cannot be opened: No such file or directory."
    assert ended.stderr == f"waypost: {reason}\n"


def test_reloaded_settings_are_used_and_the_others_need_a_restart(start, tmp_path):
    (tmp_path / "mail").mkdir(mode=0o700)
    system = start('limits = "relaxed"\n')
    address = system.new_address()
    system.write(
        'limits = "aws"\nsmtp_connections = 57\n'
        f'[[route]]\nmatch = "*"\nto = "maildir:{tmp_path}/mail"\n[[retention]]\nmatch = "*"\nage = "5d"\n'
    )
    system.reload()
    changed = system.logged("settings_reloaded")
    assert [line["settings"] for line in changed] == ["limits, retention, route"] * system.processes
    restart = system.logged("restart_needed")
    assert {(line["settings"], line["level"]) for line in restart} == {("smtp_connections", "warning")}
    for _ in range(8):
        system.deliver(MESSAGE, address)
    wait_until(lambda: len(list((tmp_path / "mail").rglob("new/*"))) == 8)
    assert system.ids_at(address) == []
    throttled = 0
    for _ in range(20):
        try:
            system.connect.list_instances()
        except botocore.exceptions.ClientError as error:
            throttled += error.response["Error"]["Code"] == "ThrottlingException"
    assert throttled
    run = DataDirectory(system.server.data).running()
    assert [route["match"] for route in run.routes] == ["*"]


def test_a_worker_process_that_is_replaced_after_a_reload_has_the_reloaded_settings(tmp_path):
    (tmp_path / "mail").mkdir(mode=0o700)
    file = tmp_path / "waypost.toml"
    file.touch()
    server = testing.Server(tmp_path / "data", "--workers", "2", "--config", str(file))
    server.start()
    try:
        system = Reloadable(server, file, 2)
        address = system.new_address()
        system.write(f'[[route]]\nmatch = "*"\nto = "maildir:{tmp_path}/mail"\n')
        system.reload()
        wait_until(lambda: DataDirectory(server.data).running().routes)
        for pid in worker_pids(server).values():
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len(logged(server, "worker_ended")) == 2)
        wait_until(lambda: len([line for line in logged(server, "listening") if line["edge"] == "smtp"]) == 4)
        for _ in range(8):
            system.deliver(MESSAGE, address)
        wait_until(lambda: len(list((tmp_path / "mail").rglob("new/*"))) == 8)
        system.connect.close()
    finally:
        end(server)


def test_a_mistake_in_the_settings_file_changes_nothing_and_is_named_with_its_line(start):
    system = start('limits = "relaxed"\n')
    secret = "support@secret.example"
    system.write(f'log_level = "error"\nlimits = "{secret}"\n')
    system.reload()
    system.write('log_level = "error"\nlimits = \n')
    system.reload()
    system.write(f'log_level = "error"\n[[route]]\nmatch = "{secret}"\nto = "nowhere"\n')
    system.reload()
    system.file.unlink()
    system.reload()
    refused = [line["where"] for line in system.logged("settings_refused")]
    assert refused[:: system.processes] == [
        f"{system.file}, line 2: `limits`",
        f"{system.file}, line 2",
        f"{system.file}, line 4: route 1",
        str(system.file),
    ]
    assert len(refused) == 4 * system.processes
    assert secret not in system.server.log.read_text(encoding="utf-8")
    assert not system.logged("settings_reloaded")
    system.write('disk_reserve = "1MiB"\n')
    system.reload()
    assert {line["settings"] for line in system.logged("settings_reloaded")} == {"disk_reserve"}


def test_a_route_to_the_server_itself_is_refused_at_a_reload(start):
    system = start("")
    system.write(f'[[route]]\nmatch = "*"\nto = "smtp://{system.server.run.smtp}"\n')
    system.reload()
    assert {line["where"] for line in system.logged("settings_refused")} == {
        f"{system.file}: a route leads back to this server"
    }
    assert DataDirectory(system.server.data).running().routes == []


def test_a_reload_uses_a_renewed_certificate_and_refuses_a_broken_one(start, tmp_path):
    now = datetime.now(UTC)
    first, second = (certificates.self_signed(name, now) for name in ("first.example", "second.example"))
    (tmp_path / "tls.pem").write_bytes(b"".join(first))
    system = start('tls_certificate = "tls.pem"\n')
    assert "first.example" in name_of_certificate(system)
    (tmp_path / "tls.pem").write_bytes(b"broken")
    system.reload()
    assert [line["reason"] for line in system.logged("certificate_refused")] == [
        f"{tmp_path}/tls.pem has no private key in PEM format; specify the key's file with --tls-key."
    ] * system.processes
    assert "first.example" in name_of_certificate(system)
    (tmp_path / "tls.pem").write_bytes(b"".join(second))
    system.reload()
    assert "second.example" in name_of_certificate(system)


def name_of_certificate(system):
    """Return the subject of the certificate that the server presents."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with smtplib.SMTP(*system.server.smtp, local_hostname="client.example", timeout=PATIENCE) as client:
        client.starttls(context=context)
        found = x509.load_der_x509_certificate(client.sock.getpeercert(binary_form=True))
    return found.subject.rfc4514_string()


def test_serve_check_says_what_a_reload_changes_and_what_needs_a_restart(start):
    system = start('limits = "relaxed"\n')
    server = system.server
    options = ["--http", "127.0.0.1:0", "--smtp", "127.0.0.1:0", "--authentication", "off"]
    options += ["--trusted-networks", "127.0.0.0/8,::1", "--workers", system.processes, "--data", server.data]
    check = ["serve", "--check", "--config", system.file, *options]
    same = waypost_process(*check)
    assert (same.returncode, same.stdout) == (0, "The settings are valid.\nThe running server uses these settings.\n")
    system.write('limits = "aws"\nlog_level = "error"\nhostname = "mx.example.com"\n')
    other = waypost_process(*check)
    assert other.returncode == 0
    assert other.stdout == (
        "The settings are valid.\n"
        f"The running server will use new values after SIGHUP (kill -HUP {server.run.pid}), or after a restart "
        "if it was started under nohup: limits, log_level\n"
        "The running server will use new values after a restart: hostname\n"
    )
    system.write('limits = "aws"\nhostname = "mx.example.com"\n')
    system.reload()
    before = server.run.settings
    wait_until(lambda: DataDirectory(server.data).running().settings != before)
    reloaded = waypost_process(*check)
    assert reloaded.stdout == (
        "The settings are valid.\nThe running server will use new values after a restart: hostname\n"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("smtp_connections = 5\n", "line 1: `smtp_connections` must be a number from 10 to 1000000, not '5'"),
        ('\nhostnam = "x"\n', "line 2: there is no key `hostnam`; did you mean `hostname`?"),
        ("[delivery]\nexpire = 5\n", "line 2: delivery: `expire` must be"),
        ('tls_certificate = "missing.pem"\n', "missing.pem cannot be read: No such file or directory."),
        ('log_file = "missing/log"\n', "missing/log cannot be written."),
        ('smtp = "127.0.0.1:25"\n[[route]]\nmatch = "*"\nto = "smtp://127.0.0.1:25"\n', "leads"),
    ],
)
def test_serve_check_names_a_mistake(tmp_path, text, words):
    file = tmp_path / "waypost.toml"
    file.write_text(text, encoding="utf-8")
    ended = waypost("serve", "--check", "--config", file, "--data", tmp_path / "data")
    assert ended.returncode == 1
    assert words in ended.stderr
    assert ended.stdout == ""
    assert not (tmp_path / "data").exists()


def test_serve_check_needs_no_server(tmp_path):
    ended = waypost_process("serve", "--check", "--data", tmp_path / "data")
    assert ended.stdout == f"The settings are valid.\nNo server is using {tmp_path / 'data'}.\n"
    assert not (tmp_path / "data").exists()


# SIGHUP at any time


def test_sighup_does_not_end_the_command_before_it_has_imported_its_modules(tmp_path):
    code = (
        "import os, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'waypost.cli.running':\n"
        "            os.kill(os.getpid(), signal.SIGHUP)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from waypost import cli\n"
        "cli.main()\n"
    )
    command = [sys.executable, "-c", code, "serve", "--check", "--data", tmp_path / "data"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("workers", [1, 2])
def test_sighup_does_not_end_the_server_while_it_starts_and_stops(tmp_path, workers):
    command = [sys.executable, "-m", "waypost", "serve", "--http", "127.0.0.1:0", "--smtp", "127.0.0.1:0"]
    command += ["--data", str(tmp_path / "data"), "--workers", str(workers), "--authentication", "off"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, process_group=0)
    wait_until(lambda: handles(process.pid, signal.SIGHUP), pause=0.001)
    ended = threading.Event()

    def hang_up_all():
        while not ended.is_set():
            with suppress(ProcessLookupError):  # the server has ended
                os.killpg(process.pid, signal.SIGHUP)
            time.sleep(0.002)  # otherwise the processes would do nothing but handle signals

    sender = threading.Thread(target=hang_up_all)
    sender.start()
    try:
        assert "Ctrl-C stops the server.\n" in iter(process.stdout.readline, "")
        log = tmp_path / "log"
        wait_until(lambda: log.read_text(encoding="utf-8").count('"reopened"') > workers)
        process.terminate()
        assert process.wait(timeout=PATIENCE) == 0
    finally:
        ended.set()
        sender.join()
        process.stdout.close()
        if process.poll() is None:
            process.kill()
    text = log.read_text(encoding="utf-8")
    assert "worker_ended" not in text
    assert "worker_not_started" not in text
    assert "Traceback" not in text


# systemd


@pytest.mark.parametrize("workers", [1, 2])
def test_systemd_is_told_of_the_start_a_reload_and_the_stop(tmp_path, monkeypatch, workers):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(PATIENCE)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        server = testing.Server(tmp_path / "data", "--workers", str(workers))
        server.start()
        try:
            assert receiver.recv(100) == b"READY=1"
            os.kill(server._process.pid, signal.SIGHUP)
            assert receiver.recv(100).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
            assert receiver.recv(100) == b"READY=1"
        finally:
            end(server)
        assert receiver.recv(100) == b"STOPPING=1"
        receiver.setblocking(False)
        with pytest.raises(BlockingIOError):
            receiver.recv(100)
