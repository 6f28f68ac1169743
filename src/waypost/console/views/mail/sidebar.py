"""The first column of the page: the counts of refused, waiting and dead mail, and the busiest email addresses."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta

from msgspec import Struct, field

from waypost.app import ports
from waypost.app.mail import mailbox
from waypost.app.queue import waiting
from waypost.console.views.mail.selection import DEAD, REFUSED, WAITING
from waypost.console.visits import Visit
from waypost.domain.directory.addresses import Address

ADDRESSES = 20
"""The maximum number of email addresses in the column."""

WAYS_READ = 100
"""The number of ways of mail from which the addresses are taken: those that most deliveries took."""

COUNTED = timedelta(hours=23)
"""The time for which deliveries are counted, before the current hour."""

COUNTED_UP_TO = 100
"""The number at which a count of a kind ends. The page then shows one less, and a plus sign."""


class Busy(Struct, frozen=True):
    """An email address with its mail."""

    address: str
    count: int
    """The number of deliveries in about the last day."""
    is_primary: bool = False
    """Whether the address is listed below its alias."""


class Sidebar(Struct, frozen=True):
    """What the column shows."""

    kinds: Mapping[str, int] = field(default_factory=dict)
    """The number of refusals and of deliveries of some kinds, by the value of `is` in a URL."""
    addresses: Sequence[Busy] = ()


def read(tx: ports.ReadTx, visit: Visit) -> Sidebar:
    """Return the column for the account of a person."""
    now = visit.parts.mail_clock()
    flows = tx.mail_flows(visit.account, since=now - COUNTED, limit=WAYS_READ)
    refused = mailbox.refusals(
        tx,
        visit.account,
        servers_owner=visit.parts.deployment.owner,
        since=now - visit.parts.refusal_retention,
        after=None,
        limit=COUNTED_UP_TO,
    )
    dead = tx.count_dead_letters(visit.account, address_key=None, since=None, up_to=COUNTED_UP_TO)
    kinds = {REFUSED: len(refused.refusals), WAITING: _waiting(tx, visit.account), DEAD: dead}
    return Sidebar(kinds, busiest(flows))


def _waiting(tx: ports.ReadTx, account: str) -> int:
    """Return the number of waiting deliveries of an account, at most `COUNTED_UP_TO`."""
    count = 0
    for one in tx.destinations_of(account, limit=waiting.SUMMED_UP):
        count += tx.count_queued(account, one.destination, up_to=COUNTED_UP_TO - count)
        if count >= COUNTED_UP_TO:
            break
    return count


def count_in_words(count: int) -> str:
    """Return the count of a kind as the page shows it: nothing for none, and `99+` if the count ended early."""
    return f"{COUNTED_UP_TO - 1}+" if count >= COUNTED_UP_TO else str(count or "")


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
