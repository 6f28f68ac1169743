"""Tests the order and the counters of the fault rules of a running server."""

import pytest

from waypost.app.mail.faults import MOST_RULES, FaultRules
from waypost.domain import errors
from waypost.domain.directory import addresses
from waypost.domain.mail.fault_rules import Action, FaultRule, Situation, Stage

SITUATION = Situation(Stage.MAIL, "192.0.2.7", "ann@shop.example")


def rule(times=None, action=Action.DEFER):
    return FaultRule(stage=Stage.MAIL, action=action, times=times)


def found(faults):
    active = faults.find(SITUATION)
    return active and active.id


def test_a_rule_applies_as_often_as_it_may():
    faults = FaultRules([rule(times=2), rule()])
    assert [found(faults) for _ in range(3)] == ["settings-1", "settings-1", "settings-2"]
    assert [active.applied for active in faults.active] == [2, 1]


def test_the_newest_added_rule_is_tried_first():
    faults = FaultRules([rule()])
    assert [faults.add(rule(times=1)).id for _ in range(2)] == ["fault-1", "fault-2"]
    assert [found(faults) for _ in range(3)] == ["fault-2", "fault-1", "settings-1"]


def test_a_removed_rule_does_not_apply():
    faults = FaultRules()
    added = faults.add(rule())
    faults.remove(added.id)
    assert found(faults) is None
    with pytest.raises(errors.NotFound, match="fault-1"):
        faults.remove(added.id)


def test_a_rule_of_the_settings_cannot_be_removed():
    faults = FaultRules([rule()])
    with pytest.raises(errors.NotFound, match="settings-1"):
        faults.remove("settings-1")


def test_a_reset_restores_the_rules_of_the_settings():
    faults = FaultRules([rule(times=1)])
    faults.add(rule())
    assert faults.reset() == 1
    assert [found(faults), found(faults)] == ["settings-1", None]
    assert faults.reset() == 0
    assert found(faults) == "settings-1"


def test_no_rule_is_expected_after_one_that_certainly_applies():
    rules = [
        FaultRule(stage=Stage.MESSAGE, action=Action.REFUSE),
        FaultRule(stage=Stage.RCPT, action=Action.REFUSE, probability=0.5),
        FaultRule(stage=Stage.RCPT, action=Action.DELAY),
        FaultRule(stage=Stage.RCPT, action=Action.REFUSE),
        rule(times=0),
    ]
    expected = FaultRules(rules).expected("ann@shop.example", addresses.parse("support@example.com"))
    assert [(one.id, one.is_certain, one.refuses) for one in expected] == [
        ("settings-2", False, False),
        ("settings-3", True, False),
        ("settings-1", True, True),
    ]
    (refused,) = FaultRules([*rules, rule()]).expected(None, addresses.parse("support@example.com"))
    assert (refused.id, refused.refuses) == ("settings-6", True)


def test_the_number_of_added_rules_has_a_limit():
    faults = FaultRules()
    for _ in range(MOST_RULES):
        faults.add(rule())
    with pytest.raises(errors.Conflict, match="100"):
        faults.add(rule())
