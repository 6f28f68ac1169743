"""One real server process for all tests that do no harm to it."""

import pytest

from tests.e2e.house import House
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
