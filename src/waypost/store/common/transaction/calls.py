"""A transaction's queries for API calls that have a client token."""

from datetime import datetime

from waypost.app import ports
from waypost.store.common import rows
from waypost.store.common.statements import Statements
from waypost.store.sql import kinds


class CallQueries(Statements):
    """The part of `Transaction` that handles API calls with a client token. The methods are documented in
    `app/ports/calls.py`.
    """

    def claim_call(self, key: ports.CallKey) -> ports.RememberedCall | None:
        row = self._one("claim_call", *_call_key(key))
        return rows.remembered_call(row) if row and row[0] else None  # a row without a fingerprint is only a lock

    def remember_call(self, key: ports.CallKey, call: ports.RememberedCall) -> None:
        made_at = kinds.to_milliseconds(call.made_at)
        self._run("remember_call", *_call_key(key), call.fingerprint, call.answer, made_at)

    def forget_calls(self, *, before: datetime, limit: int) -> int:
        return len(self._all("forget_calls", kinds.to_milliseconds(before), limit))

    def correct_calls(self, *, now: datetime, limit: int) -> int:
        return len(self._all("correct_calls", kinds.to_milliseconds(now), limit))


def _call_key(key: ports.CallKey) -> rows.Row:
    return (key.tenant.account, key.tenant.region, key.operation, key.scope, key.token)
