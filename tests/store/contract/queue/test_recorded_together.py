"""The outcomes of several attempts that one transaction records."""

import pytest

from tests.kit.stores.queue_calls import HERE, SECOND, claim, lines, queue_up
from tests.kit.values import NOW, TENANT
from waypost.app.deployment import Deployment
from waypost.app.queue import attempt
from waypost.domain.mail.delivery import AttemptResult, Protocol, Stage, Status

DEPLOYMENT = Deployment(hostname="mx.example.com", loop_key=b"key")
TAKEN = AttemptResult(protocol=Protocol.SMTP, stage=Stage.END, peer=HERE, code=250, text="taken")
NOT_NOW = AttemptResult(protocol=Protocol.SMTP, stage=Stage.RCPT, peer=HERE, code=451, text="not now")
NEVER = AttemptResult(protocol=Protocol.SMTP, stage=Stage.RCPT, peer=HERE, code=550, text="no such")


def outcome(claimed, result, seconds=0):
    return attempt.Outcome.of(claimed, result, DEPLOYMENT, NOW + seconds * SECOND)


def record(store, *outcomes):
    return store.write(lambda tx: attempt.record_all(tx, outcomes=outcomes))


def found(store, message_id, name="x"):
    return store.read(lambda tx: tx.delivery(message_id, name))


def trace(store, message_id="m1"):
    return store.long_read(lambda tx: tx.trace(message_id))


def octets(store, message_id):
    return store.long_read(lambda tx: tx.octets(message_id, start=0, limit=9))


def test_each_outcome_is_recorded_completely(store):
    queue_up(store, "m1", "m2", "m3", "m4", kept=False)
    claimed = claim(store)
    results = (TAKEN, NOT_NOW, NEVER, TAKEN)
    assert record(store, *map(outcome, claimed, results)) == [True] * 4
    of = [found(store, f"m{number}").status for number in (1, 2, 3, 4)]
    assert of == [Status.DELIVERED, Status.QUEUED, Status.DEAD, Status.DELIVERED]
    kinds = [trace(store, f"m{number}")[-1].kind for number in (1, 2, 3, 4)]
    assert kinds == ["delivered", "deferred", "dead", "delivered"]
    assert [line.delivery.message_id for line in lines(store)] == ["m2"]
    assert [bool(octets(store, f"m{number}")) for number in (1, 2, 3, 4)] == [False, True, True, False]


def test_the_deliveries_of_one_message_get_events_in_the_order_of_the_outcomes(store):
    queue_up(store, "m1", names=("a", "b", "c"), kept=False)
    claimed = claim(store)
    record(store, outcome(claimed[2], TAKEN, 1), outcome(claimed[0], TAKEN, 2))
    assert octets(store, "m1")
    record(store, outcome(claimed[1], TAKEN, 3), outcome(claimed[0], TAKEN, 4))
    events = trace(store)[1:]
    assert [(event.kind, event.detail.address[0], event.at) for event in events] == [
        ("delivered", "c", NOW + SECOND),
        ("delivered", "a", NOW + 2 * SECOND),
        ("delivered", "b", NOW + 3 * SECOND),
    ]
    assert octets(store, "m1") == b""


@pytest.mark.parametrize("result", [TAKEN, NOT_NOW, NEVER], ids=["taken", "not now", "never"])
def test_an_outcome_is_not_recorded_if_another_worker_has_claimed_the_delivery(store, result):
    queue_up(store, "m1", "m2", kept=False)
    first, second = claim(store, claim="old")
    store.write(lambda tx: tx.release("old", due_at=NOW))
    claim(store, claim="new", limit=1)
    store.write(lambda tx: tx.finish(second))
    assert record(store, outcome(first, result), outcome(second, result)) == [False, False]
    assert found(store, "m1").status is Status.QUEUED
    assert [event.kind for event in trace(store)] == ["accepted"]
    assert octets(store, "m1")


def test_of_two_outcomes_of_a_delivery_only_that_of_the_later_claim_is_recorded(store):
    queue_up(store, "m1", kept=False)
    (old,) = claim(store, claim="old")
    store.write(lambda tx: tx.release("old", due_at=NOW))
    (new,) = claim(store, claim="new")
    assert record(store, outcome(old, TAKEN, 1), outcome(new, TAKEN, 2)) == [False, True]
    assert [(event.kind, event.at) for event in trace(store)[1:]] == [("delivered", NOW + 2 * SECOND)]


def test_two_workers_that_end_deliveries_of_the_same_messages_delete_the_bytes_once(store, race):
    messages = [f"m{number}" for number in range(10)]
    queue_up(store, *messages, names=("x", "y"), kept=False)
    outcomes = [outcome(claimed, TAKEN) for claimed in claim(store)]
    by_name = [[each for each in outcomes if each.claimed.delivery.email_address_id == name] for name in ("x", "y")]
    recorded = race(
        lambda tx: attempt.record_all(tx, outcomes=by_name[0]),
        lambda tx: attempt.record_all(tx, outcomes=by_name[1][::-1]),
    )
    assert recorded == [[True] * 10] * 2
    assert [octets(store, message_id) for message_id in messages] == [b""] * 10
    assert lines(store, TENANT.account) == []
