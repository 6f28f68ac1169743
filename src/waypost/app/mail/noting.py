"""Note new mail and its events after they were committed: for the text index, for clients that follow changes, and for
counts. The acceptance of mail writes none of this.

A message becomes visible when its transaction commits, which may be later than the commit of messages with greater ids.
Therefore, a round looks for messages that are not noted in three places: among the ids after the mark, among the ids
shortly before the mark, and among the messages whose transfer was in progress in the last round. Each round also checks
a few of the other messages, so that after some time all of them have been checked. The mark and the notes are durable,
and a message or event is noted once, however many servers look for it.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial

from msgspec import Struct, field

from waypost.app import ports
from waypost.domain.mail import messages
from waypost.domain.mail.messages import AFTER_ALL_IDS
from waypost.domain.mail.trace_events import address_of

AT_ONCE = 250
"""The maximum number of messages, and of events, that one round notes."""

WINDOW = timedelta(seconds=5)
"""How far before the mark a thorough round looks for messages, and each round for events, that were committed late."""

SHORT_WINDOW = timedelta(milliseconds=500)
"""How far before the mark each round looks for messages that were committed late."""

THOROUGH_EVERY = 20
"""Of how many rounds one is thorough."""

CHECKED_EACH = 2_000
"""The number of older messages that each thorough round checks."""

TRANSFERS = 1_000
"""The maximum number of transfers in progress that are remembered."""

COUNTED = timedelta(days=1)
"""How long counts are kept."""

FOLLOWED = timedelta(hours=1)
"""How old messages and events may be to be noted as changes. Older ones are from before the first start of the job."""

CHANGES_KEPT = 100_000
"""The number of changes that are kept, for clients that continue after an interruption."""

TIDIED_AT_ONCE = 1_000
"""The maximum number of old changes and counts that one transaction deletes."""

MESSAGES, EVENTS = "messages", "events"
"""The names of the two marks."""

_COUNTED_KINDS = {"delivered", "deferred", "dead"}


class Progress(Struct):
    """What a process remembers from one round to the next."""

    in_transfer: set[str] = field(default_factory=set)
    """The ids of the messages whose transfer was in progress in the last round."""
    checked: str = ""
    """The id up to which older messages have been checked."""
    rounds: int = 0
    """The number of rounds so far."""
    found: int = 0
    """The number of messages that the last round noted."""


class Found(Struct, frozen=True):
    """What a round notes."""

    messages: Sequence[ports.NotNoted]
    events: Sequence[ports.Event]
    deliveries: Sequence[ports.NotedDelivery]
    """The deliveries of the messages of these events."""
    marks: dict[str, ports.MailMark]
    """The new marks."""
    is_full: bool
    """Whether there may be more to note now."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to note."""
        return not (self.messages or self.events)


def look(tx: ports.ReadTx, progress: Progress, now: datetime) -> Found:
    """Return what is not noted, and update the progress."""
    mark = tx.mail_mark(MESSAGES)
    new = tx.not_noted(after=mark.message_id, until=AFTER_ALL_IDS, limit=AT_ONCE)
    events = _events(tx, now, limit=AT_ONCE)
    marks = {}
    if new:
        marks[MESSAGES] = ports.MailMark(new[-1].id, new[-1].received_at)
    if events:
        marks[EVENTS] = ports.MailMark("", events[-1].event.at)
    found = {message.id: message for message in (*new, *_late(tx, mark, progress, now))}
    ids = sorted({event.message_id for event in events})
    deliveries = tx.deliveries_noted(ids) if ids else []
    return Found(list(found.values()), events, deliveries, marks, AT_ONCE in (len(new), len(events)))


def is_noted(tx: ports.ReadTx, *, until: datetime) -> bool:
    """Return whether all mail and events from before the time `until` are noted, except those that were committed
    late.
    """
    after = tx.mail_mark(MESSAGES).message_id
    has_messages = bool(tx.not_noted(after=after, until=messages.first_id(until), limit=1))
    return not has_messages and all(event.event.at >= until for event in _events(tx, until, limit=1))


def _events(tx: ports.ReadTx, now: datetime, *, limit: int) -> list[ports.Event]:
    """Return the first events that are not noted."""
    last = tx.mail_mark(EVENTS).at
    since = last - WINDOW if last else now - FOLLOWED
    return tx.events_not_noted(since=max(since, messages.EPOCH), limit=limit)


def _late(tx: ports.ReadTx, mark: ports.MailMark, progress: Progress, now: datetime) -> list[ports.NotNoted]:
    """Return messages with ids up to the mark that are not noted."""
    late: list[ports.NotNoted] = []
    is_thorough = progress.rounds % THOROUGH_EVERY == 0
    progress.rounds += 1
    if mark.at:
        since = messages.first_id(mark.at - (WINDOW if is_thorough else SHORT_WINDOW))
        late += tx.not_noted(after=since, until=mark.message_id, limit=AT_ONCE)
    begun = set(tx.messages_begun(before=now + timedelta(days=1), limit=TRANSFERS))
    for message_id in sorted(progress.in_transfer - begun):
        late += tx.not_noted(after=message_id[:-1], until=message_id, limit=1)
    progress.in_transfer = begun
    return late + _older(tx, mark, progress) if is_thorough else late


def _older(tx: ports.ReadTx, mark: ports.MailMark, progress: Progress) -> list[ports.NotNoted]:
    """Check some of the messages with ids up to the mark."""
    until = min(tx.id_beyond(progress.checked, count=CHECKED_EACH) or mark.message_id, mark.message_id)
    older = tx.not_noted(after=progress.checked, until=until, limit=AT_ONCE)
    if len(older) < AT_ONCE:
        progress.checked = "" if until == mark.message_id else until
    return older


def note(tx: ports.WriteTx, found: Found, *, now: datetime) -> None:
    """Note what `look` has found."""
    tx.hold(ports.CHANGES_LOCK)
    by_message: dict[str, list[ports.NotedDelivery]] = defaultdict(list)
    for delivery in found.deliveries:
        by_message[delivery.message_id].append(delivery)
    # Another server may have noted messages meanwhile. A message is noted for all of its accounts at once.
    noted = tx.note_messages([message.id for message in found.messages])
    tx.add_changes_of_new(sorted({message_id for message_id, _ in noted}), since=now - FOLLOWED)
    changed = tx.add_changes([_change(event, by_message[event.message_id]) for event in found.events])
    counts: Counter[tuple[str, int, str]] = Counter()
    routed = {(one.message_id, one.email_address_id) for one in found.deliveries if one.destination}
    for change in changed:
        # A delivery to an inbox alone is counted with its message, also if it was planned and has an event.
        if change.kind in _COUNTED_KINDS and (change.message_id, change.email_address_id) in routed:
            counts[change.account, _minute(change.at), change.kind] += 1
    times = {message.id: message.received_at for message in found.messages if message.received_at >= now - COUNTED}
    counts.update((account, _minute(times[each]), "accepted") for each, account in noted if account and each in times)
    _count_ways(tx, sorted({each for each, _ in noted if each in times}), counts)
    _add(tx, counts)
    for place, mark in found.marks.items():
        tx.put_mail_mark(place, mark)


def _change(event: ports.Event, deliveries: Sequence[ports.NotedDelivery]) -> ports.NewChange:
    """Return the change for an event of a trace. If its delivery does not exist any more, the change has no account."""
    address = address_of(event.event.detail)
    of = next((delivery for delivery in deliveries if delivery.address == address), None)
    return ports.NewChange(
        account=of.account if of else "",
        message_id=event.message_id,
        email_address_id=of.email_address_id if of else "",
        kind=event.event.kind,
        at=event.event.at,
        event=event.number,
    )


def _count_ways(tx: ports.WriteTx, message_ids: Sequence[str], counts: Counter[tuple[str, int, str]]) -> None:
    """Count the ways of the deliveries of new messages, and the deliveries that were complete at once."""
    flows: Counter[tuple[str, int, str, str, str]] = Counter()
    for way in tx.ways(message_ids):
        if not way.destination:
            counts[way.account, way.minute, "delivered"] += way.count
        flows[way.account, way.minute // 60, way.address, way.alias, way.destination] += way.count
    for (account, hour, address, via, destination), count in sorted(flows.items()):
        tx.add_mail_flows(account, hour=hour, flows=[ports.Flow(address, via, destination, count)])


def _add(tx: ports.WriteTx, counts: Counter[tuple[str, int, str]]) -> None:
    for (account, minute, kind), count in sorted(counts.items()):
        tx.add_mail_counts(account, [ports.Count(minute, kind, count)])


def _minute(at: datetime) -> int:
    return int(at.timestamp()) // 60


async def run_round(store: ports.Store, progress: Progress, clock: ports.Clock) -> Found:
    """Note what is not noted yet, at most `AT_ONCE` messages and events, and return it."""
    found = await store.long_read(partial(look, progress=progress, now=clock()), what="the mail that is not noted")
    progress.found = len(found.messages)
    if not found.is_empty:
        await store.write(partial(note, found=found, now=clock()))
    return found


def tidy(tx: ports.WriteTx, *, now: datetime) -> int:
    """Delete some of the oldest changes and counts. Return how many were deleted."""
    pruned = tx.prune_changes(kept=CHANGES_KEPT, limit=TIDIED_AT_ONCE)
    return pruned + tx.forget_counts(before=now - COUNTED - timedelta(hours=1), limit=TIDIED_AT_ONCE)
