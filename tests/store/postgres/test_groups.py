"""Writes that share a transaction on PostgreSQL: they succeed together, and a failure of one does not affect others."""

import asyncio
from functools import partial
from itertools import chain

import pytest
from msgspec.structs import replace

from tests.kit.stores.broken_postgresql import at_commit, exists, with_store
from tests.kit.stores.shared_writes import message, stored, together
from tests.kit.values import NOW, TENANT, a_message, an_email_address, make_instance
from waypost.app.deployment import Deployment
from waypost.app.directory import aliases, email_addresses
from waypost.app.mail import accept
from waypost.domain import errors
from waypost.domain.directory import addresses
from waypost.domain.mail.planned import PlannedPart
from waypost.domain.mail.routes import Route
from waypost.store.postgres import groups, pipelined, shared_transaction

NAMES = [f"m{number:02}" for number in range(20)]


# Writes that succeed


def test_writes_that_wait_at_the_same_time_share_a_transaction(database, admin):
    async def scenario(store):
        return await together(store, *map(message, NAMES))

    assert with_store(database, scenario) == NAMES
    assert stored(admin) == [NAMES]
    rows = admin.execute("SELECT message_id, octets FROM message_bodies ORDER BY message_id").fetchall()
    assert rows == [(name, b"hi") for name in NAMES]


def test_messages_with_planned_deliveries_share_a_transaction(database, admin):
    """The type of a number that is sent must fit its column. Otherwise each of these messages costs a connection."""

    def planned(name):
        add, parts = message(name), [PlannedPart(()), PlannedPart(())]

        def add_with_plan(tx):
            add(tx)
            tx.add_planned(name, parts)
            return name

        return add_with_plan

    async def scenario(store):
        return await together(store, *map(planned, NAMES))

    assert with_store(database, scenario) == NAMES
    assert stored(admin) == [NAMES]
    assert admin.execute("SELECT count(*) FROM planned_deliveries").fetchone() == (2 * len(NAMES),)


ROUTES = {"inboxes": (), "a relay": (Route(match="a@example.com", to="smtp://mail.example.net:25"),)}


@pytest.mark.parametrize("routes", ROUTES.values(), ids=ROUTES)
@pytest.mark.parametrize("sender", ["sender@example.org", ""])
def test_accepted_messages_share_a_transaction(database, admin, routes, sender):
    deployment = Deployment("mx.example.com", b"k" * 32, routes=routes)
    recipient = addresses.parse("a@example.com")

    def accepting(name):
        return partial(
            accept.accept_message,
            deployment=deployment,
            message_id=name,
            envelope=replace(a_message().envelope, sender=sender, recipients=(recipient.text,)),
            recipients=[recipient],
            content=accept.examine(b"Subject: hi\r\n\r\n", hostname="mx.example.com", sender=sender),
            raw=b"Subject: hi\r\n\r\n",
            now=NOW,
        )

    async def scenario(store):
        await store.write(make_instance)
        for name in ("p", "a"):
            new = an_email_address(name)
            await store.write(partial(email_addresses.create, tenant=TENANT, email_address=new, tags={}))
        link = partial(aliases.associate, tenant=TENANT, instance_id="i", primary_id="p", alias_id="a", now=NOW)
        await store.write(link)
        return await together(store, *map(accepting, NAMES))

    assert [accepted.message.id for accepted in with_store(database, scenario)] == NAMES
    assert stored(admin) == [NAMES]
    assert admin.execute("SELECT count(*) FROM deliveries").fetchone() == (2 * len(NAMES),)
    assert admin.execute("SELECT count(*) FROM queue").fetchone() == (len(NAMES) if routes else 0,)


@pytest.mark.parametrize("method", ["read", "write"])
def test_look_ups_that_are_the_same_are_sent_once_for_a_group(database, monkeypatch, method):
    sent = []

    class Recording(pipelined.PipelinedConnection):
        def send(self, sql, *parameters, **options):
            sent.append(sql)
            super().send(sql, *parameters, **options)

    def finds(name):
        def use_case(tx):
            found = tx.instance(TENANT, name)
            return found and found.id

        return use_case

    async def scenario(store):
        await store.write(make_instance)
        run = partial(store.write, may_share=True) if method == "write" else store.read
        await run(finds("i"))
        sent.clear()
        return await asyncio.gather(*(run(finds(name)) for name in ["i", "i", "no", "i", "no"]))

    monkeypatch.setattr(groups, "PipelinedConnection", Recording)
    assert with_store(database, scenario) == ["i", "i", None, "i", None]
    assert len([sql for sql in sent if b"FROM instances" in sql]) == 2


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
    at_commit(admin, f"INSERT INTO seen SELECT {show}", table="messages")

    async def scenario(store):
        await together(store, message("m1"))
        await store.write(message("m2"))

    with_store(database, scenario)
    assert [seen for (seen,) in admin.execute("SELECT setting FROM seen")] == ["on read committed 3s"] * 2
