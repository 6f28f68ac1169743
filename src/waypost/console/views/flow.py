"""The page that shows the mail of the last hour as it moves."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from markupsafe import Markup
from msgspec import Struct
from starlette.responses import Response

from waypost.app import ports
from waypost.app.mail import counting, mailbox
from waypost.app.queue import waiting
from waypost.console.plots import Series, sparkline, stacked
from waypost.console.rendering import number, plural
from waypost.console.views.queue import DestinationRow, destinations
from waypost.console.visits import Visit
from waypost.domain.mail.delivery import Status
from waypost.domain.mail.mail_filter import MailFilter
from waypost.domain.mail.routes import shown

MINUTES = 60
"""The number of minutes in the plot. The page compares them with as many minutes before."""

HOURS = 24
"""The number of hours in the line of a destination."""

COUNTS_READ = 1_200
"""The maximum number of counts of destinations that are read: those of 50 destinations in all hours."""

LAYERS = {"delivered": "fill-green", "deferred": "fill-amber", "dead": "fill-grey", "refused": "fill-red"}
"""The layers of the plot, the lowest first, with their classes. A message is `accepted` too, so it is not a layer."""

DEAD_READ = 500
"""The maximum number of new dead letters that are counted for the destinations."""


class Counts(Struct, frozen=True):
    """The counts of an account."""

    minutes: Mapping[str, list[int]]
    """The counts of the last two hours for each of `counting.KINDS`, with a value for each minute, oldest first."""
    to: Mapping[str, list[int]]
    """The deliveries to each destination, with a value for each hour of the last day, oldest first. The destinations
    are without secrets, and the inbox has an empty name.
    """
    dead_to: Mapping[str, int]
    """The number of dead letters of each destination among the messages of the last hour."""


class Figure(Struct, frozen=True):
    """One of the numbers at the top of the page."""

    name: str
    value: int
    change: str
    """The change against the hour before, in words."""
    path: str = ""
    """The page with more about this number; empty if there is none."""


class Row(Struct, frozen=True):
    """A destination with its mail of the last day."""

    name: str
    count: int
    spark: Markup
    queued: DestinationRow | None
    """The destination's state; None if nothing waits for it."""
    dead: int = 0
    """The number of dead letters among the messages of the last hour."""


async def show(visit: Visit) -> Response:
    """Show the counts of the last hour, and all destinations. htmx asks for them again every few seconds."""
    now = visit.parts.mail_clock()

    def read(tx: ports.ReadTx) -> tuple[Counts, Sequence[waiting.Destination], list[DestinationRow]]:
        counts = flow_counts(tx, visit.account, servers_owner=visit.parts.deployment.owner, now=now)
        found = waiting.page(tx, visit.account, destination=None, after="", limit=1).destinations
        return counts, found, destinations(tx, visit.account, found)

    counts, found, queued = await visit.long_read(read, what="the counts of mail")
    waits = sum(one.count for one in found)
    return visit.page(
        "flow_now.html" if visit.is_fragment else "flow.html",
        figures=figures(counts, waits),
        plot=plot(counts, now),
        legend={kind: sum(_last(counts.minutes[kind])) for kind in LAYERS},
        rows=rows(counts, queued),
    )


def flow_counts(tx: ports.ReadTx, account: str, *, servers_owner: str, now: datetime) -> Counts:
    """Return the counts of an account. Mail is counted about a second after it was accepted."""
    begins_at = now - timedelta(minutes=2 * MINUTES - 1)
    refused = tx.refusal_counts(account, with_unowned=account == servers_owner, since=begins_at)
    found = [(one.minute, one.kind, one.count) for one in tx.mail_counts(account, since=begins_at)]
    found += [(minute, "refused", count) for minute, count in refused.items()]
    since = now - timedelta(hours=HOURS - 1)
    filters = MailFilter(status=Status.DEAD, since=now - timedelta(minutes=MINUTES))
    dead = mailbox.page(tx, account, filters, after=None, limit=DEAD_READ)
    return Counts(
        by_minute(found, now),
        by_hour(tx.destination_counts(account, since=since, limit=COUNTS_READ), now),
        Counter(shown(delivery.destination) for delivery, _ in dead),
    )


def by_minute(found: Iterable[tuple[int, str, int]], now: datetime) -> dict[str, list[int]]:
    """Return a list with a value for each of the last minutes, by kind. `found` has minutes since 1970, kinds and
    counts. Minutes of other times are left out.
    """
    first = int(now.timestamp()) // 60 - 2 * MINUTES + 1
    counts = {kind: [0] * 2 * MINUTES for kind in counting.KINDS}
    for minute, kind, count in found:
        if kind in counts and 0 <= minute - first < 2 * MINUTES:
            counts[kind][minute - first] += count
    return counts


def by_hour(found: Iterable[tuple[str, int, int]], now: datetime) -> dict[str, list[int]]:
    """Return a list with a value for each of the last hours, by destination without its secrets. `found` has
    destinations, hours since 1970 and counts.
    """
    first = int(now.timestamp()) // 3600 - HOURS + 1
    counts: dict[str, list[int]] = {}
    for destination, hour, count in found:
        if 0 <= hour - first < HOURS:
            counts.setdefault(shown(destination) if destination else "", [0] * HOURS)[hour - first] += count
    return counts


def figures(counts: Counts, waits: int) -> list[Figure]:
    """Return the four numbers. `waits` is the number of deliveries that wait now, since whenever."""
    accepted, delivered, _, refused, dead = (counts.minutes[kind] for kind in counting.KINDS)
    given_up = sum(_last(dead))
    return [
        Figure("accepted", sum(_last(accepted)), _change(accepted), "/mail"),
        Figure("delivered", sum(_last(delivered)), _change(delivered)),
        Figure("waiting", waits, f"{plural(given_up, 'dead letter')} in this hour" if given_up else "now", "/queue"),
        Figure("refused", sum(_last(refused)), _change(refused), "/mail?is=refused"),
    ]


def plot(counts: Counts, now: datetime) -> Markup:
    """Return the plot of the last hour as SVG."""
    times = [now - timedelta(minutes=MINUTES - 1 - place) for place in range(MINUTES)]
    series = [Series(kind, look, _last(counts.minutes[kind])) for kind, look in LAYERS.items()]
    said = ", ".join(f"{sum(each.values)} {each.name}" for each in series)
    return stacked(f"Mail of the last hour by minute: {said}", times, series, label_every=10)


def rows(counts: Counts, queued: Iterable[DestinationRow]) -> list[Row]:
    """Return all destinations that had mail in the last day, or for which mail waits, the busiest first."""
    states: Mapping[str, DestinationRow] = {one.name: one for one in queued}
    busy = Counter({name: sum(values) for name, values in counts.to.items()})
    names = [*(name for name, _ in busy.most_common()), *(name for name in states if name not in busy)]
    return [
        Row(
            name,
            busy[name],
            sparkline(f"{number(busy[name])} in the last day", counts.to.get(name, [0] * HOURS)),
            states.get(name),
            counts.dead_to.get(name, 0),
        )
        for name in names
    ]


def _last(values: Sequence[int]) -> Sequence[int]:
    """Return the values of the last hour."""
    return values[-MINUTES:]


def _change(values: Sequence[int]) -> str:
    """Return the change against the hour before, in words."""
    change = sum(_last(values)) - sum(values[:-MINUTES])
    if not change:
        return "as in the hour before"
    return f"{number(abs(change))} {'more' if change > 0 else 'fewer'} than in the hour before"
