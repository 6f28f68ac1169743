"""A clock that was ahead and was set back, on both stores: the times that it left in the queue are corrected."""

from datetime import timedelta

import pytest

from tests.kit.stores.queue_calls import HERE, LEASE, SECOND, THERE, claim, ids, lines, one, queue_up, waiting
from tests.kit.values import NOW
from tests.store.contract.queue.test_queue import late
from waypost.app.deployment import Deployment
from waypost.app.queue import attempt
from waypost.domain.mail.delivery import Policy

AHEAD = timedelta(days=10)
THEN = NOW + AHEAD
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
POLICY = Policy(retry_schedule=(MINUTE, HOUR), jitter=0.5)
LONGEST = 1.5 * HOUR
DEPLOYMENT = Deployment(hostname="mx.example.com", loop_key=b"", policy=POLICY)


def correct(store, now=NOW):
    return store.write(attempt.correct_times, DEPLOYMENT, now=now, lease=LEASE)


def times(store):
    return {line.delivery.message_id: (line.queued_at, line.due_at) for line in lines(store)}


def test_a_delivery_that_was_deferred_while_the_clock_was_ahead_is_due_after_the_longest_retry_delay(store):
    for number, to in enumerate([HERE, THERE, HERE]):
        queue_up(store, f"m{number}", to=to)
        claimed = one(store, to=to)
        store.write(lambda tx, claimed=claimed: tx.defer(claimed, due_at=THEN, because="busy"))
    queue_up(store, "m3", at=NOW - SECOND)
    assert correct(store) == 3
    assert waiting(store) == {HERE: NOW - SECOND, THERE: NOW + LONGEST}
    assert {line.attempts for line in lines(store)} == {0, 1}
    assert correct(store) == 0
    assert len(claim(store, now=NOW + LONGEST)) == 3


def test_the_times_of_a_delivery_that_was_queued_while_the_clock_was_ahead_are_moved_back(store):
    queue_up(store, "new", at=THEN, warn_at=THEN + 4 * HOUR)
    queue_up(store, "tried", to=THERE, at=THEN)
    claimed = one(store, to=THERE, now=THEN)
    store.write(lambda tx: tx.defer(claimed, due_at=THEN + MINUTE, because="busy"))
    queue_up(store, "before", at=NOW - HOUR)
    assert correct(store) == 2
    assert times(store) == {
        "new": (NOW, NOW),
        "tried": (NOW, NOW + MINUTE),
        "before": (NOW - HOUR, NOW - HOUR),
    }
    assert late(store, NOW + 4 * HOUR - SECOND) == []
    assert ids(late(store, NOW + 4 * HOUR)) == ["new"]
    assert correct(store) == 0


def test_a_lease_that_was_taken_while_the_clock_was_ahead_ends_like_a_new_lease(store):
    queue_up(store, "m1", "m2")
    taken = claim(store, claim="dead", now=THEN, limit=1)
    one(store, claim="alive", now=NOW)
    assert correct(store) == 1
    assert times(store) == {"m1": (NOW, NOW + LEASE), "m2": (NOW, NOW + LEASE)}
    assert store.write(lambda tx: tx.finish(taken[0])) is True  # the claim itself is still valid


def test_a_server_whose_clock_is_behind_does_not_change_leases_and_deferred_deliveries(store):
    queue_up(store, "m1", "m2")
    claim(store, limit=1)
    claimed = one(store)
    store.write(lambda tx: tx.defer(claimed, due_at=NOW + MINUTE, because="busy"))
    before = store.rows("SELECT message_id, due_at, claim FROM queue ORDER BY 1")[0]
    correct(store, now=NOW - 3 * MINUTE)
    assert store.rows("SELECT message_id, due_at, claim FROM queue ORDER BY 1")[0] == before


def test_times_are_corrected_in_batches(store, monkeypatch):
    monkeypatch.setattr(attempt, "CORRECTED_AT_ONCE", 2)
    queue_up(store, *"abcde", at=THEN)
    assert [correct(store) for _ in range(4)] == [2, 2, 1, 0]
    assert {due_at for _, due_at in times(store).values()} == {NOW}


@pytest.mark.usefixtures("_needs_concurrent_writers")
def test_servers_that_correct_times_at_the_same_time_do_not_wait_for_each_other(store, race):
    queue_up(store, *(f"m{number:02}" for number in range(20)), at=THEN)
    outcomes = race(*[lambda tx: attempt.correct_times(tx, DEPLOYMENT, now=NOW, lease=LEASE)] * 6)
    assert sum(outcomes) == 20
    assert {due_at for _, due_at in times(store).values()} == {NOW}
