"""Tests which fault rule applies, which rules are refused, and what a magic recipient stands for."""

from datetime import timedelta
from ipaddress import ip_network

import pytest

from waypost.domain import errors
from waypost.domain.directory import addresses
from waypost.domain.mail.fault_rules import (
    Action,
    FaultRule,
    Magic,
    Situation,
    Stage,
    checked,
    first_that_applies,
    is_certain,
    may_apply,
    read_magic,
)

ANN = "ann@shop.example"
RECIPIENTS = tuple(map(addresses.parse, ("support@example.com", "Desk@example.org")))


def rule(**fields):
    return FaultRule(**{"stage": Stage.RCPT, "action": Action.DEFER} | fields)


def applies(found, *, stage=Stage.RCPT, sender=ANN, recipients=RECIPIENTS, size=0, draw=0.0, peer="192.0.2.7"):
    return first_that_applies([found], Situation(stage, peer, sender, recipients, size), draw=lambda: draw) == 0


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, True),
        ({"stage": Stage.MAIL}, False),
        ({"sender": ANN}, True),
        ({"sender": "*@SHOP.example"}, True),
        ({"sender": "*@other.example"}, False),
        ({"sender": "bob@shop.example"}, False),
        ({"sender": "<>"}, False),
        ({"recipient": "SUPPORT@example.com"}, True),
        ({"recipient": "*@example.org"}, True),
        ({"recipient": "support@example.org"}, False),
        ({"source": ip_network("192.0.2.0/24")}, True),
        ({"source": ip_network("127.0.0.0/8")}, False),
        ({"source": ip_network("::/0")}, False),
    ],
)
def test_a_rule_applies_if_all_of_its_conditions_are_met(fields, expected):
    assert applies(checked(rule(**fields))) is expected


@pytest.mark.parametrize(
    ("pattern", "sender", "expected"),
    [
        ("<>", "", True),
        ("*", "", True),
        ("*@shop.example", "", False),
        ("ann@shop.example", "not an address", False),
        ("*", "not an address", True),
    ],
)
def test_the_null_sender_has_a_pattern_of_its_own(pattern, sender, expected):
    assert applies(checked(rule(sender=pattern)), sender=sender) is expected


def test_a_condition_on_the_sender_is_not_met_before_mail():
    assert not applies(rule(stage=Stage.CONNECT, sender=ANN), stage=Stage.CONNECT, sender=None)


@pytest.mark.parametrize(("size", "expected"), [(1000, False), (1001, True)])
def test_a_rule_can_be_for_larger_messages_only(size, expected):
    found = checked(rule(stage=Stage.MESSAGE, larger_than=1000))
    assert applies(found, stage=Stage.MESSAGE, size=size) is expected


@pytest.mark.parametrize(("draw", "expected"), [(0.0, True), (0.24, True), (0.25, False), (0.99, False)])
def test_a_rule_applies_with_its_probability(draw, expected):
    assert applies(checked(rule(probability=0.25)), draw=draw) is expected


@pytest.mark.parametrize(
    ("fields", "sender", "may", "certainly"),
    [
        ({}, None, True, True),
        ({"sender": "*@shop.example"}, ANN, True, True),
        ({"sender": "*@shop.example"}, None, True, False),
        ({"sender": "*@other.example"}, ANN, False, True),
        ({"recipient": "*@example.com"}, None, True, True),
        ({"recipient": "*@example.org"}, None, False, True),
        ({"source": ip_network("192.0.2.0/24")}, ANN, True, False),
        ({"stage": Stage.MESSAGE, "larger_than": 1000}, ANN, True, False),
        ({"probability": 0.5}, ANN, True, False),
    ],
)
def test_a_rule_may_apply_to_mail_of_which_only_the_sender_and_the_recipient_are_known(fields, sender, may, certainly):
    found = checked(rule(**fields))
    assert (may_apply(found, sender, RECIPIENTS[0]), is_certain(found, sender)) == (may, certainly)


def test_the_first_rule_that_applies_decides():
    rules = [rule(sender="bob@shop.example"), rule(probability=0.5), rule()]
    situation = Situation(Stage.RCPT, "192.0.2.7", ANN, RECIPIENTS)
    assert first_that_applies(rules, situation, draw=lambda: 0.4) == 1
    assert first_that_applies(rules, situation, draw=lambda: 0.6) == 2
    assert first_that_applies(rules[:1], situation, draw=lambda: 0.0) is None


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"stage": Stage.CONNECT, "sender": ANN}, "sender"),
        ({"stage": Stage.CONNECT, "recipient": ANN}, "recipient"),
        ({"stage": Stage.MAIL, "recipient": ANN}, "recipient"),
        ({"larger_than": 5}, "larger_than"),
        ({"probability": 0}, "probability"),
        ({"probability": 1.1}, "probability"),
        ({"stage": Stage.CONNECT, "action": Action.CUT}, "drop"),
        ({"action": Action.DELAY}, "delay"),
        ({"delay": timedelta(seconds=1)}, "delay"),
        ({"action": Action.DELAY, "delay": timedelta(minutes=11)}, "10m"),
        ({"sender": "nobody"}, "`sender` must be an address"),
        ({"recipient": "*@"}, "`recipient` must be an address"),
        ({"action": Action.DROP, "reply": "450 no"}, "refuse"),
        ({"reply": "550 5.1.1 no"}, "4yz"),
        ({"reply": "450 5.1.1 no"}, "4yz"),
        ({"action": Action.REFUSE, "reply": "450 4.1.1 no"}, "5yz"),
        ({"reply": "450 4.1.1 no\r\n250 OK"}, "ASCII"),
        ({"reply": "450 nö"}, "ASCII"),
        ({"reply": "450"}, "ASCII"),
        ({"reply": "450 " + "x" * 497}, "500"),
        ({"reply": "421 bye"}, "drop"),
    ],
)
def test_a_rule_that_cannot_work_is_refused_with_the_reason(fields, reason):
    with pytest.raises(errors.Invalid, match=reason):
        checked(rule(**fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"action": Action.DELAY, "delay": timedelta(minutes=10)},
        {"reply": "450 4.2.0 Mailbox busy"},
        {"reply": "450 busy"},
        {"stage": Stage.CONNECT, "reply": "421 bye"},
        {"action": Action.REFUSE, "reply": "553 5.1.3 no"},
        {"sender": "<>"},
    ],
)
def test_a_rule_that_can_work_is_accepted(fields):
    assert checked(rule(**fields)) == rule(**fields)


@pytest.mark.parametrize(
    ("recipient", "expected"),
    [
        ("tempfail+support@example.com", (Magic.TEMPFAIL, "support@example.com")),
        ("Bounce+Support@Example.com", (Magic.BOUNCE, "support@example.com")),
        ("tempfail+support+order7@example.com", (Magic.TEMPFAIL, "support+order7@example.com")),
        ("tempfail+@example.com", None),
        ("tempfail@example.com", None),
        ("support+tempfail@example.com", None),
        ("mytempfail+support@example.com", None),
    ],
)
def test_a_magic_recipient_stands_for_the_address_after_its_beginning(recipient, expected):
    found = read_magic(addresses.parse(recipient))
    assert (found and (found[0], found[1].key)) == expected
