"""The oracle finds each kind of violation, and accepts what the documentation allows."""

import dataclasses

import pytest

from faults import oracle
from faults.oracle import Copy, Digest, Group, Held, Outcome, Sent, ViolationKind, Window

HELLO, OTHER = Digest(5, "hello"), Digest(4, "bye")
GROUPS = {
    "pair": Group("pair", ("a@x",), ("a@x", "p@x")),
    "peer": Group("peer", ("b@x",), ("b@x",), ("q@x",)),
    "many": Group("many", ("a@x", "b@x"), ("a@x", "b@x"), in_parts=True),
}
KILL = Window("kill", 10.0, 12.0)


def sent(number="c.0", group="pair", outcome=Outcome.ACCEPTED, *, turn=None, message_id="i0"):
    client, _, its_turn = number.partition(".")
    return Sent(
        *(number, client, int(its_turn) if turn is None else turn, group, HELLO, 1.0, 2.0),
        outcome=outcome,
        id=message_id if outcome is Outcome.ACCEPTED else None,
        reply="451 4.3.0 no",
    )


def held(number="c.0", message_id="i0", digest=HELLO):
    return Held(number, message_id, digest)


def copied(number="c.0", at=5.0, *, delivery="i0.q", was_told=True, digest=HELLO):
    return Copy(number, delivery, digest, at, was_told=was_told)


def in_inboxes(one, *more, a=None, p=None, b=(), ordered=True):
    inboxes = {"a@x": a if a is not None else [held()], "p@x": p if p is not None else [held()], "b@x": list(b)}
    return {each.kind for each in oracle.check_inboxes([one, *more], GROUPS, inboxes, is_ordered=ordered)}


def test_a_message_that_arrived_everywhere_once_is_right():
    assert in_inboxes(sent()) == set()


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.UNKNOWN])
def test_a_message_without_an_acknowledgement_may_be_missing(outcome):
    assert in_inboxes(sent(outcome=outcome), a=[], p=[]) == set()


def test_a_message_with_an_unknown_outcome_may_be_there_as_a_whole():
    assert in_inboxes(sent(outcome=Outcome.UNKNOWN)) == set()


WRONG = {
    "an accepted message is in no inbox": (ViolationKind.LOST, sent(), {"a": [], "p": []}),
    "an accepted message is only at the alias": (ViolationKind.LOST, sent(), {"p": []}),
    "an unknown message is only at the alias": (ViolationKind.PARTIAL, sent(outcome=Outcome.UNKNOWN), {"p": []}),
    "a refused message is there": (ViolationKind.REFUSED_FOUND, sent(outcome=Outcome.REFUSED), {}),
    "a message is there twice": (ViolationKind.DOUBLED, sent(), {"a": [held(), held(message_id="i1")]}),
    "an id is there twice": (ViolationKind.DOUBLED, sent(), {"a": [held(), held()]}),
    "a message has other bytes": (ViolationKind.CHANGED, sent(), {"a": [held(digest=OTHER)]}),
    "a message that nobody sent is there": (ViolationKind.STRANGE, sent(), {"b": [held("z.1", "i9")]}),
    "a message is in another inbox too": (ViolationKind.STRANGE, sent(), {"b": [held()]}),
    "a message has another id than its 250 said": (ViolationKind.STRANGE, sent(message_id="i7"), {}),
    "only the plan of an accepted message is stored": (ViolationKind.PARTIAL, sent(group="many"), {"a": [], "p": []}),
    "an accepted message of many recipients is at some": (ViolationKind.PARTIAL, sent(group="many"), {"p": []}),
}


@pytest.mark.parametrize(("kind", "one", "found"), WRONG.values(), ids=WRONG.keys())
def test_each_violation_in_the_inboxes_is_found(kind, one, found):
    assert kind in in_inboxes(one, **found)


def test_messages_of_one_client_must_keep_their_order():
    both = sent("c.0", message_id="i0"), sent("c.1", message_id="i1")
    backwards = [held("c.1", "i1"), held("c.0", "i0")]
    assert in_inboxes(*both, a=backwards[::-1], p=backwards[::-1]) == set()
    assert in_inboxes(*both, a=backwards, p=backwards[::-1]) == {ViolationKind.REORDERED}
    assert in_inboxes(*both, a=backwards, p=backwards[::-1], ordered=False) == set()


def test_messages_of_different_clients_may_be_in_any_order():
    both = sent("c.5", message_id="i0"), sent("d.1", message_id="i1")
    held_by = [held("d.1", "i1"), held("c.5", "i0")]
    assert in_inboxes(*both, a=held_by, p=held_by) == set()


def at_peer(*copies, one=None, stored=("c.0",), windows=(), unique=(), lost=()):
    one = one or sent(group="peer")
    found, doubled = oracle.check_peers(
        [one], GROUPS, {"q@x": list(copies)}, set(stored), windows, names_are_unique=unique, lost_leases=lost
    )
    return {each.kind for each in found}, dict(doubled)


def test_a_peer_gets_a_message_once():
    assert at_peer(copied()) == (set(), {})


def test_a_second_copy_is_allowed_if_the_peer_did_not_reply_or_a_kill_followed():
    assert at_peer(copied(at=1, was_told=False), copied(at=3)) == (set(), {"no reply": 1})
    assert at_peer(copied(at=11), copied(at=13), windows=[KILL]) == (set(), {"kill": 1})
    assert at_peer(copied(at=1), copied(at=3), lost=["i0.q"]) == (set(), {"lease lost": 1})


def test_a_second_copy_without_such_a_reason_is_a_violation():
    assert at_peer(copied(at=1), copied(at=3), windows=[KILL])[0] == {ViolationKind.DOUBLED_AT_PEER}


def test_a_second_delivery_or_file_for_one_message_is_a_violation():
    assert ViolationKind.DOUBLED in at_peer(copied(at=11), copied(at=12, delivery="i1.q"), windows=[KILL])[0]
    assert ViolationKind.DOUBLED in at_peer(copied(at=11), copied(at=12), windows=[KILL], unique=["q@x"])[0]


def test_a_stored_message_must_arrive_at_its_peer_and_no_other_may():
    assert at_peer()[0] == {ViolationKind.PARTIAL}
    assert at_peer(copied(), stored=())[0] == {ViolationKind.PARTIAL}
    assert at_peer(copied(digest=OTHER))[0] == {ViolationKind.CHANGED}
    assert at_peer(copied("z.1"))[0] == {ViolationKind.STRANGE, ViolationKind.PARTIAL}
    assert ViolationKind.REFUSED_FOUND in at_peer(copied(), one=sent(group="peer", outcome=Outcome.REFUSED))[0]


def test_an_unknown_message_that_is_not_stored_need_not_be_at_the_peer():
    assert at_peer(one=sent(group="peer", outcome=Outcome.UNKNOWN), stored=()) == (set(), {})


LINKS = {
    "two aliases": {"p": ["a", "b"], "a": [], "b": []},
    "two primaries of one alias": {"p": ["a"], "q": ["a"], "a": []},
    "a chain": {"p": ["a"], "a": ["b"], "b": []},
    "an alias of itself": {"p": ["p"]},
    "an alias that does not exist": {"p": ["a"]},
}


@pytest.mark.parametrize("aliases", LINKS.values(), ids=LINKS.keys())
def test_each_broken_rule_of_association_is_found(aliases):
    assert {each.kind for each in oracle.check_links(aliases)} == {ViolationKind.RULE}


def test_links_within_the_rules_are_right():
    assert oracle.check_links({"p": ["a"], "a": [], "q": ["b"], "b": [], "r": []}) == []


def test_what_is_left_in_the_queue_or_given_up_is_found():
    waiting = {"id": "d1", "destination": "smtp://peer", "because": "no"}
    found = oracle.check_queue([waiting], [{"id": "d2"}])
    assert [each.kind for each in found] == [ViolationKind.STUCK, ViolationKind.DEAD]


def test_unexpected_errors_in_the_log_are_found():
    lines = [{"event": "failed", "where": "smtp"}, {"event": "store_failed"}, {"event": "lease_lost"}]
    assert [each.kind for each in oracle.check_log(lines)] == [ViolationKind.FAILED]


def test_each_kind_of_violation_has_a_sentence():
    assert len({str(kind) for kind in ViolationKind}) == len(ViolationKind)
    assert dataclasses.replace(KILL, kind="x").has(10.0)
    assert str(oracle.Violation(ViolationKind.LOST, "c.0")) == "an accepted message is missing: c.0"
