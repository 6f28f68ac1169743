"""Transactions that need the same rows: which one waits, for how long, and which one is refused as busy."""

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
from waypost.store.postgres import pool

pytestmark = pytest.mark.usefixtures("_needs_concurrent_writers")


@pytest.fixture
def impatient_store(store, instance, monkeypatch):
    """A second store on the same database, whose transactions give up almost immediately if a row is locked."""
    create(store, "p", "a", "b")
    set_limits(monkeypatch, held_row=0.02)
    return store.a_new_one()


def while_held(store, holding, then):
    """Run `holding` in a transaction, and `then` in another while the first is still open. Return both outcomes."""
    held, done = threading.Event(), threading.Event()

    def holds(tx):
        found = holding(tx)
        held.set()
        done.wait(PATIENCE)
        return found

    def runs_meanwhile(tx):
        held.wait(PATIENCE)
        try:
            return then(tx)
        finally:
            done.set()

    return store.concurrently(holds, runs_meanwhile)


HELD = {
    "email address": (lambda tx: email_addresses.lock(tx, TENANT, "i", "p"), associating("p", "b")),
    "the other email address": (lambda tx: email_addresses.lock(tx, TENANT, "i", "p"), associating("b", "p")),
    "deleted": (lambda tx: email_addresses.lock(tx, TENANT, "i", "p"), deleting("p")),
    "tagged": (
        lambda tx: email_addresses.lock(tx, TENANT, "i", "p"),
        lambda tx: tags.add(tx, TENANT, tags.Resource("i", "p"), {"k": "v"}),
    ),
    "instance": (lambda tx: instances.lock(tx, TENANT, "i"), creating("x", quota=9)),
    "instance that gets a new email address": (
        lambda tx: instances.keep(tx, TENANT, "i"),
        lambda tx: instances.delete(tx, TENANT, "i", now=NOW) or tx.access_keys(),  # a query, to get the error
    ),
    "name": (lambda tx: tx.hold("x") or tx.first_time("y"), lambda tx: tx.hold("x") or tx.first_time("z")),
    "token": (creating("x", call=tokened()), creating("x", call=tokened())),
}


@pytest.mark.parametrize(("holding", "then"), HELD.values(), ids=HELD)
def test_a_transaction_that_waits_too_long_is_refused_and_changes_nothing(impatient_store, holding, then):
    tables = ("instances", "email_addresses", "alias_link_ends", "tags", "remembered_calls")
    before = impatient_store.count(*tables)
    first, second = while_held(impatient_store, lambda tx: (holding(tx), tx.access_keys()), then)

    assert not isinstance(first, BaseException)
    assert isinstance(second, errors.Busy)
    assert "Please try again" in second.message
    # Only the changes of the first transaction are stored.
    changed = {table: there - before[table] for table, there in impatient_store.count(*tables).items()}
    assert changed["alias_link_ends"] == changed["tags"] == changed["instances"] == 0
    assert changed["email_addresses"] == changed["remembered_calls"] == (then is HELD["token"][1])
    impatient_store.write(then)


def test_locked_rows_do_not_block_reads(impatient_store):
    def read(tx):
        return tx.email_address_by_key("p@example.com").id, tx.instance(TENANT, "i").id

    outcomes = while_held(impatient_store, lambda tx: (instances.lock(tx, TENANT, "i"), deleting("p")(tx)), read)
    assert outcomes[1] == ("p", "i")


def test_a_create_without_a_quota_does_not_wait_for_other_creates(impatient_store):
    outcomes = while_held(impatient_store, creating("x"), creating("y"))
    assert outcomes == ["x", "y"]


def test_a_transaction_that_waited_for_a_lock_sees_the_newly_committed_data(store, instance):
    create(store, "p", "a", "b")
    held = threading.Event()

    def slow(tx):
        associating("p", "a")(tx)
        held.set()
        until_a_transaction_waits(store)

    def waits(tx):
        held.wait(PATIENCE)
        return associating("p", "b")(tx)

    outcomes = store.concurrently(slow, waits)
    assert outcomes[0] is None
    assert isinstance(outcomes[1], errors.Conflict)
    assert describe(store, "b").link is None


def until_a_transaction_waits(store):
    """Wait until a transaction in this database waits for a lock."""
    with psycopg.connect(store.database, autocommit=True) as watching:
        query = "SELECT FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid) WHERE NOT granted AND datname = $1"
        cursor, name = psycopg.RawCursor(watching), watching.info.dbname
        wait_until(lambda: cursor.execute(query, [name]).rowcount, "no transaction waits for a lock")


@pytest.mark.parametrize(
    "takes",
    [lambda tx: email_addresses.lock(tx, TENANT, "i", "c", "b", "a"), associating("c", "a")],
    ids=["lock by id", "link"],
)
def test_email_addresses_are_locked_in_the_order_of_their_ids(store, instance, monkeypatch, takes):
    create(store, *"bca")
    store.concurrently(*[lambda tx: tx.access_keys()] * 3)  # open connections with the long time limit
    set_limits(monkeypatch, held_row=0.02)
    impatient_store = store.a_new_one()
    held, done = threading.Event(), threading.Event()

    def holds_the_last(tx):
        email_addresses.lock(tx, TENANT, "i", "c")
        held.set()
        done.wait(PATIENCE)

    def waits_for_the_lock(tx):
        held.wait(PATIENCE)
        return takes(tx)

    async def scenario():
        two = [asyncio.create_task(store.store.write(each)) for each in (holds_the_last, waits_for_the_lock)]
        await asyncio.to_thread(until_a_transaction_waits, store)
        outcome = await asyncio.gather(impatient_store.store.write(deleting("a")), return_exceptions=True)
        done.set()
        return *outcome, *await asyncio.gather(*two, return_exceptions=True)

    first_is_held, *others = store.run(scenario())
    assert isinstance(first_is_held, errors.Busy)
    assert not [outcome for outcome in others if isinstance(outcome, BaseException)]


def test_a_purge_skips_a_token_that_is_in_use(impatient_store):
    for token in ("used", "other"):
        old = ports.RememberedCall(b"print", "", NOW - 2 * RETENTION)
        impatient_store.write(lambda tx, *call: tx.remember_call(*call), tokened(token=token).key, old)
    outcomes = while_held(
        impatient_store,
        lambda tx: tx.claim_call(tokened(token="used").key),
        lambda tx: idempotency.purge(tx, now=NOW, retention=RETENTION),
    )
    assert outcomes == [old, False]
    assert impatient_store.rows("SELECT token FROM remembered_calls") == [("used",)]


def test_one_of_two_deadlocked_transactions_is_rolled_back_and_run_again(store, instance):
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


def test_a_transaction_that_loses_every_conflict_is_refused_as_busy(store, instance, monkeypatch):
    set_limits(monkeypatch, pause=0.0)
    runs = []

    def always_fails(tx):
        runs.append(creating(f"e{len(runs)}")(tx))
        tx.connection.execute("DO $$ BEGIN RAISE SQLSTATE '40001'; END $$")
        tx.access_keys()

    with pytest.raises(errors.Busy, match="constantly changing the same resources"):
        store.write(always_fails)
    assert len(runs) == pool.ATTEMPTS
    assert ids(store) == []
    check_invariants(store)


def test_the_locks_of_a_failed_transaction_are_released(impatient_store):
    def fails(tx):
        email_addresses.lock(tx, TENANT, "i", "p", "a")
        tx.hold("x")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        impatient_store.write(fails)
    impatient_store.write(lambda tx: tx.hold("x"))
    impatient_store.write(associating("p", "a"))


def test_a_row_lock_of_one_node_blocks_another_node(impatient_store, engine):
    other = Handle(engine, impatient_store.database)
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
            impatient_store.write(deleting("p"))
    finally:
        done.set()
        thread.join(PATIENCE)
        other.close()
    impatient_store.write(deleting("p"))
