"""Groups whose connection to PostgreSQL is lost or hangs: the callers learn as much as can be known."""

import asyncio
import threading
from functools import partial
from itertools import chain

import pytest

from tests.kit.patience import until
from tests.kit.stores.broken_postgresql import (
    AT_ONCE,
    after,
    at_commit,
    exists,
    seconds_at_most,
    terminate_all,
    waits_for,
    with_store,
)
from tests.kit.stores.shared_writes import message, stored, together
from waypost.app import ports
from waypost.store.common import time_limits
from waypost.store.postgres import connection as postgres_connection


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
    at_commit(admin, "PERFORM pg_sleep(600)", table="messages")
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
    at_commit(admin, "PERFORM pg_advisory_xact_lock(1)", table="messages")
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
    at_commit(admin, "IF NEW.id = 'hangs' THEN PERFORM pg_sleep(600); END IF", table="messages")

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
    at_commit(admin, "IF NEW.id = 'slow' THEN PERFORM pg_advisory_xact_lock(1); END IF", table="messages")
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
