"""The SQLite store: one file, and one writer thread that commits the writes of many callers with one fsync.

The writer runs all waiting writes as a batch in one transaction. The whole batch is durable (`synchronous=FULL`) before
any caller gets a result (`batches.py`). If several processes use the file, each has a writer, and the writers commit
their batches in turn. Writes that arrive while a writer waits for its turn join its next batch. Point queries run on
the event loop, with a read-only connection. In WAL mode, the writers do not block point queries. Long reads run on
their own thread.
"""

import asyncio
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import TypeVar

from waypost.app import ports
from waypost.store.common import time_limits
from waypost.store.common.statements import Seal
from waypost.store.common.turns import Turns
from waypost.store.sqlite import batches, failed_syncs, log_damage
from waypost.store.sqlite import file as sqlite_file
from waypost.store.sqlite.batches import Job
from waypost.store.sqlite.drafts import Drafting
from waypost.store.sqlite.transaction import SqliteTransaction
from waypost.store.sqlite.turn import Turn, TurnIsLate

T = TypeVar("T")

BATCH_LIMIT = 256
"""The maximum number of writes in one transaction. The limit bounds how long the first write of a batch must wait for
the other writes in the batch."""


WATCH_EVERY = 1.0
"""Seconds between two checks of whether the writer has waited for too long for its turn."""

LONG_READ_CACHE_KIB = 32 * 1024
"""The size of the page cache for long reads, in KiB. A cache of this size halves the time to read an index of a million
texts."""


class SqliteStore:
    """The implementation of `ports.Store` on one SQLite file.

    An `SqliteStore` must be created and used on the same event loop.
    """

    def __init__(
        self,
        path: Path,
        seal: Seal,
        *,
        only_new: bool = False,
        may_make: bool = True,
        on_commit: ports.OnCommit = ports.not_measured,
    ) -> None:
        """Open the file. Create the file and migrate its schema if needed. `seal` encrypts the secrets in the file.

        If `only_new` is true, the method raises `migrations.SchemaTooOld` instead of migrating an old schema. If
        `may_make` is false, the method creates neither a missing file nor missing tables. In that case, it raises
        `StoreUnavailable` for a missing file, and `migrations.SchemaMissing` for missing tables. If the secrets in the
        file were encrypted with another key, the exception from `seal.unseal` is raised. Also raises
        `migrations.SchemaTooNew`, `sqlite_file.SqliteTooOld` or `StoreUnavailable` if the file cannot be used.
        """
        self._loop = asyncio.get_running_loop()
        self._path = path
        self._jobs: deque[Job] = deque()
        self._wakes: queue.SimpleQueue[bool] = queue.SimpleQueue()
        """A value for each time that the writer thread must look for jobs; the value is false if the store closes."""
        self._waits_since: float | None = None
        """The monotonic time since which the writer thread has been waiting for its turn; None if it is not waiting."""
        self._closed = False
        self._on_commit = on_commit
        self._seconds = 0.0
        """The duration of the last transaction."""
        sqlite_file.refuse_old_sqlite()
        try:
            log_damage.refuse(path)  # before a connection that may write removes the log when it is closed
            with ExitStack() as opened:

                def opens(mode: str) -> SqliteTransaction:
                    return SqliteTransaction(opened.enter_context(closing(sqlite_file.connect(path, mode))), seal)

                self._writing = opens("rwc" if may_make else "rw")
                connection = self._writing.connection
                self._turn = opened.enter_context(closing(Turn(path)))
                self._writing.before_change = self._turn.begin_change
                self._writing.before_change_of_keys = self._turn.begin_change_of_keys
                self._writing.directory_version = lambda: self._turn.version
                with self._turn.taken_within(time_limits.LIMITS.other_process):
                    failed_syncs.write_log_again(path)
                    sqlite_file.migrate(connection, where=str(path), only_new=only_new, may_make=may_make)
                    sqlite_file.check_seal(self._writing)
                    failed_syncs.sync_directory(path)
                # An INSERT of several rows must be undone if one row fails. By default, SQLite keeps what it needs for
                # that in a temporary file. A migration needs the file, because its sorts can be larger than the memory.
                connection.execute("PRAGMA temp_store = MEMORY")
                if not only_new:  # commands skip this check, because the server makes it when it starts
                    sqlite_file.refuse_damage(connection)
                self._reading = opens("ro")
                self._reading.directory_version = self._writing.directory_version
                self._drafting = Drafting(self._reading, seal)
                self._long_reading = opens("ro")
                self._long_reading.connection.execute(f"PRAGMA cache_size = -{LONG_READ_CACHE_KIB}")
                self._connections = opened.pop_all()
        except (sqlite3.Error, UnicodeDecodeError, OSError) as error:  # UnicodeDecodeError: from a damaged schema
            raise ports.StoreUnavailable(sqlite_file.why_not_opened(path, error)) from error
        self._turns = Turns(1)
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="waypost-reader")
        self._writer = threading.Thread(target=self._write_batches, name="waypost-writer", daemon=True)
        self._writer.start()
        self._watch_turn()

    async def read(self, use_case: Callable[[ports.ReadTx], T]) -> T:
        """Run a use case that makes one or a few point queries. The use case runs immediately, on the event loop."""
        self._refuse_when_closed()
        try:
            return use_case(self._reading)
        except sqlite3.DatabaseError as error:
            if sqlite_file.is_unavailable(error):
                raise sqlite_file.unavailable(error) from error
            raise

    async def long_read(self, use_case: Callable[[ports.ReadTx], T], *, what: str, account: str = "") -> T:
        """Wait for the account's turn, then run a use case that may read a lot of data. The use case runs on the reader
        thread.
        """
        self._refuse_when_closed()
        await self._turns.take(account)
        try:
            self._refuse_when_closed()
            future = self._reader.submit(_long_read, self._long_reading, use_case, what)
        except BaseException:
            self._turns.leave(account)
            raise
        # The turn ends when the thread is free again, even if the caller has stopped waiting.
        future.add_done_callback(lambda _: self._loop.call_soon_threadsafe(self._turns.leave, account))
        try:
            return await asyncio.wrap_future(future)
        finally:
            del future  # the traceback of an exception refers to this frame, see `Outcome.take`

    async def write(self, use_case: Callable[[ports.WriteTx], T], *, may_share: bool = False) -> T:
        """Run a use case that changes data. When `write` returns, the changes are on the disk.

        On SQLite, all waiting writes share a transaction, whatever `may_share` is. If it is true, the use case is
        decided before the turn, if possible.
        """
        self._refuse_when_closed()
        draft = self._drafting.draft(use_case) if may_share else None
        job = Job(use_case, self._loop.create_future(), draft)
        self._jobs.append(job)
        # If other jobs wait, the writer will be woken, or looks for jobs again. The order matters: the writer may take
        # all other jobs at any moment, and must not fall asleep between this comparison and an `append` after it.
        if len(self._jobs) == 1:
            # The event loop first runs the tasks that are ready now, so that their writes are in the same batch.
            self._loop.call_soon(self._wakes.put, True)
        await job.future
        result: T = job.take()
        return result

    def directory_version(self) -> int | None:
        """Return the version of the directory and the routes, which all processes share."""
        return None if self._closed else self._turn.version

    def version_of_keys(self) -> int | None:
        """Return the version of the access keys, which all processes share."""
        return None if self._closed else self._turn.version_of_keys

    def reusable_octets(self) -> int:
        """Return the number of free bytes inside the file. SQLite uses these bytes before the file grows."""
        connection, names = self._reading.connection, ("freelist_count", "page_size")
        try:
            (pages,), (size,) = (connection.execute(f"PRAGMA {name}").fetchone() for name in names)
        except sqlite3.Error as error:
            raise sqlite_file.unavailable(error) from error
        return int(pages * size)

    async def clock_ahead(self) -> float:
        """Return zero, because the file has no clock of its own."""
        return 0.0

    async def close(self) -> None:
        """Finish the waiting writes, stop long reads, and close the file. Later calls raise `StoreUnavailable`."""
        self._closed = True
        self._wakes.put(False)
        while self._writer.is_alive() and not self._is_turn_late:
            await self._loop.run_in_executor(None, self._writer.join, WATCH_EVERY)
        self._watch.cancel()
        self._refuse_if_turn_is_late()
        self._long_reading.connection.interrupt()  # no caller waits for its result any more
        await self._loop.run_in_executor(None, self._reader.shutdown)
        if not self._writer.is_alive():  # otherwise it still waits for its turn, with files that must stay open
            self._connections.close()
            # SQLite has removed the log. If a power failure kept only the file `-shm`, the log would seem to be lost.
            with suppress(OSError):
                await self._loop.run_in_executor(None, failed_syncs.sync_directory, self._path)

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise ports.StoreUnavailable("the store is closed")

    def _write_batches(self) -> None:
        """The loop of the writer thread: commit the waiting writes together, and pass the outcomes to the callers."""
        is_open = True
        while is_open:
            is_open = self._wakes.get()
            while self._jobs:
                # No variable refers to the batch, so that its messages are freed even if no other write follows.
                self._loop.call_soon_threadsafe(self._report_all, self._run_next_batch(), self._seconds)

    def _run_next_batch(self) -> list[Job]:
        """Wait for the turn, run the waiting jobs, and return them. This method never raises an exception."""
        self._waits_since = time.monotonic()
        try:
            self._turn.take()
        except OSError as error:
            batch = self._next_batch()
            for job in batch:
                job.error = _turn_failed(error)
            return batch
        finally:
            self._waits_since = None
        try:
            batch = self._next_batch()
            if batch:
                began = time.monotonic()
                batches.discard_old_drafts(batch, self._turn.version)
                batches.run(self._writing, batch)
                self._seconds = time.monotonic() - began
        finally:
            self._turn.end()
        return batch

    def _report_all(self, batch: list[Job], seconds: float) -> None:
        """Pass the outcomes of a batch to the callers. `seconds` is the duration of its transaction."""
        if batch and batch[0].error is None:
            self._on_commit(len(batch), seconds)
        for job in batch:
            job.report()

    def _next_batch(self) -> list[Job]:
        """Return the waiting jobs, up to `BATCH_LIMIT`. The list is empty if `_refuse_if_turn_is_late` has removed the
        jobs.
        """
        batch: list[Job] = []
        with suppress(IndexError):
            while len(batch) < BATCH_LIMIT:
                batch.append(self._jobs.popleft())
        return batch

    @property
    def _is_turn_late(self) -> bool:
        """Whether the writer has waited for its turn for longer than the time limit."""
        since = self._waits_since
        return since is not None and time.monotonic() - since > time_limits.LIMITS.other_process

    def _watch_turn(self) -> None:
        """Check now, and then repeatedly, whether the writer's turn is late."""
        self._watch = self._loop.call_later(WATCH_EVERY, self._watch_turn)
        self._refuse_if_turn_is_late()

    def _refuse_if_turn_is_late(self) -> None:
        """If the writer has waited too long for its turn, refuse all waiting writes. Another process can keep its turn
        for long if, for example, it was stopped with SIGSTOP.
        """
        if self._is_turn_late:
            while batch := self._next_batch():
                for job in batch:
                    job.error = _turn_failed(TurnIsLate(time_limits.LIMITS.other_process))
                    job.report()


def _long_read(tx: SqliteTransaction, use_case: Callable[[ports.ReadTx], T], what: str) -> T:
    """Run a use case on one consistent snapshot of the data.

    `what` names the data that is read, for use in the message of the exception `TookTooLong`.
    """
    connection = tx.connection
    seconds = time_limits.LIMITS.long_read
    deadline = time.monotonic() + seconds
    try:
        connection.execute("BEGIN")
        connection.set_progress_handler(lambda: time.monotonic() > deadline, sqlite_file.STEPS_BETWEEN_CHECKS)
        try:
            return use_case(tx)
        finally:
            connection.set_progress_handler(None, 0)
            if connection.in_transaction:  # an error of SQLite may have ended the transaction already
                connection.execute("COMMIT")
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
            if time.monotonic() > deadline:
                raise ports.TookTooLong(what, seconds) from error
            raise ports.StoreUnavailable("the store is closed") from error
        if sqlite_file.is_unavailable(error):
            raise sqlite_file.unavailable(error) from error
        raise


def _turn_failed(error: OSError) -> ports.StoreUnavailable:
    return ports.StoreUnavailable(f"this process could not begin its turn to write to the file: {error}")
