"""Runs waiting use cases in groups: each group is one transaction on PostgreSQL.

A group forms while an earlier group is at work, so no use case waits for others to arrive. If the earlier group takes
long, the next one begins on another connection. All of this happens on the event loop, without threads.

If a group fails before its COMMIT was sent, or because of one of its statements, it has no effect, and each of its use
cases runs again in a transaction of its own. If the connection is lost after the COMMIT was sent, the group may have
been committed, so nothing runs again, and every caller gets an error
(docs/decisions/0040-group-commit-on-postgresql.md).
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg

from waypost.app import ports
from waypost.store.common import time_limits
from waypost.store.common.statements import Seal
from waypost.store.postgres import connection as postgres_connection
from waypost.store.postgres import errors as postgres_errors
from waypost.store.postgres.callers import Callers
from waypost.store.postgres.connection import Beginning, Where
from waypost.store.postgres.pipelined import PipelinedConnection
from waypost.store.postgres.pool import none_free
from waypost.store.postgres.shared_transaction import Job, LookUp, SharedTransaction, statements
from waypost.store.postgres.transaction import OF_QUEUE, QUERIES, Connection

T = TypeVar("T")

MOST_JOBS = 64
"""The maximum number of use cases in a group. The limit bounds how long the first use case waits for the others."""

MOST_OCTETS = 1024 * 1024
"""The size of the inserted values, in bytes, at which a group is full."""

PATIENCE = 0.002
"""How long the next group waits for the end of an earlier group before it uses another connection, in seconds."""

PAUSE = 1.0
"""How long groups continue on fewer connections after another connection could not be opened, in seconds."""


class _NoAnswer(psycopg.OperationalError):
    """PostgreSQL did not answer in time. The message is meant for the callers, and nothing runs again."""


class _Session:
    """A connection, and the transaction object for the use cases that run on it."""

    def __init__(self, pipelined: PipelinedConnection, seal: Seal) -> None:
        self.pipelined = pipelined
        self.tx = SharedTransaction(seal, pipelined.parameters)


class Groups(ABC):
    """The use cases of one kind that wait for a group, and the connections on which groups run."""

    def __init__(self, where: Where, seal: Seal, beginning: Beginning, *, size: int, prepares: bool) -> None:
        """`beginning` is the beginning of each transaction. `size` is the maximum number of connections. `prepares` is
        whether statements are prepared.
        """
        self._where = where
        self._seal = seal
        self._beginning = beginning
        self._size = size
        self._prepares = prepares
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Job] = deque()
        self._idle: list[_Session] = []
        self._working: set[_Session] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._patience: asyncio.TimerHandle | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._callers = Callers()

    async def run(self, use_case: Callable[[Any], T], *, alone: Callable[[], Awaitable[T]]) -> T:
        """Run a use case in a group, or with `alone` if it cannot share a transaction.

        Raises `StoreUnavailable` if the store fails, and the exceptions that the use case raises.
        """
        with self._callers:
            job = Job(use_case, self._loop.time(), self._loop.create_future())
            self._waiting.append(job)
            self._arrange()
            if await job.future:
                result: T = job.take()
                return result
            return await alone()

    async def close(self) -> None:
        """Wait until the waiting use cases have finished, then close the connections. The wait has a time limit."""
        if not await self._callers.close(time_limits.LIMITS.answer):
            while self._waiting:
                self._waiting.popleft().fail(ports.StoreUnavailable("the store is closed"))
            for session in list(self._working):
                session.pipelined.lose(_NoAnswer("the store is closed"))
        for timer in filter(None, (self._patience, self._expiry)):
            timer.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        while self._idle:
            self._idle.pop().pipelined.close()

    def _arrange(self) -> None:
        """Make sure that the waiting use cases get a connection, or an error when they have waited too long."""
        if not self._tasks:
            self._begin_task()
        elif self._patience is None and len(self._tasks) < self._size:
            self._patience = self._loop.call_later(PATIENCE, self._use_another)
        if self._expiry is None:
            self._expiry = self._loop.call_later(time_limits.LIMITS.free_connection, self._expire)

    def _begin_task(self) -> None:
        task = self._loop.create_task(self._work())
        self._tasks.add(task)
        task.add_done_callback(self._end_task)

    def _end_task(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if self._waiting:
            self._arrange()

    def _use_another(self) -> None:
        """Use another connection, because an earlier group takes long."""
        self._patience = None
        if self._waiting and len(self._tasks) < self._size:
            self._begin_task()

    def _expire(self) -> None:
        """Raise an error in the callers who have waited too long for a connection."""
        self._expiry = None
        limit = time_limits.LIMITS.free_connection
        while self._waiting and self._waiting[0].since + limit <= self._loop.time():
            self._waiting.popleft().fail(none_free())
        if self._waiting:
            self._expiry = self._loop.call_at(self._waiting[0].since + limit, self._expire)

    async def _work(self) -> None:
        """Run one group after the other on one connection, until no use case waits."""
        session = None
        try:
            while self._waiting:
                session = session or self._idle_one() or await self._open()
                session = await self._run_on(session, self._next())
        except Exception as error:  # noqa: BLE001 - no connection could be opened, and the callers must learn why
            self._go_without(error)
        finally:
            if session:
                self._idle.append(session)

    def _go_without(self, error: Exception) -> None:
        """Fail the waiting use cases, because no connection can be opened, unless another connection works."""
        if len(self._tasks) == 1:
            why = postgres_errors.name(error) if isinstance(error, psycopg.Error) else str(error)
            while self._waiting:
                self._waiting.popleft().fail(ports.StoreUnavailable(f"no connection to PostgreSQL: {why}"))
        elif self._patience is None:
            self._patience = self._loop.call_later(PAUSE, self._use_another)

    def _next(self) -> list[Job]:
        """Return the use cases of the next group, without those whose callers have stopped waiting."""
        jobs: list[Job] = []
        while self._waiting and len(jobs) < MOST_JOBS:
            job = self._waiting.popleft()
            if not job.future.done():
                jobs.append(job)
        return jobs

    async def _run_on(self, session: _Session, jobs: list[Job]) -> _Session | None:
        """Run a group on a connection, and return the connection if it can be used again."""
        self._working.add(session)
        with self._time_limit(session.pipelined):
            try:
                later = await self._run(session, jobs)
            except _NoAnswer as error:
                for job in jobs:
                    job.fail(ports.StoreUnavailable(str(error)))
            except psycopg.Error:
                for job in jobs:
                    job.run_alone()
            except Exception as error:  # noqa: BLE001 - a bug, which must not leave the callers waiting
                for job in jobs:
                    job.fail(error)
            else:
                self._waiting.extendleft(reversed(later))
                return session
            finally:
                self._working.discard(session)
        # The reason for the error may be a prepared statement, which would keep causing the error.
        session.pipelined.close()
        return None

    @contextmanager
    def _time_limit(self, pipelined: PipelinedConnection) -> Iterator[None]:
        """Close a connection on which PostgreSQL does not answer in time, so that nothing waits for it any longer."""
        limit = time_limits.LIMITS.answer
        error = _NoAnswer(f"PostgreSQL did not answer in {limit:g} s")
        timer = self._loop.call_later(limit, pipelined.lose, error)
        try:
            yield
        finally:
            timer.cancel()

    def _idle_one(self) -> _Session | None:
        while self._idle:
            session = self._idle.pop()
            if session.pipelined.error is None:
                return session
        return None

    async def _open(self) -> _Session:
        """Open a connection. Raises `psycopg.Error` and `postgres_connection.BadDatabase`."""
        given_up = False

        def connect() -> Connection:
            if given_up:
                raise psycopg.OperationalError("no caller waits for this connection")
            return self._where.connect()

        try:
            connection = await self._loop.run_in_executor(None, connect)
        except RuntimeError:  # no thread could be started, and the executor must not connect later
            given_up = True
            raise
        pipelined = PipelinedConnection(connection, prepares=self._prepares)
        with self._time_limit(pipelined):
            try:
                pipelined.send(postgres_connection.session_query(is_own=self._prepares), prepare=False)
                (result,) = await pipelined.results()
                postgres_connection.check_session(connection, pipelined.rows(result)[0])
            except BaseException:
                pipelined.close()
                raise
        return _Session(pipelined, self._seal)

    @abstractmethod
    async def _run(self, session: _Session, jobs: list[Job]) -> list[Job]:
        """Run a group in one transaction. Return the jobs that must wait for another group.

        If the method raises `psycopg.Error`, the jobs whose futures are not done had no effect.
        """

    def _begin(self, session: _Session) -> None:
        session.pipelined.send(self._beginning.begin)
        session.pipelined.send(self._beginning.settings)

    def _run_jobs(self, session: _Session, jobs: Sequence[Job]) -> list[Job]:
        """Run the use cases as far as possible. Return those that need the result of a look-up."""
        for job in jobs:
            session.tx.run(job)
        return [job for job in jobs if job.unanswered and not job.future.done()]

    async def _look_up(self, session: _Session, jobs: Sequence[Job], *then: bytes) -> list[Job]:
        """Answer the look-ups of all jobs in one round trip, with the statements `then` after them. Run the jobs again,
        and return those that need another look-up.

        Look-ups that are the same are sent once. Most messages that arrive together are for few recipients.
        """
        pipelined = session.pipelined
        same: dict[Any, list[LookUp]] = {}
        for job in jobs:
            look_up = job.look_ups[-1]
            same.setdefault(look_up.key, []).append(look_up)
        for look_up, *_ in same.values():
            pipelined.send(QUERIES[look_up.query], look_up.converted, prepare=look_up.query not in OF_QUEUE)
        for statement in then:
            pipelined.send(statement)
        results = await pipelined.results()
        first = len(results) - len(then) - len(same)
        for look_ups, result in zip(same.values(), results[first:], strict=False):
            found = pipelined.rows(result)
            for look_up in look_ups:
                look_up.found = found
        return self._run_jobs(session, jobs)


class ReadGroups(Groups):
    """Groups of point queries. A group needs one round trip."""

    async def _run(self, session: _Session, jobs: list[Job]) -> list[Job]:
        asking = self._run_jobs(session, jobs)
        while asking:
            self._begin(session)
            asking = await self._look_up(session, asking, b"COMMIT")
        for job in jobs:
            job.finish()
        return []


class WriteGroups(Groups):
    """Groups of writes that only look up rows and insert rows. A group needs one round trip for all look-ups, and one
    for all inserts and the COMMIT.
    """

    def __init__(self, *given: Any, on_commit: ports.OnCommit, **named: Any) -> None:
        super().__init__(*given, **named)
        self._on_commit = on_commit

    async def _run(self, session: _Session, jobs: list[Job]) -> list[Job]:
        pipelined = session.pipelined
        began = time.monotonic()
        asking = self._run_jobs(session, jobs)
        self._begin(session)
        while asking:
            asking = await self._look_up(session, asking)
        now, later = _that_fit([job for job in jobs if not job.future.done()])
        for sql, parameters in statements(now):
            pipelined.send(sql, parameters)
        pipelined.send(b"COMMIT")
        try:
            *_, commit = await pipelined.results()
        except psycopg.Error as error:
            if pipelined.error or postgres_errors.is_of_connection(error):
                for job in now:
                    job.fail(_in_doubt(error))
            raise
        if commit.command_status != b"COMMIT":  # PostgreSQL rolls back a failed transaction without reporting an error
            raise psycopg.InternalError("PostgreSQL did not commit the transaction")
        self._on_commit(len(now), time.monotonic() - began)
        for job in now:
            job.finish()
        return later


def _in_doubt(error: psycopg.Error) -> Exception:
    """Return the exception for the callers of a group whose COMMIT was sent, but not answered."""
    return ports.StoreUnavailable(str(error)) if isinstance(error, _NoAnswer) else postgres_errors.meaning(error)


def _that_fit(jobs: Sequence[Job]) -> tuple[list[Job], list[Job]]:
    """Divide jobs into those whose inserts fit in one group, and the others, which begin again in another group."""
    fitting: list[Job] = []
    octets = 0
    for number, job in enumerate(jobs):
        octets += job.octets
        if fitting and octets > MOST_OCTETS:
            later = list(jobs[number:])
            for each in later:
                each.look_ups.clear()
            return fitting, later
        fitting.append(job)
    return fitting, []
