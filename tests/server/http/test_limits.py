"""The limits on connections, in total and from one address, and the response to a connection beyond a limit."""

import asyncio
import contextlib

import pytest

from tests.kit.patience import wait_until
from tests.kit.servers.http_server import all_of, echo, is_open, served, until
from waypost.app.limit_state import OwnState
from waypost.observe import events
from waypost.server.http.connection import HttpConnection
from waypost.server.http.limits import FULL, TOO_MANY, HttpAdmission, HttpBounds
from waypost.server.open_files import FEWEST, OWN_FILES, Connections, connections_within

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def connected_clients(server, count):
    """Connect this many clients, and wait until the server has accepted their connections."""
    clients = [server.client() for _ in range(count)]
    wait_until(lambda: len(server.connections) == count)
    return clients


@pytest.mark.parametrize(
    ("bounds", "why"),
    [(HttpBounds(connections=3), FULL), (HttpBounds(connections=100, connections_each=3), TOO_MANY)],
)
def test_a_connection_beyond_the_limit_gets_503_and_the_other_connections_continue(bounds, why):
    with served(echo, bounds) as server, contextlib.ExitStack() as stack:
        first, *_ = [stack.enter_context(client) for client in connected_clients(server, 3)]
        # The client sends more than any buffer can store, and still can read the response.
        with server.client(
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n" + b"x" * 500_000
        ) as refused_client:
            said = all_of(refused_client)
        head, _, body = said.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert b"\r\nConnection: close" in head
        assert b"\r\nRetry-After: 1" in head
        assert body.decode() == f"{why}\n"
        first.sendall(GET)
        assert until(first, b"GET / ").startswith(b"HTTP/1.1 200 ")
        first.close()
        wait_until(lambda: len(server.connections) == 2)
        with server.client(GET) as next_one:
            assert until(next_one, b"GET / ").startswith(b"HTTP/1.1 200 ")
        assert server.emitted == []
        server.on_loop(server._server._admission.refused.log_rest)
        assert server.emitted == [events.ConnectionsRefused(reply=f"503 {why}", count=1, peer="127.0.0.1")]


def test_another_address_is_served_when_one_address_has_reached_its_limit():
    with served(echo, HttpBounds(connections_each=1)) as server, server.client(), server.client(source="127.9.9.9"):
        wait_until(lambda: len(server.connections) == 2)
        assert all(connection._is_admitted for connection in server.connections)


def test_the_server_lets_few_refused_clients_stay_and_closes_their_connections_after_a_moment():
    bounds = HttpBounds(connections=1)
    with served(echo, bounds) as server, contextlib.ExitStack() as stack:
        (first,) = [stack.enter_context(client) for client in connected_clients(server, 1)]
        refused = [stack.enter_context(server.client()) for _ in range(bounds.refused + 3)]
        for client in refused:
            assert until(client, b"\n").startswith(b"HTTP/1.1 503 ")
        wait_until(lambda: len(server.connections) <= 1 + bounds.refused)
        server.seconds(int(bounds.linger) + 1)
        wait_until(lambda: len(server.connections) <= 1)
        assert server._server._admission._lingering == 0
        assert is_open(first)


def test_the_server_ignores_further_requests_of_a_refused_client():
    with served(echo, HttpBounds(connections=1)) as server:
        (first,) = connected_clients(server, 1)
        with server.client() as refused_client:
            assert until(refused_client, b"again.\n").startswith(b"HTTP/1.1 503 ")
            with contextlib.suppress(ConnectionError):
                refused_client.sendall(GET * 100)
            assert all_of(refused_client) == b""
        assert is_open(first)
        first.close()


def test_addresses_in_one_ipv6_network_count_as_one_address():
    async def scenario():
        logged = []
        admission = HttpAdmission(HttpBounds(connections_each=2), logged.append, OwnState())
        assert [admission.enter(f"2001:db8:0:1::{number}") for number in range(3)] == [None, None, TOO_MANY]
        assert admission.enter("2001:db8:0:2::1") is None
        assert admission.enter("::ffff:192.0.2.1") is None
        admission.leave("2001:db8:0:1:ffff::")
        assert admission.enter("2001:db8:0:1::9") is None
        admission.refused.log_rest()
        assert logged == [events.ConnectionsRefused(reply=f"503 {TOO_MANY}", count=1, peer="2001:db8:0:1::2")]

    asyncio.run(scenario())


def test_the_networks_of_one_ipv6_customer_together_get_half_of_the_connections():
    async def scenario():
        admission = HttpAdmission(HttpBounds(connections=10, connections_each=2), lambda _: None, OwnState())
        assert [admission.enter(f"2001:db8:7:{number:x}::1") for number in range(6)] == [None] * 5 + [TOO_MANY]
        assert [admission.enter(f"2001:db8:8:{number:x}::1") for number in range(4)] == [None] * 4
        assert admission.enter("192.0.2.1") is None
        admission.leave("2001:db8:7:3::1")
        admission.leave("2001:db8:8:3::1")
        assert admission.enter("2001:db8:7:ffff::1") is None

    asyncio.run(scenario())


def test_a_client_that_disconnects_before_its_address_is_known_is_not_counted():
    with served(echo) as server:
        made = server.on_loop(lambda: HttpConnection(server._server.shared))

        class Gone:
            aborted = False

            def get_extra_info(self, _):
                return None

            def abort(self):
                self.aborted = True

        gone = Gone()
        made.connection_made(gone)
        assert gone.aborted
        assert server._server._admission.connections.count == 0
        server.on_loop(lambda: server._server.shared.connections.discard(made))


WANTED = Connections(smtp=15_000, http=1_000)


@pytest.mark.parametrize(
    ("files", "possible"),
    [
        (float("inf"), WANTED),
        (1_048_576, WANTED),
        (16_300, WANTED),
        (16_299, Connections(smtp=14_999, http=1_000)),
        (4_096, Connections(smtp=2_847, http=949)),
        (1_024, Connections(smtp=543, http=181)),
        (64, Connections(smtp=FEWEST, http=FEWEST)),
    ],
)
def test_mail_and_http_each_have_a_share_of_the_files_that_the_other_cannot_use(files, possible):
    found = connections_within(files, WANTED, others=200)
    assert found == possible
    assert sum(found) + OWN_FILES + 200 <= files or found == (FEWEST, FEWEST)


def test_a_low_limit_in_the_settings_is_not_raised():
    assert connections_within(600, Connections(smtp=20, http=500), others=200) == Connections(smtp=20, http=75)
    assert connections_within(600, Connections(smtp=500, http=20), others=200) == Connections(smtp=280, http=20)


def test_the_server_counts_the_seconds_itself():
    with served(echo, HttpBounds(head=1), ticks_a_second=1) as server, server.client() as client:
        assert all_of(client) == b""
        assert asyncio.run_coroutine_threadsafe(asyncio.sleep(0), server._loop).result() is None
