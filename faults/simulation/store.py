"""The store of one simulated server: the real batches, drafts and queries on one SQLite database in memory.

All servers of a simulation share one connection. A transaction runs in one step, because the transactions of SQLite's
writers also run one after the other. What is simulated is what happens around a transaction: how long a write waits for
its turn, how long its result takes to reach the caller, and the faults.
"""

import asyncio
import functools
import sqlite3

from tests.kit.values import NoSeal
from waypost.store.sqlite import batches
from waypost.store.sqlite import file as sqlite_file
from waypost.store.sqlite.batches import Job
from waypost.store.sqlite.drafts import Drafting
from waypost.store.sqlite.transaction import SqliteTransaction


class Killed(BaseException):
    """The server is killed at this moment."""


class Connection(sqlite3.Connection):
    """A connection whose statements can fail."""

    fault = None
    """The fault of the open transaction: a function that gets the statement, and may raise an exception."""

    def execute(self, sql, *parameters):
        if self.fault:
            self.fault(sql)
        return super().execute(sql, *parameters)

    def executemany(self, sql, parameters):
        if self.fault:
            self.fault(sql)
        return super().executemany(sql, parameters)

    def commit_really(self):
        """Commit without the fault."""
        super().execute("COMMIT")

    def roll_back_really(self):
        """Roll back without the fault, if a transaction is open."""
        if self.in_transaction:
            super().execute("ROLLBACK")


MOST_AT_ONCE = 8
"""The maximum number of writes in one transaction: few, so that simulations have many transactions."""

FOREIGN_KEYS = "ON"
"""Whether the database checks foreign keys. A broken variant changes it."""


def schema(sql):
    """Return the SQL of the migration that is run. A broken variant replaces this function."""
    return sql


@functools.cache
def _template(_schema):
    """Return a database with the newest schema, as bytes. It is made once for each variant of the schema."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    original = sqlite_file._statements
    sqlite_file._statements = lambda script: original(_schema(script))
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        sqlite_file.migrate(connection, where="memory")
    finally:
        sqlite_file._statements = original
    return connection.serialize()


def open_database():
    """Return a connection to an empty database with the newest schema."""
    connection = sqlite3.connect(
        ":memory:", isolation_level=None, factory=Connection, cached_statements=sqlite_file.PREPARED
    )
    connection.deserialize(_template(schema))
    connection.execute(f"PRAGMA foreign_keys = {FOREIGN_KEYS}")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.create_function("fold", 1, sqlite_file.caseless.fold, deterministic=True)
    return connection


class Versions:
    """The version of the directory and the routes, which all servers share (`store/sqlite/turn.py`)."""

    number = 0

    def current(self):
        return None if self.number % 2 else self.number

    def begin_change(self):
        self.number |= 1

    def end_turn(self):
        self.number += self.number % 2


class _Reading(SqliteTransaction):
    """A transaction for reads. Between two of its queries, other servers may commit, as they may during point reads."""

    between = staticmethod(lambda: None)

    def _fetch(self, query, parameters):
        self.between()
        return super()._fetch(query, parameters)

    def _ask(self, query, parameters):
        self.between()
        return super()._ask(query, parameters)


class SimulatedStore:
    """The implementation of `ports.Store` for one server of a simulation."""

    def __init__(self, world, process):
        self._world, self._process = world, process
        self.is_dead = False
        self._jobs, self._done = [], []
        self._writer = None
        seal = NoSeal()
        self._writing = SqliteTransaction(world.connection, seal)
        self._reading = _Reading(world.connection, seal)
        self._reading.between = lambda: world.between_queries(self)
        self._long_reading = SqliteTransaction(world.connection, seal)
        self._writing.before_change = world.versions.begin_change
        for tx in (self._writing, self._reading):
            tx.directory_version = world.versions.current
        self._drafting = Drafting(self._reading, seal)

    async def read(self, use_case):
        if self._world.chance.random() < 0.5:
            await asyncio.sleep(self._world.latency())
        return self._read(use_case, self._reading)

    async def long_read(self, use_case, *, what, account=""):
        await asyncio.sleep(self._world.latency())
        return self._read(use_case, self._long_reading)

    def _read(self, use_case, tx):
        self._refuse_when_dead()
        try:
            self._world.injector.at_read(self._process)
            return use_case(tx)
        except sqlite3.DatabaseError as error:
            if sqlite_file.is_unavailable(error):
                raise sqlite_file.unavailable(error) from error
            raise

    async def write(self, use_case, *, may_share=False):
        self._refuse_when_dead()
        draft = self._drafting.draft(use_case) if may_share else None
        job = Job(use_case, asyncio.get_running_loop().create_future(), draft)
        self._jobs.append(job)
        if self._writer is None:
            # The store has one writer, whose task belongs to the server and not to the caller.
            self._writer = self._world.loop.in_process(self._process, self._write_batches())
        await job.future
        return job.take()

    async def _write_batches(self):
        try:
            while self._jobs or self._done:
                await asyncio.sleep(self._world.latency())
                self.commit_batch()
                await asyncio.sleep(self._world.latency())
                reported, self._done = self._done, []
                for job in reported:
                    job.report()
        finally:
            self._writer = None

    @property
    def has_waiting(self):
        """Whether writes wait for their turn."""
        return bool(self._jobs) and not self.is_dead

    def commit_batch(self):
        """Run the waiting writes in one transaction. No other process runs meanwhile, as in a writer's turn."""
        self._refuse_when_dead()
        batch, self._jobs = self._jobs[:MOST_AT_ONCE], self._jobs[MOST_AT_ONCE:]
        if not batch:
            return
        world, connection = self._world, self._world.connection
        try:
            world.injector.before_begin(self._process)
            connection.fault = world.injector.in_transaction(self._process)
            batches.discard_old_drafts(batch, world.versions.current())
            batches.run(self._writing, batch)
            connection.fault = None
            world.injector.after_commit(self._process)
        except Killed:
            self._jobs = []
            world.kill(self._process)
            return
        finally:
            connection.fault = None
            connection.roll_back_really()
            world.versions.end_turn()
        self._done += batch

    def _refuse_when_dead(self):
        if self.is_dead:
            raise asyncio.CancelledError

    def directory_version(self):
        return self._world.versions.current()

    def version_of_keys(self):
        return None

    def reusable_octets(self):
        return 0

    async def clock_ahead(self):
        return 0.0

    async def close(self):
        self.is_dead = True
