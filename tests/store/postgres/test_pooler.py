"""The store through PgBouncer in transaction mode, which gives each transaction another session of PostgreSQL."""

import asyncio

import psycopg

from tests.kit.stores.broken_postgresql import exists
from tests.kit.stores.pooler import Pooler, needs_pgbouncer
from tests.kit.values import TENANT, NoSeal, a_delivery, a_message, make_instance
from waypost.store.postgres.store import PostgresStore


def sessions(admin):
    """Return the number of sessions of other clients."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    return admin.execute(query).fetchone()[0]


def message(name):
    def add(tx):
        tx.instance(TENANT, "i")
        tx.add_message(a_message(name), b"hi", [a_delivery(message_id=name)], [])
        return name

    return add


def leftovers(tx):
    """Return what earlier transactions have left behind in this session."""
    (prepared,) = tx.connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()
    changed = tx.connection.execute(
        "SELECT name FROM pg_settings WHERE source = 'session' AND setting <> reset_val"
        " AND name NOT IN ('transaction_isolation', 'lock_timeout', 'statement_timeout',"
        " 'idle_in_transaction_session_timeout', 'client_encoding', 'application_name')"
    )
    return prepared, [name for (name,) in changed]


@needs_pgbouncer
def test_the_store_works_through_a_pooler_in_transaction_mode(database, admin):
    names = [f"m{number}" for number in range(60)]

    async def scenario(url):
        store = PostgresStore(url, NoSeal(), prepares=False)
        try:
            await store.write(make_instance)
            work = [store.write(message(name), may_share=True) for name in names[::2]]
            work += [store.write(message(name)) for name in names[1::2]]
            work += [store.read(exists("i")) for _ in names]
            work += [store.long_read(exists("i"), what="the data of a test") for _ in names]
            await asyncio.gather(*work)
            return await asyncio.gather(*(store.write(leftovers) for _ in range(10)))
        finally:
            await store.close()

    with Pooler(database) as pooler:
        assert asyncio.run(scenario(pooler.url)) == [(0, [])] * 10
        assert sessions(admin) <= 3
    assert [name for (name,) in admin.execute("SELECT id FROM messages ORDER BY id")] == sorted(names)


def test_without_prepared_statements_a_session_is_left_as_it_was(database):
    async def scenario():
        store = PostgresStore(database, NoSeal(), connections=5, prepares=False)
        try:
            for number in range(8):
                await store.write(message(f"a{number}"), may_share=True)
                await store.write(message(f"b{number}"))
                await store.read(exists("i"))
            return await store.write(leftovers)
        finally:
            await store.close()

    assert asyncio.run(scenario()) == (0, [])


def test_the_settings_of_a_transaction_end_with_it(database):
    async def scenario():
        store = PostgresStore(database, NoSeal(), connections=5)
        try:
            await store.write(make_instance)
            session = store._writes._idle[0].connection
            return session.execute("SHOW lock_timeout").fetchone()[0]
        finally:
            await store.close()

    with psycopg.connect(database) as other:
        assert asyncio.run(scenario()) == other.execute("SHOW lock_timeout").fetchone()[0]
