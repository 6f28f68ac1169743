"""The PostgreSQL store: writes of messages share transactions, and every other write has a transaction of its own.

Point queries, and writes that may share a transaction, are run in groups on the event loop (`groups.py`). All other
work runs in transactions of its own, on threads that wait for the database (`pool.py`). Threads and groups have
separate connections, so that a write that waits for a locked row delays neither point queries nor the acceptance of
messages.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import psycopg
from msgspec import Struct

from waypost.app import ports
from waypost.store.common import time_limits
from waypost.store.common.statements import Seal
from waypost.store.common.turns import Turns
from waypost.store.postgres import connection as postgres_connection
from waypost.store.postgres import migrating
from waypost.store.postgres.groups import ReadGroups, WriteGroups
from waypost.store.postgres.pool import Pool, Session, none_free
from waypost.store.postgres.transaction import PostgresTransaction

T = TypeVar("T")

CONNECTIONS = 16
"""The default number of connections for each process; see `Shares`."""

FEWEST = 5
"""The smallest number of connections for a process: one for each kind of work."""


class Shares(Struct, frozen=True):
    """The number of connections for each kind of work."""

    groups: int
    """The connections for groups of point queries, and as many again for groups of writes."""
    reads: int
    """The connections for point queries that cannot join a group."""
    long_reads: int
    writes: int
    """The connections for writes that have a transaction of their own."""

    @classmethod
    def of(cls, connections: int) -> "Shares":
        """Divide a number of connections, which must be at least `FEWEST`: a quarter for long reads, an eighth for each
        kind of group, a sixteenth for single point queries, and the rest for single writes.
        """
        long_reads, groups, reads = (max(1, connections // part) for part in (4, 8, 16))
        return cls(groups, reads, long_reads, writes=connections - long_reads - 2 * groups - reads)


class PostgresStore:
    """The implementation of `ports.Store` on one PostgreSQL database, which other processes may use too.

    A `PostgresStore` must be created and used on the same event loop.
    """

    def __init__(
        self,
        url: str,
        seal: Seal,
        *,
        connections: int = CONNECTIONS,
        prepares: bool = True,
        only_new: bool = False,
        may_make: bool = True,
        on_commit: ports.OnCommit = ports.not_measured,
    ) -> None:
        """Open the database, and migrate its schema if needed. `seal` encrypts the secrets in the database.

        If `prepares` is false, the store uses neither prepared statements nor settings of a session, so that a pooler
        may assign a different session to each transaction. If `only_new` is true, the method raises
        `migrations.SchemaTooOld` instead of migrating an old schema. If `may_make` is false, the method raises
        `migrations.SchemaMissing` instead of creating missing tables. If the secrets in the database were encrypted
        with another key, the exception from `seal.unseal` is raised. Also raises `migrations.SchemaTooNew`,
        `postgres_connection.BadDatabase` or `StoreUnavailable` if the database cannot be used.
        """
        where = postgres_connection.where(url)
        try:
            connection = where.connect()
            with connection:
                postgres_connection.set_up(connection, prepares=prepares)
                migrating.migrate(connection, where, only_new=only_new, may_make=may_make)
                with connection.transaction():
                    connection.execute(postgres_connection.beginning().settings)
                    PostgresTransaction(connection, seal).check_seal()
        except psycopg.Error as error:
            raise postgres_connection.unavailable(where, error) from None
        shares = Shares.of(connections)
        begins = postgres_connection.beginning

        def pool(name: str, size: int, *, statement_seconds: float | None = None, **options: bool) -> Pool:
            begin = begins(statement_seconds=statement_seconds, **options)
            is_read_only = options.get("read_only", False)
            return Pool(name, size, where, seal, begin, prepares=prepares, read_only=is_read_only)

        self._reads = pool("read", shares.reads, read_only=True)
        self._turns = Turns(shares.long_reads)
        long_read = time_limits.LIMITS.long_read
        self._long_reads = pool(
            "long-read", shares.long_reads, statement_seconds=long_read, read_only=True, snapshot=True
        )
        self._writes = pool("write", shares.writes)
        self._read_groups = ReadGroups(where, seal, begins(read_only=True), size=shares.groups, prepares=prepares)
        self._write_groups = WriteGroups(
            where, seal, begins(), size=shares.groups, prepares=prepares, on_commit=on_commit
        )
        self._on_commit = on_commit

    async def read(self, use_case: Callable[[ports.ReadTx], T]) -> T:
        """Run a use case that makes one or a few point queries, in one transaction with other reads."""
        return await self._read_groups.run(
            use_case, alone=lambda: self._reads.run(lambda session: session.read(use_case))
        )

    async def long_read(self, use_case: Callable[[ports.ReadTx], T], *, what: str, account: str = "") -> T:
        """Wait for the account's turn, then run a use case that may read a lot of data. The use case sees one
        consistent snapshot.
        """
        try:
            async with asyncio.timeout(time_limits.LIMITS.free_connection):
                await self._turns.take(account)
        except TimeoutError:
            raise none_free() from None
        try:
            return await self._long_reads.run(lambda session: session.long_read(use_case, what))
        finally:
            self._turns.leave(account)

    async def write(self, use_case: Callable[[ports.WriteTx], T], *, may_share: bool = False) -> T:
        """Run a use case that changes data. When `write` returns, the changes are on PostgreSQL's disk."""
        if may_share:
            return await self._write_groups.run(use_case, alone=lambda: self.write(use_case))

        def run(session: Session) -> tuple[T, float]:
            began = time.monotonic()
            result = session.write(use_case)
            return result, time.monotonic() - began

        result, seconds = await self._writes.run(run)
        self._on_commit(1, seconds)
        return result

    def directory_version(self) -> None:
        """Return None, because another server may change the directory at any time."""

    def version_of_keys(self) -> None:
        """Return None, because another server may change the access keys at any time."""

    def reusable_octets(self) -> int:
        """Return zero. Free space inside PostgreSQL's files is not counted, because the files are usually on another
        machine.
        """
        return 0

    async def clock_ahead(self) -> float:
        """Return by how many seconds the clock of this machine is ahead of the clock of PostgreSQL's machine."""
        return await self._reads.run(lambda session: session.clock_ahead())

    async def close(self) -> None:
        """Finish the work in progress, except long reads, and close all connections. Later calls raise
        `StoreUnavailable`.
        """
        groups = (self._read_groups.close(), self._write_groups.close())
        pools = (self._reads.close(), self._long_reads.close(wait_for=0.0), self._writes.close())
        # The groups end first, because a call that cannot stay in its group continues in a pool.
        failures = [*await _all(*groups), *await _all(*pools)]
        for failure in failures:
            raise failure


async def _all(*closing: Coroutine[Any, Any, None]) -> list[BaseException]:
    """Wait until everything is closed, and return the exceptions."""
    return [outcome for outcome in await asyncio.gather(*closing, return_exceptions=True) if outcome]
