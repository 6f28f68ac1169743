"""Client tokens on both stores: a call with a token is executed once, and a failed call is not recorded."""

from datetime import timedelta

import pytest

from tests.kit.stores.calls import RETENTION, create, creating, describe, ids, tokened
from tests.kit.values import NOW, TENANT, make_instance
from waypost.app import ports
from waypost.app.directory import idempotency, instances
from waypost.domain import errors
from waypost.domain.directory.instances import Tenant


def counted(answers):
    return lambda: answers.append("done") or f"answer {len(answers)}"


def once(store, call=None, *, now=NOW, effect=lambda: "done"):
    return store.write(idempotency.once, call, now=now, effect=effect)


def purge(store, now=NOW):
    return store.write(idempotency.purge, now=now, retention=RETENTION)


def test_a_call_with_the_same_token_returns_the_first_response_and_does_nothing(store):
    done = []
    first = once(store, tokened(), effect=counted(done))
    again = once(store.another(), tokened(), now=NOW + timedelta(days=6), effect=counted(done))

    assert first == again == "answer 1"
    assert len(done) == 1


def test_a_call_without_a_token_or_with_another_token_is_executed(store):
    done = []
    for call in (tokened(), tokened(token="T"), None, None):
        once(store, call, effect=counted(done))
    assert len(done) == 4


@pytest.mark.parametrize(
    "other",
    [
        ports.CallKey(Tenant("111111111111", "us-east-1"), "Create", "i", "t"),
        ports.CallKey(Tenant("000000000000", "eu-west-1"), "Create", "i", "t"),
        ports.CallKey(TENANT, "Delete", "i", "t"),
        ports.CallKey(TENANT, "Create", "", "t"),
        ports.CallKey(TENANT, "Create", "i", "t "),
        ports.CallKey(TENANT, "Create", "i", ""),
    ],
    ids=["account", "region", "operation", "scope", "token", "empty token"],
)
def test_a_token_belongs_to_one_tenant_operation_and_instance(store, other):
    once(store, tokened())
    call = idempotency.TokenedCall(other, b"other", RETENTION)
    assert [once(store, call, effect=lambda: "theirs") for _ in range(2)] == ["theirs"] * 2


def test_a_token_with_other_parameters_is_refused(store):
    once(store, tokened())
    with pytest.raises(errors.TokenReused, match="other parameters"):
        once(store, tokened(b"other"))
    assert once(store, tokened()) == "done"


def test_a_token_expires_after_seven_days(store):
    done = []
    once(store, tokened(), effect=counted(done))
    late = NOW + timedelta(days=7)
    assert once(store, tokened(b"other"), now=late, effect=counted(done)) == "answer 2"
    assert once(store, tokened(b"other"), now=late, effect=counted(done)) == "answer 2"


def test_a_token_expires_to_the_millisecond(store):
    done = []
    once(store, tokened(), effect=counted(done))
    almost = NOW + RETENTION - timedelta(milliseconds=1)
    assert once(store, tokened(), now=almost, effect=counted(done)) == "answer 1"
    with pytest.raises(errors.TokenReused):
        once(store, tokened(b"other"), now=almost)
    assert once(store, tokened(b"other"), now=NOW + RETENTION, effect=counted(done)) == "answer 2"


def test_a_token_is_still_known_after_the_clock_goes_back(store):
    once(store, tokened(), effect=lambda: "first")
    assert once(store, tokened(), now=NOW - timedelta(days=30)) == "first"


def test_a_failed_call_is_not_recorded(store):
    def fail():
        raise errors.Conflict("not now")

    with pytest.raises(errors.Conflict):
        once(store, tokened(), effect=fail)
    assert once(store, tokened(b"other"), effect=lambda: "done") == "done"


def test_a_call_that_fails_in_the_middle_leaves_neither_effect_nor_token(store, instance):
    def half(tx):
        creating("a", tags={"k": "v"}, call=tokened())(tx)
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        store.write(half)
    assert ids(store) == []
    assert store.count("remembered_calls", "tags") == {"remembered_calls": 0, "tags": 0}
    store.write(creating("a", call=tokened(b"other")))


def test_a_call_that_fails_late_keeps_the_earlier_record_of_its_token(store):
    once(store, tokened(), effect=lambda: "first")

    def late_and_failing(tx):
        idempotency.once(tx, tokened(b"other"), now=NOW + RETENTION, effect=lambda: "second")
        raise errors.Conflict("after all")

    with pytest.raises(errors.Conflict):
        store.write(late_and_failing)
    assert once(store, tokened()) == "first"


def test_the_response_is_stored_exactly(store):
    answer = "\t'\"\\%_ e\u0301 é 😀 \U0010ffff\r\n" * 100
    assert [once(store, tokened(bytes(range(256))), effect=lambda: answer) for _ in range(2)] == [answer] * 2


def test_the_response_is_recorded_in_the_transaction_of_the_call(store, instance):
    for _ in range(3):
        assert store.write(creating("a", tags={"k": "v"}, call=tokened())) == "a"
    assert describe(store, "a").tags == {"k": "v"}
    assert ids(store) == ["a"]
    with pytest.raises(errors.TokenReused):
        store.write(creating("b", call=tokened(b"other")))
    assert ids(store) == ["a"]


def test_the_token_of_a_deleted_instance_is_still_known(store, instance):
    store.write(creating("a", call=tokened()))
    store.write(instances.delete, TENANT, "i", now=NOW)
    assert store.write(creating("b", call=tokened())) == "a"
    store.write(make_instance)
    assert store.write(creating("b", call=tokened())) == "a"
    assert ids(store) == []


def test_the_recorded_response_has_all_its_fields(store):
    call = ports.RememberedCall(b"print", "answer", NOW)
    key = tokened().key
    store.write(lambda tx: tx.remember_call(key, call))
    assert store.write(lambda tx: tx.claim_call(key)) == call
    second = ports.RememberedCall(b"f", "", NOW + timedelta(milliseconds=999))
    store.write(lambda tx: tx.remember_call(key, second))
    assert store.write(lambda tx: tx.claim_call(key)) == second


def remember(store, *ages):
    for days in ages:
        once(store, tokened(token=f"{days}"), now=NOW - timedelta(days=days))


def remembered(store):
    return sorted(int(token) for (token,) in store.rows("SELECT token FROM remembered_calls"))


def test_expired_tokens_are_removed(store):
    remember(store, 0, 6, 7, 8, 100)

    assert purge(store) is False

    # A token that is exactly as old as the retention has expired, but is only removed a moment later.
    assert remembered(store) == [0, 6, 7]


def test_only_tokens_older_than_the_retention_are_removed_to_the_millisecond(store):
    once(store, tokened(token="1"), now=NOW - RETENTION)
    once(store, tokened(token="2"), now=NOW - RETENTION - timedelta(milliseconds=1))
    purge(store)
    assert remembered(store) == [1]
    purge(store, now=NOW + timedelta(milliseconds=1))
    assert remembered(store) == []


def test_many_expired_tokens_are_removed_in_batches_oldest_first(store, monkeypatch):
    monkeypatch.setattr(idempotency, "FORGOTTEN_AT_ONCE", 2)
    remember(store, 10, 8, 12, 11, 1)
    steps = []
    while purge(store):
        steps.append(remembered(store))

    assert steps == [[1, 8, 10], [1]]
    assert remembered(store) == [1]


def test_a_call_that_is_made_again_after_expiry_is_recorded_with_its_new_time(store):
    once(store, tokened(), now=NOW - timedelta(days=8), effect=lambda: "first")
    once(store, tokened(), effect=lambda: "second")
    purge(store, now=NOW + timedelta(days=6))

    assert once(store, tokened(), now=NOW + timedelta(days=6), effect=lambda: "third") == "second"


def test_the_first_time_is_reported_once_in_a_deployment(store, instance):
    create(store, "a")
    assert store.write(lambda tx: (tx.first_time("x"), tx.first_time("x"), tx.first_time("y"))) == (True, False, True)
    assert store.another().write(lambda tx: tx.first_time("x")) is False

    def half(tx):
        assert tx.first_time("z")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.write(half)
    assert store.write(lambda tx: tx.first_time("z")) is True


def test_a_named_lock_is_not_a_mark(store):
    store.write(lambda tx: (tx.hold("x"), tx.hold("x"), tx.hold("y")))
    store.write(lambda tx: tx.hold("x"))
    assert store.write(lambda tx: tx.first_time("x")) is True
