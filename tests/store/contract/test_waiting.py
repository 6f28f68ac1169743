"""Transactions that are in each other's way in the middle: who waits, for how long, and who is asked to try again."""

import asyncio
import threading

import psycopg
import pytest

from tests.kit.patience import PATIENCE, wait_until
from tests.kit.stores.both_stores import Handle
from tests.kit.stores.calls import (
    RETENTION,
    associating,
    check_invariants,
    create,
    creating,
    deleting,
    describe,
    ids,
    tokened,
)
from tests.kit.stores.time_limits import set_limits
from tests.kit.values import NOW, TENANT
from waypost.app import ports
from waypost.app.directory import email_addresses, idempotency, instances, tags
from waypost.domain import errors
from waypost.store.postgres import store as postgres

pytestmark = pytest.mark.usefixtures("_side_by_side")


@pytest.fixture
def impatient(store, instance, monkeypatch):
    """Another store, whose transactions wait for a row as good as not at all."""
    create(store, "p", "a", "b")
    set_limits(monkeypatch, held_row=0.02)
    return store.a_new_one()


def while_held(store, holding, then):
    """The outcomes of two transactions: one that holds something, and one that begins then and ends before it."""
    held, done = threading.Event(), threading.Event()

    def holds(tx):
        found = holding(tx)
        held.set()
        done.wait(PATIENCE)
        return found

    def comes_then(tx):
        held.wait(PATIENCE)
        try:
            return then(tx)
        finally:
            done.set()

    return store.concurrently(holds, comes_then)


HELD = {
    "email address": (lambda tx: email_addresses.lock(tx, TENANT, "i", "p"), associating("p", "b")),
    "the other email address": (lambda tx: email_addresses.lock(tx, TENANT, "i", "p"), associating("b", "p")),
    "deleted": (lambda tx: email_addresses.lock(tx, TENANT, "i", "p"), deleting("p")),
    "tagged": (
        lambda tx: email_addresses.lock(tx, TENANT, "i", "p"),
        lambda tx: tags.add(tx, TENANT, tags.Resource("i", "p"), {"k": "v"}),
    ),
    "instance": (lambda tx: instances.lock(tx, TENANT, "i"), creating("x", quota=9)),
    "instance, of all of it": (
        lambda tx: email_addresses.lock(tx, TENANT, "i", "b"),
        lambda tx: instances.delete(tx, TENANT, "i", now=NOW) or tx.access_keys(),  # the latter to hear of it here
    ),
    "name": (lambda tx: tx.hold("x") or tx.first_time("y"), lambda tx: tx.hold("x") or tx.first_time("z")),
    "token": (creating("x", call=tokened()), creating("x", call=tokened())),
}


@pytest.mark.parametrize(("holding", "then"), HELD.values(), ids=HELD)
def test_who_waits_too_long_is_told_to_try_again_and_has_done_nothing(impatient, holding, then):
    tables = ("instances", "email_addresses", "alias_link_ends", "tags", "remembered_calls")
    before = impatient.count(*tables)
    first, second = while_held(impatient, lambda tx: (holding(tx), tx.access_keys()), then)

    assert not isinstance(first, BaseException)
    assert isinstance(second, errors.Busy)
    assert "Please try again" in second.message
    # What the first one did is there, and nothing besides.
    changed = {table: there - before[table] for table, there in impatient.count(*tables).items()}
    assert changed["alias_link_ends"] == changed["tags"] == changed["instances"] == 0
    assert changed["email_addresses"] == changed["remembered_calls"] == (then is HELD["token"][1])
    impatient.write(then)


def test_what_is_held_holds_up_nobody_who_only_looks(impatient):
    def look(tx):
        return tx.email_address_by_key("p@example.com").id, tx.instance(TENANT, "i").id

    outcomes = while_held(impatient, lambda tx: (instances.lock(tx, TENANT, "i"), deleting("p")(tx)), look)
    assert outcomes[1] == ("p", "i")


def test_a_create_without_a_quota_waits_for_no_other(impatient):
    outcomes = while_held(impatient, creating("x"), creating("y"))
    assert outcomes == ["x", "y"]


def test_who_waits_in_time_goes_on_with_what_is_there_then(store, instance):
    create(store, "p", "a", "b")
    held = threading.Event()

    def slow(tx):
        associating("p", "a")(tx)
        held.set()
        until_somebody_waits(store)

    def waits(tx):
        held.wait(PATIENCE)
        return associating("p", "b")(tx)

    outcomes = store.concurrently(slow, waits)
    assert outcomes[0] is None
    assert isinstance(outcomes[1], errors.Conflict)
    assert describe(store, "b").link is None


def until_somebody_waits(store):
    """Until a transaction of this database waits for a lock."""
    with psycopg.connect(store.database, autocommit=True) as looking:
        query = "SELECT FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid) WHERE NOT granted AND datname = $1"
        wait_until(lambda: psycopg.RawCursor(looking).execute(query, [looking.info.dbname]).rowcount, "nobody waits")


@pytest.mark.parametrize(
    "takes",
    [
        lambda tx: email_addresses.lock(tx, TENANT, "i", "c", "b", "a"),
        associating("c", "a"),
        lambda tx: instances.delete(tx, TENANT, "i", now=NOW) or tx.access_keys(),
    ],
    ids=["by name", "to link", "with the instance"],
)
def test_email_addresses_are_held_in_the_order_of_their_ids(store, instance, monkeypatch, takes):
    create(store, *"bca")
    store.concurrently(*[lambda tx: tx.access_keys()] * 3)  # connections that are patient
    set_limits(monkeypatch, held_row=0.02)
    in_a_hurry = store.a_new_one()
    held, done = threading.Event(), threading.Event()

    def holds_the_last(tx):
        email_addresses.lock(tx, TENANT, "i", "c")
        held.set()
        done.wait(PATIENCE)

    def waits_for_it(tx):
        held.wait(PATIENCE)
        return takes(tx)

    async def scenario():
        two = [asyncio.create_task(store.store.write(each)) for each in (holds_the_last, waits_for_it)]
        await asyncio.to_thread(until_somebody_waits, store)
        outcome = await asyncio.gather(in_a_hurry.store.write(deleting("a")), return_exceptions=True)
        done.set()
        return *outcome, *await asyncio.gather(*two, return_exceptions=True)

    first_is_held, *others = store.run(scenario())
    assert isinstance(first_is_held, errors.Busy)
    assert not [outcome for outcome in others if isinstance(outcome, BaseException)]


def test_a_token_that_is_in_use_is_not_waited_for_and_not_forgotten(impatient):
    for token in ("used", "other"):
        old = ports.RememberedCall(b"print", "", NOW - 2 * RETENTION)
        impatient.write(lambda tx, *call: tx.remember_call(*call), tokened(token=token).key, old)
    outcomes = while_held(
        impatient,
        lambda tx: tx.claim_call(tokened(token="used").key),
        lambda tx: idempotency.purge(tx, now=NOW, retention=RETENTION),
    )
    assert outcomes == [old, False]
    assert impatient.rows("SELECT token FROM remembered_calls") == [("used",)]


def test_of_two_that_wait_for_each_other_one_gives_way_and_is_run_again(store, instance):
    create(store, "a", "b")
    both_hold_one = threading.Barrier(2)
    runs = []

    def one_by_one(first, second):
        def use_case(tx):
            runs.append(first)
            tx.connection.execute("SELECT set_config('deadlock_timeout', '20ms', true)")
            tx.put_tags("i", {f"before-{first}": ""})
            email_addresses.lock(tx, TENANT, "i", first)
            if len(runs) <= 2:
                both_hold_one.wait(PATIENCE)
            email_addresses.lock(tx, TENANT, "i", second)
            tx.put_tags(second, {f"after-{first}": ""})
            return first

        return use_case

    outcomes = store.concurrently(one_by_one("a", "b"), one_by_one("b", "a"))

    assert outcomes == ["a", "b"]
    assert len(runs) == 3
    assert store.count("tags") == {"tags": 4}
    assert store.read(tags.of, TENANT, tags.Resource("i", "a")) == {"after-b": ""}
    assert store.read(tags.of, TENANT, tags.Resource("i", "b")) == {"after-a": ""}


def test_who_gives_way_again_and_again_is_told_so(store, instance, monkeypatch):
    set_limits(monkeypatch, pause=0.0)
    runs = []

    def never_lucky(tx):
        runs.append(creating(f"e{len(runs)}")(tx))
        tx.connection.execute("DO $$ BEGIN RAISE SQLSTATE '40001'; END $$")
        tx.access_keys()

    with pytest.raises(errors.Busy, match="changing the same resources all the time"):
        store.write(never_lucky)
    assert len(runs) == postgres.ATTEMPTS
    assert ids(store) == []
    check_invariants(store)


def test_a_lock_goes_with_the_transaction_that_failed(impatient):
    def fails(tx):
        email_addresses.lock(tx, TENANT, "i", "p", "a")
        tx.hold("x")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        impatient.write(fails)
    impatient.write(lambda tx: tx.hold("x"))
    impatient.write(associating("p", "a"))


def test_two_nodes_hold_for_each_other(impatient, engine):
    other = Handle(engine, impatient.database)
    held, done = threading.Event(), threading.Event()

    def holds(tx):
        email_addresses.lock(tx, TENANT, "i", "p")
        held.set()
        done.wait(PATIENCE)

    thread = threading.Thread(target=other.write, args=[holds])
    thread.start()
    held.wait(PATIENCE)
    try:
        with pytest.raises(errors.Busy):
            impatient.write(deleting("p"))
    finally:
        done.set()
        thread.join(PATIENCE)
        other.close()
    impatient.write(deleting("p"))
