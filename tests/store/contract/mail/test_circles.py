"""Mail that comes back: refused where its own recipient sends it in a circle; kept where only the primary would."""

from dataclasses import replace

import pytest

from tests.kit.stores.calls import associate, create
from tests.kit.values import NOW
from tests.store.contract.mail.test_mail import DEPLOYMENT, RAW
from waypost.app.mail import accept
from waypost.domain import errors
from waypost.domain.directory import addresses
from waypost.domain.mail import messages
from waypost.domain.mail.delivery import Status
from waypost.domain.mail.routes import Route

AWAY = replace(DEPLOYMENT, routes=(Route(match="p@example.com", to="smtp://away.example:25"),), routes_revision="1")


@pytest.fixture
def system(store, instance):
    create(store, "p", "a", "x")
    associate(store, "p", "a")
    return store


def send(store, name, *, sent_on_for):
    """A message that has been sent on before for this email address."""
    token = messages.loop_token(DEPLOYMENT.loop_key, sent_on_for)
    return store.write(_accept, name=name, raw=f"X-Waypost-Loop: {token}\r\n".encode() + RAW)


def _accept(tx, *, name, raw):
    address = addresses.parse(f"{name}@example.com")
    envelope = messages.Envelope(
        sender="ann@example.org", recipients=(address.text,), helo="client", peer="192.0.2.1", protocol="ESMTP"
    )
    return accept.accept_message(
        tx,
        AWAY,
        message_id="m1",
        envelope=envelope,
        recipients=[address],
        content=accept.examine(raw[: messages.end_of_header(raw)], hostname=AWAY.hostname, sender=envelope.sender),
        raw=raw,
        now=NOW,
    ).message


@pytest.mark.parametrize(("name", "sent_on_for"), [("a", "a"), ("p", "p")])
def test_what_its_recipient_has_sent_on_before_is_refused(system, name, sent_on_for):
    with pytest.raises(errors.MailLoop):
        send(system, name, sent_on_for=sent_on_for)


def test_who_tries_one_alias_after_the_other_does_not_learn_which_primary_has_sent_a_message_on(system):
    send(system, "a", sent_on_for="p")
    delivery = system.read(lambda tx: tx.delivery("m1", "p"))
    assert (delivery.status, delivery.kept, delivery.destination) == (Status.DELIVERED, True, "")
    told = [event.detail.because for event in system.read(lambda tx: tx.trace("m1")) if event.kind == "delivered"]
    assert told[1] == (
        "The message came back after it was sent over the route of p@example.com, "
        "so the inbox of p@example.com keeps it."
    )


def test_what_somebody_else_has_sent_on_is_sent_on_here_too(system):
    send(system, "a", sent_on_for="x")
    assert system.read(lambda tx: tx.delivery("m1", "p")).status is Status.QUEUED
