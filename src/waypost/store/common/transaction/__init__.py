"""One transaction on any database: the queries of `ports.WriteTx` by their names, and the rows they give.

Each file has one subject, as in `app/ports/`. What differs between databases is abstract in `statements.py` and at the
end of `directory.py`.
"""

from waypost.store.common.transaction.access_keys import AccessKeyQueries
from waypost.store.common.transaction.calls import CallQueries
from waypost.store.common.transaction.directory import DirectoryQueries
from waypost.store.common.transaction.messages import MessageQueries
from waypost.store.common.transaction.notices import NoticeQueries
from waypost.store.common.transaction.refusals import RefusalQueries
from waypost.store.common.transaction.retention import RetentionQueries
from waypost.store.common.transaction.routes import RouteQueries

_SEAL_CHECK = "seal check"


class Transaction(
    DirectoryQueries,
    CallQueries,
    AccessKeyQueries,
    RouteQueries,
    MessageQueries,
    NoticeQueries,
    RefusalQueries,
    RetentionQueries,
):
    """`ports.WriteTx` over one connection. As `ports.ReadTx` where the connection may only read."""

    def hold(self, what: str) -> None:
        self._run("hold", what)

    def first_time(self, what: str) -> bool:
        return bool(self._all("add_mark", what, b"done"))

    def check_seal(self) -> None:
        """Make sure that secrets in this database are sealed by this seal; `unseal` raises if they are not."""
        self._all("add_mark", _SEAL_CHECK, self._seal.seal("right", _SEAL_CHECK))
        ((sealed,),) = self._all("mark", _SEAL_CHECK)
        self._seal.unseal(sealed, _SEAL_CHECK)
