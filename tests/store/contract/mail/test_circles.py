"""Mail loops: a message that its own recipient forwards again is refused, and a loop of only the primary is ended."""

import pytest
from msgspec.structs import replace

from tests.kit.stores.calls import associate, create
from tests.kit.values import NOW
from tests.store.contract.mail.test_mail import DEPLOYMENT, RAW
from waypost.app.mail import accept
from waypost.domain import errors
from waypost.domain.directory import addresses
from waypost.domain.mail import messages
from waypost.domain.mail.delivery import Status
from waypost.domain.mail.routes import Route

ROUTED = replace(DEPLOYMENT, routes=(Route(match="p@example.com", to="smtp://away.example:25"),), routes_revision="1")


@pytest.fixture
def system(store, instance):
    create(store, "p", "a", "x")
    associate(store, "p", "a")
    return store


def send(store, name, *, forwarded_for):
    """Send a message that has already been forwarded for the email address `forwarded_for`."""
    token = messages.loop_token(DEPLOYMENT.loop_key, forwarded_for)
    return store.write(_accept, name=name, raw=f"X-Waypost-Loop: {token}\r\n".encode() + RAW)


def _accept(tx, *, name, raw):
    address = addresses.parse(f"{name}@example.com")
    envelope = messages.Envelope(
        sender="ann@example.org", recipients=(address.text,), helo="client", peer="192.0.2.1", protocol="ESMTP"
    )
    return accept.accept_message(
        tx,
        ROUTED,
        message_id="m1",
        envelope=envelope,
        recipients=[address],
        content=accept.examine(raw[: messages.end_of_header(raw)], hostname=ROUTED.hostname, sender=envelope.sender),
        raw=raw,
        now=NOW,
    ).message


@pytest.mark.parametrize(("name", "forwarded_for"), [("a", "a"), ("p", "p")])
def test_a_message_that_was_already_forwarded_for_its_recipient_is_refused(system, name, forwarded_for):
    with pytest.raises(errors.MailLoop):
        send(system, name, forwarded_for=forwarded_for)


def test_a_looping_message_to_an_alias_does_not_reveal_which_primary_forwarded_it(system):
    send(system, "a", forwarded_for="p")
    delivery = system.read(lambda tx: tx.delivery("m1", "p"))
    assert (delivery.status, delivery.kept, delivery.destination) == (Status.DELIVERED, True, "")
    reasons = [event.detail.because for event in system.read(lambda tx: tx.trace("m1")) if event.kind == "delivered"]
    assert reasons[1] == (
        "The message came back after it was sent over the route for p@example.com, "
        "so the inbox of p@example.com keeps it."
    )


def test_a_message_that_was_forwarded_for_another_email_address_is_forwarded(system):
    send(system, "a", forwarded_for="x")
    assert system.read(lambda tx: tx.delivery("m1", "p")).status is Status.QUEUED
