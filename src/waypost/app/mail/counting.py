"""Count the mail of an account over time, and the ways that it took."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from waypost.app import ports

MINUTES, HOURS = 60, 24
"""The number of minutes, and of hours, that are counted."""

FLOWS_LIMIT = 500
"""The maximum number of ways that are returned: those that most deliveries took."""

KINDS = ("accepted", "delivered", "deferred", "refused", "dead")
"""What is counted: messages, refusals, and deliveries that were completed, deferred or given up."""


class Counted(Struct, frozen=True):
    """The counts of one minute or hour."""

    start: datetime
    counts: dict[str, int]
    """The count of each of `KINDS`."""


class Counts(Struct, frozen=True):
    """The counts of an account."""

    minutes: Sequence[Counted]
    """The minutes of the last hour, in order. The last is the current minute."""
    hours: Sequence[Counted]
    """The hours of the last day, in order. The last is the current hour."""
    flows: Sequence[ports.Flow]
    """The ways of the deliveries of the last day, the most frequent first."""


def counts(tx: ports.ReadTx, account: str, *, servers_owner: str, now: datetime) -> Counts:
    """Return the counts of an account. The account `servers_owner` also has the refusals for addresses that no account
    owned.
    """
    this_minute, this_hour = int(now.timestamp()) // 60, int(now.timestamp()) // 3600
    since = datetime.fromtimestamp((this_hour - HOURS + 1) * 3600, UTC)
    by_minute: dict[int, dict[str, int]] = defaultdict(lambda: dict.fromkeys(KINDS, 0))
    by_hour: dict[int, dict[str, int]] = defaultdict(lambda: dict.fromkeys(KINDS, 0))
    refused = tx.refusal_counts(account, with_unowned=account == servers_owner, since=since)
    found = [(one.minute, one.kind, one.count) for one in tx.mail_counts(account, since=since)]
    for minute, kind, count in (*found, *((minute, "refused", count) for minute, count in refused.items())):
        by_minute[minute][kind] += count
        by_hour[minute // 60][kind] += count
    return Counts(
        [_counted(by_minute, minute, 60) for minute in range(this_minute - MINUTES + 1, this_minute + 1)],
        [_counted(by_hour, hour, 3600) for hour in range(this_hour - HOURS + 1, this_hour + 1)],
        tx.mail_flows(account, since=now - timedelta(hours=HOURS - 1), limit=FLOWS_LIMIT),
    )


def _counted(found: dict[int, dict[str, int]], number: int, seconds: int) -> Counted:
    return Counted(datetime.fromtimestamp(number * seconds, UTC), found[number])
