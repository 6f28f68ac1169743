"""The store on SQLite: one file, one writer that serves many callers with one fsync.

Waiting writes are put into one `BEGIN IMMEDIATE … COMMIT`, and all of them are durable (`synchronous=FULL`) before any
caller gets a result. A failed write harms no other: the batch is run once more, with a savepoint around each
(docs/decisions/0005-savepoints-when-needed.md). Point reads run on the event loop's own read-only connection, which WAL
lets go on while the writer writes; longer reads have a thread of their own.
"""

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from waypost.app import ports
from waypost.store.common import time_limits
from waypost.store.common.statements import Seal
from waypost.store.common.turns import Turns
from waypost.store.sqlite import file as sqlite_file
from waypost.store.sqlite.transaction import SqliteTransaction

T = TypeVar("T")

BATCH_LIMIT = 256
"""The most writes in one transaction, which bounds how long the first waits for the last."""


LONG_READ_CACHE_KIB = 32 * 1024
"""Memory in KiB for pages that long reads cache: an index of a million texts is read in half the time with it."""


@dataclass(slots=True)
class _Job:
    """A waiting write, and then its outcome, which the caller gets only after the commit."""

    use_case: Callable[[ports.WriteTx], Any]
    future: "asyncio.Future[Any]"
    result: Any = None
    error: BaseException | None = None

    def run(self, tx: ports.WriteTx) -> None:
        """Run the use case and keep its outcome."""
        self.result = self.error = None
        try:
            self.result = self.use_case(tx)
        except sqlite3.DatabaseError as error:
            self.error = _unavailable(error) if _is_unavailable(error) else error
        except BaseException as error:  # noqa: BLE001 - it belongs to the caller, who gets it whole
            self.error = error

    def tell(self) -> None:
        """Pass the outcome to the caller, unless the caller has stopped waiting."""
        if self.future.cancelled():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class SqliteStore:
    """`ports.Store` on one SQLite file. Made on, and used from, one event loop."""

    def __init__(self, path: Path, seal: Seal, *, only_new: bool = False, may_make: bool = True) -> None:
        """Open the file, made and migrated as needed. Secrets in it are sealed by `seal`.

        With `only_new` an old file is left as it is, and `migrations.SchemaTooOld` raised. Unless it `may_make` them,
        the file and its tables must be there: raises `migrations.SchemaMissing` if it has none. Raises
        `migrations.SchemaTooNew`, `sqlite_file.SqliteTooOld`, `StoreUnavailable`, and what the seal raises if it is
        not the one of this file.
        """
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        sqlite_file.refuse_old_sqlite()
        try:
            with ExitStack() as opened:

                def opens(mode: str) -> SqliteTransaction:
                    return SqliteTransaction(opened.enter_context(closing(sqlite_file.connect(path, mode))), seal)

                self._writing = opens("rwc" if may_make else "rw")
                connection = self._writing.connection
                sqlite_file.migrate(connection, where=str(path), only_new=only_new, may_make=may_make)
                if not only_new:  # a command leaves it to the server to look
                    sqlite_file.refuse_damage(connection)
                sqlite_file.check_seal(self._writing)
                self._reading = opens("ro")
                self._long_reading = opens("ro")
                self._long_reading.connection.execute(f"PRAGMA cache_size = -{LONG_READ_CACHE_KIB}")
                self._connections = opened.pop_all()
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter where SQLite quotes a damaged schema
            raise ports.StoreUnavailable(sqlite_file.why_not_opened(path, error)) from error
        self._turns = Turns(1)
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="waypost-reader")
        self._writer = threading.Thread(target=self._write_batches, name="waypost-writer", daemon=True)
        self._writer.start()

    async def read(self, use_case: Callable[[ports.ReadTx], T]) -> T:
        """Run a use case of one point look-up or a few, at once."""
        self._refuse_when_closed()
        try:
            return use_case(self._reading)
        except sqlite3.DatabaseError as error:
            if _is_unavailable(error):
                raise _unavailable(error) from error
            raise

    async def long_read(self, use_case: Callable[[ports.ReadTx], T], *, what: str, account: str = "") -> T:
        """Run a use case that may read much, on the reader thread, when the account has its turn."""
        self._refuse_when_closed()
        await self._turns.take(account)
        try:
            self._refuse_when_closed()
            outcome = self._reader.submit(_long_read, self._long_reading, use_case, what)
        except BaseException:
            self._turns.leave(account)
            raise
        # Not before the thread is free, whether the caller still waits or not.
        outcome.add_done_callback(lambda _: self._loop.call_soon_threadsafe(self._turns.leave, account))
        return await asyncio.wrap_future(outcome)

    async def write(self, use_case: Callable[[ports.WriteTx], T]) -> T:
        """Run a use case that changes things. When this returns, its changes are on disk."""
        self._refuse_when_closed()
        future: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put(_Job(use_case, future))
        return await future

    def reusable_octets(self) -> int:
        """Free octets within the file, which are used before the file grows."""
        connection, names = self._reading.connection, ("freelist_count", "page_size")
        try:
            (pages,), (size,) = (connection.execute(f"PRAGMA {name}").fetchone() for name in names)
        except sqlite3.Error as error:
            raise _unavailable(error) from error
        return int(pages * size)

    async def close(self) -> None:
        """Finish the writes that wait, and close the file. Later calls raise `StoreUnavailable`."""
        self._closed = True
        self._jobs.put(None)
        await self._loop.run_in_executor(None, self._writer.join)
        self._long_reading.connection.interrupt()  # nobody waits for what it reads any more
        await self._loop.run_in_executor(None, self._reader.shutdown)
        self._connections.close()

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise ports.StoreUnavailable("the store is closed")

    def _write_batches(self) -> None:
        """The writer thread: take waiting writes, commit them together, pass each outcome to its caller."""
        while batch := self._next_batch():
            _run_batch(self._writing, batch)
            self._loop.call_soon_threadsafe(_tell_all, batch)

    def _next_batch(self) -> list[_Job]:
        """Wait for a job, then take all that wait. Empty when the store is closed and all is done."""
        first = self._jobs.get()
        if first is None:
            return []
        batch = [first]
        while len(batch) < BATCH_LIMIT:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is None:
                self._jobs.put(None)  # for the next call: this batch is the last
                break
            batch.append(job)
        return batch


def _tell_all(batch: list[_Job]) -> None:
    for job in batch:
        job.tell()


class _HalfDone(Exception):
    """A use case failed after it had changed something, which must be undone."""


def _run_batch(tx: SqliteTransaction, batch: list[_Job]) -> None:
    """Run the jobs in one transaction and commit. If that fails as a whole, every job has failed.

    Never raises: the writer continues with the next batch, and callers wait for results.
    """
    connection = tx.connection
    try:
        if connection.in_transaction:  # a disk that failed at the last rollback, and may be back
            connection.execute("ROLLBACK")
        connection.execute("BEGIN IMMEDIATE")
        try:
            for job in batch:
                _run(tx, job)
        except _HalfDone:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            connection.execute("BEGIN IMMEDIATE")
            for job in batch:
                _run_in_savepoint(tx, job)
        connection.execute("COMMIT")
    except Exception as error:  # noqa: BLE001 - as said above
        for job in batch:
            job.error = ports.StoreUnavailable(f"the transaction failed: {error}")
        with suppress(sqlite3.Error):
            if connection.in_transaction:
                connection.execute("ROLLBACK")


def _run(tx: SqliteTransaction, job: _Job) -> None:
    """Run one job with no savepoint around it, which would cost a quarter of the time of a message.

    Most refusals happen before the first change, and then there is nothing to undo. Raises `_HalfDone` otherwise.
    """
    connection = tx.connection
    changes = connection.total_changes
    job.run(tx)
    if job.error is None:
        return
    # A full disk can make SQLite undo the whole transaction by itself; what came next would stand alone.
    if connection.total_changes != changes or not connection.in_transaction:
        raise _HalfDone


def _run_in_savepoint(tx: SqliteTransaction, job: _Job) -> None:
    """Run one job so that it can be undone alone. Raises `sqlite3.Error` only if the whole transaction is lost."""
    tx.connection.execute("SAVEPOINT job")
    job.run(tx)
    if job.error is not None:
        tx.connection.execute("ROLLBACK TO job")
    tx.connection.execute("RELEASE job")


def _long_read(tx: SqliteTransaction, use_case: Callable[[ports.ReadTx], T], what: str) -> T:
    """Run a use case on one consistent view of the database. `what` it reads is for the error."""
    connection = tx.connection
    seconds = time_limits.LIMITS.long_read
    deadline = time.monotonic() + seconds
    try:
        connection.execute("BEGIN")
        connection.set_progress_handler(lambda: time.monotonic() > deadline, sqlite_file.STEPS_BETWEEN_LOOKS)
        try:
            return use_case(tx)
        finally:
            connection.set_progress_handler(None, 0)
            if connection.in_transaction:  # SQLite may have ended it with the error that is on its way
                connection.execute("COMMIT")
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
            if time.monotonic() > deadline:
                raise ports.TookTooLong(what, seconds) from error
            raise ports.StoreUnavailable("the store is closed") from error
        if _is_unavailable(error):
            raise _unavailable(error) from error
        raise


def _is_unavailable(error: sqlite3.DatabaseError) -> bool:
    """Whether the file cannot be used now; only a bug can cause other errors of SQLite."""
    # DatabaseError itself, not one of its subclasses, means a file that is damaged.
    return type(error) in (sqlite3.OperationalError, sqlite3.DatabaseError)


def _unavailable(error: sqlite3.Error) -> ports.StoreUnavailable:
    return ports.StoreUnavailable(f"SQLite says: {error}")
