"""One real server process for all tests that do no harm to it."""

import pytest

from tests.kit.servers.failing_deliveries import Commands, late_house
from tests.kit.servers.running import House
from waypost import testing


@pytest.fixture(scope="session")
def house():
    with testing.server("--hostname", "mail.example") as server:
        house = House(server)
        yield house
        house.connect.close()
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
    """The server of `late_house`, one for each module."""
    with late_house(tmp_path_factory.mktemp("late")) as house:
        yield house


@pytest.fixture
def commands(late, capsys, monkeypatch):
    """The commands of `waypost`, which ask that server."""
    return Commands(late.server.data, capsys, monkeypatch)
