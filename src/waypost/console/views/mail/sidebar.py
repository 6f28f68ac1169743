"""The first column of the page: the number of waiting deliveries and dead letters, and the busiest email addresses."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from waypost.app import ports
from waypost.console.views import queue
from waypost.domain.directory.addresses import Address

ADDRESSES = 20
"""The maximum number of email addresses in the column."""

WAYS_READ = 100
"""The number of ways of mail from which the addresses are taken: those that most deliveries took."""

COUNTED = timedelta(hours=23)
"""The time for which deliveries are counted, before the current hour."""


@dataclass(frozen=True, slots=True)
class Busy:
    """An email address with its mail."""

    address: str
    count: int
    """The number of deliveries in about the last day."""
    is_primary: bool = False
    """Whether the address is listed below its alias."""


@dataclass(frozen=True, slots=True)
class Sidebar:
    """What the column shows."""

    kinds: Mapping[str, int] = field(default_factory=dict)
    """The number of deliveries of some kinds, by the value of `is` in a URL."""
    addresses: Sequence[Busy] = ()


def read(tx: ports.ReadTx, account: str, now: datetime) -> Sidebar:
    """Return the column for an account."""
    totals = queue.totals(tx, account)
    flows = tx.mail_flows(account, since=now - COUNTED, limit=WAYS_READ)
    return Sidebar({"waiting": totals.waiting, "dead": totals.dead}, busiest(flows))


def busiest(flows: Sequence[ports.Flow]) -> list[Busy]:
    """Return the email addresses with the most deliveries. A primary comes after its busiest alias."""
    counts: Counter[str] = Counter()
    aliases: dict[str, str] = {}
    for flow in flows:
        counts[flow.address] += flow.count
        if flow.alias:
            aliases.setdefault(flow.address, flow.alias)
    found = []
    for address, count in counts.most_common():
        if aliases.get(address) not in counts:
            found.append(Busy(address, count))
            found += [Busy(one, counts[one], is_primary=True) for one, alias in aliases.items() if alias == address]
    return found[:ADDRESSES]


def with_address(found: Sequence[Busy], address: Address | None) -> Sequence[Busy]:
    """Return the addresses, with the selected one first if it is not among them."""
    if address is None or any(one.address == address.text for one in found):
        return found
    return [Busy(address.text, 0), *found]
