"""The store on PostgreSQL: one transaction for each write, on threads that wait for the database.

There are three pools of connections, for look-ups, long reads and writes, so that writes that wait for a row do not
delay look-ups. Each lane has as many connections as it may have threads; a connection is made when it is first needed,
and again when it was lost. Every wait has a limit: for a connection, a row, or an answer.

A transaction that gave way to another one (a deadlock, a serialisation failure), or whose connection was found dead,
is run again. One whose connection broke with its COMMIT on the way is not: nobody knows whether it was done, and the
caller hears an error.
"""

import asyncio
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import psycopg
from psycopg import errors as pg
from psycopg.pq import TransactionStatus

from waypost.app import ports
from waypost.domain import errors as refusals
from waypost.store.common import time_limits
from waypost.store.common.statements import Seal
from waypost.store.common.turns import Turns
from waypost.store.postgres import connection as postgres_connection
from waypost.store.postgres import errors as postgres_errors
from waypost.store.postgres.connection import Where
from waypost.store.postgres.transaction import Connection, PostgresTransaction

T = TypeVar("T")

CONNECTIONS = 16
"""Connections of one process, if nobody says otherwise: half for writes, the rest for look-ups and long reads."""

ATTEMPTS = 6
"""How often a transaction that gives way to others is run, at most."""


class PostgresStore:
    """`ports.Store` on one PostgreSQL database, which other processes may use too. Made on, and used from, one loop."""

    def __init__(
        self, url: str, seal: Seal, *, connections: int = CONNECTIONS, only_new: bool = False, may_make: bool = True
    ) -> None:
        """Open the database, migrated as needed. Secrets in it are sealed by `seal`.

        With `only_new` an old schema is left as it is, and `migrations.SchemaTooOld` raised. Unless it `may_make` them,
        the tables must be there: raises `migrations.SchemaMissing` if there are none. Raises
        `migrations.SchemaTooNew`, `postgres_connection.BadDatabase`, `StoreUnavailable`, and what the seal raises if
        it is not the one of this database.
        """
        where = postgres_connection.where(url)
        try:
            connection = where.connect()
            with connection:
                postgres_connection.set_up(connection)
                postgres_connection.migrate(connection, where=str(where), only_new=only_new, may_make=may_make)
                with connection.transaction():
                    PostgresTransaction(connection, seal).check_seal()
        except psycopg.Error as error:
            raise postgres_connection.unavailable(where, error) from None
        few = connections // 4
        self._reads = _Lane("read", few, where, seal, read_only=True)
        self._turns = Turns(few)
        self._long_reads = _Lane(
            "long-read", few, where, seal, read_only=True, statement_seconds=time_limits.LIMITS.long_read
        )
        self._writes = _Lane("write", connections - 2 * few, where, seal)

    async def read(self, use_case: Callable[[ports.ReadTx], T]) -> T:
        """Run a use case of one point look-up or a few, each a transaction of its own."""
        return await self._reads.run(lambda session: use_case(session.tx))

    async def long_read(self, use_case: Callable[[ports.ReadTx], T], *, what: str, account: str = "") -> T:
        """Run a use case that may read much, on one consistent view, when the account has its turn."""
        try:
            async with asyncio.timeout(time_limits.LIMITS.free_connection):
                await self._turns.take(account)
        except TimeoutError:
            raise _none_free() from None
        try:
            return await self._long_reads.run(lambda session: session.long_read(use_case, what))
        finally:
            self._turns.leave(account)

    async def write(self, use_case: Callable[[ports.WriteTx], T]) -> T:
        """Run a use case that changes things. When this returns, its changes are on PostgreSQL's disk."""
        return await self._writes.run(lambda session: session.write(use_case))

    def reusable_octets(self) -> int:
        """The disk is another machine's."""
        return 0

    async def close(self) -> None:
        """Finish running work except long reads, and close all connections. Later calls raise `StoreUnavailable`."""
        closing = (self._reads.close(), self._long_reads.close(wait_for=0.0), self._writes.close())
        for failure in await asyncio.gather(*closing, return_exceptions=True):
            if failure:  # raised when all three have done what they can
                raise failure


def _none_free() -> ports.StoreUnavailable:
    return ports.StoreUnavailable(
        f"no connection to PostgreSQL became free in {time_limits.LIMITS.free_connection:g} s"
    )


class _Session:
    """One connection, and whether its last transaction may have been done though nobody knows."""

    def __init__(self, connection: Connection, seal: Seal) -> None:
        self.connection = connection
        self.tx = PostgresTransaction(connection, seal)
        self.is_set_up = False
        self.has_worked = False
        self.is_in_doubt = False
        self._lock = threading.Lock()

    def write(self, use_case: Callable[[ports.WriteTx], T]) -> T:
        """One transaction. Raises what the use case raises, and `psycopg.Error`."""
        with self._pipeline():
            self._say("BEGIN")
            result = use_case(self.tx)
            self.is_in_doubt = True
            commit = self._say("COMMIT")
        if commit.statusmessage != "COMMIT":  # PostgreSQL undoes a transaction that failed, and calls that no error
            raise ports.StoreUnavailable("PostgreSQL did not commit the transaction")
        self.is_in_doubt = False
        return result

    def long_read(self, use_case: Callable[[ports.ReadTx], T], what: str) -> T:
        """One transaction that sees one moment. Raises what the use case raises, and `psycopg.Error`.

        `what` it reads is for the error if it takes too long.
        """
        try:
            with self._pipeline():
                self._say("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                result = use_case(self.tx)
                self._say("COMMIT")
        except pg.QueryCanceled:
            raise ports.TookTooLong(what, time_limits.LIMITS.long_read) from None
        return result

    @contextmanager
    def _pipeline(self) -> Iterator[None]:
        with self.connection.pipeline() as pipeline:
            self.tx.pipeline = pipeline
            try:
                yield
            finally:
                self.tx.pipeline = None

    def undo(self) -> None:
        """Roll an open transaction back, or close the connection."""
        status = self.connection.info.transaction_status
        try:
            if status is TransactionStatus.INTRANS:  # a refusal, which need not cost us all that is prepared
                self.connection.pgconn.exec_(b"ROLLBACK")
            elif status is not TransactionStatus.IDLE:
                self._say("ROLLBACK")
        except psycopg.Error:
            self.close()
        if self.connection.info.transaction_status is not TransactionStatus.IDLE:
            self.close()

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self.connection.close()

    def sever(self) -> None:
        """Close the connection from another thread: a thread that waits on it gets an error."""
        with (
            self._lock,  # or the number of its socket could be another one's by then
            suppress(OSError, psycopg.Error),
            socket.socket(fileno=os.dup(self.connection.fileno())) as cut,
        ):
            cut.shutdown(socket.SHUT_RDWR)

    def _say(self, command: str) -> "psycopg.Cursor[Any]":
        return self.connection.execute(command.encode(), prepare=False)


class _Lane:
    """Threads, and a connection for each of them that works."""

    def __init__(self, name: str, size: int, where: Where, seal: Seal, **settings: Any) -> None:
        """`settings` are arguments of `postgres_connection.set_up`."""
        self._where = where
        self._seal = seal
        self._settings = settings
        self.is_read_only: bool = settings.get("read_only", False)
        self._loop = asyncio.get_running_loop()
        self._free = asyncio.Semaphore(size)
        self._threads = ThreadPoolExecutor(size, thread_name_prefix=f"waypost-{name}")
        self._idle: list[_Session] = []
        self._working: set[_Session] = set()
        self._callers = 0
        self._closed = False
        """Whether new work is refused."""
        self._left = asyncio.Event()
        """Whether the last work has ended since."""
        self.is_ended = False
        """Whether waiting work is refused, too."""

    async def run(self, work: Callable[[_Session], T]) -> T:
        """Run `work` on a connection, on a thread. Raises `StoreUnavailable` if it does not end in time."""
        if self._closed:
            raise ports.StoreUnavailable("the store is closed")
        self._callers += 1
        try:
            return await self._run(work)
        finally:
            self._callers -= 1
            if self._closed and not self._callers:
                self._left.set()

    async def _run(self, work: Callable[[_Session], T]) -> T:
        try:
            async with asyncio.timeout(time_limits.LIMITS.free_connection):
                await self._free.acquire()
        except TimeoutError:
            raise _none_free() from None
        if self.is_ended:
            self._free.release()
            raise ports.StoreUnavailable("the store is closed")
        task = _Task(self)
        try:
            outcome = self._threads.submit(task.run, work)
        except RuntimeError as error:  # no thread can be started; what was submitted would run when one can
            task.give_up()
            self._free.release()
            raise ports.StoreUnavailable(str(error)) from None
        # Whether the caller still waits or not: no thread waits for ever for an answer that does not come.
        limit = time_limits.LIMITS.answer
        timer = self._loop.call_later(limit, task.give_up)
        outcome.add_done_callback(lambda _: self._loop.call_soon_threadsafe(self._done, timer))
        bound = asyncio.timeout(limit)
        try:
            async with bound:
                return await asyncio.wrap_future(outcome)
        except TimeoutError:
            if not bound.expired():
                raise
            raise ports.StoreUnavailable(f"PostgreSQL did not answer in {limit:g} s") from None

    def _done(self, timer: asyncio.TimerHandle) -> None:
        """A thread is free again."""
        timer.cancel()
        self._free.release()

    async def close(self, *, wait_for: float | None = None) -> None:
        """Let running work finish, for `wait_for` seconds (or the limit of an answer); then close the connections."""
        self._closed = True
        if self._callers:
            with suppress(TimeoutError):
                async with asyncio.timeout(time_limits.LIMITS.answer if wait_for is None else wait_for):
                    await self._left.wait()
        self.is_ended = True
        ended = self._loop.run_in_executor(None, self._threads.shutdown)
        done = set[asyncio.Future[None]]()
        while not done:
            for session in list(self._working):
                session.sever()
            done, _ = await asyncio.wait([ended], timeout=1)
        self.drop_idle()

    def take(self) -> _Session:
        """A connection that is free, or a new one. Raises `psycopg.Error`."""
        try:
            session = self._idle.pop()  # the one used last, so that the others may rest
        except IndexError:
            session = _Session(self._where.connect(), self._seal)
        self._working.add(session)
        return session

    def make_ready(self, session: _Session) -> None:
        """Set a new connection up. Raises `psycopg.Error`, `postgres_connection.BadDatabase`."""
        if not session.is_set_up:
            postgres_connection.set_up(session.connection, **self._settings)
            session.is_set_up = True

    def give_back(self, session: _Session) -> None:
        """Keep a connection for later work, if it is still usable. If not, the idle ones are as old, and are closed
        too.
        """
        self._working.discard(session)
        if session.connection.closed:
            self.drop_idle()
        elif not session.is_set_up:
            session.close()
        else:
            session.has_worked = True
            self._idle.append(session)

    def drop_idle(self) -> None:
        """Close the idle connections."""
        while self._idle:
            with suppress(IndexError):  # somebody took the last one just now
                self._idle.pop().close()


class _Task:
    """A piece of work on its thread, tried as often as makes sense."""

    def __init__(self, lane: _Lane) -> None:
        self._lane = lane
        self._session: _Session | None = None
        self._given_up = False
        self._lock = threading.Lock()

    def run(self, work: Callable[[_Session], T]) -> T:
        """Raises what the work raises; errors of PostgreSQL as what they mean."""
        given_up: Exception
        for attempt in range(ATTEMPTS):
            if self._is_over:
                raise ports.StoreUnavailable("this took too long, and was given up")
            try:
                return self._try(work)
            except postgres_errors.TryAgain:
                given_up = refusals.Busy("Other calls are changing the same resources all the time. Please try again.")
                time.sleep(random.uniform(0, time_limits.LIMITS.pause * 2**attempt))  # noqa: S311 - a pause, no secret
            except _FoundDead:
                given_up = ports.StoreUnavailable("one connection to PostgreSQL after the other was lost")
        raise given_up

    @property
    def _is_over(self) -> bool:
        """Whether its caller has stopped waiting."""
        return self._given_up or self._lane.is_ended

    def give_up(self) -> None:
        """It takes too long: close the connection, if there is one by now."""
        with self._lock:
            self._given_up = True
            if self._session:
                self._session.sever()

    def _try(self, work: Callable[[_Session], T]) -> T:
        try:
            session = self._lane.take()
        except psycopg.Error as error:
            raise ports.StoreUnavailable(f"no connection to PostgreSQL: {postgres_errors.name(error)}") from None
        self._work_on(session)
        try:
            self._lane.make_ready(session)
            return work(session)
        except psycopg.Error as error:
            if postgres_errors.is_of_connection(error):
                session.close()
                if session.has_worked and not session.is_in_doubt and not self._is_over:
                    raise _FoundDead from None
            meaning = postgres_errors.meaning(error)
            if isinstance(meaning, postgres_errors.Unexpected):
                session.close()  # what is prepared there may be the reason, and would be it for ever
            if isinstance(meaning, refusals.Busy) and self._lane.is_read_only:
                meaning = ports.StoreUnavailable(f"PostgreSQL says: {postgres_errors.name(error)}")
            raise meaning from None
        finally:
            session.undo()
            session.is_in_doubt = False
            self._work_on(None)
            self._lane.give_back(session)

    def _work_on(self, session: _Session | None) -> None:
        with self._lock:  # so that what is cut is never what somebody else works on by then
            self._session = session
            if session and self._given_up:
                session.sever()


class _FoundDead(Exception):
    """A connection that had worked before was lost since, or is lost now, and nothing was done on it."""
