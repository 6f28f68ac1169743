"""Parcels for transports: the sender and the DSN parameters that the peer gets."""

import pytest
from msgspec.structs import replace

from tests.kit.values import NOW, a_delivery, a_message
from waypost.app import ports
from waypost.app.deployment import Deployment
from waypost.app.queue.attempt import Ready
from waypost.delivery import outgoing
from waypost.domain.mail.delivery import Queued
from waypost.domain.mail.messages import Dsn, RecipientDsn
from waypost.domain.mail.routes import Route

MESSAGE_ID = "01a2083f-8f62-7000-ae8f-a7c825826d63"
DEPLOYMENT = Deployment(
    "mx.ours.example",
    b"",
    srs_domain="bounces.ours.example",
    srs_key=lambda _: b"k",
    own_domains=frozenset({"ours.example"}),
)


@pytest.mark.parametrize(
    ("sender", "to", "domain"),
    [
        ("a@client.example", "mx:", "bounces.ours.example"),
        ("a@client.example", "maildir:/mail", "client.example"),
        ("a@Ours.example", "mx:", "Ours.example"),
        ("", "mx:", ""),
    ],
)
def test_the_sender_is_rewritten_if_mail_leaves_the_server(sender, to, domain):
    message = a_message(MESSAGE_ID, envelope=replace(a_message().envelope, sender=sender))
    queued = Queued(delivery_id="d", attempts=0, queued_at=NOW)
    ready = Ready(
        ports.Claimed(delivery=a_delivery(message_id=MESSAGE_ID), message=message, queued=queued, claim="c"),
        Route(match="*", to=to),
    )
    return_path = outgoing.make(ready, DEPLOYMENT, NOW, lambda: None).return_path
    assert return_path.rpartition("@")[2] == domain
    assert (return_path == sender) is sender.endswith(domain)


@pytest.mark.parametrize(
    ("asked", "to", "passed_on"),
    [
        (("SUCCESS", "FAILURE"), "mx:", ("FAILURE",)),
        (("SUCCESS",), "mx:", ("NEVER",)),
        (("SUCCESS", "FAILURE"), "maildir:/mail", ("SUCCESS", "FAILURE")),
    ],
)
def test_the_next_server_is_not_asked_for_success_notices_to_a_rewritten_sender(asked, to, passed_on):
    delivery = a_delivery(message_id=MESSAGE_ID)
    wishes = Dsn(recipients=(RecipientDsn(notify=asked),))
    envelope = replace(a_message().envelope, recipients=(delivery.sent_to,), dsn=wishes)
    message = a_message(MESSAGE_ID, envelope=envelope)
    queued = Queued(delivery_id="d", attempts=0, queued_at=NOW)
    ready = Ready(ports.Claimed(delivery=delivery, message=message, queued=queued, claim="c"), Route(match="*", to=to))
    assert outgoing.make(ready, DEPLOYMENT, NOW, lambda: None).notify == passed_on


def test_every_protocol_has_a_transport():
    transports = outgoing.Transports(smtp="smtp", maildir="maildir", webhook="webhook")
    assert {protocol.value: transport for protocol, transport in transports.by_protocol().items()} == {
        "smtp": "smtp",
        "lmtp": "smtp",
        "maildir": "maildir",
        "webhook": "webhook",
    }
