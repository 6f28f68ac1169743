"""The SQLite store: many writes share a commit, do not affect each other, and return only when they are on the disk.

The guarantees of both stores are tested in tests/store/contract.
"""

import asyncio
import contextlib
import re
import sqlite3
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial

import pytest

from tests.kit.patience import PATIENCE
from tests.kit.stores.time_limits import set_limits
from tests.kit.values import TENANT, NoSeal, make_instance
from waypost.app import ports
from waypost.app.directory import instances
from waypost.domain import errors
from waypost.domain.mail.delivery import Reason
from waypost.store import sql
from waypost.store.sqlite import failed_syncs
from waypost.store.sqlite import file as sqlite_file
from waypost.store.sqlite import store as sqlite


def with_store(path, scenario):
    """Open a store at this path, run `scenario(store)`, and close the store."""

    async def main():
        store = sqlite.SqliteStore(path, NoSeal())
        try:
            return await scenario(store)
        finally:
            await store.close()

    return asyncio.run(main())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "waypost.sqlite3"


def exists(instance_id):
    return lambda tx: tx.instance(TENANT, instance_id) is not None


def test_an_error_before_the_first_change_does_not_rerun_other_writes(path):
    runs = []

    def counted(tx):
        runs.append(make_instance(tx, f"i{len(runs)}"))

    async def scenario(store):
        held = threading.Event()
        first = asyncio.create_task(store.write(lambda tx: held.wait(PATIENCE)))
        await asyncio.sleep(0)
        refused = store.write(lambda tx: instances.get(tx, TENANT, "nobody"))
        outcomes = asyncio.gather(store.write(counted), refused, store.write(counted), return_exceptions=True)
        await asyncio.sleep(0)
        held.set()
        await first
        return [type(outcome) for outcome in await outcomes]

    assert with_store(path, scenario)[1] is errors.NotFound
    assert len(runs) == 2


def test_a_write_that_does_not_fit_on_a_full_disk_is_refused_and_rolled_back(path):
    def large(tx):
        make_instance(tx, "large")
        tx.connection.execute("CREATE TABLE filler AS SELECT randomblob(200000) AS filling")

    async def scenario(store):
        (pages,) = store._writing.connection.execute("PRAGMA page_count").fetchone()
        store._writing.connection.execute(f"PRAGMA max_page_count = {pages + 10}")
        outcomes = await asyncio.gather(
            store.write(lambda tx: make_instance(tx, "before")),
            store.write(large),
            store.write(lambda tx: make_instance(tx, "after")),
            return_exceptions=True,
        )
        store._writing.connection.execute("PRAGMA max_page_count = 1000000")
        await store.write(make_instance)
        found = {name: await store.read(exists(name)) for name in ("before", "large", "after", "i")}
        return [type(outcome).__name__ for outcome in outcomes], found

    outcomes, found = with_store(path, scenario)
    assert outcomes[1] == "StoreUnavailable"
    assert not found["large"]
    assert found["i"]
    for name, outcome in (("before", outcomes[0]), ("after", outcomes[2])):
        assert found[name] == (outcome == "Instance")


def test_waiting_writes_share_one_commit(path):
    async def scenario(store):
        commits = []
        store._writing.connection.set_trace_callback(lambda statement: commits.append(statement == "COMMIT"))
        held = threading.Event()
        first = asyncio.create_task(store.write(lambda tx: held.wait(PATIENCE)))
        await asyncio.sleep(0)
        others = asyncio.gather(*(store.write(lambda tx, n=n: make_instance(tx, f"i{n}")) for n in range(20)))
        await asyncio.sleep(0)
        held.set()
        await asyncio.gather(first, others)
        return sum(commits)

    assert with_store(path, scenario) <= 2


class CommitFails:
    """A connection on which each COMMIT fails, by default as if the disk were full."""

    def __init__(self, connection, error=None):
        self._connection = connection
        self._error = error or sqlite3.OperationalError("database or disk is full")

    def __getattr__(self, name):
        return getattr(self._connection, name)

    def execute(self, statement, *parameters):
        if statement == "COMMIT":
            raise self._error
        return self._connection.execute(statement, *parameters)


def test_if_the_commit_fails_every_caller_gets_an_error_and_the_store_keeps_working(path):
    async def scenario(store):
        working = store._writing.connection
        store._writing.connection = CommitFails(working)
        outcomes = await asyncio.gather(
            *(store.write(lambda tx, n=n: make_instance(tx, f"i{n}")) for n in range(3)), return_exceptions=True
        )
        store._writing.connection = working
        found = [await store.read(exists(f"i{n}")) for n in range(3)]
        await store.write(make_instance)
        return outcomes, found, await store.read(exists("i"))

    outcomes, found, still_works = with_store(path, scenario)
    assert all(isinstance(outcome, ports.StoreUnavailable) for outcome in outcomes)
    assert found == [False, False, False]
    assert still_works


def test_a_transaction_whose_commit_has_no_memory_is_overwritten_because_the_log_may_have_it(path, monkeypatch):
    """SQLite syncs the transaction first, and then needs memory for the index of the log."""
    overwritten = []
    monkeypatch.setattr(failed_syncs, "overwrite_failed_commit", overwritten.append)

    async def scenario(store):
        store._writing.connection = connection = CommitFails(store._writing.connection, MemoryError())
        with pytest.raises(ports.StoreUnavailable):
            await store.write(make_instance)
        return overwritten == [connection]

    assert with_store(path, scenario)


def test_a_database_error_is_reported_as_a_store_failure(path):
    def broken(tx):
        tx.connection.execute("SELECT * FROM no_such_table")

    async def scenario(store):
        kinds = []
        for run in (store.read, partial(store.long_read, what="the data of a test"), store.write):
            with pytest.raises(ports.StoreUnavailable) as caught:
                await run(broken)
            kinds.append(str(caught.value))
        return kinds, await store.read(exists("i"))

    kinds, _ = with_store(path, scenario)
    assert all("no such table" in kind for kind in kinds)


def test_a_file_that_is_not_a_database_is_refused_with_a_clear_message(path):
    path.write_bytes(b"this is not a database, but long enough to be read as a database" * 20)
    with pytest.raises(ports.StoreUnavailable, match="cannot be opened"):
        with_store(path, None)


def test_an_sqlite_library_that_is_too_old_is_refused_with_its_version(path, monkeypatch):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 9))
    with pytest.raises(sqlite_file.SqliteTooOld, match=r"Waypost needs SQLite 3\.37 or newer, but this Python has"):
        with_store(path, None)


def test_commits_wait_for_the_disk(path):
    async def scenario(store):
        return store._writing.connection.execute("PRAGMA synchronous").fetchone(), store._writing.connection.execute(
            "PRAGMA journal_mode"
        ).fetchone()

    assert with_store(path, scenario) == ((2,), ("wal",))


class RollbackFailsToo(CommitFails):
    """A connection on which COMMIT and ROLLBACK fail, as if the disk were gone."""

    def execute(self, statement, *parameters):
        if statement in ("COMMIT", "ROLLBACK"):
            raise sqlite3.OperationalError("disk I/O error")
        return self._connection.execute(statement, *parameters)


def test_the_writer_keeps_working_after_a_disk_was_temporarily_gone(path):
    async def scenario(store):
        working = store._writing.connection
        store._writing.connection = RollbackFailsToo(working)
        outcomes = [await asyncio.gather(store.write(make_instance), return_exceptions=True) for _ in range(2)]
        store._writing.connection = working
        await store.write(make_instance)
        return outcomes, await store.read(exists("i"))

    outcomes, still_works = with_store(path, scenario)
    assert all(isinstance(outcome, ports.StoreUnavailable) for (outcome,) in outcomes)
    assert still_works


def test_a_search_that_takes_too_long_is_stopped_and_the_next_search_runs(path, monkeypatch):
    set_limits(monkeypatch, long_read=0.0)
    monkeypatch.setattr(sqlite_file, "STEPS_BETWEEN_CHECKS", 1)

    async def scenario(store):
        await store.write(make_instance)
        with pytest.raises(ports.TookTooLong, match="The store stopped reading"):
            await store.long_read(exists("i"), what="the data of a test")
        set_limits(monkeypatch, long_read=PATIENCE)
        assert await store.long_read(exists("i"), what="the data of a test")

    with_store(path, scenario)


def test_a_search_that_close_interrupts_is_not_reported_as_too_slow(path):
    def interrupted(tx):
        # `close` interrupts the connection in the same way, but from its own thread.
        tx.connection.create_function("interrupted", 0, tx.connection.interrupt)
        endless = "WITH RECURSIVE n (i) AS (SELECT interrupted() UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
        tx.connection.execute(endless)

    async def scenario(store):
        with pytest.raises(ports.StoreUnavailable, match="the store is closed"):
            await store.long_read(interrupted, what="the data of a test")

    with_store(path, scenario)


@pytest.mark.parametrize("how", ["read", "long_read", "write"])
def test_a_damaged_page_is_reported_as_a_store_failure(path, how):
    def damaged(_):
        with contextlib.closing(sqlite3.connect(":memory:")) as other:
            other.executescript(
                "CREATE TABLE t (x); PRAGMA writable_schema = ON; UPDATE sqlite_schema SET rootpage = 99;"
                " PRAGMA writable_schema = RESET; SELECT * FROM t"
            )

    async def scenario(store):
        run = partial(store.long_read, what="the data of a test") if how == "long_read" else getattr(store, how)
        with pytest.raises(ports.StoreUnavailable, match="malformed"):
            await run(damaged)

    with_store(path, scenario)


def test_opening_waits_for_another_process_that_is_creating_the_file(path):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor(1) as threads:
            opened = threads.submit(with_store, path, lambda store: store.write(make_instance))
            wait([opened], timeout=0.1)  # by then it waits for the lock
            other.execute("COMMIT")
            assert opened.result().id == "i"


@pytest.mark.parametrize("name", ["has_address_in", "keep_domain", "others_have_address_in"])
def test_the_owner_of_a_domain_is_found_with_an_index(tx, name):
    query = sql.load("sqlite")[name].sql
    given = ("example.com", "000000000000", "held")[: query.count("?3") + 2]
    steps = [detail for *_, detail in tx.connection.execute(f"EXPLAIN QUERY PLAN {query}", given)]
    searches = [one for one in steps if "email_addresses" in one]
    assert searches
    for one in searches:
        assert "INDEX email_addresses_by_domain (<expr>=?" in one


def test_the_mail_of_an_account_is_found_with_an_index(tx):
    query = sql.load("sqlite")["mailbox"].sql
    given = ("a", "~", "", "", None, 10)
    steps = [detail for *_, detail in tx.connection.execute(f"EXPLAIN QUERY PLAN {query}", given)]
    searches = [one for one in steps if "COVERING INDEX deliveries_by_reason (account=? AND reason=? AND m" in one]
    assert len(searches) == len(Reason)


RESETS = {"forget_all_deliveries"}
"""The queries that empty a server for tests."""

_ALL = r"INDEX deliveries_by_\w+ \(account=\?\)|SCAN deliveries"


@pytest.mark.parametrize(
    "name", [name for name, query in sql.load("sqlite").items() if "deliveries" in query.sql and name not in RESETS]
)
def test_no_query_reads_all_deliveries_of_an_account(tx, name):
    query = sql.load("sqlite")[name]
    steps = tx.connection.execute(f"EXPLAIN QUERY PLAN {query.sql}", [None] * len(query.parameters)).fetchall()
    assert not [detail for *_, detail in steps if re.search(_ALL, detail)]


def test_the_writer_is_woken_however_late_a_write_joins_those_that_wait(path):
    async def scenario(store):
        is_running, may_end = threading.Event(), threading.Event()

        def first(_):
            is_running.set()
            may_end.wait(PATIENCE)

        class Jobs(deque):
            """While the event loop adds the third write, the writer takes the second, and waits for more."""

            def append(self, job):
                if self:
                    may_end.set()
                    while self or not store._wakes.empty():
                        time.sleep(0.001)
                super().append(job)

        writes = [asyncio.ensure_future(store.write(first))]
        await asyncio.to_thread(is_running.wait, PATIENCE)
        store._jobs = Jobs()
        writes += [asyncio.ensure_future(store.write(lambda _: 2))]
        await asyncio.sleep(0)  # the write is added
        await asyncio.sleep(0)  # the writer is woken
        writes += [asyncio.ensure_future(store.write(lambda _: 3))]
        return await asyncio.wait_for(asyncio.gather(*writes), PATIENCE)

    assert with_store(path, scenario) == [None, 2, 3]
