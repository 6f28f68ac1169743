"""Tests that a client is trusted only if a setting lists the network of the client's own address."""

import asyncio
from ipaddress import ip_network

import pytest

from tests.kit.servers.smtp_server import MESSAGE, FakeStore, serving
from tests.smtp.server.test_proxy import HEADERS, LOOPBACK, deliver, header
from waypost.domain.mailauth.verdicts import Dmarc, Outcome, Spf, Verdicts
from waypost.observe import events
from waypost.smtp.protocol import replies

LISTED = [ip_network("192.0.2.0/28"), ip_network("2001:db8::/32")]


class Authenticator:
    """Records the clients whose messages it checks, and finds no SPF, DKIM or DMARC record."""

    def __init__(self):
        self.checked = []

    async def check(self, claim, octets, size):
        self.checked.append(claim.peer)
        return Verdicts(Spf(Outcome.NONE, "client.example", "mailfrom"), (), Dmarc(Outcome.NONE, "", "", ""))


def is_believed(sent, *, trusted, proxies=()):
    """Send a message. Returns whether its sender is believed, and whether the message was checked."""

    async def scenario():
        store, authenticator = FakeStore(), Authenticator()
        of_server = {"proxy_networks": proxies, "trusted_networks": trusted}
        async with serving(store, authenticator=authenticator, of_server=of_server) as served:
            await deliver(served, sent + MESSAGE + b"QUIT\r\n")
            (accepted,) = served.emitted_of(events.MessageAccepted)
            message = store._tx.message("000000000000", accepted.id)
            (delivery,) = store._tx.deliveries_of("000000000000", accepted.id)
            assert (b"Authentication-Results:" in delivery.trace_header) is bool(authenticator.checked)
            return message.is_authentic, bool(authenticator.checked)

    return asyncio.run(scenario())


CHECKED, TRUSTED = (False, True), (True, False)


@pytest.mark.parametrize(("trusted", "outcome"), [([], CHECKED), (LISTED, CHECKED), (LOOPBACK, TRUSTED)], ids=str)
def test_a_client_on_loopback_is_trusted_only_if_a_setting_lists_its_network(trusted, outcome):
    assert is_believed(b"", trusted=trusted) == outcome


@pytest.mark.parametrize("what", HEADERS)
def test_behind_a_load_balancer_a_client_is_trusted_by_its_own_address(what):
    sent, peer = HEADERS[what]
    is_listed = peer != "127.0.0.1"
    assert is_believed(sent, trusted=LISTED, proxies=LOOPBACK) == (TRUSTED if is_listed else CHECKED)
    assert is_believed(sent, trusted=LOOPBACK, proxies=LOOPBACK) == CHECKED


def test_a_client_just_outside_a_trusted_network_is_not_trusted():
    outside = bytes((192, 0, 2, 16)) + bytes((127, 0, 0, 1)) + b"\0\1\0\x19"
    assert is_believed(header(0x11, outside), trusted=LISTED, proxies=LOOPBACK) == CHECKED


@pytest.mark.parametrize("is_trusted", [False, True])
def test_only_a_trusted_client_may_send_any_number_of_unknown_recipients(is_trusted):
    async def scenario():
        capabilities = {"unknown_recipient_limit": 3}
        of_server = {"trusted_networks": LOOPBACK if is_trusted else LISTED}
        async with serving(capabilities=capabilities, of_server=of_server) as served, served.client() as client:
            client.say("HELO client.example", "MAIL FROM:<>", *["RCPT TO:<nobody@example.com>"] * 5, "QUIT")
            answers = await client.hear_all()
            many = str(replies.TOO_MANY_UNKNOWN)
            assert (many in answers) is not is_trusted
            assert len(answers) == (8 if is_trusted else 5)

    asyncio.run(scenario())
