"""The PostgreSQL store during failures: no failed write is reported as a success, and every wait has a limit."""

import asyncio
import os
import signal
import threading
from contextlib import suppress
from functools import partial

import psycopg
import pytest

from tests.kit.patience import NEVER, PATIENCE, until
from tests.kit.stores.broken_postgresql import (
    AT_ONCE,
    after,
    at_commit,
    count,
    exists,
    seconds_at_most,
    terminate_all,
    waits_for,
    with_store,
)
from tests.kit.stores.time_limits import set_limits
from tests.kit.values import NOW, TENANT, make_instance
from waypost.app import ports
from waypost.app.directory import access_keys
from waypost.domain import errors
from waypost.host import sealing
from waypost.server import owner
from waypost.store.common import time_limits
from waypost.store.postgres import connection as postgres_connection

# Closing


def test_close_closes_all_pools_before_it_raises_the_error_of_one_pool(database):
    async def scenario(store):
        await store.write(make_instance)

        async def fails(**_):
            raise RuntimeError("cannot be closed")

        close = store._reads.close
        store._reads.close = fails
        with pytest.raises(RuntimeError, match="cannot be closed"):
            await store.close()
        assert store._writes.is_ended
        assert store._long_reads.is_ended
        assert store._writes._idle == []
        store._reads.close = close

    with_store(database, scenario)


# Searches that take too long


def test_a_search_that_takes_too_long_is_stopped_and_the_next_search_runs(database, monkeypatch):
    set_limits(monkeypatch, long_read=0.05)

    async def scenario(store):
        await store.write(lambda tx: make_instance(tx, "i"))
        with pytest.raises(
            ports.TookTooLong,
            match=r"The store stopped reading the data of a test, because the read took more than 0\.05 seconds",
        ):
            await store.long_read(lambda tx: tx.connection.execute("SELECT pg_sleep(60)"), what="the data of a test")
        return await store.long_read(exists("i"), what="the data of a test")

    assert with_store(database, scenario)


# Connections that are lost


def test_a_write_on_a_connection_that_died_while_idle_is_repeated_on_a_new_connection(database, admin):
    async def scenario(store):
        await store.write(lambda tx: make_instance(tx, "before"))
        terminate_all(admin)
        await store.write(lambda tx: tx.instance(TENANT, "before") and make_instance(tx, "after"))
        return await store.read(exists("after")), await store.long_read(exists("before"), what="the data of a test")

    assert with_store(database, scenario) == (True, True)


def test_one_call_replaces_all_dead_connections(database, admin):
    async def scenario(store):
        together = threading.Barrier(10)
        await asyncio.gather(*(store.write(lambda _: together.wait(PATIENCE)) for _ in range(10)))
        terminate_all(admin)
        await store.write(lambda tx: tx.instance(TENANT, "i") or make_instance(tx))

    with_store(database, scenario, connections=20)
    assert count(admin) == 1


def test_a_transaction_that_is_terminated_in_the_middle_is_run_again(database, admin):
    runs = []

    def interrupted(tx):
        make_instance(tx, f"run {len(runs)}")
        assert tx.instance(TENANT, f"run {len(runs)}")
        runs.append(1)
        if len(runs) == 1:
            terminate_all(admin)
        make_instance(tx, "the end")
        assert tx.instance(TENANT, "the end")

    async def scenario(store):
        await store.write(lambda _: None)  # only a connection that worked before leads to a retry
        await store.write(interrupted)

    with_store(database, scenario)
    assert len(runs) == 2
    assert [name for (name,) in admin.execute("SELECT id FROM instances ORDER BY id")] == ["run 1", "the end"]


def test_a_point_query_that_a_broken_connection_interrupts_is_run_again(database, proxy, admin):
    async def scenario(store):
        await store.read(exists("i"))
        with admin.transaction():
            admin.execute("LOCK TABLE instances IN ACCESS EXCLUSIVE MODE")
            waiting = asyncio.create_task(store.read(exists("i")))
            await until(lambda: waits_for(admin, "relation"))
            proxy.cut()
        return await waiting

    assert with_store(proxy.url(database), scenario) is False


# A COMMIT that fails, or whose outcome is unknown


def test_a_write_whose_commit_fails_raises_an_error_and_changes_nothing(database, admin):
    at_commit(admin, "RAISE EXCEPTION 'not now'")
    runs = []

    async def scenario(store):
        with pytest.raises(Exception, match="not now"):
            await store.write(lambda tx: runs.append(make_instance(tx)))
        return await store.read(exists("i"))

    assert with_store(database, scenario) is False
    assert (len(runs), count(admin)) == (1, 0)


def test_a_use_case_that_ignores_a_failed_statement_raises_an_error_at_the_commit(database, admin):
    async def scenario(store):
        def ignore_error(tx):
            make_instance(tx)
            with suppress(psycopg.Error), tx.connection.pipeline():
                tx.connection.execute(b"SELECT 1/0")

        with pytest.raises(ports.StoreUnavailable, match="did not commit"):
            await store.write(ignore_error)

    with_store(database, scenario)
    assert count(admin) == 0


@pytest.mark.parametrize("how", ["terminated", "cut off"])
def test_a_write_whose_commit_is_interrupted_raises_an_error_and_is_not_run_again(database, proxy, admin, how):
    at_commit(admin, "PERFORM pg_sleep(600)")
    runs = []

    async def scenario(store):
        await store.write(lambda _: None)
        writing = asyncio.create_task(store.write(lambda tx: runs.append(make_instance(tx))))
        await until(lambda: waits_for(admin, "PgSleep"))
        proxy.cut() if how == "cut off" else terminate_all(admin)
        with pytest.raises(ports.StoreUnavailable), seconds_at_most(AT_ONCE):
            await writing
        terminate_all(admin)
        return await store.write(lambda tx: tx.instance(TENANT, "i"))

    assert with_store(proxy.url(database), scenario) is None
    assert len(runs) == 1


def test_a_commit_without_a_reply_raises_an_error_although_it_may_have_succeeded(database, proxy, admin):
    at_commit(admin, "PERFORM pg_advisory_xact_lock(1)")
    admin.execute("SELECT pg_advisory_lock(1)")
    runs = []

    async def scenario(store):
        writing = asyncio.create_task(store.write(lambda tx: runs.append(make_instance(tx))))
        await until(lambda: waits_for(admin, "advisory"))
        proxy.hold()
        admin.execute("SELECT pg_advisory_unlock(1)")
        await until(lambda: count(admin) == 1)
        with pytest.raises(ports.StoreUnavailable, match="did not answer"), seconds_at_most(AT_ONCE):
            await after(time_limits.LIMITS.answer, writing)
        proxy.release()

    with_store(proxy.url(database), scenario)
    assert len(runs) == 1


# A network that hangs


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("read", marks=[pytest.mark.slow, pytest.mark.long]),  # a group of look-ups has 30 s
        "long_read",
        "write",
    ],
)
def test_calls_fail_in_bounded_time_while_the_network_hangs_and_succeed_afterwards(database, proxy, kind):
    async def scenario(store):
        run = partial(store.long_read, what="the data of a test") if kind == "long_read" else getattr(store, kind)
        await run(exists("i"))
        proxy.hold()
        for _ in range(2):  # the first call waits for the reply, the second for a connection
            with pytest.raises(ports.StoreUnavailable), seconds_at_most(AT_ONCE):
                await after(time_limits.LIMITS.answer, run(exists("i")))
        proxy.release()
        return await recovered(lambda: run(exists("i")))

    assert with_store(proxy.url(database), scenario) is False


async def recovered(call):
    """Repeat a call until the store is available again, and return its result."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(ports.StoreUnavailable):
                return await call()
            await asyncio.sleep(0.01)


def test_a_connection_that_hangs_during_its_setup_is_abandoned(database, proxy, monkeypatch):
    set_up = postgres_connection.set_up
    hangs = threading.Event()

    async def scenario(store):
        def hang(*arguments, **settings):
            proxy.hold()
            hangs.set()
            return set_up(*arguments, **settings)

        with monkeypatch.context() as patch:
            patch.setattr(postgres_connection, "set_up", hang)
            searching = asyncio.create_task(store.long_read(exists("i"), what="the data of a test"))
            await until(hangs.is_set)
            with pytest.raises(ports.StoreUnavailable), seconds_at_most(AT_ONCE):
                await after(time_limits.LIMITS.answer, searching)
        try:
            async with asyncio.timeout(AT_ONCE):
                await asyncio.shield(store.close())
        finally:
            proxy.release()

    with_store(proxy.url(database), scenario)


def test_a_hanging_session_is_freed_even_if_its_caller_has_stopped_waiting(database, admin):
    """The endpoint `/_waypost/ready` is such a caller, because it has its own time limit."""

    async def scenario(store):
        await store.read(exists("i"))
        (process,) = admin.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchone()
        os.kill(process, signal.SIGSTOP)
        try:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await store.read(exists("i"))
            asyncio.get_running_loop().skip(time_limits.LIMITS.answer)
            return await recovered(lambda: store.read(exists("i")))
        finally:
            os.kill(process, signal.SIGCONT)

    assert with_store(database, scenario) is False


def test_close_returns_in_bounded_time_while_the_network_hangs(database, proxy):
    async def scenario(store):
        await store.write(lambda _: None)
        proxy.hold()
        waiting = asyncio.create_task(store.write(exists("i")))
        await asyncio.sleep(0)
        with seconds_at_most(AT_ONCE):
            await after(time_limits.LIMITS.answer, store.close())
        for call in (waiting, store.read(exists("i"))):
            with pytest.raises(ports.StoreUnavailable):
                await call
        proxy.release()

    with_store(proxy.url(database), scenario)


def test_close_does_not_wait_for_a_search(database, admin, monkeypatch):
    set_limits(monkeypatch, long_read=NEVER)

    async def scenario(store):
        searching = asyncio.create_task(
            store.long_read(
                lambda tx: tx.connection.execute(b"SELECT pg_sleep(600)").fetchall(), what="the data of a test"
            )
        )
        await until(lambda: waits_for(admin, "PgSleep"))
        with seconds_at_most(AT_ONCE):
            await store.close()
        with pytest.raises(ports.StoreUnavailable):
            await searching

    with_store(database, scenario)


# All connections in use


def test_a_write_is_refused_but_reads_work_while_all_write_connections_are_in_use(database):
    async def scenario(store):
        done = threading.Event()
        blocking = [asyncio.create_task(store.write(lambda _: done.wait(PATIENCE))) for _ in range(2)]
        try:
            await asyncio.sleep(0)
            with pytest.raises(ports.StoreUnavailable, match=r"no connection .* became free in 5 s"):
                await after(time_limits.LIMITS.free_connection, store.write(exists("i")))
            return await store.read(exists("i")), await store.long_read(exists("i"), what="the data of a test")
        finally:
            done.set()
            await asyncio.gather(*blocking)

    assert with_store(database, scenario) == (False, False)


def test_a_row_that_is_locked_for_too_long_is_a_conflict_and_not_a_store_failure(database, admin, monkeypatch):
    set_limits(monkeypatch, held_row=0.1)

    async def scenario(store):
        await store.write(make_instance)
        with psycopg.connect(database) as other:
            other.execute("SELECT FROM instances FOR UPDATE")
            with pytest.raises(errors.Busy):
                await store.write(lambda tx: tx.lock_instance(TENANT, "i"))
            assert await store.read(exists("i"))
        return await store.write(lambda tx: tx.lock_instance(TENANT, "i"))

    assert with_store(database, scenario).id == "i"


# Two nodes that start at the same moment


def first_key(tx):
    new, _ = sealing.new_access_key(account=TENANT.account, user_name="root", now=NOW)
    return access_keys.owners_key(tx, new).id


def first_instance(tx):
    return owner.first_instance(tx, tenant=TENANT, now=NOW)


@pytest.mark.parametrize("make", [first_key, first_instance])
def test_two_nodes_that_start_at_the_same_time_get_the_same_owner_key_and_instance(database, admin, make):
    async def scenario(store):
        first_is_made, may_commit = threading.Event(), threading.Event()

        def make_slowly(tx):
            result = make(tx)
            assert tx.access_key("unknown") is None  # so that all statements before it are executed
            first_is_made.set()
            may_commit.wait(PATIENCE)
            return result

        first = asyncio.create_task(store.write(make_slowly))
        await until(first_is_made.is_set)
        second = asyncio.create_task(store.write(make))
        await until(lambda: second.done() or waits_for(admin, "transactionid"))
        may_commit.set()
        return await first, await second

    first, second = with_store(database, scenario)
    assert first == second
