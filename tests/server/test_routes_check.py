"""A route is looked at before mail waits for it: is somebody there, and is it somebody else?"""

import asyncio
import errno
import os
import socket
from ipaddress import ip_address

import pytest

from tests.kit.patience import wait_until
from tests.kit.peers.mail_sink import Sink
from waypost.config.sources import from_options
from waypost.delivery import maildir_directories
from waypost.domain.mail.routes import Route
from waypost.host import data_directory
from waypost.observe import events
from waypost.server import routes_check
from waypost.server.opening import Refused
from waypost.server.routes_check import LeadsBack, OurServer, answers


class Hosts:
    """The mail hosts of every domain."""

    def __init__(self, *hosts):
        self._hosts = hosts

    async def mail_hosts(self, domain):
        return list(self._hosts)


def look(to, *, listeners=(), hostname="mx.example", hosts=(), **fields):
    route = Route(match="a@example.com", to=to, **fields)
    server = OurServer(hostname=hostname, listeners=listeners, resolver=Hosts(*hosts))
    asyncio.run(routes_check.check(route, server))


@pytest.mark.parametrize(
    ("to", "listener"),
    [
        ("smtp://127.0.0.1:{port}", "127.0.0.1:{port}"),
        ("smtp://localhost:{port}", "127.0.0.1:{port}"),
        ("smtp://127.0.0.1:{port}", "localhost:{port}"),
        ("lmtp://0.0.0.0:{port}", "127.0.0.1:{port}"),
        ("smtp://127.0.0.1:{port}", "0.0.0.0:{port}"),
        ("smtp://127.0.0.9:{port}", "0.0.0.0:{port}"),
        ("smtp://[::ffff:127.0.0.1]:{port}", "127.0.0.1:{port}"),
        ("smtp://[::1]:{port}", "[::1]:{port}"),
        ("https://127.0.0.1:{port}/x", "127.0.0.1:{port}"),
    ],
)
def test_a_route_that_leads_back_here_is_refused_however_it_is_written(to, listener):
    with pytest.raises(LeadsBack, match="leads back to this server"):
        look(to.format(port=2525), listeners=["127.0.0.1:24", "[::1]:24", listener.format(port=2525)])


@pytest.mark.parametrize("edge", ["smtp", "smtps", "lmtp"])
@pytest.mark.parametrize("listeners", ["127.0.0.2:2525,127.0.0.1:2525", "127.0.0.2:24,localhost:2525", "0.0.0.0:2525"])
def test_every_address_of_every_listener_of_the_settings_counts(edge, listeners):
    settings = from_options(**{edge: listeners}, tls_certificate="self-signed")
    route = Route(match="*", to="smtp://127.0.0.1:2525")
    with pytest.raises(LeadsBack):
        asyncio.run(
            routes_check.refuse_circles([Route(match="a@example.com", to="inbox"), route], OurServer.of(settings))
        )


@pytest.mark.parametrize(
    ("asked", "heard", "is_answered"),
    [
        ("192.0.2.1", ["192.0.2.1"], True),
        ("192.0.2.1", ["192.0.2.2", "192.0.2.1"], True),
        ("192.0.2.1", ["192.0.2.2"], False),
        ("192.0.2.1", ["0.0.0.0"], True),
        ("192.0.2.9", ["0.0.0.0"], False),
        ("192.0.2.1", ["::"], False),
        ("2001:db8::1", ["::"], True),
        ("2001:db8::1", ["0.0.0.0"], False),
        ("2001:db8::9", ["::"], False),
        ("::ffff:192.0.2.1", ["0.0.0.0"], True),
        ("::ffff:192.0.2.1", ["::"], False),
        ("0.0.0.0", ["127.0.0.1"], True),
        ("0.0.0.0", ["192.0.2.1"], False),
        ("::", ["::1"], True),
        ("::", ["127.0.0.1"], False),
        ("127.0.0.1", [], False),
    ],
)
def test_who_answers_at_an_address(asked, heard, is_answered):
    local = {ip_address(each) for each in ("192.0.2.1", "2001:db8::1", "127.0.0.1", "::1")}
    assert answers(ip_address(asked), [ip_address(each) for each in heard], local.__contains__) is is_answered


def test_a_domain_whose_best_mail_host_is_this_machine_under_another_name_leads_back():
    with pytest.raises(LeadsBack):
        look("mx:example.org", listeners=["127.0.0.1:25"], hosts=["localhost", "mx2.example.org"])
    with pytest.raises(LeadsBack):
        look("mx:", listeners=["0.0.0.0:25"], hosts=["localhost"])
    with pytest.raises(LeadsBack):  # by its name, wherever it listens
        look("mx:", listeners=["127.0.0.1:2525"], hosts=["MX.example"])


def test_a_route_is_checked_as_the_server_that_runs_would_use_it():
    run = data_directory.Run(
        "", "", hostname="our.example", listeners=["0.0.0.0:2525"], dns="192.0.2.53,192.0.2.54:5300"
    )
    server = OurServer.running(run)
    assert (server.hostname, server.listeners) == ("our.example", ["0.0.0.0:2525"])
    assert server.resolver._nameservers == (("192.0.2.53", 53), ("192.0.2.54", 5300))
    assert (
        OurServer.running(data_directory.Run("", "")).hostname == socket.gethostname()
    )  # a server of before, which does not say


def test_somebody_else_on_the_same_port_is_no_circle():
    with Sink() as sink:
        look(sink.to, listeners=[f"192.0.2.1:{sink.port}"])
        look(sink.to, listeners=[f"127.0.0.1:{sink.port + 1}", f"[::]:{sink.port}"])


def test_a_server_on_another_port_that_says_our_own_name_is_no_circle():
    with Sink() as sink:
        look(sink.to, hostname="sink.example")


def test_where_nobody_is_it_is_said():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        for to, fields in ((f"smtp://127.0.0.1:{port}", {}), (f"https://127.0.0.1:{port}/x", {"allow_private": True})):
            with pytest.raises(Refused, match=r"cannot be reached: .*refused"):
                look(to, **fields)


@pytest.mark.parametrize("to", ["smtp://nosuch.example:25", "https://nosuch.example/x"])
def test_a_host_that_does_not_exist_is_said_in_words(monkeypatch, to):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(Refused, match=r"cannot be reached: .*no such host$"):
        look(to)


def test_a_webhook_on_this_machine_needs_leave():
    with Sink() as sink:
        to = f"http://127.0.0.1:{sink.port}/x"
        look(to, allow_private=True)
        with pytest.raises(Refused, match=r"127\.0\.0\.1 is only at private addresses \(127\.0\.0\.1\)"):
            look(to)


ODD_SPELLINGS = ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0", "localhost", "[::ffff:127.0.0.1]"]


@pytest.mark.parametrize("host", ODD_SPELLINGS)
@pytest.mark.parametrize("scheme", ["https", "http"])
def test_a_webhook_that_a_delivery_would_not_connect_to_is_not_connected_to_by_the_check(host, scheme):
    with Sink() as sink:
        with pytest.raises(Refused, match=r"is only at private addresses .*, and the route has no allow_private"):
            look(f"{scheme}://{host}:{sink.port}/x?token=0123456789")
        with socket.create_connection(("127.0.0.1", sink.port)):  # the sink takes connections in their order
            wait_until(lambda: sink.sessions)
        assert sink.sessions == 1


def test_a_webhook_with_a_public_address_is_not_asked_at_its_private_one(monkeypatch):
    asked = []

    async def connected(host, *_, **__):
        asked.append(host)
        raise ConnectionRefusedError(errno.ECONNREFUSED, "no")

    async def addresses(*_, **__):
        return [(0, 0, 0, "", (host, 443)) for host in ("192.168.0.1", "1.1.1.1", "::1", "1.0.0.1")]

    async def scenario():
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", addresses)
        monkeypatch.setattr(asyncio, "open_connection", connected)
        route = Route(match="a@example.com", to="https://hook.example/x")
        await routes_check.check(route, OurServer(hostname="mx.example", listeners=(), resolver=Hosts()))

    with pytest.raises(Refused, match="refused"):
        asyncio.run(scenario())
    assert asked == ["1.1.1.1", "1.0.0.1"]


def test_a_check_that_failed_is_told_and_logged_without_the_secret_of_a_webhook():
    route = Route(match="a@example.com", to="https://127.0.0.1:9/x?token=0123456789")
    server, emitted = OurServer(hostname="mx.example", listeners=(), resolver=Hosts()), []
    asyncio.run(routes_check.tell([route], server, emitted.append))
    with pytest.raises(Refused) as refused:
        asyncio.run(routes_check.check_route(route, server))
    assert "0123456789" not in f"{emitted}{refused.value}"
    assert emitted[0].destination == "https://127.0.0.1:9/..."


def test_a_maildir_needs_a_directory_to_be_in(tmp_path):
    look(f"maildir:{tmp_path}/new")
    with pytest.raises(Refused, match=r"The parent directory of the Maildir does not exist: .*/nowhere/new"):
        look(f"maildir:{tmp_path}/nowhere/new")


def test_what_leads_nowhere_is_not_looked_at():
    look("inbox")
    asyncio.run(routes_check.refuse_circle(Route(match="*", to="inbox"), ["127.0.0.1:25"]))


def test_a_bug_in_the_check_of_a_route_is_logged_and_the_other_routes_are_checked(monkeypatch, tmp_path):
    def fails(_):
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(maildir_directories, "why_not_usable", fails)
    emitted = []
    routes = [Route(match="*", to=f"maildir:{tmp_path}"), Route(match="*", to="smtp://127.0.0.1:2525")]
    server = OurServer(hostname="mx.example", listeners=["127.0.0.1:2525"], resolver=Hosts())
    asyncio.run(routes_check.tell(routes, server, emitted.append))
    failed, unreachable = emitted
    assert isinstance(failed, events.Failed)
    assert "leads back to this server" in unreachable.reason


def test_the_log_names_no_email_address_where_a_route_leads_nowhere(tmp_path):
    """Neither that of its match, nor one in its target, nor one that a peer says."""
    logged = []
    address = "support@example.com"
    with Sink(greeting=b"554 5.7.1 no mail for support@example.com") as sink:
        routes = [
            Route(match=address, to=f"maildir:{tmp_path}/nowhere/{address}"),
            Route(match=address, to=sink.to),
            Route(match=address, to=f"https://127.0.0.1:1/{address}", secret="a secret of some length"),
            Route(match=address, to="smtp://127.0.0.1:2525"),
        ]
        server = OurServer(hostname="mx.example", listeners=["127.0.0.1:2525"], resolver=Hosts())
        asyncio.run(routes_check.tell(routes, server, logged.append))
    assert [event.route for event in logged] == [route.log_name for route in routes]
    assert [event.destination for event in logged] == [
        "maildir:...",
        sink.to,
        "https://127.0.0.1:1/...",
        "smtp://127.0.0.1:2525",
    ]
    assert [event.reason for event in logged][:2] == [
        "its directory is not there, or cannot be used",
        "greeting: 554",
    ]
    assert logged[3].reason == "it leads back to this server"
    assert "support" not in repr(logged)


def test_a_maildir_that_cannot_be_looked_at_is_reported_like_one_that_is_missing(tmp_path, monkeypatch):
    def denied(path, *_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(Refused, match=rf"cannot be reached: Permission denied: {tmp_path}/hidden"):
        look(f"maildir:{tmp_path}/hidden/box")
