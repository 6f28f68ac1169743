"""A server with several worker processes: it works like one process, and replaces a worker process that dies."""

import errno
import os
import signal
import smtplib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import boto3
import botocore.config
import botocore.exceptions
import pytest

from tests.kit.metrics import scrape
from tests.kit.patience import PATIENCE, wait_until
from tests.kit.servers.running import System, logged, worker_pids
from waypost import testing
from waypost.config.sources import from_options
from waypost.host.data_directory import DataDirectory
from waypost.host.directory_files import DataDirectoryError
from waypost.observe import events
from waypost.observe.metrics import families
from waypost.observe.metrics.arrays import Arrays
from waypost.server.opening import CannotStart
from waypost.server.runtime import ServerFailed
from waypost.server.supervisor.restarts import MOST_FAILED_STARTS
from waypost.server.supervisor.supervisor import Supervisor

WORKERS = 2


class Workers(System):
    """A running server with two worker processes."""

    def pid(self, number):
        """Return the process id of the current worker process with this number."""
        return worker_pids(self.server)[number]

    def wait_for_replacement(self, number, killed):
        """Wait until a worker process has been replaced, and the replacement listens. Return the line of its end."""
        wait_until(lambda: self.pid(number) != killed and self.is_ready(number))
        return next(line for line in logged(self.server, "worker_ended") if line["pid"] == killed)

    def is_ready(self, number):
        """Return whether the worker process that was started last with this number listens."""
        starts = [line for line in logged(self.server, "worker_started") if line["worker"] == number]
        lines = [line for line in logged(self.server, "listening") if line["worker"] == number]
        return any(line["edge"] == "smtp" and line["timestamp"] > starts[-1]["timestamp"] for line in lines)


@pytest.fixture
def start(tmp_path):
    """A function that starts a server with two worker processes."""
    with ExitStack() as opened:

        def start(*options):
            server = testing.Server(tmp_path / "data", "--workers", str(WORKERS), *options)
            server.start()
            opened.callback(lambda: server._process.poll() is None and server.stop())
            system = Workers(server)
            opened.callback(system.connect.close)
            return system

        yield start


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def sessions(system, count):
    """Open mail sessions, and return them. Some are with each worker process, because they are many."""
    return [smtplib.SMTP(*system.server.smtp, local_hostname="client.example", timeout=PATIENCE) for _ in range(count)]


def test_all_worker_processes_serve_the_same_addresses_and_mail(start):
    system = start()
    alias, primary = system.linked_pair()
    ids = [system.deliver(b"Subject: hello\r\n\r\n", alias) for _ in range(30)]
    for address in (alias, primary):
        assert sorted(system.ids_at(address)) == sorted(ids)
    system.connect.close()
    assert system.server.stop() == 0
    workers = {line["worker"] for line in logged(system.server, "message_accepted")}
    assert workers == {1, 2}
    assert not (system.server.data / "run.json").exists()
    assert sorted(line["worker"] for line in logged(system.server, "stopped")) == [1, 2]


@pytest.mark.parametrize("number", [1, 2])
def test_a_killed_worker_process_is_replaced_and_its_clients_get_an_error(start, number):
    system = start()
    address = system.new_address()
    killed = system.pid(number)
    clients = sessions(system, 20)
    os.kill(killed, signal.SIGKILL)
    ended = system.wait_for_replacement(number, killed)
    assert ended["reason"] == "signal SIGKILL"
    outcomes = set()
    for client in clients:
        try:
            outcomes.add(client.noop()[0])
        except (smtplib.SMTPException, OSError) as error:
            outcomes.add(type(error))
        client.close()
    assert 250 in outcomes  # sessions with the other worker process continue
    assert outcomes - {250} <= {smtplib.SMTPServerDisconnected, ConnectionResetError}
    assert len(outcomes) > 1
    for _ in range(10):
        system.deliver(b"Subject: hello\r\n\r\n", address)
    assert len(system.ids_at(address)) == 10
    assert is_running(system.pid(3 - number))


def test_a_worker_process_that_is_told_to_stop_is_replaced(start):
    system = start()
    stopped = system.pid(2)
    os.kill(stopped, signal.SIGTERM)
    assert system.wait_for_replacement(2, stopped)["reason"] == "exit code 0"


def test_worker_processes_stop_if_the_supervisor_is_killed(start):
    system = start()
    workers = [system.pid(number) for number in (1, 2)]
    os.kill(system.server._process.pid, signal.SIGKILL)
    system.server._wait_for_end()
    for pid in workers:
        wait_until(lambda pid=pid: not is_running(pid))
    assert {line["signal"] for line in logged(system.server, "stopping")} == {"the supervisor ended"}
    system.server.start()
    assert Workers(system.server).json("instance", region="us-east-1")["id"] == system.instance_id


def test_another_server_cannot_use_the_data_while_a_worker_process_of_a_killed_supervisor_runs(start):
    system = start()
    stopped = system.pid(1)
    os.kill(stopped, signal.SIGSTOP)
    os.kill(system.server._process.pid, signal.SIGKILL)
    system.server._wait_for_end()
    with (
        pytest.raises(DataDirectoryError, match="Another Waypost server is using"),
        DataDirectory(system.server.data).held(),
    ):
        pass
    os.kill(stopped, signal.SIGCONT)
    wait_until(lambda: not is_running(stopped))


def test_sighup_reaches_all_worker_processes(start):
    system = start()
    os.kill(system.server._process.pid, signal.SIGHUP)
    wait_until(lambda: len(logged(system.server, "reopened")) == WORKERS)
    assert sorted(line["worker"] for line in logged(system.server, "reopened")) == [1, 2]


@pytest.mark.slow
def test_worker_processes_that_end_again_and_again_end_the_server(start):
    system = start()
    while system.server._process.poll() is None:
        wait_until(lambda: system.is_ready(2) or system.server._process.poll() is not None)
        if is_running(pid := system.pid(2)):
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda pid=pid: system.pid(2) != pid or system.server._process.poll() is not None)
    assert system.server._process.returncode == 1
    assert (
        "waypost: More than 20 worker processes ended within 60 s. Worker process 2 ended with signal "
        "SIGKILL." in system.server.log.read_text(encoding="utf-8")
    )
    assert not is_running(system.pid(1))
    assert not (system.server.data / "run.json").exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--tls-certificate", "missing.pem"], "missing.pem"),
        (["--smtp", "192.0.2.1:25"], "Cannot listen on 192.0.2.1:25"),
        (["--clock", "virtual"], "--workers must be 1 with --clock virtual, which only one process can advance"),
    ],
)
def test_a_server_that_cannot_start_says_why_and_leaves_no_process(tmp_path, options, reason):
    command = [sys.executable, "-m", "waypost", "serve", "--data", str(tmp_path / "data"), "--http", "127.0.0.1:0"]
    if "--smtp" not in options:
        command += ["--smtp", "127.0.0.1:0"]
    ended = subprocess.run(
        [*command, "--workers", "2", *options], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert ended.returncode in {1, 2}
    assert reason in ended.stderr
    assert ended.stdout == ""
    assert not (tmp_path / "data" / "run.json").exists()


def test_a_signal_during_the_start_ends_the_server(tmp_path):
    command = [sys.executable, "-m", "waypost", "serve", "--data", str(tmp_path / "data"), "--workers", "2"]
    process = subprocess.Popen(
        [*command, "--http", "127.0.0.1:0", "--smtp", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: '"worker_started"' in process.stderr.readline())
    process.terminate()
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert not (tmp_path / "data" / "run.json").exists()


def test_the_connection_limit_of_a_client_applies_to_all_worker_processes_together(start):
    system = start("--smtp-connections-each", "6")
    clients, refused = [], 0
    for _ in range(20):
        try:
            clients.append(smtplib.SMTP(*system.server.smtp, local_hostname="client.example", timeout=PATIENCE))
        except smtplib.SMTPConnectError as error:
            refused += error.smtp_code == 421
    assert (len(clients), refused) == (6, 14)
    for client in clients:
        client.close()


def test_the_rate_limit_of_the_api_applies_to_all_worker_processes_together(start):
    system = start("--limits", "aws")
    config = botocore.config.Config(proxies={}, retries={"total_max_attempts": 1})

    def call(_):
        client = boto3.client("connect", **system.server.client_arguments, config=config)
        try:
            client.list_instances()
        except botocore.exceptions.ClientError as error:
            return error.response["Error"]["Code"]
        finally:
            client.close()
        return ""

    clients = 40
    with ThreadPoolExecutor(clients) as threads:
        outcomes = list(threads.map(call, range(clients)))
    assert set(outcomes) == {"", "ThrottlingException"}


def test_links_that_conflict_are_refused_whichever_worker_process_gets_the_call(start):
    system = start()
    addresses = [system.new_address() for _ in range(3)]
    config = botocore.config.Config(proxies={}, retries={"total_max_attempts": 1})
    clients = [boto3.client("connect", **system.server.client_arguments, config=config) for _ in range(12)]

    def associate(number):
        primary, alias = (system.ids[addresses[(number + step) % 3]] for step in range(2))
        link = {"InstanceId": system.instance_id, "EmailAddressId": primary}
        try:
            clients[number].associate_email_address_alias(**link, AliasConfiguration={"EmailAddressId": alias})
        except botocore.exceptions.ClientError as error:
            return error.response["Error"]["Code"]
        return "done"

    with ThreadPoolExecutor(len(clients)) as threads:
        outcomes = sorted(threads.map(associate, range(len(clients))))
    assert outcomes == ["ResourceConflictException"] * 11 + ["done"]
    for client in clients:
        client.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_the_starting_process_ignores_stops_the_server(tmp_path, number):
    command = [sys.executable, "-m", "waypost", "serve", "--data", str(tmp_path / "data"), "--workers", "2"]
    command += ["--http", "127.0.0.1:0", "--smtp", "127.0.0.1:0"]
    before = signal.signal(number, signal.SIG_IGN)  # as a shell does with SIGINT for a process in the background
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    finally:
        signal.signal(number, before)
    "".join(iter(process.stdout.readline, "Ctrl-C stops the server.\n"))
    process.send_signal(number)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 0


@pytest.mark.slow
def test_a_signal_while_a_worker_process_is_being_started_stops_the_server(start):
    """The new worker process used to ignore the signal, so the supervisor waited for it forever."""
    for _ in range(10):
        system = start()
        killed = system.pid(2)
        os.kill(killed, signal.SIGKILL)
        while system.pid(2) == killed:
            pass
        assert system.server.stop() == 0


def test_a_worker_process_that_cannot_be_started_does_not_end_the_others(start):
    system = start()
    address, key = system.new_address(), system.server.data / "master.key"
    hidden = key.rename(key.with_name("hidden.key"))
    killed = system.pid(2)
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: len(logged(system.server, "worker_not_started")) >= 2)
    assert f"{key} is missing" in logged(system.server, "worker_not_started")[-1]["reason"]
    hidden.rename(key)
    wait_until(lambda: system.is_ready(2))
    for _ in range(10):
        system.deliver(b"Subject: hello\r\n\r\n", address)
    assert len(system.ids_at(address)) == 10


def test_if_no_process_can_be_forked_the_worker_process_is_started_later(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    emitted = []
    settings = from_options(data=str(tmp_path / "data"), workers="2")
    supervisor = Supervisor(settings, emit=emitted.append, arrays=Arrays(2), warn=emitted.append)
    monkeypatch.setattr("waypost.server.supervisor.supervisor.Worker", fail)
    with pytest.raises(CannotStart, match="No process can be started: Resource temporarily unavailable"):
        supervisor._start(2)
    supervisor._is_ready = True
    supervisor._start(2)
    assert list(supervisor._due) == [2]
    assert emitted[-1] == events.WorkerNotStarted(
        worker=2, reason="No process can be started: Resource temporarily unavailable."
    )
    for _ in range(MOST_FAILED_STARTS - 1):
        supervisor._start(2)
    with pytest.raises(ServerFailed, match="No worker process works, and none can be started"):
        supervisor._start(2)


def test_a_reload_does_not_end_a_worker_process_that_is_being_started(start):
    system = start()
    for _ in range(3):
        killed = system.pid(2)
        os.kill(killed, signal.SIGKILL)

        def is_replaced(killed=killed):
            os.kill(system.server._process.pid, signal.SIGHUP)
            return system.pid(2) != killed and system.is_ready(2)

        wait_until(is_replaced)
    assert {line["reason"] for line in logged(system.server, "worker_ended")} == {"signal SIGKILL"}


@pytest.mark.slow
def test_each_worker_process_shows_the_sum_and_no_counter_decreases_when_one_is_killed(start):
    system = start()
    url = f"{system.server.url}/_waypost"
    address = system.new_address()
    for _ in range(30):
        system.deliver(b"Subject: hello\r\n\r\n", address)
    # Each request is a new connection, so both worker processes answer some of them.
    pages = [scrape(url) for _ in range(20)]
    assert {page[families.MESSAGES_ACCEPTED] for page in pages} == {30}
    assert {page[families.MEMORY_LIMIT] for page in pages} == {128 * 2**20}
    clients = sessions(system, 20)
    wait_until(lambda: scrape(url)[families.SESSIONS, "start"] == 20, pause=0.1)
    killed = system.pid(2)
    os.kill(killed, signal.SIGKILL)
    system.wait_for_replacement(2, killed)
    pages = [scrape(url) for _ in range(20)]
    assert {page[families.MESSAGES_ACCEPTED] for page in pages} == {30}
    assert {page[families.WORKER_RESTARTS] for page in pages} == {1}
    assert all(page[families.SESSIONS, "start"] < 20 for page in pages)
    for client in clients:
        client.close()
    wait_until(lambda: scrape(url)[families.SESSIONS, "start"] == 0, pause=0.1)
