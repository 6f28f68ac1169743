"""Decides whether a server kept its guarantees: compares what clients recorded with what was found after a fault.

Every function here is a pure function of recorded values. `clients.py` records them, and `site.py` reads what is in
the inboxes and at the peers. docs/durability.md says what each reply guarantees.
"""

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial


class Outcome(StrEnum):
    """What a client knows about a message that it began to send."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class ViolationKind(StrEnum):
    """The kinds of violation."""

    LOST = "an accepted message is missing"
    DOUBLED = "a message is twice in an inbox"
    CHANGED = "the bytes of a message have changed"
    REFUSED_FOUND = "a refused message was stored"
    PARTIAL = "a message has not arrived at all of its places"
    STRANGE = "a message is at a place where it does not belong"
    REORDERED = "two messages of one client are in the wrong order"
    DOUBLED_AT_PEER = "a peer got a message twice, outside of the documented windows"
    STUCK = "a delivery is still in the queue"
    DEAD = "a delivery was given up"
    HISTORY = "no order of the API calls explains their results"
    RULE = "a rule of association is broken"
    NOT_STARTED = "the server did not start by itself"
    ERROR = "the server did not recover, or what is there could not be read"
    FAILED = "the server logged an unexpected error"
    BROKEN = "stored data breaks a rule, or has no checksum"


EVENTUALLY = {ViolationKind.PARTIAL, ViolationKind.STUCK, ViolationKind.DOUBLED_AT_PEER}
"""Kinds that may only seem to be violations for some time. Deliveries to peers, and messages with many recipients, take
time, and a worker that has lost a lease logs that only when its attempt ends.
"""


@dataclass(frozen=True)
class Violation:
    """A guarantee that was not kept."""

    kind: ViolationKind
    what: str

    def __str__(self):
        return f"{self.kind}: {self.what}"


@dataclass(frozen=True)
class Digest:
    """The size and the SHA-256 digest of a message, without the trace fields that the server adds."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Group:
    """Email addresses that get the same messages: those with an inbox, and those whose mail goes to a peer."""

    name: str
    recipients: tuple[str, ...]
    """The addresses to which clients send."""
    inboxes: tuple[str, ...]
    peers: tuple[str, ...] = ()
    in_parts: bool = False
    """Whether a message has so many deliveries that some are stored by later transactions."""


@dataclass(frozen=True)
class Sent:
    """A message that a client began to send."""

    number: str
    """A unique number, which is in the message's subject and in its field X-Number."""
    client: str
    turn: int
    """The number of messages that this client began before."""
    group: str
    digest: Digest
    began: float
    ended: float
    outcome: Outcome
    id: str | None = None
    reply: str = ""


@dataclass(frozen=True)
class Held:
    """A message in an inbox. `digest` is None if its bytes were not read this time."""

    number: str
    id: str
    digest: Digest | None = None


@dataclass(frozen=True)
class Copy:
    """A message that a peer got."""

    number: str
    delivery: str
    digest: Digest
    at: float
    was_told: bool = True
    """Whether the peer told the server that it has the message."""


@dataclass(frozen=True)
class Window:
    """A time in which the outcome of an attempt may not be recorded, so that the peer gets a second copy."""

    kind: str
    began: float
    ended: float

    def has(self, at: float) -> bool:
        return self.began <= at <= self.ended


def check_inboxes(
    sent: Iterable[Sent],
    groups: Mapping[str, Group],
    inboxes: Mapping[str, Sequence[Held]],
    *,
    is_ordered: bool = True,
) -> list[Violation]:
    """Compare the inboxes (address → messages in their order) with what was sent.

    `is_ordered` is false if a wrong clock may have changed the order.
    """
    known = {each.number: each for each in sent}
    found = []
    for address, held in inboxes.items():
        found += _check_inbox(address, held, known, groups, is_ordered=is_ordered)
    there = {address: {one.number: one.id for one in held} for address, held in inboxes.items()}
    for each in known.values():
        group = groups[each.group]
        places = [address for address in group.inboxes if each.number in there.get(address, {})]
        missing = [address for address in group.inboxes if address not in places]
        if each.outcome is Outcome.REFUSED and places:
            what = f"{each.number} ({each.reply}) is in {', '.join(places)}"
            found.append(Violation(ViolationKind.REFUSED_FOUND, what))
        elif each.outcome is Outcome.ACCEPTED and missing and not group.in_parts:
            found.append(Violation(ViolationKind.LOST, f"{each.number} (id {each.id}) is not in {', '.join(missing)}"))
        elif missing and (places or each.outcome is Outcome.ACCEPTED):
            what = f"{each.number} ({each.outcome}) is not in {', '.join(missing)}"
            found.append(Violation(ViolationKind.PARTIAL, what))
        ids = {there[address][each.number] for address in places} | ({each.id} if each.id and places else set())
        if len(ids) > 1:
            found.append(Violation(ViolationKind.STRANGE, f"{each.number} has the ids {', '.join(sorted(ids))}"))
    return found


def _check_inbox(address, held, known, groups, *, is_ordered):
    found = []
    for number, count in Counter(one.number for one in held).items():
        if count > 1:
            found.append(Violation(ViolationKind.DOUBLED, f"{number} is {count} times in {address}"))
    for message_id, count in Counter(one.id for one in held).items():
        if count > 1:
            found.append(Violation(ViolationKind.DOUBLED, f"the id {message_id} is {count} times in {address}"))
    newest = {}
    for one in held:
        each = known.get(one.number)
        if each is None or address not in groups[each.group].inboxes:
            found.append(Violation(ViolationKind.STRANGE, f"{one.number} is in {address}"))
            continue
        if one.digest and one.digest != each.digest:
            found.append(Violation(ViolationKind.CHANGED, f"{one.number} in {address} has {one.digest.size} bytes"))
        if is_ordered and each.turn < newest.get(each.client, each).turn:
            newer = newest[each.client].number
            found.append(Violation(ViolationKind.REORDERED, f"{each.number} is after {newer} in {address}"))
        newest[each.client] = max(each, newest.get(each.client, each), key=lambda one: one.turn)
    return found


def present(inboxes: Mapping[str, Sequence[Held]]) -> set[str]:
    """Return the numbers of all messages in these inboxes."""
    return {one.number for held in inboxes.values() for one in held}


def check_peers(
    sent: Iterable[Sent],
    groups: Mapping[str, Group],
    copies: Mapping[str, Sequence[Copy]],
    stored: set[str],
    windows: Sequence[Window],
    *,
    names_are_unique: Iterable[str] = (),
    lost_leases: Container[str] = (),
) -> tuple[list[Violation], Counter]:
    """Compare what the peers got (address → copies) with what was sent.

    `stored` are the numbers of the messages in the inboxes. `names_are_unique` are the addresses whose peer is a
    Maildir, where a second copy replaces the first. `lost_leases` are the ids of the deliveries that an event
    `lease_lost` allows to be attempted twice. Return the violations, and how many copies were a second copy, by what
    allows it.
    """
    known = {each.number: each for each in sent}
    found, doubled = [], Counter()
    for address, taken in copies.items():
        for one in taken:
            found += _check_copy(address, one, known, groups, stored)
        is_unique = address in names_are_unique
        may_be_twice = partial(_why_twice, windows, lost_leases)
        same_number = defaultdict(list)
        for one in taken:
            same_number[one.number].append(one)
        for same in same_number.values():
            found += _check_second_copies(address, same, may_be_twice, doubled, is_unique=is_unique)
    there = {address: {one.number for one in taken} for address, taken in copies.items()}
    found += [
        Violation(ViolationKind.PARTIAL, f"{each.number} is not at the peer of {address}")
        for each in known.values()
        for address in groups[each.group].peers
        if each.number in stored and each.number not in there.get(address, ())
    ]
    return found, doubled


def _check_copy(address, one, known, groups, stored):
    each = known.get(one.number)
    if each is None or address not in groups[each.group].peers:
        return [Violation(ViolationKind.STRANGE, f"{one.number} is at the peer of {address}")]
    found = []
    if one.digest != each.digest:
        found.append(Violation(ViolationKind.CHANGED, f"{one.number} at {address} has {one.digest.size} bytes"))
    if each.outcome is Outcome.REFUSED:
        found.append(Violation(ViolationKind.REFUSED_FOUND, f"{one.number} ({each.reply}) is at the peer of {address}"))
    if one.number not in stored:
        found.append(Violation(ViolationKind.PARTIAL, f"{one.number} is at the peer of {address}, but in no inbox"))
    return found


def _why_twice(windows, lost_leases, one):
    """Return what allows a second copy after this one; None if nothing does."""
    if not one.was_told:
        return "no reply"
    if one.delivery in lost_leases:
        return "lease lost"
    return next((each.kind for each in windows if each.has(one.at)), None)


def _check_second_copies(address, same, why_twice, doubled, *, is_unique):
    found, number = [], same[0].number
    deliveries = {one.delivery for one in same}
    if len(deliveries) > 1 or (is_unique and len(same) > 1):
        found.append(Violation(ViolationKind.DOUBLED, f"{number} at {address}: {', '.join(sorted(deliveries))}"))
    for one in sorted(same, key=lambda one: one.at)[:-1]:
        reason = why_twice(one)
        if reason is None:
            found.append(Violation(ViolationKind.DOUBLED_AT_PEER, f"{number} at {address}, first at {one.at:.3f}"))
        else:
            doubled[reason] += 1
    return found


def check_links(aliases: Mapping[str, Sequence[str]]) -> list[Violation]:
    """Check the rules of association. `aliases` has the aliases of each email address."""
    found = []
    primaries_of = defaultdict(list)
    for primary, its in aliases.items():
        if len(its) > 1:
            found.append(Violation(ViolationKind.RULE, f"{primary} has the aliases {', '.join(its)}"))
        for alias in its:
            primaries_of[alias].append(primary)
            if alias == primary:
                found.append(Violation(ViolationKind.RULE, f"{primary} is its own alias"))
            if alias not in aliases:
                found.append(Violation(ViolationKind.RULE, f"{alias}, the alias of {primary}, does not exist"))
            if aliases.get(alias):
                found.append(Violation(ViolationKind.RULE, f"{alias} is an alias of {primary}, and has an alias"))
    for alias, primaries in primaries_of.items():
        if len(primaries) > 1:
            found.append(Violation(ViolationKind.RULE, f"{alias} is the alias of {', '.join(primaries)}"))
    return found


def check_queue(deliveries: Sequence[Mapping], dead_letters: Sequence[Mapping]) -> list[Violation]:
    """Check that nothing is left in the queue, and that nothing was given up."""
    return [
        *(Violation(ViolationKind.STUCK, f"{it['id']} to {it['destination']}: {it['because']}") for it in deliveries),
        *(Violation(ViolationKind.DEAD, str(it["id"])) for it in dead_letters),
    ]


UNEXPECTED = "failed"
"""The event that a server logs for an error that it does not expect, which is a bug."""


def check_log(lines: Iterable[Mapping]) -> list[Violation]:
    """Check that a server has logged no unexpected error."""
    return [
        Violation(ViolationKind.FAILED, f"{line.get('where', '')}: {line.get('error', line)}")
        for line in lines
        if line.get("event") == UNEXPECTED
    ]
