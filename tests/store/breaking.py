"""A PostgreSQL store that is broken on purpose, in a few words."""

import asyncio
import time
from contextlib import contextmanager

from tests.values import TENANT, NoSeal
from waypost.store.postgres import PostgresStore

AT_ONCE = 1.0
"""Seconds in which something happens that need not wait for anything."""


def with_store(url, scenario, *, connections=4):
    """Run `scenario(store)` on a store on this database, and close it."""

    async def main():
        store = PostgresStore(url, NoSeal(), connections=connections)
        try:
            return await scenario(store)
        finally:
            await store.close()

    return asyncio.run(main())


def exists(name):
    return lambda tx: tx.instance(TENANT, name) is not None


def at_commit(admin, what):
    """Let this happen at the end of each transaction that makes an instance."""
    admin.execute(
        f"CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {what}; RETURN NULL; END$$;"
        "CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON instances DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION at_commit()"
    )


def count(admin):
    return admin.execute("SELECT count(*) FROM instances").fetchone()[0]


def terminate_all(admin):
    admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


async def until(happened):
    async with asyncio.timeout(5):
        while not happened():  # noqa: ASYNC110 - it happens in PostgreSQL
            await asyncio.sleep(0.002)


def waits_for(admin, what):
    """Whether somebody's session waits for this."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = %s"
    return admin.execute(query, [what]).fetchone()[0] > 0


@contextmanager
def seconds_at_most(limit):
    began = time.monotonic()
    yield
    assert time.monotonic() - began < limit
