"""The SQLite store: one commit for many, nobody harmed by another's failure, nothing said before it is on disk."""

import asyncio
import contextlib
import sqlite3
import threading
from pathlib import Path

import pytest

from tests.values import NOW, TENANT, NoSeal, an_email_address, make_instance
from waypost.app import email_addresses, instances, ports
from waypost.domain import errors
from waypost.domain.aliases import AliasLink
from waypost.store import migrations, sql, sqlite, sqlite_file


def with_store(path, scenario):
    """Run `scenario(store)` on a store on this path, and close it."""

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


def fail(tx):
    make_instance(tx, "half-done")
    raise RuntimeError("in the middle")


def test_what_was_written_is_there_for_the_next_read_and_after_a_restart(path):
    async def write_and_read(store):
        await store.write(make_instance)
        return await store.read(exists("i")), await store.search(exists("i"))

    async def read(store):
        return await store.read(exists("i"))

    assert with_store(path, write_and_read) == (True, True)
    assert with_store(path, read)


def test_a_failed_write_leaves_nothing_and_harms_no_neighbour(path):
    async def scenario(store):
        held = threading.Event()
        first = asyncio.create_task(store.write(lambda tx: held.wait(5)))  # so that the others wait together
        await asyncio.sleep(0)
        others = [store.write(lambda tx, n=n: make_instance(tx, f"i{n}")) for n in range(3)]
        others.insert(1, store.write(fail))
        waiting = asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0)
        held.set()
        outcomes = await waiting
        await first
        found = [await store.read(exists(name)) for name in ("i0", "i1", "i2", "half-done")]
        return [type(outcome).__name__ for outcome in outcomes], found

    outcomes, found = with_store(path, scenario)
    assert outcomes == ["Instance", "RuntimeError", "Instance", "Instance"]
    assert found == [True, True, True, False]


def test_a_refusal_before_the_first_change_costs_its_neighbours_nothing(path):
    runs = []

    def counted(tx):
        runs.append(make_instance(tx, f"i{len(runs)}"))

    async def scenario(store):
        held = threading.Event()
        first = asyncio.create_task(store.write(lambda tx: held.wait(5)))
        await asyncio.sleep(0)
        refused = store.write(lambda tx: instances.get(tx, TENANT, "nobody"))
        outcomes = asyncio.gather(store.write(counted), refused, store.write(counted), return_exceptions=True)
        await asyncio.sleep(0)
        held.set()
        await first
        return [type(outcome) for outcome in await outcomes]

    assert with_store(path, scenario)[1] is errors.NotFound
    assert len(runs) == 2


def test_a_full_disk_refuses_what_does_not_fit_and_keeps_nothing_of_it(path):
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


def test_waiting_writes_share_a_commit(path):
    async def scenario(store):
        commits = []
        store._writing.connection.set_trace_callback(lambda statement: commits.append(statement == "COMMIT"))
        held = threading.Event()
        first = asyncio.create_task(store.write(lambda tx: held.wait(5)))
        await asyncio.sleep(0)
        others = asyncio.gather(*(store.write(lambda tx, n=n: make_instance(tx, f"i{n}")) for n in range(20)))
        await asyncio.sleep(0)
        held.set()
        await asyncio.gather(first, others)
        return sum(commits)

    assert with_store(path, scenario) <= 2


class CommitFails:
    """A connection whose next COMMIT fails, as on a full disk."""

    def __init__(self, connection):
        self._connection = connection

    def __getattr__(self, name):
        return getattr(self._connection, name)

    def execute(self, statement, *parameters):
        if statement == "COMMIT":
            raise sqlite3.OperationalError("database or disk is full")
        return self._connection.execute(statement, *parameters)


def test_if_the_commit_fails_every_caller_hears_so_and_the_store_lives(path):
    async def scenario(store):
        whole = store._writing.connection
        store._writing.connection = CommitFails(whole)
        outcomes = await asyncio.gather(
            *(store.write(lambda tx, n=n: make_instance(tx, f"i{n}")) for n in range(3)), return_exceptions=True
        )
        store._writing.connection = whole
        found = [await store.read(exists(f"i{n}")) for n in range(3)]
        await store.write(make_instance)
        return outcomes, found, await store.read(exists("i"))

    outcomes, found, lives = with_store(path, scenario)
    assert all(isinstance(outcome, ports.StoreUnavailable) for outcome in outcomes)
    assert found == [False, False, False]
    assert lives


def test_an_error_of_the_database_is_unavailability_not_a_crash(path):
    def broken(tx):
        tx.connection.execute("SELECT * FROM no_such_table")

    async def scenario(store):
        kinds = []
        for run in (store.read, store.search, store.write):
            with pytest.raises(ports.StoreUnavailable) as caught:
                await run(broken)
            kinds.append(str(caught.value))
        return kinds, await store.read(exists("i"))

    kinds, _ = with_store(path, scenario)
    assert all("no such table" in kind for kind in kinds)


def test_closing_finishes_the_writes_that_wait_and_refuses_later_ones(path):
    async def scenario(store):
        waiting = [asyncio.create_task(store.write(lambda tx, n=n: make_instance(tx, f"i{n}"))) for n in range(5)]
        await asyncio.sleep(0)
        await store.close()
        assert all(task.done() and not task.exception() for task in waiting)
        for run in (store.read, store.search, store.write):
            with pytest.raises(ports.StoreUnavailable):
                await run(exists("i"))

    async def main():
        await scenario(sqlite.SqliteStore(path, NoSeal()))

    asyncio.run(main())


def test_a_caller_that_gives_up_disturbs_nobody(path):
    async def scenario(store):
        held = threading.Event()
        given_up = asyncio.create_task(store.write(lambda tx: held.wait(5)))
        await asyncio.sleep(0)
        given_up.cancel()
        held.set()
        await store.write(make_instance)
        return await store.read(exists("i"))

    assert with_store(path, scenario)


def test_a_read_sees_one_moment(path):
    async def scenario(store):
        def look_twice(tx):
            before = tx.instance(TENANT, "i")
            written = asyncio.run_coroutine_threadsafe(store.write(make_instance), loop)
            written.result(5)
            return before, tx.instance(TENANT, "i")

        loop = asyncio.get_running_loop()
        return await store.search(look_twice)

    assert with_store(path, scenario) == (None, None)


def test_a_database_of_a_newer_version_is_refused_with_a_sentence(path):
    with_store(path, lambda store: store.write(make_instance))
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO migrations VALUES (9999, 'from_the_future', '')")
    connection.close()
    with pytest.raises(migrations.SchemaTooNew, match=r"has schema 9999, and this Waypost knows schemas up to \d+"):
        with_store(path, None)


def test_a_file_that_is_no_database_is_refused_with_a_sentence(path):
    path.write_bytes(b"this is not a database, and long enough to be looked at as one" * 20)
    with pytest.raises(ports.StoreUnavailable, match="cannot be opened"):
        with_store(path, None)


def test_a_sqlite_that_is_too_old_is_named(path, monkeypatch):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 9))
    with pytest.raises(sqlite_file.SqliteTooOld, match=r"SQLite 3\.37 or newer is needed; this Python has"):
        with_store(path, None)


def test_a_migration_that_fails_leaves_nothing_behind(path, monkeypatch):
    broken = migrations.Migration(99, "broken", "CREATE TABLE half_done (a TEXT);\nCREATE TABLE instances (a TEXT);\n")
    monkeypatch.setattr(migrations, "known", lambda dialect, known=migrations.known: [*known(dialect), broken])
    with pytest.raises(ports.StoreUnavailable):
        with_store(path, None)
    monkeypatch.undo()

    connection = sqlite3.connect(path)
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
    connection.close()
    assert "half_done" not in tables
    with_store(path, lambda store: store.write(make_instance))


def test_every_query_and_migration_says_why_it_is_there():
    text = Path(sql.__file__).with_name("queries.sqlite.sql").read_text(encoding="utf-8")
    for name in sql.load("sqlite"):
        assert f"-- name: {name}\n-- " in text
    for migration in migrations.known("sqlite"):
        assert migration.sql.startswith("-- ")


def test_commits_wait_for_the_disk(path):
    async def scenario(store):
        return store._writing.connection.execute("PRAGMA synchronous").fetchone(), store._writing.connection.execute(
            "PRAGMA journal_mode"
        ).fetchone()

    assert with_store(path, scenario) == ((2,), ("wal",))


class RollbackFailsToo(CommitFails):
    """A connection on which nothing works any more, as on a disk that is gone."""

    def execute(self, statement, *parameters):
        if statement in ("COMMIT", "ROLLBACK"):
            raise sqlite3.OperationalError("disk I/O error")
        return self._connection.execute(statement, *parameters)


def test_the_writer_outlives_a_disk_that_is_gone_for_a_while(path):
    async def scenario(store):
        whole = store._writing.connection
        store._writing.connection = RollbackFailsToo(whole)
        outcomes = [await asyncio.gather(store.write(make_instance), return_exceptions=True) for _ in range(2)]
        store._writing.connection = whole
        await store.write(make_instance)
        return outcomes, await store.read(exists("i"))

    outcomes, lives = with_store(path, scenario)
    assert all(isinstance(outcome, ports.StoreUnavailable) for (outcome,) in outcomes)
    assert lives


class TestConstraints:
    """What the schema refuses, even from a use case that forgot to ask."""

    @pytest.fixture
    def linked(self, tx):
        make_instance(tx)
        for name in "pabc":
            email_addresses.create(tx, TENANT, an_email_address(name), tags={})
        tx.add_link(AliasLink("p", "a", NOW))
        return tx

    @pytest.mark.parametrize(("primary", "alias"), [("p", "b"), ("b", "a"), ("a", "b"), ("b", "p"), ("p", "a")])
    def test_an_email_address_is_in_one_link_at_most(self, linked, primary, alias):
        with pytest.raises(errors.Conflict, match="in an alias link already"):
            linked.add_link(AliasLink(primary, alias, NOW))

    def test_a_link_has_two_ends_that_exist_and_differ(self, linked):
        one_end = "INSERT INTO alias_link_ends VALUES ('b', 'primary', 'c', 'alias', 0)"
        for attempt in (
            lambda: linked.connection.execute(one_end),
            lambda: linked.add_link(AliasLink("b", "nobody", NOW)),
            lambda: linked.add_link(AliasLink("b", "b", NOW)),
            lambda: linked.connection.execute("DELETE FROM alias_link_ends WHERE email_address_id = 'p'"),
        ):
            with pytest.raises((sqlite3.IntegrityError, errors.Conflict)):
                attempt()

    def test_a_link_keeps_its_email_addresses(self, linked):
        with pytest.raises(sqlite3.IntegrityError):
            linked.connection.execute("DELETE FROM email_addresses WHERE id = 'a'")

    def test_an_instance_with_email_addresses_cannot_simply_vanish(self, linked):
        with pytest.raises(sqlite3.IntegrityError):
            linked.connection.execute("DELETE FROM instances")
        instances.delete(linked, TENANT, "i", now=NOW)


def test_a_search_that_takes_too_long_is_given_up_and_the_next_one_runs(path, monkeypatch):
    monkeypatch.setattr(sqlite, "SEARCH_SECONDS", 0.0)
    monkeypatch.setattr(sqlite, "STEPS_BETWEEN_LOOKS", 1)

    async def scenario(store):
        await store.write(make_instance)
        with pytest.raises(errors.Invalid, match="given up"):
            await store.search(exists("i"))
        monkeypatch.setattr(sqlite, "SEARCH_SECONDS", 5.0)
        assert await store.search(exists("i"))

    with_store(path, scenario)


def test_an_old_database_is_left_alone_where_only_a_new_one_may_be_made(path):
    with_store(path, lambda store: store.write(make_instance))
    with contextlib.closing(sqlite3.connect(path)) as older, older:
        older.execute("DELETE FROM migrations WHERE number > 1")

    async def open_it():
        sqlite.SqliteStore(path, NoSeal(), only_new=True)

    with pytest.raises(migrations.SchemaTooOld):
        asyncio.run(open_it())
