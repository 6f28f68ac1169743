"""A transaction's queries for due notices."""

import json
from collections.abc import Sequence
from datetime import datetime

from waypost.app import ports
from waypost.store.common import rows
from waypost.store.common.statements import Statements
from waypost.store.sql import kinds

CANDIDATES = 100
"""The maximum number of recipients that the query for the next notice considers. These are the recipients whose notices
have been due the longest.

If the notices for all of these recipients must wait for the outcomes of other recipients, the query finds no notice,
even if there is a later notice that need not wait. This situation does not last long, because no notice waits for other
recipients for more than two minutes.
"""


class NoticeQueries(Statements):
    """The part of `Transaction` that handles due notices. The methods are documented in `app/ports/notices.py`."""

    def owed(self, *, now: datetime, soon: datetime, owed_before: datetime) -> ports.Owing | None:
        moments = map(kinds.to_milliseconds, (now, soon, owed_before))
        row = self._one("owed", *moments, CANDIDATES)
        return ports.Owing(*row) if row else None

    def owe(self, owed: Sequence[ports.Owed]) -> None:
        self._run_each("add_owed", [_row_of(one) for one in owed])

    def take_owed(self, owing: ports.Owing, *, limit: int) -> list[ports.Owed]:
        self._run("lock_message", owing.message_id)  # a transaction that adds notices locks the message first, too
        found = self._all("take_owed", owing.message_id, owing.action, limit)
        return sorted((_owed(row, owing) for row in found), key=lambda one: (one.recipient, one.email_address_id))

    def drop_owed(self, owing: ports.Owing, *, limit: int) -> int:
        self._run("lock_message", owing.message_id)  # as in `take_owed`
        return len(self._all("take_owed", owing.message_id, owing.action, limit))


def _owed(row: rows.Row, owing: ports.Owing) -> ports.Owed:
    """Read the part of a notice that concerns one recipient."""
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
    return (*key, kinds.to_milliseconds(owed.at), kinds.to_json(owed.fate))
