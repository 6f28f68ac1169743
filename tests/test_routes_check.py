"""A route is looked at before mail waits for it: is somebody there, and is it somebody else?"""

import asyncio
import socket

import pytest

from tests.e2e.sink import Sink
from waypost import routes_check
from waypost.delivery.dns import Resolver
from waypost.domain.routes import Route
from waypost.opening import Refused
from waypost.routes_check import LeadsBack


def look(to, *, ours=(), hostname="mx.example", **fields):
    route = Route(match="a@example.com", to=to, **fields)
    asyncio.run(routes_check.check(route, hostname=hostname, ours=ours, resolver=Resolver(shuffler=None)))


@pytest.mark.parametrize(
    ("to", "ours"),
    [
        ("smtp://127.0.0.1:{port}", "127.0.0.1:{port}"),
        ("smtp://localhost:{port}", "127.0.0.1:{port}"),
        ("lmtp://0.0.0.0:{port}", "127.0.0.1:{port}"),
        ("smtp://127.0.0.1:{port}", "0.0.0.0:{port}"),
        ("smtp://[::1]:{port}", "[::1]:{port}"),
        ("https://127.0.0.1:{port}/x", "127.0.0.1:{port}"),
    ],
)
def test_a_route_that_leads_back_here_is_refused_however_it_is_written(to, ours):
    with pytest.raises(LeadsBack, match="leads back to this server"):
        look(to.format(port=2525), ours={ours.format(port=2525), "127.0.0.1:24", ""})


def test_somebody_else_on_the_same_port_is_no_circle():
    with Sink() as sink:
        look(sink.to, ours={f"192.0.2.1:{sink.port}"})
        look(sink.to, ours={f"127.0.0.1:{sink.port + 1}"})


def test_a_server_that_says_that_it_is_us_leads_back():
    with Sink() as sink, pytest.raises(LeadsBack):
        look(sink.to, hostname="sink.example")


def test_where_nobody_is_it_is_said():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        for to, fields in ((f"smtp://127.0.0.1:{port}", {}), (f"https://127.0.0.1:{port}/x", {"allow_private": True})):
            with pytest.raises(Refused, match=r"cannot be reached: .*refused"):
                look(to, **fields)


def test_a_webhook_on_this_machine_needs_leave():
    with Sink() as sink:
        to = f"http://127.0.0.1:{sink.port}/x"
        look(to, allow_private=True)
        with pytest.raises(Refused, match=r"127\.0\.0\.1 is a private address, and the route has no allow_private"):
            look(to)


def test_a_maildir_needs_a_directory_to_be_in(tmp_path):
    look(f"maildir:{tmp_path}/new")
    with pytest.raises(Refused, match="nowhere is no directory"):
        look(f"maildir:{tmp_path}/nowhere/new")


def test_what_leads_nowhere_is_not_looked_at():
    look("inbox")
    asyncio.run(routes_check.refuse_circle(Route(match="*", to="inbox"), {"127.0.0.1:25"}))
