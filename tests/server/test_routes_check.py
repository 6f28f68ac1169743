"""The check of a route: its target must be reachable, and must not be this server."""

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
from waypost.host import run_file
from waypost.observe import events
from waypost.server import routes_check
from waypost.server.opening import Refused
from waypost.server.routes_check import LeadsBack, OurServer, answers


class Hosts:
    """A resolver that returns the same mail hosts for every domain."""

    def __init__(self, *hosts):
        self._hosts = hosts

    async def mail_hosts(self, domain):
        return list(self._hosts)


def check_target(to, *, listeners=(), hostname="mx.example", hosts=(), **fields):
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
def test_a_route_that_leads_back_is_refused_however_its_target_is_written(to, listener):
    with pytest.raises(LeadsBack, match="leads back to this server"):
        check_target(to.format(port=2525), listeners=["127.0.0.1:24", "[::1]:24", listener.format(port=2525)])


@pytest.mark.parametrize("edge", ["smtp", "smtps", "lmtp"])
@pytest.mark.parametrize("listeners", ["127.0.0.2:2525,127.0.0.1:2525", "127.0.0.2:24,localhost:2525", "0.0.0.0:2525"])
def test_a_route_to_any_listener_of_the_settings_leads_back(edge, listeners):
    settings = from_options(**{edge: listeners}, tls_certificate="self-signed")
    route = Route(match="*", to="smtp://127.0.0.1:2525")
    with pytest.raises(LeadsBack):
        asyncio.run(
            routes_check.refuse_loops([Route(match="a@example.com", to="inbox"), route], OurServer.of(settings))
        )


@pytest.mark.parametrize(
    ("target", "bound", "is_answered"),
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
def test_which_listeners_accept_a_connection_to_an_address(target, bound, is_answered):
    local = {ip_address(each) for each in ("192.0.2.1", "2001:db8::1", "127.0.0.1", "::1")}
    assert answers(ip_address(target), [ip_address(each) for each in bound], local.__contains__) is is_answered


def test_a_domain_whose_preferred_mail_host_is_this_machine_under_another_name_leads_back():
    with pytest.raises(LeadsBack):
        check_target("mx:example.org", listeners=["127.0.0.1:25"], hosts=["localhost", "mx2.example.org"])
    with pytest.raises(LeadsBack):
        check_target("mx:", listeners=["0.0.0.0:25"], hosts=["localhost"])
    with pytest.raises(LeadsBack):  # the mail host has our host name, on any port
        check_target("mx:", listeners=["127.0.0.1:2525"], hosts=["MX.example"])


def test_a_check_uses_the_settings_of_the_running_server():
    run = run_file.Run("", "", hostname="our.example", listeners=["0.0.0.0:2525"], dns="192.0.2.53,192.0.2.54:5300")
    server = OurServer.running(run)
    assert (server.hostname, server.listeners) == ("our.example", ["0.0.0.0:2525"])
    assert server.resolver._nameservers == (("192.0.2.53", 53), ("192.0.2.54", 5300))
    # An older server does not write its host name.
    assert OurServer.running(run_file.Run("", "")).hostname == socket.gethostname()


def test_another_server_on_the_same_port_is_not_a_loop():
    with Sink() as sink:
        check_target(sink.to, listeners=[f"192.0.2.1:{sink.port}"])
        check_target(sink.to, listeners=[f"127.0.0.1:{sink.port + 1}", f"[::]:{sink.port}"])


def test_a_server_on_another_port_that_greets_with_our_name_is_not_a_loop():
    with Sink() as sink:
        check_target(sink.to, hostname="sink.example")


def test_a_target_on_which_no_server_listens_is_refused():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        for to, fields in ((f"smtp://127.0.0.1:{port}", {}), (f"https://127.0.0.1:{port}/x", {"allow_private": True})):
            with pytest.raises(Refused, match=r"cannot be reached: .*refused"):
                check_target(to, **fields)


@pytest.mark.parametrize("to", ["smtp://nosuch.example:25", "https://nosuch.example/x"])
def test_the_message_for_a_host_that_does_not_exist_is_in_plain_words(monkeypatch, to):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(Refused, match=r"cannot be reached: .*no such host$"):
        check_target(to)


def test_a_webhook_on_this_machine_needs_allow_private():
    with Sink() as sink:
        to = f"http://127.0.0.1:{sink.port}/x"
        check_target(to, allow_private=True)
        with pytest.raises(Refused, match=r"127\.0\.0\.1 has only private addresses \(127\.0\.0\.1\)"):
            check_target(to)


ODD_SPELLINGS = ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0", "localhost", "[::ffff:127.0.0.1]"]


@pytest.mark.parametrize("host", ODD_SPELLINGS)
@pytest.mark.parametrize("scheme", ["https", "http"])
def test_the_check_does_not_connect_to_a_webhook_to_which_a_delivery_would_not_connect(host, scheme):
    with Sink() as sink:
        with pytest.raises(Refused, match=r"has only private addresses .*, and the route does not set allow_private"):
            check_target(f"{scheme}://{host}:{sink.port}/x?token=0123456789")
        with socket.create_connection(("127.0.0.1", sink.port)):  # the sink accepts connections in order
            wait_until(lambda: sink.sessions)
        assert sink.sessions == 1


def test_the_check_of_a_webhook_connects_only_to_its_public_addresses(monkeypatch):
    tried = []

    async def connected(host, *_, **__):
        tried.append(host)
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
    assert tried == ["1.1.1.1", "1.0.0.1"]


def test_the_message_and_the_log_of_a_failed_check_do_not_contain_a_webhooks_secret():
    route = Route(match="a@example.com", to="https://127.0.0.1:9/x?token=0123456789")
    server, emitted = OurServer(hostname="mx.example", listeners=(), resolver=Hosts()), []
    asyncio.run(routes_check.log_unreachable([route], server, emitted.append))
    with pytest.raises(Refused) as refused:
        asyncio.run(routes_check.check_route(route, server))
    assert "0123456789" not in f"{emitted}{refused.value}"
    assert emitted[0].destination == "https://127.0.0.1:9/..."


def test_the_parent_directory_of_a_maildir_must_exist(tmp_path):
    check_target(f"maildir:{tmp_path}/new")
    with pytest.raises(Refused, match=r"The parent directory of the Maildir does not exist: .*/nowhere/new"):
        check_target(f"maildir:{tmp_path}/nowhere/new")


def test_the_inbox_route_is_not_checked():
    check_target("inbox")
    asyncio.run(routes_check.refuse_loop(Route(match="*", to="inbox"), ["127.0.0.1:25"]))


def test_a_bug_in_the_check_of_a_route_is_logged_and_the_other_routes_are_checked(monkeypatch, tmp_path):
    def fails(_):
        raise RuntimeError("a bug")

    monkeypatch.setattr(maildir_directories, "why_not_usable", fails)
    emitted = []
    routes = [Route(match="*", to=f"maildir:{tmp_path}"), Route(match="*", to="smtp://127.0.0.1:2525")]
    server = OurServer(hostname="mx.example", listeners=["127.0.0.1:2525"], resolver=Hosts())
    asyncio.run(routes_check.log_unreachable(routes, server, emitted.append))
    failed, unreachable = emitted
    assert isinstance(failed, events.Failed)
    assert "leads back to this server" in unreachable.reason


def test_the_log_of_unreachable_routes_contains_no_email_address(tmp_path):
    """The log must not contain an email address from the route's match, from its target, or from the peer's reply."""
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
        asyncio.run(routes_check.log_unreachable(routes, server, logged.append))
    assert [event.route for event in logged] == [route.log_name for route in routes]
    assert [event.destination for event in logged] == [
        "maildir:...",
        sink.to,
        "https://127.0.0.1:1/...",
        "smtp://127.0.0.1:2525",
    ]
    assert [event.reason for event in logged][:2] == [
        "its directory does not exist, or cannot be used",
        "greeting: 554",
    ]
    assert logged[3].reason == "it leads back to this server"
    assert "support" not in repr(logged)


def test_a_maildir_without_read_permission_is_reported_like_a_missing_maildir(tmp_path, monkeypatch):
    def denied(path, *_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(Refused, match=rf"cannot be reached: Permission denied: {tmp_path}/hidden"):
        check_target(f"maildir:{tmp_path}/hidden/box")
