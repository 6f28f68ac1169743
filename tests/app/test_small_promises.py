"""Guarantees of the use cases beyond their rules: the trace gives the exact reason, and nothing is read
unnecessarily.
"""

import pytest
from msgspec.structs import replace

from tests.kit.values import NOW, a_delivery, a_message
from waypost.app import ports
from waypost.app.deployment import Deployment
from waypost.app.mail import notify, trace
from waypost.domain.dsn.notices import Action, Bounces, Fate
from waypost.domain.mail.delivery import Reason
from waypost.domain.mail.messages import Dsn, RecipientDsn
from waypost.domain.mailauth import enforcement

DEPLOYMENT = Deployment(hostname="mail.example", loop_key=b"k")
FAILED = Fate(action=Action.FAILED, status="5.1.1")


def test_the_trace_gives_the_reason_why_a_sender_was_not_checked():
    unchecked = enforcement.Unchecked(enforcement.Reason.DNS_SILENT)
    (accepted,) = trace.of_acceptance(a_message(), [], routes="r", found=unchecked, forged=1)
    assert accepted.detail.unchecked == "the DNS does not answer"


class CountingTransaction:
    """A transaction that counts the reads of message bytes, stores trace events, and has a notice that is due."""

    def __init__(self, message, delivery, octets=b"Subject: x\r\n\r\n"):
        self.reads, self.lines = 0, []
        self._octets, self._message, self._delivery, self._owed = octets, message, delivery, []

    def owe(self, owed):
        self._owed += owed

    def take_owed(self, _, *, limit):
        return self._owed[:limit]

    def messages_between(self, *_, limit):
        return [self._message][:limit]

    def delivery(self, *_):
        return self._delivery

    def remove_octets_if_spent(self, _):
        return False

    def octets(self, _, *, start, limit):
        self.reads += 1
        return self._octets[start : start + limit]

    def add_events(self, _, lines):
        self.lines += lines

    def email_address_by_key(self, _):
        return None


@pytest.mark.parametrize(
    ("envelope", "of_delivery", "mode", "because"),
    [
        ({"sender": ""}, {}, Bounces.ALWAYS, "null sender"),
        ({}, {"reason": Reason.NOTICE}, Bounces.ALWAYS, "is itself a notice"),
        ({}, {}, Bounces.NEVER, "the settings turn off"),
        ({}, {}, Bounces.AUTHENTICATED, "nothing proves"),
        ({"dsn": Dsn(recipients=(RecipientDsn(notify=("NEVER",)),))}, {}, Bounces.ALWAYS, "asked for NOTIFY=NEVER"),
        ({}, {}, Bounces.ALWAYS, "no route for notices is set"),
    ],
)
def test_no_message_bytes_are_read_if_no_notice_is_sent(envelope, of_delivery, mode, because):
    message = a_message()
    message = replace(message, envelope=replace(message.envelope, **envelope))
    delivery = a_delivery(**of_delivery)
    tx, deployment = CountingTransaction(message, delivery), replace(DEPLOYMENT, bounces=mode)
    notify.owe(tx, delivery, FAILED, now=NOW)
    notify.write(tx, deployment, ports.Owing("m1", "failed"), new_id=lambda: "n", now=NOW)
    assert tx.reads == 0
    (line,) = tx.lines
    assert because in line.detail.because
