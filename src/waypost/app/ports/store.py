"""The store, which runs use cases, each in a transaction, and its errors."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from waypost.app.ports.access_keys import ReadAccessKeys, WriteAccessKeys
from waypost.app.ports.calls import WriteCalls
from waypost.app.ports.directory import ReadDirectory, WriteDirectory
from waypost.app.ports.messages import ReadMessages, WriteMessages
from waypost.app.ports.notices import ReadNotices, WriteNotices
from waypost.app.ports.queue import ReadQueue, WriteQueue
from waypost.app.ports.refusals import ReadRefusals, WriteRefusals
from waypost.app.ports.retention import ReadRetention, WriteRetention
from waypost.app.ports.routes import ReadRoutes, WriteRoutes

T = TypeVar("T")


class StoreUnavailable(Exception):
    """The store cannot answer now (closed, locked, disk full, gone). A retry may succeed.

    Nothing was done; or, if the connection broke at the COMMIT, the outcome is unknown.
    """


class TookTooLong(StoreUnavailable):
    """A long read reached its time limit, and was stopped. A read of less may succeed."""

    def __init__(self, what: str, seconds: float) -> None:
        """`what` names what was read (a noun phrase), and `seconds` is the time limit."""
        super().__init__(f"Reading {what} took more than {seconds:g} seconds, so it was given up.")
        self.seconds = seconds


class ReadTx(
    ReadDirectory,
    ReadAccessKeys,
    ReadRoutes,
    ReadMessages,
    ReadQueue,
    ReadNotices,
    ReadRefusals,
    ReadRetention,
    Protocol,
):
    """A consistent view of the store. Methods return None or an empty list where there is nothing."""


class WriteTx(
    ReadTx,
    WriteDirectory,
    WriteCalls,
    WriteAccessKeys,
    WriteRoutes,
    WriteMessages,
    WriteQueue,
    WriteNotices,
    WriteRefusals,
    WriteRetention,
    Protocol,
):
    """A transaction that changes the store. An exception undoes all that was done through it.

    Where a named constraint of the store is broken, `errors.Duplicate`, `errors.Conflict` or `errors.NotFound` is
    raised, by the method or at the end of the transaction. A transaction waits for what another one has locked; if it
    waits too long, `errors.Busy` is raised.
    """

    def hold(self, what: str) -> None:
        """Acquire a named lock, so that transactions that do the same thing run in turn."""
        ...

    def first_time(self, what: str) -> bool:
        """Whether this is the first call for `what` in the life of the deployment."""
        ...


class Store(Protocol):
    """Runs use cases. Every method raises `StoreUnavailable` if the store failed."""

    async def read(self, use_case: Callable[[ReadTx], T]) -> T:
        """Run a use case of one point look-up or a few, each of which sees what is committed by then."""
        ...

    async def long_read(self, use_case: Callable[[ReadTx], T], *, what: str, account: str = "") -> T:
        """Run a use case that may read much (lists, bodies) on one consistent view, while others read and write.

        `what` names what is read (a noun phrase), for the error if it takes too long. Long reads of different accounts
        run in turn, so that many of one account do not delay those of another. Without an `account`, the read is the
        server's own, which has its turn too.

        Raises `TookTooLong` if the read uses up its time limit.
        """
        ...

    async def write(self, use_case: Callable[[WriteTx], T]) -> T:
        """Run a use case that changes things. It may run more than once, and counts once."""
        ...

    def reusable_octets(self) -> int:
        """Free octets within the files of the store, for which the disk needs no room; zero if unknown."""
        ...

    async def close(self) -> None:
        """Finish waiting writes, and close everything. Later calls raise `StoreUnavailable`."""
        ...
