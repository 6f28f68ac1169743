"""A transaction on SQLite or PostgreSQL. The class `Transaction` implements the methods of `ports.WriteTx` with named
queries.

As in `app/ports/`, each file covers one subject. The subclass for each database implements the abstract methods in
`statements.py` and at the end of `directory.py`.
"""

import hashlib

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

_SEAL_CHECK = "seal check"


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

    def check_seal(self) -> None:
        """Check that the secrets in this database were encrypted with the current key. If the secrets were encrypted
        with another key, `unseal` raises an exception.

        In a new database, store a sealed value for later checks.
        """
        self._all("add_mark", _SEAL_CHECK, self._seal.seal("right", _SEAL_CHECK))
        self.refuse_other_seal()

    def refuse_other_seal(self) -> None:
        """Check the same as `check_seal`, without storing anything. A new database passes the check."""
        for (sealed,) in self._all("mark", _SEAL_CHECK):
            self._seal.unseal(sealed, _SEAL_CHECK)

    def deployment_id(self) -> str:
        """Return an id that no other deployment has: a digest of the value that `check_seal` stores. All copies of this
        database have the same id.
        """
        sealed = b"".join(bytes(value) for (value,) in self._all("mark", _SEAL_CHECK))
        return hashlib.sha256(sealed).hexdigest()
