"""How many connections there may be, in all and from one address, and what is said to one more."""

import asyncio
import contextlib

import pytest

from tests.kit.patience import wait_until
from tests.kit.servers.http_server import all_of, echo, is_open, served, until
from waypost.observe import events
from waypost.server.http.limits import FULL, TELL_EVERY, TOO_MANY, HttpAdmission, HttpBounds
from waypost.server.open_files import FEWEST, OWN_FILES, Connections, connections_within

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def waiting(server, count):
    """So many clients, whose connections the server has taken."""
    clients = [server.client() for _ in range(count)]
    wait_until(lambda: len(server.connections) == count)
    return clients


@pytest.mark.parametrize(
    ("bounds", "why"),
    [(HttpBounds(connections=3), FULL), (HttpBounds(connections=100, connections_each=3), TOO_MANY)],
)
def test_one_connection_more_is_answered_with_503_and_the_others_go_on(bounds, why):
    with served(echo, bounds) as server, contextlib.ExitStack() as stack:
        first, *_ = [stack.enter_context(client) for client in waiting(server, 3)]
        # It has sent more than any buffer holds, and still gets to read why.
        with server.client(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n" + b"x" * 500_000) as late:
            said = all_of(late)
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
        server.seconds(TELL_EVERY)
        assert server.emitted == [events.ConnectionsRefused(reply=f"503 {why}", count=1, peer="127.0.0.1")]


def test_another_address_is_served_when_one_has_all_that_it_may_have():
    with served(echo, HttpBounds(connections_each=1)) as server, server.client(), server.client(source="127.9.9.9"):
        wait_until(lambda: len(server.connections) == 2)
        assert all(connection._is_admitted for connection in server.connections)


def test_a_refused_client_that_stays_is_cut_off_after_a_moment_and_few_may():
    bounds = HttpBounds(connections=1)
    with served(echo, bounds) as server, contextlib.ExitStack() as stack:
        (first,) = [stack.enter_context(client) for client in waiting(server, 1)]
        refused = [stack.enter_context(server.client()) for _ in range(bounds.refused + 3)]
        for client in refused:
            assert until(client, b"\n").startswith(b"HTTP/1.1 503 ")
        wait_until(lambda: len(server.connections) <= 1 + bounds.refused)
        server.seconds(int(bounds.linger) + 1)
        wait_until(lambda: len(server.connections) <= 1)
        assert server._server._admission._lingering == 0
        assert is_open(first)


def test_a_client_that_was_refused_may_say_what_it_likes_and_is_not_answered():
    with served(echo, HttpBounds(connections=1)) as server:
        (first,) = waiting(server, 1)
        with server.client() as late:
            assert until(late, b"again.\n").startswith(b"HTTP/1.1 503 ")
            with contextlib.suppress(ConnectionError):
                late.sendall(GET * 100)
            assert all_of(late) == b""
        assert is_open(first)
        first.close()


def test_addresses_of_one_ipv6_network_count_as_one():
    told = []
    admission = HttpAdmission(HttpBounds(connections_each=2), told.append)
    assert [admission.enter(f"2001:db8:0:1::{number}") for number in range(3)] == [None, None, TOO_MANY]
    assert admission.enter("2001:db8:0:2::1") is None
    assert admission.enter("::ffff:192.0.2.1") is None
    admission.leave("2001:db8:0:1:ffff::")
    assert admission.enter("2001:db8:0:1::9") is None
    admission.tell()
    assert told == [events.ConnectionsRefused(reply=f"503 {TOO_MANY}", count=1, peer="2001:db8:0:1::2")]


def test_the_networks_of_one_ipv6_customer_have_half_of_the_connections_together():
    admission = HttpAdmission(HttpBounds(connections=10, connections_each=2), lambda _: None)
    assert [admission.enter(f"2001:db8:7:{number:x}::1") for number in range(6)] == [None] * 5 + [TOO_MANY]
    assert [admission.enter(f"2001:db8:8:{number:x}::1") for number in range(4)] == [None] * 4
    assert admission.enter("192.0.2.1") is None
    admission.leave("2001:db8:7:3::1")
    admission.leave("2001:db8:8:3::1")
    assert admission.enter("2001:db8:7:ffff::1") is None


def test_a_client_that_is_gone_before_its_address_is_known_counts_nowhere():
    with served(echo) as server:
        made = server.on_loop(
            lambda: server._server.config.http_protocol_class(
                config=server._server.config, server_state=server._server.server_state, app_state={}, _loop=None
            )
        )

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
        server.on_loop(lambda: server._server.server_state.connections.discard(made))


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
def test_each_kind_of_connection_has_files_that_the_other_cannot_take(files, possible):
    found = connections_within(files, WANTED, others=200)
    assert found == possible
    assert sum(found) + OWN_FILES + 200 <= files or found == (FEWEST, FEWEST)


def test_few_that_are_wanted_are_not_made_more():
    assert connections_within(600, Connections(smtp=20, http=500), others=200) == Connections(smtp=20, http=75)
    assert connections_within(600, Connections(smtp=500, http=20), others=200) == Connections(smtp=280, http=20)


def test_seconds_pass_by_themselves():
    with served(echo, HttpBounds(head=1), ticks_a_second=1) as server, server.client() as client:
        assert all_of(client) == b""
        assert asyncio.run_coroutine_threadsafe(asyncio.sleep(0), server._loop).result() is None
