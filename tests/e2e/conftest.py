"""One real server process for all tests that do no harm to it."""

import pytest

from tests.kit.servers.failing_deliveries import Commands, late_system
from tests.kit.servers.running import System
from waypost import testing


@pytest.fixture(scope="session")
def system():
    with testing.server("--hostname", "mail.example") as server:
        system = System(server)
        yield system
        system.connect.close()
        log = server.log.read_text(encoding="utf-8")
    assert "Traceback" not in log


@pytest.fixture
def new_server(tmp_path):
    """A server of the test's own, started when the test says so and gone at the end."""
    server = testing.Server(tmp_path / "data")
    yield server
    if server._process and server._process.poll() is None:
        server.kill()


@pytest.fixture(scope="module")
def late(tmp_path_factory):
    """The server of `late_system`, one for each module."""
    with late_system(tmp_path_factory.mktemp("late")) as system:
        yield system


@pytest.fixture
def commands(late, capsys, monkeypatch):
    """The commands of `waypost`, which ask that server."""
    return Commands(late.server.data, capsys, monkeypatch)
