"""Runs a batch of writes in one transaction, in the writer thread.

If one write fails after it has changed data, the batch is run again with a savepoint around each write, so the other
writes are not affected (docs/decisions/0005-savepoints-when-needed.md).
"""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from waypost.app import ports
from waypost.store.common.outcomes import Outcome
from waypost.store.sqlite import drafts, failed_syncs
from waypost.store.sqlite import file as sqlite_file
from waypost.store.sqlite.drafts import Draft
from waypost.store.sqlite.transaction import SqliteTransaction


class Job(Outcome):
    """A write that waits for the writer thread. The writer thread stores the outcome of the write in this object, and
    the caller takes the outcome after the commit.
    """

    use_case: Callable[[ports.WriteTx], Any]
    future: "asyncio.Future[None]"
    """The future is done when the caller can take the outcome."""
    draft: Draft | None = None
    """The use case's result and inserts, if they were decided before the turn."""

    def run(self, tx: ports.WriteTx) -> None:
        """Run the use case, and store its result or its exception."""
        self.result = self.error = None
        try:
            self.result = self.use_case(tx)
        except sqlite3.DatabaseError as error:
            self.error = sqlite_file.unavailable(error) if sqlite_file.is_unavailable(error) else error
        except BaseException as error:  # noqa: BLE001 - it is raised again in the caller
            self.error = error

    def report(self) -> None:
        """Wake the caller, unless the caller has stopped waiting."""
        if self.future.cancelled():
            self.error = None
        else:
            self.future.set_result(None)


class _HalfDone(Exception):
    """A use case failed after it had changed data, so its changes must be rolled back."""


def discard_old_drafts(batch: list[Job], version: int | None) -> None:
    """Discard the drafts that are not valid in this turn. `version` is the version of the directory and the routes."""
    for job in batch:
        if job.draft and job.draft.version != version:
            job.draft = None


def run(tx: SqliteTransaction, batch: list[Job]) -> None:
    """Run the jobs in one transaction, and commit it. If the transaction fails, all of its jobs fail.

    Jobs with a draft are first, because the other jobs may change the directory.

    This function never raises an exception, because the writer must continue with the next batch. If a job fails, the
    function stores the error in the job.
    """
    connection = tx.connection
    try:
        if connection.in_transaction:  # the last rollback failed, perhaps because of the disk, which may work again now
            connection.execute("ROLLBACK")
        connection.execute("BEGIN IMMEDIATE")
        try:
            _insert_drafts(tx, batch)
            for job in batch:
                if job.draft is None:
                    _run(tx, job)
        except _HalfDone:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            connection.execute("BEGIN IMMEDIATE")
            for job in batch:
                _run_in_savepoint(tx, job)
        connection.execute("COMMIT")
    except Exception as error:  # noqa: BLE001 - see the docstring
        for job in batch:
            job.error = ports.StoreUnavailable(f"the transaction failed: {error}")
        _undo(connection, error)


def _undo(connection: sqlite3.Connection, error: Exception) -> None:
    """Roll the transaction back, and if it may be whole in the log, overwrite what the log has of it."""
    with suppress(sqlite3.Error):
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    if sqlite_file.may_be_in_log(error):
        failed_syncs.overwrite_failed_commit(connection)


def _insert_drafts(tx: SqliteTransaction, batch: list[Job]) -> None:
    """Insert the rows of all drafts. Raises `_HalfDone` if a row cannot be inserted."""
    try:
        drafts.insert(tx.connection, [job.draft for job in batch if job.draft])
    except sqlite3.Error as error:
        raise _HalfDone from error
    for job in batch:
        if job.draft:
            job.result = job.draft.result


def _run(tx: SqliteTransaction, job: Job) -> None:
    """Run one job without a savepoint, because the savepoint would take a quarter of the time that the store needs to
    accept a message.

    If the job fails before its first change, there is nothing to roll back. A failure after the first change raises
    `_HalfDone`.
    """
    connection = tx.connection
    changes = connection.total_changes
    job.run(tx)
    if job.error is None:
        return
    # If the disk is full, SQLite may roll back the whole transaction. Then later jobs would run outside a transaction.
    if connection.total_changes != changes or not connection.in_transaction:
        raise _HalfDone


def _run_in_savepoint(tx: SqliteTransaction, job: Job) -> None:
    """Run one job in a savepoint, so that only its changes are rolled back if it fails.

    Raises `sqlite3.Error` only if the whole transaction is lost.
    """
    tx.connection.execute("SAVEPOINT job")
    job.run(tx)
    if job.error is not None:
        tx.connection.execute("ROLLBACK TO job")
    tx.connection.execute("RELEASE job")
