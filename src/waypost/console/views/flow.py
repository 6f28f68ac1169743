"""The page that shows the mail of the last hour as it moves."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from starlette.responses import Response

from waypost.app import ports
from waypost.app.mail import mailbox
from waypost.app.queue import waiting
from waypost.console.plots import Series, sparkline, stacked
from waypost.console.rendering import number, plural
from waypost.console.views.queue import DestinationRow, destinations
from waypost.console.visits import Visit
from waypost.domain.mail.delivery import Delivery, Status
from waypost.domain.mail.mail_filter import MailFilter
from waypost.domain.mail.messages import Message
from waypost.domain.mail.routes import shown

MINUTES = 60
"""The number of minutes in the plot. The page compares them with as many minutes before."""

READ_AT_MOST = 2_000
"""The maximum number of deliveries, and of refusals, that are read for one view of the page."""

_MINUTE = timedelta(minutes=1)


@dataclass(slots=True)
class Counts:
    """The counts of some minutes, with a value for each minute, oldest first."""

    accepted: list[int]
    """Messages that were accepted in the minute."""
    delivered: list[int]
    """Deliveries of these messages that are complete."""
    waiting: list[int]
    """Deliveries of these messages that wait for an attempt."""
    dead: list[int]
    """Deliveries of these messages that are dead letters."""
    refused: list[int]
    """Recipients and messages that were refused in the minute."""
    to: dict[str, list[int]] = field(default_factory=dict)
    """The deliveries of these messages to each destination. The inbox has an empty name."""
    dead_to: Counter[str] = field(default_factory=Counter)
    """The number of dead letters of each destination among the messages of the last hour."""
    is_complete: bool = True
    """Whether all mail of the minutes has been counted."""

    @classmethod
    def empty(cls, minutes: int) -> "Counts":
        """Return counts that are all 0."""
        accepted, delivered, waits, dead, refused = ([0] * minutes for _ in range(5))
        return cls(accepted, delivered, waits, dead, refused)


class _Refused(Protocol):
    @property
    def at(self) -> datetime: ...


@dataclass(frozen=True, slots=True)
class Figure:
    """One of the numbers at the top of the page."""

    name: str
    value: int
    change: str
    """The change against the hour before, in words; empty if it is unknown."""
    path: str = ""
    """The page with more about this number; empty if there is none."""


@dataclass(frozen=True, slots=True)
class Row:
    """A destination with its mail of the last hour."""

    name: str
    count: int
    spark: str
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
        legend={name: sum(_last(values)) for name, _, values in _layers(counts)},
        rows=rows(counts, queued),
        read_at_most=None if counts.is_complete else READ_AT_MOST,
    )


def flow_counts(tx: ports.ReadTx, account: str, *, servers_owner: str, now: datetime) -> Counts:
    """Return the counts of the last hour and of the hour before.

    The counts are of the newest deliveries and refusals, at most `READ_AT_MOST` of each.
    """
    begins_at = _begin(now)
    filters = MailFilter(since=begins_at)
    deliveries = mailbox.page(tx, account, filters, after=None, limit=READ_AT_MOST)
    found = mailbox.refusals(tx, account, servers_owner=servers_owner, since=begins_at, after=None, limit=READ_AT_MOST)
    counts = counted(deliveries, found.refusals, now)
    counts.is_complete = len(deliveries) < READ_AT_MOST and found.next is None
    return counts


def counted(deliveries: Iterable[tuple[Delivery, Message]], refusals: Iterable[_Refused], now: datetime) -> Counts:
    """Count deliveries and refusals by minute, in the two hours before `now`. A delivery counts in the minute in which
    its message was accepted, with the status that it has now.
    """
    counts = Counts.empty(2 * MINUTES)
    by_status = {Status.DELIVERED: counts.delivered, Status.QUEUED: counts.waiting, Status.DEAD: counts.dead}
    seen = set()
    for delivery, message in deliveries:
        place = _place(message.received_at, now)
        if place is None:
            continue
        if message.id not in seen:
            seen.add(message.id)
            counts.accepted[place] += 1
        by_status[delivery.status][place] += 1
        name = shown(delivery.destination) if delivery.destination else ""
        counts.to.setdefault(name, [0] * 2 * MINUTES)[place] += 1
        if delivery.status is Status.DEAD and place >= MINUTES:
            counts.dead_to[name] += 1
    for refusal in refusals:
        place = _place(refusal.at, now)
        if place is not None:
            counts.refused[place] += 1
    return counts


def figures(counts: Counts, waits: int) -> list[Figure]:
    """Return the four numbers. `waits` is the number of deliveries that wait now, since whenever."""
    dead = sum(_last(counts.dead))
    return [
        Figure("accepted", sum(_last(counts.accepted)), _change(counts.accepted, counts)),
        Figure("delivered", sum(_last(counts.delivered)), _change(counts.delivered, counts)),
        Figure("waiting", waits, f"{plural(dead, 'dead letter')} in this hour" if dead else "now", "/queue"),
        Figure("refused", sum(_last(counts.refused)), _change(counts.refused, counts)),
    ]


def plot(counts: Counts, now: datetime) -> str:
    """Return the plot of the last hour as SVG."""
    labels = [f"{now - _MINUTE * (MINUTES - 1 - place):%H:%M}" for place in range(MINUTES)]
    series = [Series(name, look, _last(values)) for name, look, values in _layers(counts)]
    said = ", ".join(f"{sum(each.values)} {each.name}" for each in series)
    return stacked(f"Mail of the last hour by minute: {said}", labels, series, label_every=10)


def rows(counts: Counts, queued: Iterable[DestinationRow]) -> list[Row]:
    """Return all destinations that had mail in the last hour, or for which mail waits, the busiest first."""
    states: Mapping[str, DestinationRow] = {one.name: one for one in queued}
    busy = Counter({name: sum(_last(values)) for name, values in counts.to.items()})
    names = [name for name, count in busy.most_common() if count or name in states]
    names += [name for name in states if name not in busy]
    nothing = [0] * 2 * MINUTES
    return [
        Row(
            name,
            busy[name],
            sparkline(f"{number(busy[name])} in the last hour", _last(counts.to.get(name, nothing))),
            states.get(name),
            counts.dead_to[name],
        )
        for name in names
    ]


def _layers(counts: Counts) -> list[tuple[str, str, list[int]]]:
    """Return the layers of the plot, the lowest first, each with its name and its class."""
    return [
        ("delivered", "fill-green", counts.delivered),
        ("waiting", "fill-amber", counts.waiting),
        ("dead", "fill-grey", counts.dead),
        ("refused", "fill-red", counts.refused),
    ]


def _begin(now: datetime) -> datetime:
    """Return the beginning of the first minute that is counted."""
    return now.replace(second=0, microsecond=0) - _MINUTE * (2 * MINUTES - 1)


def _place(at: datetime, now: datetime) -> int | None:
    """Return the index of the minute of a time; None if the minute is not counted."""
    place = (at - _begin(now)) // _MINUTE
    return place if 0 <= place < 2 * MINUTES else None


def _last(values: list[int]) -> list[int]:
    return values[-MINUTES:]


def _change(values: list[int], counts: Counts) -> str:
    """Return the change against the hour before, in words; empty if not all mail of that hour was counted."""
    if not counts.is_complete:
        return ""
    change = sum(_last(values)) - sum(values[:-MINUTES])
    if not change:
        return "as in the hour before"
    return f"{number(abs(change))} {'more' if change > 0 else 'fewer'} than in the hour before"
