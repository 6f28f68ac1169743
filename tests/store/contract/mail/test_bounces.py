"""Bounces of forwarded mail with a rewritten sender: how many are accepted, and when the sender gets a notice."""

import pytest
from msgspec.structs import replace

from tests.kit.stores.calls import create
from tests.kit.values import NOW
from tests.store.contract.mail.test_mail import DEPLOYMENT, accepting
from waypost.app.mail import bounces
from waypost.domain import errors
from waypost.domain.directory import addresses
from waypost.domain.mail.routes import Route
from waypost.domain.mailauth import mail_secrets, srs

FORWARDED = "01a205b2-77e9-768b-ae85-598d81456faf"
ROUTES = (Route(match="x@example.com", to="smtp://away.example:25"),)
ROUTED = replace(
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
    """A store in which a message to x@example.com was forwarded."""
    create(store, "x")
    store.write(accepting("x", message_id=FORWARDED, deployment=ROUTED))
    return store


def rewritten():
    """Return the rewritten sender that the next server received."""
    key_of = ROUTED.srs_key_for("x")
    sender = srs.rewrite("ann@example.org", domain=ROUTED.srs_domain, message_id=FORWARDED, now=NOW, key_of=key_of)
    return addresses.parse(sender)


def bounce(system, message_id, raw):
    system.write(accepting(rewritten(), message_id=message_id, raw=raw, sender="", deployment=ROUTED))


def events(system):
    return [event.kind for event in system.read(lambda tx: tx.trace(FORWARDED))][2:]


def owed(system):
    return system.read(lambda tx: tx.owed(now=NOW, soon=NOW, owed_before=NOW))


def test_the_sender_gets_a_notice_for_the_first_bounce_that_reports_a_failure(system):
    bounce(system, "b1", REPORT % b"delayed")
    bounce(system, "b2", b"Subject: Out of office\r\n\r\nBack soon.\r\n")
    assert events(system) == ["late bounce", "not notified"] * 2
    assert owed(system) is None
    bounce(system, "b3", FAILED)
    assert (owed(system).message_id, owed(system).action) == (FORWARDED, "failed")
    bounce(system, "b4", FAILED)
    assert events(system) == [*["late bounce", "not notified"] * 2, "late bounce", "late bounce", "not notified"]
    last = system.read(lambda tx: tx.trace(FORWARDED))[-1]
    assert last.detail.because == "the sender already got a notice of an earlier bounce"


def test_only_a_limited_number_of_bounces_is_accepted_for_one_delivery(system):
    for number in range(bounces.BOUNCES_TAKEN):
        bounce(system, f"b{number}", FAILED)
    with pytest.raises(errors.RecipientsChanged):
        bounce(system, "one more", FAILED)


def test_a_bounce_is_recognised_while_and_after_the_secrets_are_rotated(system):
    """The sender was rewritten with the secret that has been replaced, or by a server that has begun to use the new one
    earlier.
    """
    first = mail_secrets.first(NOW, b"loop", ROUTED.srs_key)
    new = mail_secrets.rotated((first,), root=b"r" * 32, now=NOW)[-1]
    rotated = replace(ROUTED, srs_key=new.srs_key, other_secrets=(first,))
    early = replace(ROUTED, srs_key=first.srs_key, other_secrets=(new,))
    of_new = addresses.parse(
        srs.rewrite(
            "ann@example.org",
            domain=ROUTED.srs_domain,
            message_id=FORWARDED,
            now=NOW,
            key_of=rotated.srs_key_for("x"),
        )
    )
    assert rewritten() != of_new
    for deployment, address, is_known in (
        (rotated, rewritten(), True),
        (rotated, of_new, True),
        (early, of_new, True),
        (ROUTED, of_new, False),
        (replace(rotated, other_secrets=()), rewritten(), False),
    ):
        found = system.read(lambda tx, d=deployment, a=address: bounces.find(tx, d, a, NOW))
        assert (found is not None) is is_known
