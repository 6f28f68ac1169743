"""The messages of the self-probe: recognising them, and when one has arrived."""

import email
import email.policy
from datetime import timedelta

import pytest
from msgspec.structs import replace

from tests.kit.values import NOW, TENANT, a_delivery, a_message
from waypost.domain.mail import probes
from waypost.domain.mail.delivery import Reason, Status
from waypost.domain.mail.messages import read_header
from waypost.domain.mail.probes import Result, Target

KEY = b"k" * 32
TARGET = Target(TENANT.account, "help@example.com", alias_id="help", primary_id="support")
HEADER_ID = probes.header_id("a1b2", "help@example.com", NOW, hostname="mx.example", key=KEY)


def a_probe(header_id=HEADER_ID, sender=""):
    message = a_message(header_id=header_id)
    return replace(message, envelope=replace(message.envelope, sender=sender))


def test_a_probe_is_recognised_by_its_message_id():
    assert probes.is_probe(a_probe(), "help@example.com", KEY)
    assert not probes.is_probe(a_probe(), "help@example.com", b"x" * 32)
    assert not probes.is_probe(a_probe(sender="ann@example.org"), "help@example.com", KEY)
    others = [
        "",
        "waypost-probe",
        "waypost-probe.",
        "waypost-probe.a1b2.@mx",
        HEADER_ID.replace("a1b2", "a1b3"),
        "ü.ü.ü@ü",
        "waypost-probe.a1b2.٣.00000000000000000000000000000000@mx",
        f"waypost-probe.a1b2.{'9' * 5000}.{'0' * 32}@mx",
    ]
    assert not [each for each in others if probes.is_probe(a_probe(each), "help@example.com", KEY)]


def test_a_copy_of_a_probe_at_another_alias_or_at_a_later_time_is_not_a_probe():
    assert not probes.is_probe(a_probe(), "other@example.com", KEY)
    late = timedelta(seconds=probes.ACCEPTED_WITHIN + 1)
    copies = [replace(a_probe(), received_at=NOW + difference) for difference in (late, -late)]
    assert not [each for each in copies if probes.is_probe(each, "help@example.com", KEY)]
    sent_at = int(NOW.timestamp())
    moved = a_probe(HEADER_ID.replace(str(sent_at), str(sent_at + 100)))
    assert not probes.is_probe(replace(moved, received_at=NOW + timedelta(seconds=100)), "help@example.com", KEY)


def test_the_message_is_valid_and_says_what_it_is():
    octets = probes.text("help@example.com", HEADER_ID, NOW)
    assert read_header(octets).header_id == HEADER_ID
    message = email.message_from_bytes(octets, policy=email.policy.SMTP)
    assert message["X-Waypost-Probe"] == "yes"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["To"].addresses[0].addr_spec == "help@example.com"
    assert not message.defects
    assert b"\n" not in octets.replace(b"\r\n", b"")


def deliveries(direct, forwarded):
    made = [
        a_delivery("help", status=direct) if direct else None,
        a_delivery("support", status=forwarded, reason=Reason.FORWARDED, via="help@example.com") if forwarded else None,
    ]
    return [one for one in made if one]


@pytest.mark.parametrize(
    ("direct", "forwarded", "result"),
    [
        (Status.DELIVERED, Status.DELIVERED, Result.OK),
        (Status.DELIVERED, Status.QUEUED, None),
        (Status.QUEUED, Status.DELIVERED, None),
        (Status.DELIVERED, Status.DEAD, Result.DEAD),
        (Status.DEAD, Status.QUEUED, Result.DEAD),
        (Status.DELIVERED, None, None),
        (None, Status.DELIVERED, None),
        (None, None, None),
    ],
)
def test_a_probe_has_arrived_when_both_deliveries_are_complete(direct, forwarded, result):
    assert probes.result_of(deliveries(direct, forwarded), TARGET) is result


def test_a_direct_delivery_to_the_primary_is_not_enough():
    both_direct = [a_delivery(name, status=Status.DELIVERED) for name in ("help", "support")]
    assert probes.result_of(both_direct, TARGET) is None
