"""The model: what may and must be true after a run, given what was acknowledged, refused and unknown.

It is the oracle only. It knows nothing of the code of the servers, and reads the clients' history and the final state.
Each check returns sentences about what is wrong. docs/durability.md contains the promises.
"""

from collections import Counter, defaultdict
from itertools import pairwise

from faults.simulation.doubles import is_allowed
from faults.simulation.history import token
from faults.simulation.links import Links
from tests.linearizability import checker
from waypost.domain.mail.delivery import Reason, Status

_NOTICES_OF = {"dead": "failed", "delayed": "delayed", "delivered": "success"}
_ENDS, _BEGINS = {"delivered", "dead"}, {"queued", "redriven"}


def violations(history, observed):
    """Return a sentence for each thing that is wrong; empty if nothing is."""
    checks = (_directory, _mail, _order, _beginnings, _traces, _peers, _notices, _letters, _quiet)
    found = [f"{check.__name__[1:]}: {wrong}" for check in checks for wrong in check(history, observed)]
    return [*(f"a server had an internal error: {bug}" for bug in history.bugs), *found]


def _directory(history, observed):
    """The calls about email addresses are linearizable, and each link has two ends that exist."""
    if violation := checker.check(history.calls):
        yield str(violation)
    ends = Counter((one, side, other) for one, side, other in observed.links)
    other_side = {"primary": "alias", "alias": "primary"}
    for one, side, other in ends:
        if ends[other, other_side[side], one] != 1 or {one, other} - observed.email_addresses.keys():
            yield f"the link of {one} ({side}) to {other} is half a link"
    for one, count in Counter(one for one, _, _ in observed.links).items():
        if count > 1:
            yield f"{one} is in {count} links"


def _mail(history, observed):
    """Each accepted message is there once, whole, for exactly its recipients. Nothing else is there."""
    by_raw = defaultdict(list)
    for message_id, stored in observed.messages.items():
        if stored.message.envelope.sender:  # otherwise it is a notice
            by_raw[stored.token].append(message_id)
    sent = defaultdict(list)
    for one in history.sent:
        sent[token(one.raw)].append(one)
    possible = Links(history)
    for name, attempts in sent.items():
        found = by_raw.pop(name, [])
        accepted = [one for one in attempts if one.outcome == "accepted"]
        most = len(accepted) + sum(one.outcome == "unknown" for one in attempts)
        if lost := {one.message_id for one in accepted} - set(found):
            yield f"message {name} was accepted as {lost}, but is lost"
        if len(found) > most:
            yield f"message {name} is there {len(found)} times, but was accepted {len(accepted)} to {most} times"
        for message_id in found:
            mine = [one for one in accepted if one.message_id == message_id]
            yield from _whole(observed, message_id, mine or [one for one in attempts if one not in accepted], possible)
    for message_id in by_raw.values():
        yield f"nobody sent message {message_id}"
    for message_id in observed.unchecked:
        yield f"message {message_id} has bytes without a checksum"


def _whole(observed, message_id, attempts, possible):
    """Each copy of a message is there, byte for byte, and only once. One of the attempts to send it explains it."""
    stored = observed.messages[message_id]
    raw, copies = attempts[0].raw, stored.deliveries
    if stored.raw != raw and (stored.raw or any(one.kept or one.status is Status.DEAD for one in copies)):
        yield f"the bytes of {message_id} are not those that were sent"
    if stored.message.size != len(raw):
        yield f"{message_id} has {stored.message.size} bytes, but {len(raw)} were sent"
    for key, count in Counter(one.address.key for one in copies).items():
        if count > 1:
            yield f"{message_id} is at {key} {count} times"
    for one in copies:
        listed = observed.inboxes[one.address.key].count(message_id)
        if listed != one.kept:
            yield f"{message_id} is in the inbox of {one.address.key} {listed} times"
        if (one.status is Status.QUEUED) != (one.id in observed.queued):
            yield f"{one.id} has the status {one.status}, which does not fit the queue"
        if one.status is Status.DELIVERED and not one.destination and not one.kept:
            yield f"{one.id} is neither in the inbox nor with a peer"
    got = {one.address.key: one for one in copies}
    wrong = [list(_recipients(attempt, got, message_id, possible)) for attempt in attempts]
    if all(wrong):
        yield from min(wrong, key=len)


def _recipients(attempt, got, message_id, possible):
    direct = {key for key, one in got.items() if one.reason is Reason.DIRECT}
    if direct != set(attempt.recipients):
        yield f"{message_id} was sent to {sorted(attempt.recipients)}, but is at {sorted(direct)}"
    may, must = set(), set()
    for key in attempt.recipients:
        may |= possible.primaries(key, attempt.began, attempt.ended)
        must |= possible.sure_primaries(key, attempt.began, attempt.ended)
    for key in got:  # a replay forwards all mail in the inbox of an alias, also mail that was forwarded to it
        may |= possible.by_replay(key)
    forwarded = {key for key, one in got.items() if one.reason is Reason.FORWARDED}
    if extra := forwarded - may:
        yield f"{message_id} was forwarded to {sorted(extra)}, which had no such alias"
    if missing := must - forwarded - direct:
        yield f"{message_id} was not forwarded to {sorted(missing)}"


def _order(history, observed):
    """An inbox lists the messages that one server accepted one after the other in their order."""
    accepted = [one for one in history.sent if one.outcome == "accepted"]
    for key, listed in observed.inboxes.items():
        place = {message_id: number for number, message_id in enumerate(listed)}
        by_server = defaultdict(list)
        for one in accepted:
            if one.message_id in place:
                by_server[one.server].append(one)
        for sent in by_server.values():
            for earlier, later in pairwise(sorted(sent, key=lambda one: one.ended)):
                if earlier.ended < later.began and place[earlier.message_id] > place[later.message_id]:
                    yield f"{key} has {later.message_id} before {earlier.message_id}"


def _traces(_history, observed):
    """A delivery ends once each time that it was queued, and each of its attempts is recorded once."""
    for message_id, stored in observed.messages.items():
        for key in {one.address.text for one in stored.deliveries}:
            is_open, attempts = False, 0
            for event in (one.detail for one in stored.trace if getattr(one.detail, "address", "") == key):
                attempt = getattr(event, "attempt", None)
                if event.kind in _BEGINS:
                    if is_open:
                        yield f"{message_id} was queued twice for {key}"
                    is_open, attempts = True, 0
                if attempt and attempt.stage:
                    if attempt.number != attempts + 1:
                        number, how = min((attempt.number, "twice"), (attempts + 1, "never"))
                        yield f"attempt {number} of {message_id} for {key} was recorded {how}"
                    attempts = attempt.number
                if attempt and not is_open:
                    yield f"{message_id} for {key} had an attempt after its end"
                if event.kind in _ENDS:
                    is_open = False


def _beginnings(history, observed):
    """The trace of a message from a client begins with its acceptance, and its sender is the one who sent it."""
    senders = defaultdict(set)
    for one in history.sent:
        senders[token(one.raw)].add(one.sender)
    for message_id, stored in observed.messages.items():
        sender = stored.message.envelope.sender
        if sender and [one.detail.kind for one in stored.trace[:1]] != ["accepted"]:
            yield f"the trace of {message_id} does not begin with its acceptance"
        if sender and sender not in senders[stored.token]:
            yield f"{message_id} is from {sender}, which did not send it"


def _peers(history, observed):
    """Each delivery with a route is with its peer at least once, byte for byte, and twice only for a known reason."""
    arrived = defaultdict(list)
    for one in history.arrivals:
        arrived[one.delivery_id].append(one)
    for stored in observed.messages.values():
        for delivery in stored.deliveries:
            copies = arrived.pop(delivery.id, [])
            redriven = {one.detail.address for one in stored.trace if one.detail.kind == "redriven"}
            if delivery.destination and delivery.status is Status.DELIVERED and not copies:
                yield f"{delivery.id} counts as delivered, but its peer does not have it"
            for one in copies:
                yield from _copy(stored, delivery, one.octets)
            for earlier, later in pairwise(copies):
                if delivery.address.text not in redriven and not is_allowed(history.excuses, earlier, later):
                    yield f"the peer got {delivery.id} at {earlier.at:.3f} s and again at {later.at:.3f} s"
    for delivery_id in arrived:
        yield f"a peer got {delivery_id}, which does not exist"


def _copy(stored, delivery, octets):
    """A copy at a peer has a header that names the delivery, and then the bytes of the message."""
    if stored.raw and not octets.endswith(b"\r\n" + stored.raw):
        yield f"the peer got other bytes of {delivery.id}"
    if f"\r\nX-Waypost-Delivery: {delivery.id}\r\n".encode() not in octets:
        yield f"the copy of {delivery.id} does not name it"


def _notices(_history, observed):
    """For each failure, each delay and each success that the sender asked for, the trace names one notice, or the
    reason why there is none.
    """
    for message_id, stored in observed.messages.items():
        happened, said, wishes = Counter(), Counter(), stored.message.envelope.wishes()
        for event in (one.detail for one in stored.trace):
            if event.kind in _NOTICES_OF:
                happened[event.address, _NOTICES_OF[event.kind]] += 1
            if event.kind in {"notified", "not notified"} and event.what != "a mail loop":
                said[event.address, "success" if event.what in {"delivered", "relayed"} else event.what] += 1
        for one in stored.deliveries:
            if one.reason is not Reason.DIRECT or "SUCCESS" not in getattr(wishes.get(one.sent_to), "notify", ()):
                del happened[one.address.text, "success"]
        for key in happened.keys() | said.keys():
            if not min(1, happened[key]) <= said[key] <= happened[key]:
                yield f"{message_id} has {said[key]} notices of {happened[key]} times {key}"


def _letters(_history, observed):
    """Each notice that a trace names is in the inbox of one sender, once. There are no other notices."""
    events = [one.detail for stored in observed.messages.values() for one in stored.trace]
    told = {event.notice for event in events if event.kind == "notified"}
    written = {key for key, stored in observed.messages.items() if not stored.message.envelope.sender}
    yield from (f"notice {one} does not exist" for one in sorted(told - written))
    yield from (f"notice {one} is about nothing" for one in sorted(written - told))
    for one in sorted(written):
        # A replay may have forwarded the notice from the inbox of an alias.
        if [copy.kept for copy in observed.messages[one].deliveries if copy.reason is Reason.NOTICE] != [True]:
            yield f"notice {one} is not in one inbox"


def _quiet(_history, observed):
    """When all faults have ended, no work is left."""
    yield from (f"{count} rows are left in {table}" for table, count in observed.left.items() if count)
