"""The queue on both stores: the order of deliveries, claims, outcomes, and deliveries that wait too long."""

import threading
from datetime import timedelta

import pytest

from tests.kit.patience import PATIENCE
from tests.kit.stores.queue_calls import HERE, LEASE, SECOND, THERE, claim, claiming, ids, lines, one, queue_up, waiting
from tests.kit.values import NOW, TENANT, a_delivery, a_message
from waypost.app import ports
from waypost.domain.mail.delivery import Queued, Status

LATER = NOW + timedelta(hours=1)

# Queued deliveries


def test_a_queued_delivery_is_stored_with_all_its_fields(store):
    message = a_message(header_id="<ü", is_authentic=True)
    queued = a_delivery("x", via="a@example.com", kept=True, to=HERE)
    arrived = a_delivery("y", status=Status.DELIVERED, kept=True, to="")
    store.write(lambda tx: tx.add_message(message, b"hi", [queued, arrived], []))

    assert waiting(store) == waiting(store.another()) == {HERE: NOW}
    claimed = one(store, claim="mine")
    assert (claimed.delivery, claimed.message, claimed.claim) == (queued, message, "mine")
    assert claimed.queued == Queued(delivery_id="m1.x", attempts=0, queued_at=NOW)


def test_a_delivery_to_the_inbox_is_never_queued(store):
    arrived = a_delivery(status=Status.DELIVERED, kept=True, to="")
    store.write(lambda tx: tx.add_message(a_message(), b"hi", [arrived], []))
    assert (waiting(store), lines(store), store.count("queue")) == ({}, [], {"queue": 0})


def test_each_destination_is_listed_with_the_time_when_its_first_delivery_is_due(store):
    assert waiting(store) == {}
    for number, to in enumerate([THERE, HERE, "maildir:/x", "", HERE, "~", "ü"]):
        queue_up(store, f"m{number}", to=to, at=NOW + number * SECOND)
    assert waiting(store) == {
        "": NOW + 3 * SECOND,
        "maildir:/x": NOW + 2 * SECOND,
        HERE: NOW + SECOND,
        THERE: NOW,
        "~": NOW + 5 * SECOND,
        "ü": NOW + 6 * SECOND,
    }
    claim(store, now=LATER, limit=1)
    assert waiting(store)[HERE] == NOW + 4 * SECOND
    claim(store, now=LATER, limit=1)
    assert waiting(store)[HERE] == LATER + LEASE


def test_the_backlog_of_each_destination_has_its_size_and_the_id_of_its_oldest_message(store):
    assert store.long_read(lambda tx: tx.backlogs()) == []
    queue_up(store, *"cab")
    queue_up(store, "d", to=THERE)
    backlogs = store.long_read(lambda tx: tx.backlogs())
    assert sorted(backlogs, key=lambda one: one.count) == [ports.Backlog(THERE, 1, "d"), ports.Backlog(HERE, 3, "a")]


def test_the_deliveries_to_a_destination_are_counted_up_to_a_limit(store):
    queue_up(store, *"abc")
    queue_up(store, "d", to=THERE)
    counts = [store.long_read(lambda tx, n=n: tx.count_queued(TENANT.account, HERE, up_to=n)) for n in (0, 2, 3, 9)]
    assert counts == [0, 2, 3, 3]
    assert store.long_read(lambda tx: tx.count_queued(TENANT.account, "elsewhere", up_to=9)) == 0
    assert store.long_read(lambda tx: tx.count_queued("111111111111", HERE, up_to=9)) == 0


def test_the_queue_of_an_account_is_listed_in_pages_in_the_order_of_ids(store):
    queue_up(store, "m2", "m1", names="zy")
    queue_up(store, "m3", to=THERE, at=LATER)
    queue_up(store, "m4", account="1" * 12)

    def listed_ids(**options):
        return [line.delivery.id for line in lines(store, **options)]

    assert listed_ids() == ["m1.y", "m1.z", "m2.y", "m2.z", "m3.x"]
    assert listed_ids(limit=2) == ["m1.y", "m1.z"]
    assert listed_ids(after="m1.z", limit=2) == ["m2.y", "m2.z"]
    assert listed_ids(after="m3.x") == []
    assert listed_ids(destination=THERE) == ["m3.x"]
    assert listed_ids(destination=HERE, after="m2.y") == ["m2.z"]
    assert listed_ids(destination="elsewhere") == listed_ids(account="2" * 12) == []


def test_a_line_of_the_queue_shows_the_state_of_the_delivery(store):
    (delivery,) = queue_up(store, "m1")
    (line,) = lines(store)
    assert line.delivery == delivery
    assert (line.queued_at, line.due_at, line.attempts, line.is_claimed) == (NOW, NOW, 0, False)
    claimed = one(store)
    assert [(each.due_at, each.is_claimed) for each in lines(store)] == [(NOW + LEASE, True)]
    store.write(lambda tx: tx.defer(claimed, due_at=LATER, because="busy"))
    assert [(each.due_at, each.attempts, each.is_claimed) for each in lines(store)] == [(LATER, 1, False)]


# Claims


def test_deliveries_are_claimed_in_the_order_in_which_they_became_due_and_then_by_id(store):
    for message_id, seconds in {"m1": 5, "m2": 3, "m3": 4, "m5": 1, "m4": 1, "m6": 7}.items():
        queue_up(store, message_id, at=NOW + seconds * SECOND)
    now = NOW + 5 * SECOND
    assert ids(claim(store, now=now, limit=2)) == ["m4", "m5"]
    assert ids(claim(store, now=now, limit=2)) == ["m2", "m3"]
    assert ids(claim(store, now=now)) == ["m1"]
    assert claim(store, now=now) == []


def test_a_claim_returns_only_deliveries_to_its_destination(store):
    queue_up(store, "m1", "m2", "m3")
    queue_up(store, "m4", to=THERE, at=LATER)
    assert ids(claim(store, THERE, now=LATER, limit=1)) == ["m4"]
    assert claim(store, THERE, now=LATER) == claim(store, "", now=LATER) == []
    assert ids(claim(store, HERE, now=LATER)) == ["m1", "m2", "m3"]


def test_nodes_that_claim_at_the_same_time_never_get_the_same_delivery(store, race):
    message_ids = [f"m{number:02}" for number in range(60)]
    queue_up(store, *message_ids)
    outcomes = race(*(claiming(claim=f"c{number}", limit=9) for number in range(10)))
    assert sorted(message_id for outcome in outcomes for message_id in ids(outcome)) == message_ids
    for number, outcome in enumerate(outcomes):
        assert {claimed.claim for claimed in outcome} <= {f"c{number}"}
        assert ids(outcome) == sorted(ids(outcome))


@pytest.mark.usefixtures("_needs_concurrent_writers")
def test_a_claim_does_not_wait_for_another_claim(store):
    queue_up(store, "m1", "m2", "m3")
    first_has, second_has = threading.Event(), threading.Event()

    def claims_and_stays(tx):
        found = claiming(claim="first", limit=2)(tx)
        first_has.set()
        assert second_has.wait(PATIENCE)
        return ids(found)

    def claims_meanwhile(tx):
        assert first_has.wait(PATIENCE)
        found = claiming(claim="second")(tx)
        second_has.set()
        return ids(found)

    assert store.concurrently(claims_and_stays, claims_meanwhile) == [["m1", "m2"], ["m3"]]


def test_after_a_lease_has_expired_its_former_worker_cannot_change_the_delivery(store):
    queue_up(store, "m1")
    first = one(store, claim="first")
    assert claim(store, claim="second", now=NOW + LEASE - SECOND) == []
    second = one(store.another(), claim="second", now=NOW + LEASE)
    before = store.rows("SELECT * FROM queue")
    assert store.write(lambda tx: tx.defer(first, due_at=NOW, because="busy")) is False
    assert store.write(lambda tx: tx.move(first, destination=THERE, due_at=NOW)) is False
    assert store.write(lambda tx: tx.finish(first)) is False
    assert store.write(lambda tx: tx.release("first", due_at=NOW)) == 0
    assert store.rows("SELECT * FROM queue") == before
    assert store.write(lambda tx: tx.finish(second)) is True
    assert store.write(lambda tx: tx.finish(second)) is False
    assert waiting(store) == {}


def test_a_claim_returns_the_bytes_of_small_messages_that_arrived_in_one_piece(store):
    bodies = {"m1": [b"1234"], "m2": [b"12345"], "m3": [b"12", b"34"], "m4": [b""]}
    for message_id, pieces in bodies.items():
        *earlier, last = pieces
        message = a_message(message_id, size=sum(map(len, pieces)))

        def add(tx, message=message, earlier=earlier, last=last):
            for piece in earlier:
                tx.add_octets(message.id, piece, start=0, now=NOW)
            tx.add_message(message, last, [a_delivery("x", message.id, to=HERE)], [])

        store.write(add)
    found = store.write(lambda tx: tx.claim(HERE, claim="c", now=NOW, lease_until=LATER, limit=9, most_octets=4))
    assert [(each.delivery.message_id, each.octets) for each in found] == [
        ("m1", b"1234"), ("m2", None), ("m3", None), ("m4", None)
    ]  # fmt: skip
    assert {type(each.octets) for each in found} == {bytes, type(None)}


def test_a_claim_without_a_limit_of_bytes_returns_none(store):
    queue_up(store, "m1")
    assert one(store).octets is None


def test_a_renewed_lease_ends_later(store):
    queue_up(store, "m1", "m2")
    (mine,) = claim(store, claim="mine", limit=1)
    claim(store, claim="other's")
    assert store.write(lambda tx: tx.renew("mine", lease_until=NOW + 2 * LEASE)) == {mine.delivery.id}
    assert store.write(lambda tx: tx.renew("gone", lease_until=NOW + 2 * LEASE)) == set()
    assert ids(claim(store, claim="new", now=NOW + LEASE)) == ["m2"]
    store.write(lambda tx: tx.renew("", lease_until=NOW))
    assert claim(store, claim="newer", now=NOW + LEASE) == []


def test_releasing_the_deliveries_of_a_claim_counts_no_attempt(store):
    queue_up(store, "m1", "m2", "m3")
    first, *_ = claim(store, claim="mine", limit=2)
    claim(store, claim="other's")
    store.write(lambda tx: tx.finish(first))
    assert store.write(lambda tx: tx.release("mine", due_at=LATER)) == 1
    assert store.write(lambda tx: tx.release("mine", due_at=LATER)) == 0
    assert store.write(lambda tx: tx.release("", due_at=NOW)) == 0
    assert claim(store, claim="new", now=LATER - SECOND, lease=SECOND) != []  # the other claim, whose lease has expired
    assert [line.attempts for line in lines(store)] == [0, 0]
    assert "m2" in ids(claim(store, now=LATER))


def test_release_all_releases_the_deliveries_of_all_claims(store):
    queue_up(store, "m1", "m2")
    queue_up(store, "m3", at=LATER)
    claimed = [*claim(store, claim="a", limit=1), *claim(store, claim="b")]
    store.write(lambda tx: tx.release_all(due_at=NOW))
    assert [store.write(lambda tx, each=each: tx.finish(each)) for each in claimed] == [False, False]
    assert ids(claim(store, claim="c")) == ["m1", "m2"]
    assert {line.due_at for line in lines(store)} == {NOW + LEASE, LATER}


# Outcomes of attempts


def test_a_deferred_delivery_waits_until_it_is_due_with_one_more_attempt(store):
    queue_up(store, "m1")
    for attempts in range(3):
        claimed = one(store, now=LATER)
        assert claimed.queued == Queued(delivery_id="m1.x", attempts=attempts, queued_at=NOW)
        assert store.write(lambda tx, claimed=claimed: tx.defer(claimed, due_at=LATER, because="busy")) is True
        assert store.write(lambda tx, claimed=claimed: tx.finish(claimed)) is False
        assert claim(store, now=LATER - SECOND) == []


def test_moving_a_delivery_to_another_destination_counts_no_attempt(store):
    queue_up(store, "m1")
    claimed = one(store)
    assert store.write(lambda tx: tx.move(claimed, destination=THERE, due_at=LATER)) is True
    assert waiting(store) == {THERE: LATER}
    moved = one(store, to=THERE, now=LATER)
    assert (moved.queued.attempts, moved.queued.queued_at) == (0, NOW)


def test_an_outcome_is_recorded_with_the_delivery(store):
    (delivery,) = queue_up(store, "m1")
    claimed = one(store)

    def record(tx):
        assert tx.finish(claimed)
        tx.update_delivery(delivery, status=Status.DEAD, kept=True, destination=THERE)

    store.write(record)
    found = store.read(lambda tx: tx.delivery("m1", "x"))
    assert (found.status, found.kept, found.destination) == (Status.DEAD, True, THERE)
    assert (found.address, found.trace_header) == (delivery.address, delivery.trace_header)
    assert store.read(lambda tx: tx.delivery("m1", "y")) is None
    assert store.read(lambda tx: tx.delivery("m2", "x")) is None


def test_a_failed_transaction_that_records_an_outcome_leaves_the_claim(store):
    queue_up(store, "m1")
    claimed = one(store)

    def half(tx):
        assert tx.finish(claimed)
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        store.write(half)
    assert store.write(lambda tx: tx.finish(claimed)) is True


def test_only_one_of_concurrent_outcomes_with_the_same_claim_is_recorded(store, race):
    queue_up(store, "m1")
    claimed = one(store)
    outcomes = race(*[lambda tx: tx.finish(claimed), lambda tx: tx.defer(claimed, due_at=LATER, because="busy")] * 3)
    assert sorted(outcomes) == [False] * 5 + [True]


def test_a_delivery_that_is_already_queued_is_not_queued_again(store, race):
    (delivery,) = queue_up(store, "m1")
    assert store.write(lambda tx: tx.enqueue(delivery, now=LATER)) is False
    assert waiting(store) == {HERE: NOW}
    claimed = one(store)
    assert store.write(lambda tx: tx.enqueue(delivery, now=LATER)) is False
    store.write(lambda tx: tx.defer(claimed, due_at=NOW, because="busy"))
    again = one(store)
    store.write(lambda tx: tx.finish(again))

    outcomes = race(*[lambda tx: tx.enqueue(delivery, now=LATER)] * 6)
    assert sorted(outcomes) == [False] * 5 + [True]
    redriven = one(store, now=LATER)
    assert redriven.queued == Queued(delivery_id="m1.x", attempts=0, queued_at=LATER)


def test_only_an_existing_delivery_can_be_queued(store, engine):
    with pytest.raises(engine.refusal):
        store.write(lambda tx: tx.enqueue(a_delivery(), now=NOW))
    queue_up(store, "m1")
    store.write(lambda tx: tx.add_delivery(a_delivery("y")))
    assert store.write(lambda tx: tx.enqueue(a_delivery("y", to=THERE), now=NOW)) is True
    assert ids(claim(store, THERE)) == ["m1"]
    with pytest.raises(engine.refusal):
        store.write(lambda tx: tx.add_delivery(a_delivery("y")))


# Deliveries that wait too long


def overdue(store, before, now=LATER, limit=100):
    return store.write(lambda tx: tx.lock_overdue(queued_before=before, now=now, limit=limit))


def test_overdue_deliveries_that_no_worker_attempts_are_found_oldest_first(store):
    for message_id, seconds in {"m1": 3, "m2": 1, "m3": 2, "m4": 4}.items():
        queue_up(store, message_id, at=NOW + seconds * SECOND, to=f"to {message_id}")
    assert ids(overdue(store, NOW + 4 * SECOND)) == ["m2", "m3", "m1"]
    assert ids(overdue(store, NOW + 4 * SECOND, limit=1)) == ["m2"]
    assert overdue(store, NOW + SECOND) == []
    claim(store, "to m3", now=LATER)
    claim(store, "to m2", now=LATER - LEASE)  # a lease that has just expired
    assert ids(overdue(store, NOW + 9 * SECOND)) == ["m2", "m1", "m4"]


def test_overdue_deliveries_can_be_removed_from_the_queue_in_the_same_transaction(store):
    queue_up(store, "m1", to=THERE, at=NOW - SECOND)
    queue_up(store, "m2", "m3")
    claim(store, THERE, now=LATER - LEASE)
    one(store, now=LATER, limit=1)

    def give_up(tx):
        found = tx.lock_overdue(queued_before=LATER, now=LATER, limit=9)
        return [(claimed.delivery.message_id, tx.finish(claimed)) for claimed in found]

    assert store.write(give_up) == [("m1", True), ("m3", True)]
    assert [line.delivery.message_id for line in lines(store)] == ["m2"]


def test_nodes_that_look_for_overdue_deliveries_at_the_same_time_give_each_up_once(store, race):
    message_ids = [f"m{number:02}" for number in range(20)]
    queue_up(store, *message_ids)

    def give_up(tx):
        found = tx.lock_overdue(queued_before=LATER, now=LATER, limit=5)
        return [claimed.delivery.message_id for claimed in found if tx.finish(claimed)]

    given_up = [message_id for outcome in race(*[give_up] * 8) for message_id in outcome]
    assert sorted(given_up) == message_ids
    assert waiting(store) == {}


def late(store, now=LATER, limit=100):
    return store.write(lambda tx: tx.take_late(now=now, limit=limit))


def test_each_late_delivery_is_returned_once(store):
    queue_up(store, "m1", warn_at=LATER)
    queue_up(store, "m2", warn_at=LATER - SECOND)
    queue_up(store, "m3")
    claimed = one(store, limit=1)
    assert late(store, LATER - 2 * SECOND) == []
    assert ids(late(store, limit=1)) == ["m2"]
    assert ids(late(store)) == ["m1"]
    assert late(store) == []
    assert store.write(lambda tx: tx.finish(claimed)) is True  # the claim of the worker is still valid


def test_nodes_that_take_late_deliveries_at_the_same_time_get_each_delivery_once(store, race):
    message_ids = [f"m{number:02}" for number in range(20)]
    queue_up(store, *message_ids, warn_at=NOW)
    outcomes = race(*[lambda tx: tx.take_late(now=NOW, limit=5)] * 8)
    assert sorted(message_id for outcome in outcomes for message_id in ids(outcome)) == message_ids


def test_a_late_delivery_is_returned_again_if_the_transaction_fails(store):
    queue_up(store, "m1", warn_at=NOW)

    def half(tx):
        assert ids(tx.take_late(now=NOW, limit=9)) == ["m1"]
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        store.write(half)
    assert ids(late(store)) == ["m1"]


def test_a_delivery_that_is_queued_again_causes_no_delay_notice(store):
    (delivery,) = queue_up(store, "m1", warn_at=NOW)
    claimed = one(store)
    store.write(lambda tx: (tx.finish(claimed), tx.enqueue(delivery, now=NOW)))
    assert late(store) == []


def test_an_account_sees_only_its_own_queue(store):
    queue_up(store, "m1")
    assert lines(store, account="1" * 12) == []
    assert [line.delivery.account for line in lines(store)] == [TENANT.account]


def test_the_destinations_of_an_account_are_the_destinations_of_its_own_deliveries(store):
    other_account = "111111111111"
    queue_up(store, "m1", "m2", to=THERE)
    queue_up(store, "m3", to=HERE)
    queue_up(store, "m4", to="maildir:/x", account=other_account)

    def destinations(account, limit=10):
        return [one.destination for one in store.long_read(lambda tx: tx.destinations_of(account, limit=limit))]

    assert destinations(TENANT.account) == [HERE, THERE]
    assert destinations(TENANT.account, limit=1) == [HERE]
    assert destinations(other_account) == ["maildir:/x"]
    assert destinations("222222222222") == []
