"""Runs transactions on threads, each with its own connection to PostgreSQL.

Each pool has at most one connection for each of its threads. A connection is opened when it is first needed, and
replaced after it has been lost. Every wait for a connection, a locked row or a reply has a time limit.

A transaction is run again if it lost a conflict (deadlock or serialization failure), or if its connection turned out to
be dead. If the connection broke during the COMMIT, the transaction may have been committed, so it is not run again, and
the caller gets an error.
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
from waypost.store.postgres import clock
from waypost.store.postgres import connection as postgres_connection
from waypost.store.postgres import errors as postgres_errors
from waypost.store.postgres.callers import Callers
from waypost.store.postgres.connection import Beginning, Where
from waypost.store.postgres.transaction import Connection, PostgresTransaction

T = TypeVar("T")

ATTEMPTS = 6
"""The maximum number of times that a transaction is run if it keeps losing conflicts with other transactions."""


def none_free() -> ports.StoreUnavailable:
    """Return the exception to raise if a caller has waited too long for a free connection."""
    return ports.StoreUnavailable(
        f"no connection to PostgreSQL became free in {time_limits.LIMITS.free_connection:g} s"
    )


class Session:
    """A connection to PostgreSQL, its state, and the methods that run a transaction on it."""

    def __init__(self, connection: Connection, seal: Seal, beginning: Beginning) -> None:
        """`beginning` is the beginning of each transaction on this connection."""
        self.connection = connection
        self._beginning = beginning
        self.tx = PostgresTransaction(connection, seal)
        self.is_set_up = False
        self.has_worked = False
        self.is_in_doubt = False
        self._lock = threading.Lock()

    def write(self, use_case: Callable[[ports.WriteTx], T]) -> T:
        """Run a use case in one transaction. Raises the exceptions that the use case raises, and `psycopg.Error` if
        PostgreSQL reports an error.
        """
        with self._pipeline():
            self._begin()
            result = use_case(self.tx)
            self.is_in_doubt = True
            commit = self._say(b"COMMIT")
        if commit.statusmessage != "COMMIT":  # PostgreSQL rolls back a failed transaction without reporting an error
            raise ports.StoreUnavailable("PostgreSQL did not commit the transaction")
        self.is_in_doubt = False
        return result

    def read(self, use_case: Callable[[ports.ReadTx], T]) -> T:
        """Run a use case in one read-only transaction. Raises the exceptions that the use case raises, and
        `psycopg.Error` if PostgreSQL reports an error.
        """
        with self._pipeline():
            self._begin()
            result = use_case(self.tx)
            self._say(b"COMMIT")
        return result

    def long_read(self, use_case: Callable[[ports.ReadTx], T], what: str) -> T:
        """Run a use case like `read`, but raise `ports.TookTooLong` if a statement takes too long.

        `what` names the data that is read, for use in the message of the exception.
        """
        try:
            return self.read(use_case)
        except pg.QueryCanceled:
            raise ports.TookTooLong(what, time_limits.LIMITS.long_read) from None

    def clock_ahead(self) -> float:
        """Return by how many seconds this machine's clock is ahead of PostgreSQL's. Raises `psycopg.Error`."""
        with self._pipeline():
            self._begin()
            ahead = clock.ahead(self.tx.time_of_database)
            self._say(b"COMMIT")
        return ahead

    def _begin(self) -> None:
        self._say(self._beginning.begin)
        self.connection.execute(self._beginning.settings, prepare=True)

    @contextmanager
    def _pipeline(self) -> Iterator[None]:
        with self.connection.pipeline() as pipeline:
            self.tx.pipeline = pipeline
            try:
                yield
            finally:
                self.tx.pipeline = None

    def undo(self) -> None:
        """Roll back an open transaction. If the rollback fails, close the connection."""
        status = self.connection.info.transaction_status
        try:
            if status is TransactionStatus.INTRANS:  # after a domain error; this keeps the prepared statements
                self.connection.pgconn.exec_(b"ROLLBACK")
            elif status is not TransactionStatus.IDLE:
                self._say(b"ROLLBACK")
        except psycopg.Error:
            self.close()
        if self.connection.info.transaction_status is not TransactionStatus.IDLE:
            self.close()

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self.connection.close()

    def sever(self) -> None:
        """Shut down the connection's socket. Another thread calls this method, so that the thread that uses the
        connection stops waiting and gets an error.
        """
        with (
            self._lock,  # without the lock, the socket's number could already belong to another socket
            suppress(OSError, psycopg.Error),
            socket.socket(fileno=os.dup(self.connection.fileno())) as cut,
        ):
            cut.shutdown(socket.SHUT_RDWR)

    def _say(self, command: bytes) -> "psycopg.Cursor[Any]":
        return self.connection.execute(command, prepare=False)


class Pool:
    """A pool of threads, with a connection for each thread that is working."""

    def __init__(
        self, name: str, size: int, where: Where, seal: Seal, beginning: Beginning, *, prepares: bool, read_only: bool
    ) -> None:
        """`beginning` is the beginning of each transaction. `prepares` is whether statements are prepared."""
        self._where = where
        self._seal = seal
        self._beginning = beginning
        self._prepares = prepares
        self.is_read_only = read_only
        self._loop = asyncio.get_running_loop()
        self._free = asyncio.Semaphore(size)
        self._threads = ThreadPoolExecutor(size, thread_name_prefix=f"waypost-{name}")
        self._idle: list[Session] = []
        self._working: set[Session] = set()
        self._callers = Callers()
        self.is_ended = False
        """Whether the pool also refuses work that is already waiting for a connection."""

    async def run(self, work: Callable[[Session], T]) -> T:
        """Run `work` on a thread, with a connection. Raises `StoreUnavailable` if `work` does not finish in time."""
        with self._callers:
            return await self._run(work)

    async def _run(self, work: Callable[[Session], T]) -> T:
        try:
            async with asyncio.timeout(time_limits.LIMITS.free_connection):
                await self._free.acquire()
        except TimeoutError:
            raise none_free() from None
        if self.is_ended:
            self._free.release()
            raise ports.StoreUnavailable("the store is closed")
        task = _Task(self)
        try:
            future = self._threads.submit(task.run, work)
        except RuntimeError as error:  # no thread could be started, and the task must not run later
            task.give_up()
            self._free.release()
            raise ports.StoreUnavailable(str(error)) from None
        # The timer runs even if the caller stops waiting, so that no thread waits forever for a reply from PostgreSQL.
        limit = time_limits.LIMITS.answer
        timer = self._loop.call_later(limit, task.give_up)
        future.add_done_callback(lambda _: self._loop.call_soon_threadsafe(self._done, timer))
        bound = asyncio.timeout(limit)
        try:
            async with bound:
                return await asyncio.wrap_future(future)
        except TimeoutError:
            if not bound.expired():
                raise
            raise ports.StoreUnavailable(f"PostgreSQL did not answer in {limit:g} s") from None
        finally:
            del future  # the traceback of an exception refers to this frame, see `Outcome.take`

    def _done(self, timer: asyncio.TimerHandle) -> None:
        """Mark a thread as free again, and cancel the timer of its task."""
        timer.cancel()
        self._free.release()

    async def close(self, *, wait_for: float | None = None) -> None:
        """Wait until the running work has finished, then close the connections.

        `wait_for` is the time limit in seconds; None means `TimeLimits.answer`. When the time limit is reached, work
        that is still running loses its connection.
        """
        await self._callers.close(time_limits.LIMITS.answer if wait_for is None else wait_for)
        self.is_ended = True
        ended = self._loop.run_in_executor(None, self._threads.shutdown)
        done = set[asyncio.Future[None]]()
        while not done:
            for session in list(self._working):
                session.sever()
            done, _ = await asyncio.wait([ended], timeout=1)
        self.drop_idle()

    def take(self) -> Session:
        """Return an idle connection, or open a new one. Raises `psycopg.Error`."""
        try:
            session = self._idle.pop()  # the most recently used connection, which is most likely alive
        except IndexError:
            session = Session(self._where.connect(), self._seal, self._beginning)
        self._working.add(session)
        return session

    def make_ready(self, session: Session) -> None:
        """Set up a connection, unless it is already set up. Raises `psycopg.Error` and
        `postgres_connection.BadDatabase`.
        """
        if not session.is_set_up:
            postgres_connection.set_up(session.connection, prepares=self._prepares)
            session.is_set_up = True

    def give_back(self, session: Session) -> None:
        """Keep a connection for later work if the connection is still open.

        If the connection was lost, close all idle connections too, because they are probably lost as well.
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
            with suppress(IndexError):  # another thread has just taken the last connection
                self._idle.pop().close()


class _Task:
    """A unit of work that runs on a thread, and is retried after conflicts and lost connections."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._session: Session | None = None
        self._given_up = False
        self._lock = threading.Lock()

    def run(self, work: Callable[[Session], T]) -> T:
        """Run the work, and retry it after conflicts and lost connections. Exceptions that the work raises are not
        changed, except PostgreSQL errors, which are translated.
        """
        had_conflict = False
        for attempt in range(ATTEMPTS):
            if self._is_over:
                raise ports.StoreUnavailable("the transaction took too long and was cancelled")
            try:
                return self._try(work)
            except postgres_errors.TryAgain:
                had_conflict = True
                time.sleep(random.uniform(0, time_limits.LIMITS.pause * 2**attempt))  # noqa: S311 - not a secret
            except _FoundDead:
                had_conflict = False
        if had_conflict:
            raise refusals.Busy("Other calls are constantly changing the same resources. Please try again.")
        raise ports.StoreUnavailable("several connections to PostgreSQL were lost, one after the other")

    @property
    def _is_over(self) -> bool:
        """Whether the work must not be run again, because it has taken too long or the pool has been closed."""
        return self._given_up or self._pool.is_ended

    def give_up(self) -> None:
        """Cancel the work, which has taken too long, and shut down its connection if it has one."""
        with self._lock:
            self._given_up = True
            if self._session:
                self._session.sever()

    def _try(self, work: Callable[[Session], T]) -> T:
        try:
            session = self._pool.take()
        except psycopg.Error as error:
            raise ports.StoreUnavailable(f"no connection to PostgreSQL: {postgres_errors.name(error)}") from None
        self._work_on(session)
        try:
            self._pool.make_ready(session)
            return work(session)
        except psycopg.Error as error:
            if postgres_errors.is_of_connection(error):
                session.close()
                if session.has_worked and not session.is_in_doubt and not self._is_over:
                    raise _FoundDead from None
            raise self._meaning(session, error) from None
        finally:
            session.undo()
            session.is_in_doubt = False
            self._work_on(None)
            self._pool.give_back(session)

    def _meaning(self, session: Session, error: psycopg.Error) -> Exception:
        """Return the exception to raise for an error of PostgreSQL, and close a connection that may keep causing it."""
        meaning = postgres_errors.meaning(error)
        if isinstance(meaning, postgres_errors.Unexpected):
            session.close()  # a prepared statement may be the reason
        if isinstance(meaning, refusals.Busy) and self._pool.is_read_only:
            return ports.StoreUnavailable(f"PostgreSQL reported an error: {postgres_errors.name(error)}")
        return meaning

    def _work_on(self, session: Session | None) -> None:
        with self._lock:  # so that `give_up` never cuts a connection that another task already uses
            self._session = session
            if session and self._given_up:
                session.sever()


class _FoundDead(Exception):
    """A connection that had worked before has been lost. The transaction on this connection had no effect."""
