"""The store on SQLite: one file, one writer that serves many callers with one fsync.

Waiting writes are drained into one `BEGIN IMMEDIATE … COMMIT`, and all of them are durable (`synchronous=FULL`)
before any caller hears of success. One that fails half-way harms no other: then the batch is run once more, with
a savepoint around each (docs/decisions/0005-savepoints-when-needed.md). Point reads run
on the event loop's own read-only connection, which WAL lets go on while the writer writes; longer reads have
a thread of their own.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from waypost.app import ports
from waypost.domain.aliases import AliasLink
from waypost.domain.delivery import Delivery
from waypost.domain.email_addresses import EmailAddress
from waypost.domain.instances import Instance, Tenant
from waypost.domain.messages import Message
from waypost.store import errors, migrations, rows, sql

T = TypeVar("T")

OLDEST_SQLITE = (3, 37)
"""The first with STRICT tables."""

BATCH_LIMIT = 256
"""Writes in one transaction, at most: bounds how long the first of them waits for the last."""

_QUERIES = sql.load("sqlite")

_UNIQUE_CONSTRAINTS = {
    "email_addresses.address_key": "email_addresses_have_one_owner",
    "instances.alias_key": "instances_alias_is_unique",
    "alias_link_ends.email_address_id": "alias_link_ends_one_link_each",
    "alias_link_ends.email_address_id, alias_link_ends.side, "
    "alias_link_ends.other_id, alias_link_ends.other_side": "alias_link_ends_pair",
}
"""SQLite names a unique constraint by its columns when it is broken; here is the name it has in the schema."""


class Transaction:
    """`ports.WriteTx` over one connection. As `ports.ReadTx` where the connection is read-only."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def instance(self, tenant: Tenant, instance_id: str) -> Instance | None:
        row = self._one("instance", instance_id, tenant.account, tenant.region)
        return rows.instance(row) if row else None

    def instances(self, tenant: Tenant, *, after: str, limit: int) -> list[Instance]:
        return [rows.instance(row) for row in self._all("instances", tenant.account, tenant.region, after, limit)]

    def email_address(self, instance_id: str, email_address_id: str) -> EmailAddress | None:
        row = self._one("email_address", email_address_id, instance_id)
        return rows.email_address(row) if row else None

    def description(self, tenant: Tenant, instance_id: str, email_address_id: str) -> ports.Description | None:
        row = self._one("description", email_address_id, instance_id, tenant.account, tenant.region)
        return rows.description(row) if row else None

    def email_address_by_key(self, address_key: str) -> EmailAddress | None:
        row = self._one("email_address_by_key", address_key)
        return rows.email_address(row) if row else None

    def email_address_with_primary(self, address_key: str) -> tuple[EmailAddress, EmailAddress | None] | None:
        row = self._one("email_address_with_primary", address_key)
        if row is None:
            return None
        own, primary = row[: rows.EMAIL_ADDRESS_FIELDS], row[rows.EMAIL_ADDRESS_FIELDS :]
        return rows.email_address(own), rows.email_address(primary) if primary[0] else None

    def email_address_by_id(self, email_address_id: str) -> EmailAddress | None:
        row = self._one("email_address_by_id", email_address_id)
        return rows.email_address(row) if row else None

    def link_of(self, email_address_id: str) -> AliasLink | None:
        row = self._one("link_of", email_address_id)
        return rows.link(row) if row else None

    def tags(self, resource_id: str) -> dict[str, str]:
        return dict(self._all("tags", resource_id))

    def remembered_call(self, key: ports.CallKey) -> ports.RememberedCall | None:
        row = self._one("remembered_call", *_call_key(key))
        return rows.remembered_call(row) if row else None

    def message(self, account: str, message_id: str) -> Message | None:
        row = self._one("message", message_id, account)
        return rows.message(row) if row else None

    def raw(self, message_id: str) -> bytes:
        raw: bytes = self._execute("raw", message_id).fetchone()[0]
        return raw

    def deliveries_of(self, account: str, message_id: str) -> list[Delivery]:
        return [rows.delivery(row) for row in self._all("deliveries_of", message_id, account)]

    def deliveries_at(
        self, account: str, address_key: str, *, after: str | None, limit: int
    ) -> list[tuple[Delivery, Message]]:
        newest = "~" if after is None else after  # "~" sorts behind every id
        found = self._all("deliveries_at", account, address_key, newest, limit)
        return [(rows.delivery(row), rows.message(row[rows.DELIVERY_FIELDS :])) for row in found]

    def trace(self, message_id: str) -> list[ports.TraceEvent]:
        return [rows.trace_event(row) for row in self._all("trace", message_id)]

    def lock_email_addresses(self, instance_id: str, ids: Sequence[str]) -> dict[str, EmailAddress]:
        # There is one writer, so a write transaction holds every row already.
        found = (self.email_address(instance_id, email_address_id) for email_address_id in ids)
        return {email_address.id: email_address for email_address in found if email_address}

    def add_instance(self, instance: Instance, tags: Mapping[str, str]) -> None:
        self._execute("add_instance", *rows.of_instance(instance))
        self._many("add_tag", [(instance.id, key, value) for key, value in tags.items()])

    def remove_instance(self, instance_id: str) -> None:
        self._execute("remove_links_of_instance", instance_id)
        self._execute("remove_tags_of_instance", instance_id)
        self._execute("remove_email_addresses_of_instance", instance_id)
        self._execute("remove_instance", instance_id)

    def add_email_address(self, email_address: EmailAddress, tags: Mapping[str, str]) -> None:
        self._execute("add_email_address", *rows.of_email_address(email_address))
        self._many("add_tag", [(email_address.id, key, value) for key, value in tags.items()])

    def remove_email_address(self, email_address_id: str) -> None:
        self._execute("remove_link", email_address_id)
        self._execute("remove_tags", email_address_id)
        self._execute("remove_email_address", email_address_id)

    def add_link(self, link: AliasLink) -> None:
        self._execute("add_link", link.primary_id, link.alias_id, rows.to_milliseconds(link.created_at))

    def remove_link(self, link: AliasLink) -> None:
        self._execute("remove_link", link.primary_id)

    def remember_call(self, key: ports.CallKey, call: ports.RememberedCall) -> None:
        made_at = rows.to_milliseconds(call.made_at)
        self._execute("remember_call", *_call_key(key), call.fingerprint, call.answer, made_at)

    def add_message(
        self, message: Message, raw: bytes, deliveries: Sequence[Delivery], trace: Sequence[ports.TraceEvent]
    ) -> None:
        self._execute("add_message", *rows.of_message(message))
        self._execute("add_body", message.id, raw)
        self._many("add_delivery", [rows.of_delivery(delivery) for delivery in deliveries])
        self._many("add_trace_event", [rows.of_trace_event(message.id, n, event) for n, event in enumerate(trace)])

    def _one(self, query: str, *parameters: Any) -> rows.Row | None:
        row: rows.Row | None = self._execute(query, *parameters).fetchone()
        return row

    def _all(self, query: str, *parameters: Any) -> list[Any]:
        return self._execute(query, *parameters).fetchall()

    def _execute(self, query: str, *parameters: Any) -> sqlite3.Cursor:
        try:
            return self._connection.execute(_QUERIES[query], parameters)
        except sqlite3.IntegrityError as error:
            raise _translated(error) from error

    def _many(self, query: str, parameters: Sequence[rows.Row]) -> None:
        try:
            self._connection.executemany(_QUERIES[query], parameters)
        except sqlite3.IntegrityError as error:
            raise _translated(error) from error


@dataclass(slots=True)
class _Job:
    """A write that waits for its turn, and then its outcome, which is told only after the commit."""

    use_case: Callable[[ports.WriteTx], Any]
    future: "asyncio.Future[Any]"
    result: Any = None
    error: BaseException | None = None

    def run(self, tx: ports.WriteTx) -> None:
        """Run the use case and keep its outcome."""
        self.result = self.error = None
        try:
            self.result = self.use_case(tx)
        except sqlite3.OperationalError as error:
            self.error = _unavailable(error)
        except BaseException as error:  # noqa: BLE001 - it belongs to the caller, who gets it whole
            self.error = error

    def tell(self) -> None:
        """Tell the caller, unless they have stopped waiting."""
        if self.future.cancelled():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class SqliteStore:
    """`ports.Store` on one SQLite file. Made on, and used from, one event loop."""

    def __init__(self, path: Path) -> None:
        """Open the file, made and migrated as needed. Raises `migrations.SchemaTooNew`, `StoreUnavailable`."""
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            wanted = ".".join(map(str, OLDEST_SQLITE))
            raise ports.StoreUnavailable(
                f"SQLite {wanted} or newer is needed; this Python has {sqlite3.sqlite_version}"
            )
        try:
            self._writing = _connect(path, "rwc")
            _migrate(self._writing, path)
            self._reading = _connect(path, "ro")
            self._searching = _connect(path, "ro")
        except sqlite3.Error as error:
            raise ports.StoreUnavailable(f"{path} cannot be opened: {error}") from error
        self._searcher = ThreadPoolExecutor(1, thread_name_prefix="waypost-search")
        self._writer = threading.Thread(target=self._write_batches, name="waypost-writer", daemon=True)
        self._writer.start()

    async def read(self, use_case: Callable[[ports.ReadTx], T]) -> T:
        """Run a use case of a few point look-ups, at once."""
        self._refuse_when_closed()
        return _read(self._reading, use_case)

    async def search(self, use_case: Callable[[ports.ReadTx], T]) -> T:
        """Run a use case that may read much, on the reader thread."""
        self._refuse_when_closed()
        return await self._loop.run_in_executor(self._searcher, _read, self._searching, use_case)

    async def write(self, use_case: Callable[[ports.WriteTx], T]) -> T:
        """Run a use case that changes things. When this returns, its changes are on disk."""
        self._refuse_when_closed()
        future: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put(_Job(use_case, future))
        return await future

    async def close(self) -> None:
        """Finish the writes that wait, and close the file. Later calls raise `StoreUnavailable`."""
        self._closed = True
        self._jobs.put(None)
        await self._loop.run_in_executor(None, self._writer.join)
        self._searcher.shutdown()
        for connection in (self._reading, self._searching, self._writing):
            connection.close()

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise ports.StoreUnavailable("the store is closed")

    def _write_batches(self) -> None:
        """The writer thread: take what waits, commit it as one, tell each caller its outcome."""
        while batch := self._next_batch():
            _run_batch(self._writing, batch)
            self._loop.call_soon_threadsafe(_tell_all, batch)

    def _next_batch(self) -> list[_Job]:
        """Wait for a job, then take what else waits. Empty when the store is closed and all is done."""
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
    """A use case failed after it had changed something, so there is something to undo."""


def _run_batch(connection: sqlite3.Connection, batch: list[_Job]) -> None:
    """Run the jobs in one transaction and commit. If that fails as a whole, every job has failed."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            for job in batch:
                _run(connection, job)
        except _HalfDone:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            connection.execute("BEGIN IMMEDIATE")
            for job in batch:
                _run_in_savepoint(connection, job)
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        for job in batch:
            job.error = ports.StoreUnavailable(f"the transaction failed: {error}")
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _run(connection: sqlite3.Connection, job: _Job) -> None:
    """Run one job with no savepoint around it, which would cost a quarter of the time of a message.

    Most refusals happen before the first change, and then there is nothing to undo. Raises `_HalfDone` otherwise.
    """
    changes = connection.total_changes
    job.run(Transaction(connection))
    if job.error is None:
        return
    # A full disk can make SQLite undo the whole transaction by itself; what came next would stand alone.
    if connection.total_changes != changes or not connection.in_transaction:
        raise _HalfDone


def _run_in_savepoint(connection: sqlite3.Connection, job: _Job) -> None:
    """Run one job so that it can be undone alone. Raises `sqlite3.Error` only if the whole transaction is lost."""
    connection.execute("SAVEPOINT job")
    job.run(Transaction(connection))
    if job.error is not None:
        connection.execute("ROLLBACK TO job")
    connection.execute("RELEASE job")


def _read(connection: sqlite3.Connection, use_case: Callable[[ports.ReadTx], T]) -> T:
    """Run a use case on one consistent view of the database."""
    try:
        connection.execute("BEGIN")
        try:
            return use_case(Transaction(connection))
        finally:
            connection.execute("COMMIT")
    except sqlite3.OperationalError as error:
        raise _unavailable(error) from error


def _unavailable(error: BaseException) -> ports.StoreUnavailable:
    return ports.StoreUnavailable(f"SQLite says: {error}")


def _translated(error: sqlite3.IntegrityError) -> Exception:
    """The domain error for a broken constraint, or the error itself where only a bug can have broken it."""
    what, _, which = str(error).partition(" constraint failed: ")
    constraint = _UNIQUE_CONSTRAINTS.get(which, which) if what == "UNIQUE" else which
    return errors.meaning(constraint) or error


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA busy_timeout = 5000")
    connection.execute("PRAGMA foreign_keys = ON")
    if mode == "rwc":
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
    return connection


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute(
        "CREATE TABLE IF NOT EXISTS migrations"
        " (number INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL, applied_at TEXT NOT NULL) STRICT"
    )
    (newest,) = connection.execute("SELECT coalesce(max(number), 0) FROM migrations").fetchone()
    for step in migrations.pending("sqlite", newest_applied=newest, where=str(path)):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in _statements(step.sql):
                connection.execute(statement)
            connection.execute("INSERT INTO migrations VALUES (?, ?, CURRENT_TIMESTAMP)", (step.number, step.name))
            connection.execute("COMMIT")
        except sqlite3.Error:
            connection.execute("ROLLBACK")
            raise


def _statements(script: str) -> Iterator[str]:
    """The statements of a script, one by one: `executescript` would commit behind our back."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _call_key(key: ports.CallKey) -> rows.Row:
    return (key.tenant.account, key.tenant.region, key.operation, key.scope, key.token)
