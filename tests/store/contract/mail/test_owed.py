"""Due notices: each is recorded once, returned in order, and stays due until it is taken to be written."""

from datetime import timedelta

import pytest

from tests.kit.stores.calls import kinds
from tests.kit.stores.queue_calls import RAW, SECOND, add, one, queue_up
from tests.kit.values import NOW, a_delivery, a_line
from waypost.app.ports import Owed, Owing
from waypost.domain.mail.delivery import Reason, Status

MINUTE = timedelta(minutes=1)
FATE = {"status": "5.1.1", "code": 550, "text": "ü \x00"}


def an_owed(recipient="x@example.com", message_id="m1", *, action="failed", of="x", at=NOW, fate=FATE):
    return Owed(message_id=message_id, action=action, recipient=recipient, email_address_id=of, at=at, fate=fate)


def owe(store, *owed):
    store.write(lambda tx: tx.owe(owed))


def owed(store, *, now=NOW, soon=NOW + MINUTE, owed_before=NOW - MINUTE):
    return store.read(lambda tx: tx.owed(now=now, soon=soon, owed_before=owed_before))


def take(store, message_id="m1", action="failed", limit=9):
    return store.write(lambda tx: tx.take_owed(Owing(message_id, action), limit=limit))


def an_arrived(name="x", message_id="m1", **fields):
    return a_delivery(name, message_id, **{"status": Status.DELIVERED, "kept": True, "to": ""} | fields)


def test_no_notice_is_due_at_first(store):
    add(store, an_arrived())
    assert owed(store) is None
    assert take(store) == []


def test_a_due_notice_is_returned_once_with_all_its_fields(store):
    add(store, an_arrived())
    owe(store)
    owe(store, an_owed(at=NOW + timedelta(milliseconds=7)))
    assert owed(store, now=NOW + SECOND) == Owing("m1", "failed")
    assert take(store) == [an_owed(at=NOW + timedelta(milliseconds=7))]
    assert owed(store) is None
    assert take(store) == []


def test_a_notice_that_is_recorded_twice_keeps_its_first_time_and_its_last_outcome(store):
    add(store, an_arrived())
    owe(store, an_owed())
    owe(store, an_owed(at=NOW + SECOND, fate={"status": "5.4.7"}))
    assert take(store) == [an_owed(fate={"status": "5.4.7"})]


def test_a_notice_covers_one_action_of_one_message_and_several_recipients_in_order(store):
    add(store, an_arrived("x"), an_arrived("y"))
    add(store, an_arrived("x", "m2"))
    rows = [an_owed("b"), an_owed("a", of="y"), an_owed("a"), an_owed("c"), an_owed("a", action="delivered")]
    owe(store, *rows, an_owed("a", "m2"))
    assert [(each.recipient, each.email_address_id) for each in take(store, limit=3)] == [
        ("a", "x"),
        ("a", "y"),
        ("b", "x"),
    ]
    assert [each.recipient for each in take(store, limit=3)] == ["c"]
    assert [each.action for each in take(store, action="delivered")] == ["delivered"]
    assert [each.message_id for each in take(store, "m2")] == ["m2"]


def test_the_next_notice_is_the_notice_that_has_been_due_for_the_longest_time(store):
    for message_id, seconds in {"m1": 2, "m2": 1, "m3": 3}.items():
        add(store, an_arrived("x", message_id))
        owe(store, an_owed("b", message_id, at=NOW + 9 * SECOND), an_owed("a", message_id, at=NOW + seconds * SECOND))
    later = {"now": NOW + 10 * SECOND}
    order = []
    while owing := owed(store, **later):
        order.append(owing.message_id)
        take(store, owing.message_id)
    assert order == ["m2", "m1", "m3"]


def test_a_notice_waits_for_deliveries_of_its_message_that_are_due_soon_or_being_attempted(store):
    queue_up(store, "m1", names=("x", "y"))
    owe(store, an_owed())
    assert owed(store) is None
    claimed, other = store.write(
        lambda tx: tx.claim("smtp://here.example:25", claim="c", now=NOW, lease_until=NOW + 9 * MINUTE, limit=2)
    )
    assert owed(store) is None
    store.write(lambda tx: tx.finish(claimed))
    assert owed(store) is None
    store.write(lambda tx: tx.defer(other, due_at=NOW + 2 * MINUTE, because="busy"))
    assert owed(store) == Owing("m1", "failed")
    assert owed(store, soon=NOW + 2 * MINUTE) is None


def test_a_notice_waits_for_a_delay_notice_of_the_same_message_that_is_due(store):
    queue_up(store, "m1", warn_at=NOW)
    claimed = one(store)
    store.write(lambda tx: tx.defer(claimed, due_at=NOW + 2 * MINUTE, because="busy"))
    owe(store, an_owed(action="delayed"))
    assert owed(store) is None
    store.write(lambda tx: tx.take_late(now=NOW, limit=9))
    assert owed(store) == Owing("m1", "delayed")


def test_a_notice_does_not_wait_forever_nor_for_a_clock_that_was_ahead(store):
    queue_up(store, "m1")
    owe(store, an_owed())
    assert owed(store) is None
    assert owed(store, owed_before=NOW) == Owing("m1", "failed")
    assert owed(store, now=NOW - SECOND) == Owing("m1", "failed")


def test_a_notice_of_success_does_not_wait_for_a_forwarded_copy(store):
    forwarded = a_delivery("p", reason=Reason.FORWARDED, sent_to="x@example.com")
    add(store, an_arrived("x"), forwarded)
    owe(store, an_owed(action="delivered"))
    assert owed(store) == Owing("m1", "delivered")
    take(store, action="delivered")
    owe(store, an_owed())
    assert owed(store) is None
    add(store, an_arrived("x", "m2"), a_delivery("y", "m2"))
    owe(store, an_owed(message_id="m2", action="delivered"))
    assert owed(store) is None


def test_a_waiting_notice_does_not_delay_other_notices(store):
    queue_up(store, "m1")
    add(store, an_arrived("x", "m2"))
    owe(store, an_owed(at=NOW - SECOND))
    owe(store, an_owed(message_id="m2"))
    assert owed(store) == Owing("m2", "failed")


def test_recipients_can_be_dropped_from_a_notice_and_the_other_recipients_stay_due(store):
    add(store, an_arrived())
    owe(store, an_owed("a"), an_owed("b"), an_owed("c"), an_owed("a", "m2"))
    assert store.write(lambda tx: tx.drop_owed(Owing("m1", "failed"), limit=2)) == 2
    assert take(store) == [an_owed("c")]
    assert take(store, "m2") == [an_owed("a", "m2")]


def test_a_notice_stays_due_if_the_transaction_that_takes_it_fails(store):
    add(store, an_arrived())
    owe(store, an_owed())

    def half(tx):
        assert tx.take_owed(Owing("m1", "failed"), limit=9)
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        store.write(half)
    assert take(store) == [an_owed()]


def test_concurrent_servers_take_each_recipient_of_a_notice_only_once(store, race):
    add(store, an_arrived())
    owe(store, *(an_owed(f"{number}") for number in range(8)))

    def write(tx):
        return [each.recipient for each in tx.take_owed(Owing("m1", "failed"), limit=2)]

    taken = [recipient for outcome in race(*[write] * 8) for recipient in outcome]
    assert sorted(taken) == [f"{number}" for number in range(8)]


def test_recording_a_notice_while_another_server_writes_it_does_not_deadlock(store, race):
    add(store, an_arrived())
    owe(store, an_owed())

    def fail_again(tx):
        tx.add_events("m1", [a_line("dead")])
        tx.owe([an_owed()])

    def write(tx):
        tx.take_owed(Owing("m1", "failed"), limit=9)
        tx.add_events("m1", [a_line("notified")])

    assert kinds(race(*[fail_again, write] * 4)) == {"done": 8}


def test_the_bytes_of_a_message_stay_while_a_notice_is_due(store):
    add(store, an_arrived(kept=False))
    owe(store, an_owed())
    assert store.write(lambda tx: tx.remove_octets_if_spent("m1")) is False
    assert store.long_read(lambda tx: tx.octets("m1", start=0, limit=9)) == RAW
    take(store)
    assert store.write(lambda tx: tx.remove_octets_if_spent("m1")) is True


def test_bounces_are_counted_for_each_delivery(store):
    bounced, other = add(store, an_arrived("x"), an_arrived("y"))
    (of_another,) = add(store, an_arrived("x", "m2"))
    reports = [False, True, False]
    assert [store.write(add_bounce(bounced, says_failed=one)) for one in reports] == [0, 1, 1]
    counts = [store.read(lambda tx, of=of: tx.count_bounces(of)) for of in (bounced, other, of_another)]
    assert counts == [3, 0, 0]
    unknown = an_arrived("x", "m3")
    assert (store.read(lambda tx: tx.count_bounces(unknown)), store.write(add_bounce(unknown))) == (0, 0)


def test_only_one_of_concurrent_bounces_is_the_first_that_reports_a_failure(store, race):
    (delivery,) = add(store, an_arrived())
    assert sorted(race(*[add_bounce(delivery, says_failed=True)] * 8)) == list(range(1, 9))


def add_bounce(delivery, *, says_failed=False):
    return lambda tx: tx.add_bounce(delivery, says_failed=says_failed)


def test_the_reason_of_a_failed_attempt_is_stored_with_the_queued_delivery(store):
    queue_up(store, "m1", warn_at=NOW)
    claimed = one(store)
    assert claimed.because == ""
    store.write(lambda tx: tx.defer(claimed, due_at=NOW, because="the peer is büsy"))
    assert one(store, limit=1).because == "the peer is büsy"
    assert [
        line.because
        for line in store.long_read(lambda tx: tx.queue("000000000000", destination=None, after="", limit=9))
    ] == ["the peer is büsy"]
    assert [held.because for held in store.write(lambda tx: tx.take_late(now=NOW, limit=9))] == ["the peer is büsy"]


def test_the_alias_that_a_direct_delivery_also_covers_is_stored(store):
    given = an_arrived(also_for="a@example.com")
    add(store, given)
    assert store.read(lambda tx: tx.delivery("m1", "x")) == given
