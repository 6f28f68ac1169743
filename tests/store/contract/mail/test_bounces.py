"""Bounces for mail that was sent on with a rewritten sender: how many are taken, and of which the sender is told."""

from dataclasses import replace

import pytest

from tests.kit.stores.calls import create
from tests.kit.values import NOW
from tests.store.contract.mail.test_mail import DEPLOYMENT, accepting
from waypost.app.mail import bounces
from waypost.domain import errors
from waypost.domain.directory import addresses
from waypost.domain.mail.routes import Route
from waypost.domain.mailauth import srs

SENT_ON = "01a205b2-77e9-768b-ae85-598d81456faf"
ROUTES = (Route(match="x@example.com", to="smtp://away.example:25"),)
AWAY = replace(
    DEPLOYMENT,
    routes=ROUTES,
    routes_revision="1",
    srs_domain="bounces.example",
    srs_key=lambda period: str(period).encode(),
)
REPORT = (
    b"Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n"
    b"--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; away.example\r\n\r\n"
    b"Final-Recipient: rfc822; x@example.com\r\nAction: %s\r\nStatus: 5.1.1\r\n--b--\r\n"
)
FAILED = REPORT % b"failed"


@pytest.fixture
def system(store, instance):
    """A message for x@example.com was sent on."""
    create(store, "x")
    store.write(accepting("x", message_id=SENT_ON, deployment=AWAY))
    return store


def rewritten():
    """The sender that the next server saw."""
    key_of = AWAY.srs_key_for("x")
    sender = srs.rewrite("ann@example.org", domain=AWAY.srs_domain, message_id=SENT_ON, now=NOW, key_of=key_of)
    return addresses.parse(sender)


def come_back(system, message_id, raw):
    system.write(accepting(rewritten(), message_id=message_id, raw=raw, sender="", deployment=AWAY))


def events(system):
    return [event.kind for event in system.read(lambda tx: tx.trace(SENT_ON))][2:]


def owed(system):
    return system.read(lambda tx: tx.owed(now=NOW, soon=NOW, owed_before=NOW))


def test_the_sender_is_told_of_the_first_bounce_that_says_that_the_message_failed(system):
    come_back(system, "b1", REPORT % b"delayed")
    come_back(system, "b2", b"Subject: Out of office\r\n\r\nBack soon.\r\n")
    assert events(system) == ["late bounce", "not notified"] * 2
    assert owed(system) is None
    come_back(system, "b3", FAILED)
    assert (owed(system).message_id, owed(system).action) == (SENT_ON, "failed")
    come_back(system, "b4", FAILED)
    assert events(system) == [*["late bounce", "not notified"] * 2, "late bounce", "late bounce", "not notified"]
    last = system.read(lambda tx: tx.trace(SENT_ON))[-1]
    assert last.detail.because == "the sender already got a notice of an earlier bounce"


def test_of_many_bounces_for_one_delivery_some_are_taken(system):
    for number in range(bounces.BOUNCES_TAKEN):
        come_back(system, f"b{number}", FAILED)
    with pytest.raises(errors.RecipientsChanged):
        come_back(system, "one more", FAILED)
