"""Each named point of the product still exists: a server passes it, and dies there if a failpoint is armed."""

import json
import os
import smtplib
import subprocess
import sys

import pytest

from faults import failpoints
from faults.servers import Server
from tests.kit.free_ports import at_free_ports
from tests.kit.patience import wait_until
from tests.kit.peers.mail_sink import Sink
from tests.kit.servers.running import System
from tests.kit.stores import postgresql
from waypost.client.http import Connection

HELLO = b"Subject: hello\r\n\r\nHello.\r\n"

pytestmark = pytest.mark.slow


@pytest.fixture(params=["sqlite", "postgresql"])
def started(request, tmp_path):
    options = at_free_ports()
    url = postgresql.new_database() if request.param == "postgresql" else None
    server = Server(tmp_path / "data", *options, *(["--database", url] if url else []))
    server.start()
    yield request.param, server
    if server.is_running:
        server.kill()
    if url:
        postgresql.drop_database(url)


@pytest.mark.long
def test_a_server_is_killed_at_each_point_and_starts_again(started):
    store, server = started
    with Sink() as sink:
        system = System(server)
        alias, primary = system.linked_pair()
        key = server.profile.key
        inspection = Connection(server.run.http, key_id=key.id, secret=key.secret)
        inspection.post("routes", {"match": primary, "to": sink.to, "keep": False})
        for point in failpoints.POINTS:
            if store != "sqlite" and point in failpoints.OF_SQLITE_ALONE:
                continue
            server.arm(point)
            wait_until(lambda: try_to_send(system, alias), f"the server does not pass the point: {point}")
            assert server.was_reached
            server.ended()
            server.start()
        assert system.deliver(HELLO, alias)
        system.connect.close()


def try_to_send(system, alias):
    """Send messages until the server has died."""
    try:
        for _ in range(5):
            system.send(HELLO, alias)
    except (OSError, smtplib.SMTPException):
        return not system.server.is_running or system.server._process.poll() is not None
    return False


def test_the_launcher_finds_all_points_and_starts_the_command_of_waypost(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-m", "faults.failpoints", "serve", "--check", "--data", tmp_path / "data"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {failpoints.VARIABLE: json.dumps({"lease": 3})},
    )
    assert ran.returncode == 0, ran.stderr
