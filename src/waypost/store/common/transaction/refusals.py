"""A transaction's queries for refused mail."""

from collections.abc import Sequence
from datetime import datetime

from waypost.app import ports
from waypost.store.common import rows
from waypost.store.common.statements import Statements
from waypost.store.sql import kinds


class RefusalQueries(Statements):
    """The part of `Transaction` that handles refused mail. The methods are documented in `app/ports/refusals.py`."""

    def add_refusals(self, refusals: Sequence[ports.Refusal]) -> None:
        self._run_each("add_refusal", [rows.of_refusal(refusal) for refusal in refusals])

    def refusals_of(
        self, recipient_key: str, *, account: str, with_unowned: bool, since: datetime, limit: int
    ) -> list[ports.Refusal]:
        accounts = (account, "" if with_unowned else account)
        found = self._all("refusals_of", recipient_key, kinds.to_milliseconds(since), *accounts, limit)
        return [rows.refusal(row) for row in found]

    def forget_refusals(self, *, before: datetime, limit: int) -> int:
        return len(self._all("forget_refusals", kinds.to_milliseconds(before), limit))
