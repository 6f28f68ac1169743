"""The sockets on which a server listens: their addresses, their ports, and the ports of other programs."""

import socket

import pytest

from waypost.config.types import Endpoint
from waypost.server import sockets
from waypost.server.opening import CannotStart


@pytest.fixture
def bound():
    """A function that binds sockets, and closes them after the test."""
    opened = []

    def bind(*arguments, **options):
        found = sockets.bind(*arguments, **options)
        opened.extend(each for inner in found for each in inner)
        return found

    yield bind
    for each in opened:
        each.close()


def ports(found):
    return [each.getsockname()[1] for inner in found for each in inner]


def test_port_0_selects_a_free_port(bound):
    ((only,),) = bound("smtp", Endpoint("127.0.0.1", 0))
    assert only.getsockname()[0] == "127.0.0.1"
    assert only.getsockname()[1] > 0


def test_the_sockets_of_several_worker_processes_have_the_same_port(bound):
    found = bound("smtp", Endpoint("127.0.0.1", 0), times=3)
    assert [len(each) for each in found] == [1, 1, 1]
    assert len(set(ports(found))) == 1
    for (each,) in found:
        each.listen()


def test_two_listeners_cannot_share_a_port_by_mistake(bound):
    ((first,), _) = bound("smtp", Endpoint("127.0.0.1", 0), times=2)
    with pytest.raises(CannotStart, match="Address already in use"):
        bound("lmtp", Endpoint(*first.getsockname()), times=2)


def test_a_name_with_several_addresses_has_a_socket_for_each_except_for_http(bound, monkeypatch):
    def found(_host, port, family, *_, **__):
        both = [(socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.1")]
        return [(each, 0, 0, "", (name, port)) for each, name in both if family in (socket.AF_UNSPEC, each)]

    monkeypatch.setattr(socket, "getaddrinfo", found)
    for edge, families in (("smtp", [socket.AF_INET6, socket.AF_INET]), ("http", [socket.AF_INET])):
        for inner in bound(edge, Endpoint("both.example", 0), times=2):
            assert [each.family for each in inner] == families


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("shares_port", [False, True])
def test_a_port_of_another_program_is_refused_even_if_that_program_shares_it(bound, times, shares_port):
    (other,) = bound("smtp", Endpoint("127.0.0.1", 0), times=2 if shares_port else 1)[0]
    other.listen()
    port = other.getsockname()[1]
    with pytest.raises(CannotStart) as refused:
        bound("smtp", Endpoint("127.0.0.1", port), times=times)
    assert str(refused.value) == (
        f"Cannot listen on 127.0.0.1:{port}: Address already in use. Choose another address with --smtp."
    )


def test_sockets_are_closed_if_a_later_address_cannot_be_bound(monkeypatch):
    ours = []
    real = socket.socket

    def opened(*arguments):
        ours.append(real(*arguments))
        return ours[-1]

    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *_, **__: [(2, 1, 0, "", (name, 0)) for name in ("127.0.0.1", "192.0.2.1")]
    )
    monkeypatch.setattr(socket, "socket", opened)
    with pytest.raises(CannotStart, match=r"Cannot listen on both\.example:0: Cannot assign requested address"):
        sockets.bind("smtp", Endpoint("both.example", 0), times=2)
    assert [each.fileno() for each in ours] == [-1] * len(ours)


@pytest.mark.parametrize(
    ("number", "why"), [(socket.EAI_NONAME, "no such host"), (socket.EAI_AGAIN, "Temporary failure in name resolution")]
)
def test_the_message_for_a_host_without_an_address_is_in_plain_words(monkeypatch, number, why):
    def fail(*_, **__):
        raise socket.gaierror(number, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(CannotStart) as refused:
        sockets.bind("smtp", Endpoint("nosuch.invalid", 1025))
    assert str(refused.value) == (
        f"Cannot listen on nosuch.invalid:1025: {why}. With --smtp, name an address of this machine, such as "
        "127.0.0.1:1025."
    )
