"""The guarantees of `ports.Store` on both stores: writes are atomic, durable, and do not affect each other."""

import asyncio
import threading
from functools import partial

import pytest

from tests.kit.patience import NEVER, PATIENCE
from tests.kit.stores.both_stores import Handle
from tests.kit.stores.calls import (
    EVERYTHING,
    associating,
    check_invariants,
    create,
    creating,
    deleting,
    deleting_instance,
    describe,
    disassociating,
    ids,
)
from tests.kit.stores.time_limits import set_limits
from tests.kit.values import NOW, TENANT, a_delivery, a_message, an_email_address, make_instance
from waypost.app import ports
from waypost.app.directory import access_keys, instances, tags
from waypost.domain import errors
from waypost.domain.directory.aliases import AliasLink
from waypost.domain.iam.access_keys import AccessKey
from waypost.domain.mail.routes import Route


def exists(tx, instance_id="i"):
    return tx.instance(TENANT, instance_id) is not None


def making(instance_id):
    return lambda tx: make_instance(tx, instance_id)


def fail(tx):
    make_instance(tx, "half-done")
    raise RuntimeError("in the middle")


def test_written_data_is_visible_to_the_next_read_and_after_reopening(store, engine):
    store.write(make_instance)
    assert (store.read(exists), store.long_read(exists), store.another().read(exists)) == (True, True, True)
    reopened = Handle(engine, store.database)
    try:
        assert (reopened.read(exists), reopened.long_read(exists)) == (True, True)
    finally:
        reopened.close()


def test_the_store_passes_on_the_result_or_exception_of_a_use_case(store):
    class UnusualError(BaseException):
        pass

    def raise_it(tx):
        raise raised

    raised = UnusualError("as it is")
    for run in (store.write, store.read, store.long_read):
        assert run(lambda tx, *args, **kwargs: (args, kwargs), 1, two=2) == ((1,), {"two": 2})
        assert run(lambda tx: None) is None
        with pytest.raises(UnusualError) as caught:
            run(raise_it)
        assert caught.value is raised
        assert run(exists) is False


def test_a_write_sees_its_own_changes(store, instance):
    def write_and_read(tx):
        creating("a", tags={"k": "v"})(tx)
        tx.add_email_address(an_email_address("b"), {})
        tx.add_link(AliasLink("a", "b", NOW))
        page = tx.search(TENANT, "i", EVERYTHING, after=None, limit=9, count_up_to=9)
        return tx.description(TENANT, "i", "a"), [found.id for found, _ in page.found]

    description, found = store.write(write_and_read)
    assert (description.alias_id, description.tags) == ("b", {"k": "v"})
    assert found == ["a", "b"]


def test_a_failed_write_changes_nothing_and_does_not_affect_other_writes(store):
    outcomes = store.concurrently(making("i0"), fail, making("i1"), making("i2"))

    assert [type(outcome).__name__ for outcome in outcomes] == ["Instance", "RuntimeError", "Instance", "Instance"]
    assert [store.read(exists, name) for name in ("i0", "i1", "i2", "half-done")] == [True, True, True, False]


def test_writes_that_may_share_a_transaction_do_not_affect_each_other(store, instance):
    def adding(name):
        return lambda tx: exists(tx) and tx.add_message(a_message(name), b"hi", [a_delivery(message_id=name)], [])

    def fails(tx):
        adding("refused")(tx)
        raise RuntimeError("in the middle")

    def locks(tx):
        adding("locks")(tx)
        return tx.lock_instance(TENANT, "i").id

    async def scenario():
        use_cases = (adding("m1"), fails, adding("m1"), locks, adding("m2"), making("i2"))
        writes = (store.store.write(use_case, may_share=True) for use_case in use_cases)
        return await asyncio.gather(*writes, return_exceptions=True)

    first, failed, second, *others = store.run(scenario())
    assert isinstance(failed, RuntimeError)
    assert sorted(isinstance(outcome, Exception) for outcome in (first, second)) == [False, True]
    assert [str(outcome) for outcome in others[:2]] == ["i", "None"]
    assert store.rows("SELECT id FROM messages ORDER BY id") == [("locks",), ("m1",), ("m2",)]
    assert store.count("message_bodies", "deliveries", "queue", "instances") == {
        "message_bodies": 3,
        "deliveries": 3,
        "queue": 3,
        "instances": 2,
    }


def test_all_changes_of_a_write_that_fails_late_are_rolled_back(store, instance):
    create(store, "p", "a", tags={"k": "before"})
    before = [store.rows(f"SELECT * FROM {table} ORDER BY 1, 2") for table in ("email_addresses", "search_entries")]

    def half(tx):
        make_instance(tx, "j")
        creating("b")(tx)
        tx.add_link(AliasLink("p", "b", NOW))
        tx.remove_email_address("a")
        tx.put_tags("p", {"k": "after", "new": ""})
        tx.remove_tags("p", ["k"])
        tx.update_email_address(an_email_address("p").with_texts(display_name="x", description="y", now=NOW))
        tx.first_time("it")
        tx.hold("it")
        tx.mark_instance_deleted("i", now=NOW)
        tx.remove_rows_of_instance("i", limit=99)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.write(half)
    after = [store.rows(f"SELECT * FROM {table} ORDER BY 1, 2") for table in ("email_addresses", "search_entries")]
    assert after == before
    assert [describe(store, name).tags for name in "pa"] == [{"k": "before"}] * 2
    assert store.count("instances", "alias_link_ends") == {"instances": 1, "alias_link_ends": 0}
    assert store.write(lambda tx: tx.first_time("it")) is True


def test_a_write_that_catches_a_constraint_error_is_committed_whole_or_not_at_all(store, instance):
    create(store, "p", "a")

    def catches_the_error(tx):
        tx.put_tags("p", {"k": "v"})
        tx.add_link(AliasLink("p", "a", NOW))
        try:
            tx.add_link(AliasLink("p", "a", NOW))
            tx.links_of(["p"])
        except errors.Conflict:
            return "the use case continued"

    outcome = store.concurrently(catches_the_error)[0]
    if isinstance(outcome, Exception):
        assert describe(store, "p").tags == {}
        assert describe(store, "p").link is None
    else:
        assert describe(store, "p").tags == {"k": "v"}
        assert describe(store, "p").link is not None


def test_an_error_before_the_first_change_does_not_rerun_other_writes(store):
    runs = []

    def counted(tx):
        runs.append(make_instance(tx, f"i{len(runs)}"))

    outcomes = store.concurrently(counted, lambda tx: instances.get(tx, TENANT, "nobody"))
    assert [type(outcome) for outcome in outcomes] == [type(None), errors.NotFound]
    assert len(runs) == 1


def test_a_database_error_does_not_affect_later_calls(store):
    def broken(tx):
        tx.connection.execute("SELECT * FROM no_such_table").fetchall()

    def broken_half_way(tx):
        make_instance(tx)
        broken(tx)

    for _ in range(10):
        for run in (store.read, store.long_read, store.write):
            with pytest.raises(Exception, match=r"no.such.table|no_such_table"):
                run(broken)
        with pytest.raises(Exception, match=r"no.such.table|no_such_table"):
            store.write(broken_half_way)
    assert store.read(exists) is False
    store.write(make_instance)
    assert store.long_read(exists) is True


@pytest.mark.parametrize("writes", [5, 20])
def test_closing_finishes_waiting_writes_and_refuses_later_calls(engine, database, writes):
    handle = Handle(engine, database)

    async def close_while_they_wait():
        waiting = [asyncio.create_task(handle.store.write(making(f"i{n}"))) for n in range(writes)]
        await asyncio.sleep(0)
        await handle.store.close()
        return await asyncio.gather(*waiting, return_exceptions=True)

    try:
        outcomes = handle.run(close_while_they_wait())
        for run in (handle.read, handle.long_read, handle.write):
            with pytest.raises(ports.StoreUnavailable, match="closed"):
                run(exists)
    finally:
        handle._runner.close()
    assert [type(outcome).__name__ for outcome in outcomes] == ["Instance"] * writes
    reopened = Handle(engine, database)
    assert reopened.count("instances") == {"instances": writes}
    reopened.close()


def test_cancelled_writes_do_not_affect_later_writes(store):
    held, cancelled = threading.Event(), threading.Event()

    def slow(tx):
        held.set()
        cancelled.wait(PATIENCE)

    async def scenario():
        first = asyncio.create_task(store.store.write(slow))
        await asyncio.to_thread(held.wait, PATIENCE)
        later = [asyncio.create_task(store.store.write(slow)) for _ in range(30)]
        await asyncio.sleep(0)
        for task in (first, *later):
            task.cancel()
        cancelled.set()
        outcomes = await asyncio.gather(first, *later, return_exceptions=True)
        await asyncio.gather(*(store.store.write(making(f"i{n}")) for n in range(30)))
        return outcomes

    assert {type(outcome) for outcome in store.run(scenario())} == {asyncio.CancelledError}
    assert store.count("instances") == {"instances": 30}


def test_a_write_that_is_cancelled_while_it_runs_is_committed_whole_or_not_at_all(store):
    def half_way(tx):
        make_instance(tx, "i")
        first_is_made.set()
        cancelled.wait(PATIENCE)
        make_instance(tx, "j")

    first_is_made, cancelled = threading.Event(), threading.Event()

    async def scenario():
        task = asyncio.create_task(store.store.write(half_way))
        await asyncio.to_thread(first_is_made.wait, PATIENCE)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        cancelled.set()

    store.run(scenario())
    store.write(making("k"))
    # The write may still be running, so a single snapshot must show all of its changes or none.
    found = store.long_read(lambda tx: tx.instances(TENANT, after="", limit=9))
    assert [each.id for each in found] in (["k"], ["i", "j", "k"])


def test_a_long_read_sees_one_consistent_snapshot(engine, monkeypatch):
    # If a time limit ended the connection, the store would repeat the read, which would then see its own write.
    set_limits(monkeypatch, long_read=NEVER, silence=NEVER, answer=NEVER)
    with engine.empty_store() as store:

        async def scenario():
            def read_twice(tx):
                before = exists(tx), tx.instances(TENANT, after="", limit=9)
                asyncio.run_coroutine_threadsafe(store.store.write(make_instance), loop).result(PATIENCE)
                return before, (exists(tx), tx.instances(TENANT, after="", limit=9))

            loop = asyncio.get_running_loop()
            return await store.store.long_read(read_twice, what="the data of a test")

        assert store.run(scenario()) == ((False, []), (False, []))
        assert store.long_read(exists) is True


def test_reads_do_not_see_uncommitted_changes(store, instance):
    written, seen = threading.Event(), threading.Event()

    def unfinished(tx):
        creating("a", tags={"k": "v"})(tx)
        tx.put_tags("i", {"k": "v"})
        tx.count_email_addresses("i", up_to=1)  # so that all statements have been executed
        written.set()
        seen.wait(PATIENCE)

    async def scenario():
        writing = asyncio.create_task(store.store.write(unfinished))
        await asyncio.to_thread(written.wait, PATIENCE)
        found = [
            await read(lambda tx: (tx.email_address_by_key("a@example.com"), tx.instance_tags(TENANT, "i")))
            for read in (store.store.read, partial(store.store.long_read, what="the data of a test"))
        ]
        seen.set()
        await writing
        return found

    assert store.run(scenario()) == [(None, {})] * 2
    assert ids(store) == ["a"]


def test_many_concurrent_reads_searches_and_writes_all_succeed(store, instance):
    async def scenario():
        calls = []
        for number in range(40):
            calls.append(store.store.write(creating(f"e{number}", tags={"k": str(number)})))
            calls.append(store.store.read(exists))
            calls.append(
                store.store.long_read(lambda tx: tags.of(tx, TENANT, tags.Resource("i")), what="the data of a test")
            )
        return await asyncio.gather(*calls)

    outcomes = store.run(scenario())
    assert outcomes[1::3] == [True] * 40
    assert outcomes[0::3] == [f"e{number}" for number in range(40)]
    assert sorted(ids(store)) == sorted(outcomes[0::3])
    check_invariants(store)


def test_each_change_of_the_directory_or_the_routes_changes_the_version_and_mail_does_not(store, instance):
    def version():
        return store.store.directory_version()

    versions = [version()]
    for change in (
        creating("support"),
        creating("help"),
        associating("support", "help"),
        disassociating("support", "help"),
        partial(tags.add, tenant=TENANT, resource=tags.Resource("i"), new={"a": "b"}),
        partial(tags.remove, tenant=TENANT, resource=tags.Resource("i"), keys=["a"]),
        lambda tx: tx.put_routes([Route(match="*@example.com", to="smtp://there.example")], revision="r"),
        deleting("support"),
        deleting_instance(),
    ):
        store.write(change)
        versions.append(version())
    assert versions == [None] * len(versions) or len(set(versions)) == len(versions)
    store.write(lambda tx: tx.add_octets("m", b"hi", start=0, now=NOW))
    assert version() == versions[-1]


def test_only_a_change_of_an_access_key_changes_the_version_of_the_keys(store, instance):
    versions = [store.store.version_of_keys()]
    for change in (
        partial(access_keys.create, key=AccessKey("AKIA1", "secret", TENANT.account)),
        partial(access_keys.set_active, access_key_id="AKIA1", active=False),
        partial(access_keys.delete, access_key_id="AKIA1"),
        partial(access_keys.purge, now=NOW),
    ):
        store.write(change)
        versions.append(store.store.version_of_keys())
    assert versions == [None] * len(versions) or len(set(versions)) == len(versions)
    create(store, "support")
    assert store.store.version_of_keys() == versions[-1]


def test_a_transaction_that_fails_after_it_removed_an_email_address_leaves_a_version(store, instance):
    create(store, "support")
    has_versions = store.store.directory_version() is not None

    def half(tx):
        deleting("support")(tx)
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        store.write(half)
    assert (store.store.directory_version() is not None) is has_versions


def test_each_transaction_that_is_committed_is_measured(store, instance):
    measured = []
    for part in (store.store, getattr(store.store, "_write_groups", store.store)):
        part._on_commit = lambda writes, seconds: measured.append((writes, seconds))

    def fails(tx):
        raise errors.Conflict("no")

    store.write(lambda tx: tx.first_time("once"))
    with pytest.raises(errors.Conflict):
        store.write(fails)
    store.run(store.store.write(lambda tx: tx.has_instance_alias(""), may_share=True))
    assert [writes for writes, _ in measured] == [1, 1]
    assert all(0 < seconds < PATIENCE for _, seconds in measured)
