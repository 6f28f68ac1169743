"""The fixtures of the end-to-end tests, among them one real server process that most of these tests share."""

import pytest

from tests.kit.servers.failing_deliveries import Commands, late_system
from tests.kit.servers.running import shared_system
from waypost import testing


@pytest.fixture(scope="session")
def system():
    with shared_system() as system:
        yield system


@pytest.fixture
def new_server(tmp_path):
    """A separate server for one test. The test starts the server, and the fixture kills it at the end."""
    server = testing.Server(tmp_path / "data")
    yield server
    if server._process and server._process.poll() is None:
        server.kill()


@pytest.fixture(scope="module")
def late(tmp_path_factory):
    """The server of `late_system`, which all tests of a module share."""
    with late_system(tmp_path_factory.mktemp("late")) as system:
        yield system


@pytest.fixture
def commands(late, capsys, monkeypatch):
    """The `waypost` command on the data directory of the server `late`."""
    return Commands(late.server.data, capsys, monkeypatch)
