"""The server of a `waypost.testing.Waypost`: its settings, its clients, and how it starts and ends."""

import os
import signal
import subprocess
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from tests.kit.patience import NEVER, PATIENCE
from waypost.host.directory_files import DataDirectoryError
from waypost.testing import NoServer, ServerDied, Waypost, process


def test_a_server_has_settings_and_tables_of_the_settings_file():
    delivery = {"retry_schedule": ["1m"], "expire": timedelta(hours=1)}
    route = [{"match": "late@example.com", "to": "smtp://127.0.0.1:1", "fault": "tempfail", "keep": True}]
    with Waypost(region="eu-west-1", subaddressing="example.com", delivery=delivery, route=route) as waypost:
        late = waypost.address("late@example.com")
        assert waypost.client().meta.region_name == "eu-west-1"
        waypost.send(to="late+x@example.com")
        waypost.clock.advance("2h")
        (letter,) = waypost.dead_letters()
        assert letter.because.startswith("Not delivered in 1h")
        directory = waypost.server.data.parent
        waypost.reset()
        assert [route["number"] for route in waypost.connection.get("routes")["routes"]] == [None]
        assert late.arn.split(":")[3] == "eu-west-1"
    assert not directory.exists()
    assert not waypost.is_running
    with pytest.raises(RuntimeError, match="The server was not started"):
        waypost.send(to="x@example.com")


def test_a_mistake_in_the_settings_is_an_error(tmp_path):
    log = tmp_path / "waypost.log"
    with pytest.raises(ServerDied, match="--limits"):
        Waypost(limits="none", log=log).start()
    assert "--limits" in log.read_text()
    with pytest.raises(TypeError, match="The setting delivery"):
        Waypost(delivery="1d")
    with pytest.raises(TypeError, match="The setting limits"):
        Waypost(limits=["aws"])


def test_the_clients_of_boto3_use_the_server(waypost, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    connect = waypost.client("connect")
    assert waypost.client() is connect
    assert connect.list_instances()["InstanceSummaryList"][0]["Id"] == waypost.instance_id
    other = waypost.session.client("connect", region_name="eu-west-1")
    assert other.list_instances()["InstanceSummaryList"] == []
    assert waypost.client("s3").meta.endpoint_url.startswith("https://s3.")
    assert waypost.url == connect.meta.endpoint_url


def test_a_wait_ends_with_an_error_if_the_server_ends(tmp_path):
    def kill():
        assert is_waiting.wait(PATIENCE)
        waypost.server.kill()

    def is_it(mail):
        is_waiting.set()
        return False

    waypost = Waypost(log=tmp_path / "waypost.log").start()
    try:
        waypost.send(to=waypost.address())
        is_waiting = threading.Event()
        thread = threading.Thread(target=kill)
        thread.start()
        unreachable = r"does not answer. Its log is .*waypost.log"
        with pytest.raises(NoServer, match=unreachable):
            waypost.wait_for(is_it, timeout=NEVER)
        thread.join()
        with pytest.raises(NoServer, match=unreachable):
            waypost.address()
    finally:
        waypost.discard()
    assert Path(tmp_path / "waypost.log").exists()


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The directory in which the kit makes its directories."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def has_ended(pid):
    """Return whether a process, which this process has not waited for yet, has ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ("waypost.testing.process.DataDirectory.running", DataDirectoryError("damaged")),
        ("waypost.testing.kit.Connection.get", NoServer("down")),
        ("waypost.testing.kit.Connection.get", KeyboardInterrupt()),
    ],
)
def test_a_start_that_fails_leaves_no_server(temporary, monkeypatch, where, error):
    def fail(*_, **__):
        raise error

    started = []
    popen = process.subprocess.Popen
    monkeypatch.setattr(process.subprocess, "Popen", lambda *a, **b: started.append(popen(*a, **b)) or started[-1])
    monkeypatch.setattr(where, fail)
    waypost = Waypost()
    with pytest.raises(type(error)):
        waypost.start()
    (server,) = started
    assert server.returncode == -signal.SIGKILL
    assert has_ended(server.pid)
    assert server.stdout.closed
    assert list(temporary.iterdir()) == []
    assert not waypost.is_running


def test_a_server_that_is_not_ready_in_time_is_killed(temporary, monkeypatch):
    never_ready = temporary / "python"
    never_ready.write_text("#!/bin/sh\necho Starting >&2\nsleep 3600\n")
    never_ready.chmod(0o700)
    monkeypatch.setattr(process, "subprocess", subprocess)
    monkeypatch.setattr("sys.executable", str(never_ready))
    monkeypatch.setattr(process, "START", 0.5)
    with pytest.raises(ServerDied, match=r"The server was not ready within 0.5 s\. Its log:\n"):
        Waypost().start()
    assert list(temporary.iterdir()) == [never_ready]


def test_a_server_that_does_not_stop_is_killed(monkeypatch):
    monkeypatch.setattr(process, "STOP", 0.0)
    waypost = Waypost().start()
    server = waypost.server
    os.kill(server.run.pid, signal.SIGSTOP)
    with pytest.raises(process.subprocess.TimeoutExpired):
        waypost.stop()
    assert has_ended(server.run.pid)
    assert not server.data.parent.exists()
