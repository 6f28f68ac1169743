"""Writes that share a transaction on PostgreSQL: they succeed together, and a failure of one does not affect others."""

import asyncio
import threading
from functools import partial
from itertools import chain

import pytest

from tests.kit.patience import until
from tests.kit.stores.broken_postgresql import (
    AT_ONCE,
    after,
    exists,
    seconds_at_most,
    terminate_all,
    waits_for,
    with_store,
)
from tests.kit.values import TENANT, a_delivery, a_message, make_instance
from waypost.app import ports
from waypost.domain import errors
from waypost.store.common import time_limits
from waypost.store.postgres import connection as postgres_connection
from waypost.store.postgres import groups, shared_transaction

NAMES = [f"m{number:02}" for number in range(20)]


def message(name, *, octets=b"hi", runs=None):
    """Return a use case that looks something up and adds a message."""

    def add(tx):
        if runs is not None:
            runs.append(name)
        tx.instance(TENANT, "i")
        tx.add_message(a_message(name, size=len(octets)), octets, [a_delivery(message_id=name)], [])
        return name

    return add


async def together(store, *use_cases):
    """Run writes that wait at the same time, and return their results and exceptions."""
    writes = [store.write(use_case, may_share=True) for use_case in use_cases]
    return await asyncio.gather(*writes, return_exceptions=True)


def stored(admin):
    """Return the ids of the messages, for each transaction that added some."""
    rows = admin.execute("SELECT array_agg(id ORDER BY id) FROM messages GROUP BY xmin::text ORDER BY min(id)")
    return [ids for (ids,) in rows]


def at_commit_of_a_message(admin, what):
    """Run the PL/pgSQL statement `what` at the end of each transaction that adds messages."""
    admin.execute(
        f"CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {what}; RETURN NULL; END$$;"
        "CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON messages DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION at_commit()"
    )


# Writes that succeed


def test_writes_that_wait_at_the_same_time_share_a_transaction(database, admin):
    async def scenario(store):
        return await together(store, *map(message, NAMES))

    assert with_store(database, scenario) == NAMES
    assert stored(admin) == [NAMES]
    rows = admin.execute("SELECT message_id, octets FROM message_bodies ORDER BY message_id").fetchall()
    assert rows == [(name, b"hi") for name in NAMES]


@pytest.mark.parametrize(("limit", "value"), [("MOST_JOBS", 3), ("MOST_OCTETS", 4000)])
def test_a_group_has_a_limit(database, admin, monkeypatch, limit, value):
    monkeypatch.setattr(groups, limit, value)

    async def scenario(store):
        return await together(store, *(message(name, octets=b"x" * 800) for name in NAMES))

    assert with_store(database, scenario) == NAMES
    together_stored = stored(admin)
    assert list(chain(*together_stored)) == NAMES
    assert max(map(len, together_stored)) == 3


def test_a_write_that_is_larger_than_a_group_may_be_is_stored(database, admin, monkeypatch):
    monkeypatch.setattr(groups, "MOST_OCTETS", 10)

    async def scenario(store):
        return await together(store, message("m1", octets=b"x" * 800), message("m2", octets=b"x" * 800))

    assert with_store(database, scenario) == ["m1", "m2"]
    assert stored(admin) == [["m1"], ["m2"]]


def locks(tx):
    return tx.lock_instance(TENANT, "i").id


def reads_its_own_change(tx):
    make_instance(tx, "new")
    return tx.instance(TENANT, "new").id


def makes_many_look_ups(tx):
    return max(tx.instance(TENANT, "i").id for _ in range(shared_transaction.MOST_LOOK_UPS + 1))


def uses_the_connection(tx):
    return tx.connection.execute("SELECT 'i'").fetchone()[0]


def looks_up_something_else_each_time(tx, seen=[]):  # noqa: B006 - the use case is not a function of its arguments
    seen.append(1)
    return tx.instance(TENANT, f"no {len(seen)}") or "i"


@pytest.mark.parametrize(
    "use_case", [locks, makes_many_look_ups, uses_the_connection, looks_up_something_else_each_time]
)
def test_a_use_case_that_cannot_share_a_transaction_runs_alone(database, admin, use_case):
    async def scenario(store):
        await store.write(make_instance)
        return await together(store, message("m1"), use_case, message("m2"))

    assert with_store(database, scenario) == ["m1", "i", "m2"]
    assert stored(admin) == [["m1", "m2"]]


def test_a_use_case_that_reads_its_own_change_runs_alone(database):
    async def scenario(store):
        return await together(store, message("m1"), reads_its_own_change)

    assert with_store(database, scenario) == ["m1", "new"]


# Writes that fail


def test_a_use_case_that_raises_an_error_does_not_affect_its_group(database, admin):
    def fails(tx):
        message("refused")(tx)
        raise errors.Conflict("no")

    async def scenario(store):
        return await together(store, message("m1"), fails, message("m2"))

    first, failed, second = with_store(database, scenario)
    assert (first, type(failed), second) == ("m1", errors.Conflict, "m2")
    assert stored(admin) == [["m1", "m2"]]


def test_a_value_that_postgresql_cannot_store_does_not_affect_its_group(database, admin):
    async def scenario(store):
        return await together(store, message("m1"), message("\ud800"), message("m2"))

    first, failed, second = with_store(database, scenario)
    assert (first, type(failed), second) == ("m1", UnicodeEncodeError, "m2")
    assert stored(admin) == [["m1", "m2"]]


def test_if_postgresql_refuses_a_row_the_other_writes_of_the_group_are_stored(database, admin):
    async def scenario(store):
        await store.write(message("m1"))
        outcomes = await together(store, message("m0"), message("m1"), message("m2"))
        return outcomes, await together(store, message("m3"))

    (first, failed, second), later = with_store(database, scenario)
    assert (first, second, later) == ("m0", "m2", ["m3"])
    assert isinstance(failed, Exception)
    assert stored(admin) == [["m0"], ["m1"], ["m2"], ["m3"]]


def test_a_write_whose_caller_has_stopped_waiting_is_not_stored(database, admin):
    async def scenario(store):
        await store.read(exists("i"))
        writes = [asyncio.create_task(store.write(message(name), may_share=True)) for name in ("m1", "m2")]
        await asyncio.sleep(0)
        writes[0].cancel()
        return await asyncio.gather(*writes, return_exceptions=True)

    cancelled, stored_one = with_store(database, scenario)
    assert (type(cancelled), stored_one) == (asyncio.CancelledError, "m2")
    assert stored(admin) == [["m2"]]


@pytest.mark.parametrize("kind", ["read", "write"])
def test_a_look_up_of_a_value_that_postgresql_cannot_store_does_not_affect_its_group(database, kind):
    async def scenario(store):
        run = partial(store.write, may_share=True) if kind == "write" else store.read
        names = ("i", "\ud800", "j")
        return await asyncio.gather(*(run(exists(name)) for name in names), return_exceptions=True)

    first, failed, second = with_store(database, scenario)
    assert (first, type(failed), second) == (False, UnicodeEncodeError, False)


def test_a_number_that_is_too_large_does_not_affect_its_group(database):
    async def scenario(store):
        return await together(store, lambda tx: tx.messages_between("a", "b", limit=2**70), message("m1"))

    failed, stored_one = with_store(database, scenario)
    assert isinstance(failed, Exception)
    assert stored_one == "m1"


def test_a_bug_in_the_group_is_an_error_for_every_caller(database, monkeypatch):
    def broken(_):
        raise ZeroDivisionError

    async def scenario(store):
        with monkeypatch.context() as patch:
            patch.setattr(groups, "statements", broken)
            outcomes = await together(store, message("m1"), message("m2"))
        return outcomes, await together(store, message("m3"))

    outcomes, later = with_store(database, scenario)
    assert [type(outcome) for outcome in outcomes] == [ZeroDivisionError] * 2
    assert later == ["m3"]


# Connections that are lost


@pytest.mark.parametrize("how", ["terminated", "cut off"])
def test_if_the_connection_is_lost_before_the_commit_all_writes_run_again(database, proxy, admin, how):
    async def scenario(store):
        await together(store, message("before"))
        with admin.transaction():
            admin.execute("LOCK TABLE instances IN ACCESS EXCLUSIVE MODE")
            writing = asyncio.create_task(together(store, message("m1"), message("m2")))
            await until(lambda: waits_for(admin, "relation"))
            proxy.cut() if how == "cut off" else terminate_all(admin)
        return await writing

    assert with_store(proxy.url(database), scenario) == ["m1", "m2"]
    assert sorted(chain(*stored(admin))) == ["before", "m1", "m2"]


@pytest.mark.parametrize("how", ["terminated", "cut off"])
def test_if_the_connection_is_lost_during_the_commit_every_caller_gets_an_error(database, proxy, admin, how):
    """Nothing runs again, because the messages may have been stored."""
    at_commit_of_a_message(admin, "PERFORM pg_sleep(600)")
    runs = []

    async def scenario(store):
        writing = asyncio.create_task(together(store, *(message(name, runs=runs) for name in ("m1", "m2"))))
        await until(lambda: waits_for(admin, "PgSleep"))
        proxy.cut() if how == "cut off" else terminate_all(admin)
        with seconds_at_most(AT_ONCE):
            outcomes = await writing
        terminate_all(admin)
        return outcomes

    outcomes = with_store(proxy.url(database), scenario)
    assert [type(outcome) for outcome in outcomes] == [ports.StoreUnavailable] * 2
    assert runs == ["m1", "m2"] * 2  # once without and once with the result of the look-up
    assert stored(admin) == []


def test_a_commit_without_a_reply_is_an_error_for_every_caller_although_it_may_have_succeeded(database, proxy, admin):
    at_commit_of_a_message(admin, "PERFORM pg_advisory_xact_lock(1)")
    admin.execute("SELECT pg_advisory_lock(1)")

    async def scenario(store):
        writing = asyncio.create_task(together(store, message("m1"), message("m2")))
        await until(lambda: waits_for(admin, "advisory"))
        proxy.hold()
        admin.execute("SELECT pg_advisory_unlock(1)")
        await until(lambda: stored(admin))
        with seconds_at_most(AT_ONCE):
            outcomes = await after(time_limits.LIMITS.answer, writing)
        proxy.release()
        return outcomes

    for outcome in with_store(proxy.url(database), scenario):
        with pytest.raises(ports.StoreUnavailable, match="did not answer"):
            raise outcome
    assert stored(admin) == [["m1", "m2"]]


def test_while_one_group_hangs_the_next_uses_another_connection(database, admin):
    at_commit_of_a_message(admin, "IF NEW.id = 'hangs' THEN PERFORM pg_sleep(600); END IF")

    async def scenario(store):
        hanging = asyncio.create_task(together(store, message("hangs")))
        await until(lambda: waits_for(admin, "PgSleep"))
        result = await together(store, message("m1"))
        terminate_all(admin)
        return result, await hanging

    result, (hanging,) = with_store(database, scenario, connections=16)
    assert (result, type(hanging)) == (["m1"], ports.StoreUnavailable)


@pytest.mark.parametrize("kind", ["read", "write"])
def test_calls_wait_for_a_limited_time_while_all_connections_for_groups_hang(database, proxy, kind):
    async def scenario(store):
        run = partial(store.write, may_share=True) if kind == "write" else store.read
        await run(exists("i"))
        proxy.hold()
        first = asyncio.create_task(run(exists("i")))
        await asyncio.sleep(0.01)
        with pytest.raises(ports.StoreUnavailable, match=r"no connection .* became free in 5 s"):
            await after(time_limits.LIMITS.free_connection, run(exists("i")))
        proxy.release()
        return await first

    assert with_store(proxy.url(database), scenario) is False


def test_calls_fail_at_once_while_no_connection_can_be_opened(database, monkeypatch):
    async def scenario(store):
        with monkeypatch.context() as patch:
            patch.setattr(postgres_connection, "OLDEST", 999)
            for _ in range(2):
                with pytest.raises(ports.StoreUnavailable, match="needs PostgreSQL 999"):
                    await store.read(exists("i"))
        return await store.read(exists("i"))

    assert with_store(database, scenario) is False


def test_calls_fail_at_once_while_no_thread_can_be_started(database, monkeypatch):
    async def scenario(store):
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", cannot_start)
            for _ in range(2):
                with pytest.raises(ports.StoreUnavailable, match="thread"):
                    await store.read(exists("i"))
        return await store.read(exists("i"))

    def cannot_start(_):
        raise RuntimeError("can't start new thread")

    assert with_store(database, scenario) is False


def test_close_ends_in_bounded_time_while_groups_hang(database, proxy):
    async def scenario(store):
        await store.read(exists("i"))
        proxy.hold()
        waiting = [asyncio.create_task(store.read(exists("i")))]
        await asyncio.sleep(0.01)  # the group begins
        waiting.append(asyncio.create_task(store.read(exists("i"))))
        await asyncio.sleep(0)
        with seconds_at_most(AT_ONCE):
            await after(time_limits.LIMITS.answer, store.close())
        for call in waiting:
            with pytest.raises(ports.StoreUnavailable):
                await call
        proxy.release()

    with_store(proxy.url(database), scenario)


def test_a_group_continues_on_one_connection_if_another_cannot_be_opened(database, admin, monkeypatch):
    at_commit_of_a_message(admin, "IF NEW.id = 'slow' THEN PERFORM pg_advisory_xact_lock(1); END IF")
    admin.execute("SELECT pg_advisory_lock(1)")
    tried = []

    def cannot_open(_):
        tried.append(1)
        raise postgres_connection.BadDatabase("too many connections")

    async def scenario(store):
        slow = asyncio.create_task(together(store, message("slow")))
        await until(lambda: waits_for(admin, "advisory"))
        monkeypatch.setattr(postgres_connection.Where, "connect", cannot_open)
        later = asyncio.create_task(together(store, message("m1")))
        await until(lambda: tried)
        admin.execute("SELECT pg_advisory_unlock(1)")
        return await slow, await later

    assert with_store(database, scenario, connections=16) == (["slow"], ["m1"])
    assert tried == [1]


# Point queries


def test_point_queries_that_wait_at_the_same_time_share_a_round_trip(database, proxy):
    async def scenario(store):
        await store.write(make_instance)
        await store.read(exists("i"))
        proxy.reset()
        answers = await asyncio.gather(*(store.read(exists(name)) for name in ("i", "j", "i", "k")))
        return answers, proxy.counts.round_trips

    assert with_store(proxy.url(database), scenario) == ([True, False, True, False], 1)


def test_settings_of_the_database_do_not_weaken_a_shared_transaction(database, admin):
    name = admin.info.dbname
    for setting in ("synchronous_commit = off", "default_transaction_isolation = 'serializable'"):
        admin.execute(f"ALTER DATABASE {name} SET {setting}")
    admin.execute("CREATE TABLE seen (setting TEXT)")
    show = " || ' ' || ".join(
        f"current_setting('{setting}')" for setting in ("synchronous_commit", "transaction_isolation", "lock_timeout")
    )
    at_commit_of_a_message(admin, f"INSERT INTO seen SELECT {show}")

    async def scenario(store):
        await together(store, message("m1"))
        await store.write(message("m2"))

    with_store(database, scenario)
    assert [seen for (seen,) in admin.execute("SELECT setting FROM seen")] == ["on read committed 3s"] * 2
