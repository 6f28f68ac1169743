"""Refused mail on both stores: refusals are found by address, and deleted after a time."""

from datetime import timedelta

import pytest

from tests.kit.stores.calls import kinds
from tests.kit.values import NOW, TENANT
from waypost.app.ports import Refusal

SECOND = timedelta(seconds=1)


def a_refusal(at=NOW, **fields):
    given = {
        "at": at,
        "peer": "192.0.2.1",
        "helo": "client",
        "sender": "ann@example.org",
        "recipient": "X@example.com",
        "recipient_key": "x@example.com",
        "stage": "rcpt",
        "reply": "550 5.1.1 no such address",
        "detail": {},
    }
    return Refusal(**given | fields)


def add(store, *refusals):
    store.write(lambda tx: tx.add_refusals(refusals))


def found(store, key="x@example.com", *, account=TENANT.account, with_unowned=True, since=NOW, limit=99):
    return store.long_read(
        lambda tx: tx.refusals_of(key, account=account, with_unowned=with_unowned, since=since, limit=limit)
    )


def forget(store, before, limit=99):
    return store.write(lambda tx: tx.forget_refusals(before=before, limit=limit))


@pytest.mark.parametrize(
    "refusal",
    [
        a_refusal(),
        a_refusal(stage="mail", recipient="", recipient_key=""),
        a_refusal(
            stage="message", detail={"size": 2**40, "subject": "ü\n\0😀"}, sender="", helo="ü'\"", reply="554\n5.4.6"
        ),
        a_refusal(NOW + timedelta(milliseconds=7), recipient="a" * 5000),
        a_refusal(account=TENANT.account),
    ],
    ids=["minimal", "at MAIL", "all fields", "long recipient", "with an account"],
)
def test_a_refusal_is_stored_with_all_its_fields(store, refusal):
    add(store, refusal)
    assert found(store, refusal.recipient_key) == found(store.another(), refusal.recipient_key) == [refusal]


def test_the_refusals_of_an_address_are_returned_newest_first(store):
    moments = [2, 1, 3, 1]
    add(store, *(a_refusal(NOW + second * SECOND, helo=str(number)) for number, second in enumerate(moments)))
    add(store, a_refusal(recipient_key="y@example.com"))
    add(store)
    assert [each.helo for each in found(store)] == ["2", "0", "3", "1"]
    assert [each.helo for each in found(store, limit=2)] == ["2", "0"]
    assert [each.helo for each in found(store, since=NOW + 2 * SECOND)] == ["2", "0"]
    assert found(store, since=NOW + 4 * SECOND) == found(store, "z@example.com") == []


def test_refusals_of_addresses_without_an_owner_are_returned_only_on_request(store):
    without_owner, owned = a_refusal(), a_refusal(NOW + SECOND, account="111111111111")
    add(store, without_owner, owned)
    assert found(store, account="111111111111", with_unowned=True) == [owned, without_owner]
    assert found(store, account="111111111111", with_unowned=False) == [owned]
    assert found(store, with_unowned=True) == [without_owner]
    assert found(store, with_unowned=False) == []


def test_the_oldest_refusals_are_deleted_in_batches(store):
    add(store, *(a_refusal(NOW + second * SECOND) for second in (5, 1, 4, 2, 3)))
    assert forget(store, NOW + 4 * SECOND, limit=2) == 2
    assert [each.at for each in found(store)] == [NOW + second * SECOND for second in (5, 4, 3)]
    assert forget(store, NOW + 4 * SECOND, limit=2) == 1
    assert forget(store, NOW + 4 * SECOND) == 0
    assert [each.at for each in found(store)] == [NOW + second * SECOND for second in (5, 4)]


def test_concurrent_purges_delete_each_refusal_once(store, race):
    add(store, *(a_refusal(NOW + number * SECOND) for number in range(20)))
    outcomes = race(*[lambda tx: tx.forget_refusals(before=NOW + 15 * SECOND, limit=4)] * 6)
    assert sum(outcomes) == 15
    assert len(found(store)) == 5


def test_refusals_that_are_added_at_the_same_time_are_all_stored(store, race):
    outcomes = race(*(lambda tx, n=n: tx.add_refusals([a_refusal(helo=str(n))] * 3) for n in range(10)))
    assert kinds(outcomes) == {"done": 10}
    assert sorted(each.helo for each in found(store)) == sorted(str(n) for n in range(10) for _ in range(3))


def test_an_unknown_stage_is_refused(store, engine):
    with pytest.raises(engine.refusal):
        add(store, a_refusal(stage="lost"))
    assert store.count("refusals") == {"refusals": 0}
