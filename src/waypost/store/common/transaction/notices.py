"""Notices that are due, in a transaction: added, found in their turn, and taken to be written."""

import json
from collections.abc import Sequence
from datetime import datetime

from waypost.app import ports
from waypost.store.common import rows
from waypost.store.common.statements import Statements
from waypost.store.sql import kinds

LOOKED_AT_ONCE = 100
"""The next notice is looked for among this many recipients, the oldest first.

If all of them wait for other recipients, later ones are not found. They wait for two minutes at most.
"""


class NoticeQueries(Statements):
    """A part of `Transaction`, which is described in `app/ports/` like the rest of it."""

    def owed(self, *, now: datetime, soon: datetime, owed_before: datetime) -> ports.Owing | None:
        moments = map(kinds.to_milliseconds, (now, soon, owed_before))
        row = self._one("owed", *moments, LOOKED_AT_ONCE)
        return ports.Owing(*row) if row else None

    def owe(self, owed: Sequence[ports.Owed]) -> None:
        self._run_each("add_owed", [_row_of(one) for one in owed])

    def take_owed(self, owing: ports.Owing, *, limit: int) -> list[ports.Owed]:
        self._run("lock_message", owing.message_id)  # as whoever owes more about it does first
        found = self._all("take_owed", owing.message_id, owing.action, limit)
        return sorted((_owed(row, owing) for row in found), key=lambda one: (one.recipient, one.email_address_id))

    def drop_owed(self, owing: ports.Owing, *, limit: int) -> int:
        self._run("lock_message", owing.message_id)  # as above
        return len(self._all("take_owed", owing.message_id, owing.action, limit))


def _owed(row: rows.Row, owing: ports.Owing) -> ports.Owed:
    """The contents of a notice for one recipient."""
    recipient, email_address_id, owed_at, fate = row
    return ports.Owed(
        message_id=owing.message_id,
        action=owing.action,
        recipient=recipient,
        email_address_id=email_address_id,
        at=kinds.from_milliseconds(owed_at),
        fate=json.loads(fate),
    )


def _row_of(owed: ports.Owed) -> rows.Row:
    key = (owed.message_id, owed.action, owed.recipient, owed.email_address_id)
    return (*key, kinds.to_milliseconds(owed.at), json.dumps(owed.fate))
