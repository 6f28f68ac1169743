"""The store, which runs each use case in a transaction, and the store's errors."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from waypost.app.ports.access_keys import ReadAccessKeys, WriteAccessKeys
from waypost.app.ports.calls import WriteCalls
from waypost.app.ports.directory import ReadDirectory, WriteDirectory
from waypost.app.ports.mail_changes import ReadMailChanges, WriteMailChanges
from waypost.app.ports.mail_index import ReadMailIndex, WriteMailIndex
from waypost.app.ports.mailbox import ReadMailbox
from waypost.app.ports.messages import ReadMessages, WriteMessages
from waypost.app.ports.notices import ReadNotices, WriteNotices
from waypost.app.ports.queue import ReadQueue, WriteQueue
from waypost.app.ports.refusals import ReadRefusals, WriteRefusals
from waypost.app.ports.resetting import WriteResetting
from waypost.app.ports.retention import ReadRetention, WriteRetention
from waypost.app.ports.routes import ReadRoutes, WriteRoutes
from waypost.app.ports.seals import ReadSeals, WriteSeals
from waypost.app.ports.sessions import ReadSessions, WriteSessions

T = TypeVar("T")

OnCommit = Callable[[int, float], None]
"""A function that a store calls on the event loop after each commit, with the number of writes that shared the
transaction, and the duration of the transaction in seconds.
"""


def not_measured(_writes: int, _seconds: float) -> None:
    """Ignore a commit, for a store whose commits nobody measures."""


class StoreUnavailable(Exception):
    """The store is temporarily unusable: closed, locked, out of disk space, or unreachable. A retry may succeed.

    A transaction that fails with `StoreUnavailable` has no effect, unless the connection breaks during the COMMIT. If
    the connection breaks during the COMMIT, it is unknown whether the changes were committed.
    """


class Damaged(Exception):
    """The stored bytes of a message are not those that were stored: their checksum differs. They are not returned.

    A retry fails too, until a backup is restored. The message of the exception is for operators and for clients.
    """

    def __init__(self, message_id: str) -> None:
        super().__init__(
            f"The stored bytes of message {message_id} are damaged, so they are not returned. Check the disk, find all "
            "damaged messages with `waypost verify`, and restore them from a backup."
        )
        self.damaged_message = message_id
        """The id of the message. `observe.incidents` looks for this member."""


class TookTooLong(StoreUnavailable):
    """The store stopped a long read because the read reached its time limit. A smaller read may succeed."""

    def __init__(self, what: str, seconds: float) -> None:
        """`what` is a noun phrase that names the data that was read, and `seconds` is the time limit."""
        super().__init__(f"The store stopped reading {what}, because the read took more than {seconds:g} seconds.")
        self.seconds = seconds


class ReadTx(
    ReadDirectory,
    ReadAccessKeys,
    ReadSeals,
    ReadSessions,
    ReadRoutes,
    ReadMessages,
    ReadMailbox,
    ReadMailChanges,
    ReadMailIndex,
    ReadQueue,
    ReadNotices,
    ReadRefusals,
    ReadRetention,
    Protocol,
):
    """Read access to the store for a use case. Methods return None or an empty list if they find nothing."""


class WriteTx(
    ReadTx,
    WriteDirectory,
    WriteCalls,
    WriteAccessKeys,
    WriteSeals,
    WriteSessions,
    WriteRoutes,
    WriteMessages,
    WriteMailChanges,
    WriteMailIndex,
    WriteQueue,
    WriteNotices,
    WriteRefusals,
    WriteRetention,
    WriteResetting,
    Protocol,
):
    """A transaction that changes the store. If the use case raises an exception, all changes are rolled back.

    If a change violates a named constraint of the database, `errors.Duplicate`, `errors.Conflict` or `errors.NotFound`
    is raised. The error is raised either by the method that makes the change, or at the end of the transaction. If
    another transaction has locked a row, this transaction waits. If the wait takes too long, `errors.Busy` is raised.
    """

    def hold(self, what: str) -> None:
        """Acquire the lock named `what`, and hold it until the transaction ends.

        Transactions that acquire the same lock run one after the other.
        """
        ...

    def first_time(self, what: str) -> bool:
        """Return whether this method is called for the first time with this value of `what` in this deployment."""
        ...


class Store(Protocol):
    """Runs use cases in transactions. Every method raises `StoreUnavailable` if the store fails."""

    async def read(self, use_case: Callable[[ReadTx], T]) -> T:
        """Run a use case that makes only a few point queries.

        Each query sees the data that is committed when the query runs, so two queries may see different states.
        """
        ...

    async def long_read(self, use_case: Callable[[ReadTx], T], *, what: str, account: str = "") -> T:
        """Run a use case on one consistent snapshot. The use case may read a lot of data, such as lists or message
        bodies.

        Other transactions can read and write at the same time. `what` is a noun phrase that names the data, for the
        message of `TookTooLong`.

        Accounts take turns with their long reads, so that one account's many reads do not delay another account's
        reads. An empty `account` stands for the server itself, whose reads take turns with those of the accounts.

        Raises `TookTooLong` if the read reaches its time limit.
        """
        ...

    async def write(self, use_case: Callable[[WriteTx], T], *, may_share: bool = False) -> T:
        """Run a use case that changes data.

        After a conflict, the store may run the use case again, but it commits only one run.

        If `may_share` is true, the use case may share its transaction with others. It should then only look up rows
        without locking them, and afterwards insert rows, as the acceptance of a message does. The result is the same
        as without `may_share`: another use case that fails does not affect this one.
        """
        ...

    def directory_version(self) -> int | None:
        """Return the version of the directory and the routes. After a change of an instance, an email address, an alias
        link, a tag or a route, in any process, the version is different.

        Return None if the version is unknown at the moment, or if the store has no versions. The method never waits.
        """
        ...

    def version_of_keys(self) -> int | None:
        """Return the version of the access keys. After a change of an access key, in any process, the version is
        different.

        Return None if the version is unknown at the moment, or if the store has no versions. The method never waits.
        """
        ...

    def reusable_octets(self) -> int:
        """Return the number of free bytes inside the store's files. The store uses the free bytes before it enlarges
        the files.

        Return zero if the number of free bytes is unknown.
        """
        ...

    async def clock_ahead(self) -> float:
        """Return by how many seconds the clock of this machine is ahead of the clock of the database's machine. The
        value is negative if the clock is behind, and 0 if the store is a file of this machine.

        Raises `StoreUnavailable`.
        """
        ...

    async def close(self) -> None:
        """Finish all pending writes, and close all connections. Later calls raise `StoreUnavailable`."""
        ...
