"""The disk of an SQLite server is really full: mail is deferred and nothing is lost, until there is space again."""

import resource

import botocore.exceptions
import pytest

from tests.kit.patience import wait_until
from tests.kit.servers.running import System, logged
from waypost import testing

pytestmark = pytest.mark.slow

HELLO = b"Subject: hello\r\n\r\n" + b"0123456789 and so on, up to the end of the line.\r\n" * 200
UNLIMITED = resource.RLIM_INFINITY, resource.RLIM_INFINITY


def test_a_server_without_a_reserve_defers_mail_and_calls_while_its_disk_is_full_and_continues_by_itself(tmp_path):
    """A limit on the size of its files stands for the full disk. The server reads and answers, but stores nothing."""
    server = testing.Server(tmp_path / "data", "--disk-reserve", "0")
    server.start()
    system = System(server)
    address = system.new_address()
    accepted = [system.deliver(HELLO, address)]
    largest = max(file.stat().st_size for file in server.data.iterdir())
    resource.prlimit(server._process.pid, resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
    try:
        code, text = wait_until(lambda: refusal(system, address, accepted))
        assert (code, text[:6]) == (451, b"4.3.0 ")
        wait_until(lambda: error_of_a_call(system) == "ServiceUnavailable")  # a few more calls may fit into the log
        assert system.get("health").status == 200
        assert set(accepted) <= set(system.ids_at(address))
    finally:
        resource.prlimit(server._process.pid, resource.RLIMIT_FSIZE, UNLIMITED)
    accepted.append(system.deliver(HELLO, address))
    found = system.ids_at(address, limit=500)
    assert sorted(accepted) == sorted(found)
    assert all(system.raw(each, address).endswith(HELLO) for each in accepted)
    system.connect.close()
    assert server.stop() == 0
    assert logged(server, "store_failed")
    assert not logged(server, "failed")


def error_of_a_call(system):
    """Create an email address, and return the code of the error, or None."""
    try:
        system.new_address()
    except botocore.exceptions.ClientError as error:
        return error.response["Error"]["Code"]
    return None


def refusal(system, address, accepted):
    """Send a message. Return the reply if it was refused; otherwise note its id."""
    code, text = system.send(HELLO, address)
    if code != 250:
        return code, text
    accepted.append(text.split()[1].decode())
    return None
