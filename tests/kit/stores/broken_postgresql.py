"""Functions that make a PostgreSQL store fail in tests."""

import asyncio
import time
from contextlib import contextmanager

from tests.kit.values import TENANT, NoSeal
from waypost.store.common import time_limits
from waypost.store.postgres.store import PostgresStore

AT_ONCE = 10.0
"""The time, in seconds, in which an action without waiting ends, even on a slow machine. The store's limits are longer.
"""
assert time_limits.LIMITS.answer > AT_ONCE < time_limits.LIMITS.statement


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose time a test advances."""

    _skipped = 0.0

    def time(self):
        return super().time() + self._skipped

    def skip(self, seconds):
        """Advance the time, so that waits of at most this duration end."""
        self._skipped += seconds


async def after(seconds, call):
    """Start a call, advance the time by `seconds`, and return the result of the call."""
    waiting = asyncio.ensure_future(call)
    await asyncio.sleep(0)
    asyncio.get_running_loop().skip(seconds)
    return await waiting


def with_store(url, scenario, *, connections=6):
    """Run `scenario(store)` with a store on this database, and close the store."""

    async def main():
        store = PostgresStore(url, NoSeal(), connections=connections)
        try:
            return await scenario(store)
        finally:
            await store.close()

    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(main())


def exists(name):
    return lambda tx: tx.instance(TENANT, name) is not None


def at_commit(admin, what, *, table="instances"):
    """Run the PL/pgSQL statement `what` at the end of each transaction that adds a row to the table."""
    admin.execute(
        f"CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {what}; RETURN NULL; END$$;"
        f"CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION at_commit()"
    )


def count(admin):
    return admin.execute("SELECT count(*) FROM instances").fetchone()[0]


def terminate_all(admin):
    admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


def waits_for(admin, what):
    """Return whether a session waits for the wait event `what`."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = %s"
    return admin.execute(query, [what]).fetchone()[0] > 0


@contextmanager
def seconds_at_most(limit):
    began = time.monotonic()
    yield
    assert time.monotonic() - began < limit
