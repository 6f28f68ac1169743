"""Trace events, and their members in the store and in the inspection API."""

from typing import get_args

import pytest
from msgspec import NODEFAULT

from waypost.domain.mail import trace_events
from waypost.domain.mail.delivery import Event
from waypost.domain.mail.trace_events import (
    KINDS,
    AcceptedEvent,
    Attempt,
    DeadEvent,
    DeferredEvent,
    DeliveredEvent,
    DeliveryChange,
    NotifiedEvent,
    OtherEvent,
    address_of,
    from_members,
    members,
    members_of,
)

ATTEMPT = Attempt(number=2, destination="smtp://there.example:25", peer="there", stage="rcpt", reply="450 later")
TLS = "TLSv1.3 TLS_AES_256_GCM_SHA384"


@pytest.mark.parametrize(
    ("detail", "stored"),
    [
        (
            AcceptedEvent(
                sender="", peer="192.0.2.1", helo="c", protocol="ESMTPS", size=5, tls=TLS, unchecked="no DNS"
            ),
            {"from": "", "peer": "192.0.2.1", "helo": "c", "protocol": "ESMTPS", "size": 5, "tls": TLS}
            | {"unchecked": "no DNS"},
        ),
        (
            DeferredEvent(address="x@example.com", attempt=ATTEMPT, until="2026-11-22T12:01:00.000Z", because="later"),
            {"address": "x@example.com", "attempt": 2, "destination": "smtp://there.example:25", "peer": "there"}
            | {"stage": "rcpt", "reply": "450 later", "until": "2026-11-22T12:01:00.000Z", "because": "later"},
        ),
        (
            DeadEvent(address="x@example.com", because="bounces_via is not set any more"),
            {"address": "x@example.com", "because": "bounces_via is not set any more"},
        ),
        (
            DeliveredEvent(address="x@example.com", attempt=Attempt(number=1, destination="maildir:/mail")),
            {"address": "x@example.com", "attempt": 1, "destination": "maildir:/mail"},
        ),
        (
            NotifiedEvent(address="x@example.com", what="failed", whom="sender", notice="n"),
            {"address": "x@example.com", "what": "failed", "whom": "sender", "notice": "n"},
        ),
    ],
)
def test_an_event_is_written_to_its_members_in_order_and_read_from_them(detail, stored):
    assert list(members(detail).items()) == list(stored.items())
    assert from_members(detail.kind, stored) == detail


@pytest.mark.parametrize(
    ("kind", "stored"),
    [
        ("teleported", {"to": "the moon"}),
        ("dead", {}),
        ("dead", {"address": "x", "because": "y", "colour": "red"}),
        ("dead", {"address": "x", "because": 5}),
        ("dead", {"address": "x", "because": "y", "destination": "of an attempt without a number"}),
        ("deferred", {"address": "x", "until": "soon", "because": "without an attempt"}),
        ("accepted", {"from": "", "peer": "", "helo": "", "protocol": "", "size": "5"}),
    ],
)
def test_an_event_that_another_version_wrote_is_kept_unchanged(kind, stored):
    detail = from_members(kind, stored)
    assert detail == OtherEvent(kind, stored)
    assert members(detail) == stored
    assert address_of(detail) == stored.get("address", "")


def test_an_event_about_the_whole_message_has_no_address():
    assert address_of(AcceptedEvent(sender="a@b.example", peer="", helo="", protocol="", size=1)) == ""
    assert address_of(DeadEvent(address="x@example.com", because="")) == "x@example.com"


def test_the_events_that_change_a_delivery_have_the_names_of_its_state_table():
    assert {kind.kind for kind in get_args(DeliveryChange)} == {event.value for event in Event}


def test_each_member_of_each_kind_has_a_unique_name_and_a_note():
    for kind in KINDS.values():
        found = members_of(kind)
        assert len({member.name for member in found}) == len(found)
        assert all(member.note and member.type in {str, int} for member in found)
        assert all(member.default in {NODEFAULT, "", 0} for member in found)
    assert members_of(DeadEvent)[1] == members_of(Attempt)[0]


def test_a_trace_event_has_the_kind_of_its_detail():
    assert trace_events.TraceEvent(None, OtherEvent("moved on", {})).kind == "moved on"
