"""A transaction on SQLite or PostgreSQL. The class `Transaction` implements the methods of `ports.WriteTx` with named
queries.

As in `app/ports/`, each file covers one subject. The subclass for each database implements the abstract methods in
`statements.py` and at the end of `directory.py`.
"""

from waypost.store.common.transaction.access_keys import AccessKeyQueries
from waypost.store.common.transaction.calls import CallQueries
from waypost.store.common.transaction.directory import DirectoryQueries
from waypost.store.common.transaction.mail_changes import MailChangeQueries
from waypost.store.common.transaction.mailbox import MailboxQueries
from waypost.store.common.transaction.messages import MessageQueries
from waypost.store.common.transaction.notices import NoticeQueries
from waypost.store.common.transaction.refusals import RefusalQueries
from waypost.store.common.transaction.resetting import ResettingQueries
from waypost.store.common.transaction.retention import RetentionQueries
from waypost.store.common.transaction.sessions import SessionQueries


class Transaction(
    DirectoryQueries,
    CallQueries,
    AccessKeyQueries,
    SessionQueries,
    ResettingQueries,
    MessageQueries,
    MailboxQueries,
    NoticeQueries,
    RefusalQueries,
    RetentionQueries,
    MailChangeQueries,
):
    """The implementation of `ports.WriteTx` on one connection. On a read-only connection, only the methods of
    `ports.ReadTx` work.
    """

    def hold(self, what: str) -> None:
        self._run("hold", what)

    def first_time(self, what: str) -> bool:
        return bool(self._all("add_mark", what, b"done"))
