"""The model finds each kind of thing that can be wrong in the result of a run."""

import dataclasses

import pytest
from msgspec.structs import replace

from faults.simulation.history import Arrival, Excuse, History, Sent
from faults.simulation.model import violations
from faults.simulation.observed import Stored
from faults.simulation.world import run_world
from tests.linearizability.checker import Operation
from waypost.domain.mail.delivery import Reason, Status
from waypost.domain.mail.trace_events import DeadEvent, NotifiedEvent, RedrivenEvent, TraceEvent


@pytest.fixture(scope="module")
def ran():
    """Return the history and the final state of a run without faults."""
    world, result = run_world(11, phases=1, faults=0)
    assert not result.violations
    return world.history, world.observed


@pytest.fixture
def history(ran):
    """Return a copy of the history, which a test can change."""
    fields = {field.name: getattr(ran[0], field.name) for field in dataclasses.fields(History)}
    return History(**{name: type(value)(value) for name, value in fields.items()})


@pytest.fixture
def observed(ran):
    """Return a copy of the final state, which a test can change."""
    fields = vars(ran[1])
    inboxes = {key: list(listed) for key, listed in fields["inboxes"].items()}
    copies = {name: type(value)(value) for name, value in fields.items()}
    return type(ran[1])(**copies | {"inboxes": inboxes})


def accepted(history, observed, **wanted):
    """Return an accepted message whose stored form has a delivery with these attributes, and that delivery."""
    for sent in history.sent:
        if sent.outcome == "accepted":
            for delivery in observed.messages[sent.message_id].deliveries:
                if all(getattr(delivery, name) == value for name, value in wanted.items()):
                    return sent, delivery
    raise LookupError(wanted)


def change(observed, message_id, **fields):
    observed.messages[message_id] = dataclasses.replace(observed.messages[message_id], **fields)


def change_delivery(observed, delivery, **fields):
    deliveries = observed.messages[delivery.message_id].deliveries
    changed = tuple(replace(one, **fields) if one == delivery else one for one in deliveries)
    change(observed, delivery.message_id, deliveries=changed)


def only(history, observed, words):
    """Check that the model finds something with these words."""
    found = violations(history, observed)
    assert any(words in one for one in found), found


def test_nothing_is_wrong_in_a_run_without_faults(history, observed):
    assert violations(history, observed) == []


def test_an_internal_error_is_a_violation(history, observed):
    history.bugs.append("KeyError: 'x'")
    only(history, observed, "internal error: KeyError")


# Mail.


def test_an_accepted_message_that_is_lost_is_a_violation(history, observed):
    sent, _ = accepted(history, observed)
    del observed.messages[sent.message_id]
    only(history, observed, f"was accepted as {{'{sent.message_id}'}}, but is lost")


def test_a_refused_message_that_is_there_is_a_violation(history, observed):
    sent, _ = accepted(history, observed)
    history.sent[history.sent.index(sent)] = dataclasses.replace(sent, outcome="refused", message_id="")
    only(history, observed, "is there 1 times, but was accepted 0 to 0 times")


def test_a_message_of_unknown_outcome_may_be_there_or_not(history, observed):
    sent, _ = accepted(history, observed, destination="")
    history.sent[history.sent.index(sent)] = dataclasses.replace(sent, outcome="unknown", message_id="")
    assert violations(history, observed) == []
    del observed.messages[sent.message_id]
    for listed in observed.inboxes.values():
        if sent.message_id in listed:
            listed.remove(sent.message_id)
    history.arrivals = [one for one in history.arrivals if not one.delivery_id.startswith(sent.message_id)]
    assert violations(history, observed) == []


def test_bytes_without_a_checksum_are_a_violation(history, observed):
    sent, _ = accepted(history, observed)
    observed.unchecked.append(sent.message_id)
    only(history, observed, f"message {sent.message_id} has bytes without a checksum")


def test_another_sender_is_a_violation(history, observed):
    sent, _ = accepted(history, observed)
    message = observed.messages[sent.message_id].message
    other = replace(message, envelope=replace(message.envelope, sender="b@example.org"))
    change(observed, sent.message_id, message=other)
    only(history, observed, f"{sent.message_id} is from b@example.org, which did not send it")


def test_a_trace_without_its_beginning_is_a_violation(history, observed):
    sent, _ = accepted(history, observed)
    for trace in (observed.messages[sent.message_id].trace[1:], ()):
        change(observed, sent.message_id, trace=trace)
        only(history, observed, f"the trace of {sent.message_id} does not begin with its acceptance")


def test_an_attempt_that_is_not_in_the_trace_is_a_violation(history, observed):
    sent, delivery = accepted(history, observed, status=Status.DELIVERED, reason=Reason.DIRECT, kept=False)

    def later(event):
        attempt = getattr(event.detail, "attempt", None)
        return replace(event, detail=replace(event.detail, attempt=replace(attempt, number=2))) if attempt else event

    change(observed, sent.message_id, trace=tuple(map(later, observed.messages[sent.message_id].trace)))
    only(history, observed, f"attempt 1 of {sent.message_id} for {delivery.address.text} was recorded never")


def test_a_copy_at_a_peer_without_its_header_is_a_violation(history, observed):
    arrival = history.arrivals[0]
    octets = arrival.octets.replace(b"X-Waypost-Delivery: ", b"X-Other: ")
    history.arrivals[0] = dataclasses.replace(arrival, octets=octets)
    only(history, observed, f"the copy of {arrival.delivery_id} does not name it")


def test_a_message_that_nobody_sent_is_a_violation(history, observed):
    sent, _ = accepted(history, observed)
    history.sent.remove(sent)
    only(history, observed, f"nobody sent message ['{sent.message_id}']")


def test_other_bytes_are_a_violation(history, observed):
    sent, _ = accepted(history, observed, kept=True)
    change(observed, sent.message_id, raw=sent.raw + b"\r\n")
    only(history, observed, "are not those that were sent")


def test_a_second_copy_in_an_inbox_is_a_violation(history, observed):
    sent, delivery = accepted(history, observed, kept=True)
    stored = observed.messages[sent.message_id]
    change(observed, sent.message_id, deliveries=(*stored.deliveries, delivery))
    only(history, observed, f"is at {delivery.address.key} 2 times")


def test_a_missing_copy_is_a_violation(history, observed):
    sent, delivery = accepted(history, observed, reason=Reason.DIRECT)
    others = tuple(one for one in observed.messages[sent.message_id].deliveries if one != delivery)
    change(observed, sent.message_id, deliveries=others)
    only(history, observed, f"{sent.message_id} was sent to")


def test_a_copy_that_the_list_of_the_inbox_lacks_is_a_violation(history, observed):
    sent, delivery = accepted(history, observed, kept=True)
    observed.inboxes[delivery.address.key].remove(sent.message_id)
    only(history, observed, f"is in the inbox of {delivery.address.key} 0 times")


def test_a_forwarded_copy_without_an_alias_is_a_violation(history, observed):
    sent, delivery = accepted(history, observed, reason=Reason.DIRECT, destination="")
    stored = observed.messages[sent.message_id]
    other = replace(delivery, reason=Reason.FORWARDED, address=replace(delivery.address, key="other@example.com"))
    change(observed, sent.message_id, deliveries=(*stored.deliveries, other))
    observed.inboxes["other@example.com"] = [sent.message_id]
    only(history, observed, "was forwarded to ['other@example.com'], which had no such alias")


def link(history, sent, key, primary="other@example.com", *, began, ended, kind="associate"):
    """Add a call about a link to a recipient of a message, some seconds after the message was sent."""
    history.ids |= {"its primary": primary, "itself": key}
    history.calls.append(
        Operation(
            process="test",
            kind=kind,
            arguments=("its primary", "itself"),
            outcome="ok",
            invoked_at=sent.began + began,
            returned_at=sent.ended + ended,
        )
    )


def test_a_missing_forwarded_copy_is_a_violation_only_if_the_link_certainly_existed(history, observed):
    sent, delivery = accepted(history, observed, reason=Reason.DIRECT)
    words = f"{sent.message_id} was not forwarded"
    link(history, sent, delivery.address.key, began=-1, ended=1)
    assert not any(words in one for one in violations(history, observed))
    history.calls.pop()
    link(history, sent, delivery.address.key, began=-1000, ended=-999)
    only(history, observed, f"{words} to ['other@example.com']")
    link(history, sent, delivery.address.key, began=-10, ended=1, kind="disassociate")
    assert not any(words in one for one in violations(history, observed))


def test_a_wrong_order_in_an_inbox_is_a_violation(history, observed):
    known = {one.message_id for one in history.sent if one.outcome == "accepted"}
    key, listed = next((key, listed) for key, listed in observed.inboxes.items() if len(known & set(listed)) > 1)
    first, *_, last = [message_id for message_id in listed if message_id in known]
    for number, sent in enumerate(history.sent):
        at = {first: 1.0, last: 2.0}.get(sent.message_id)
        if at:
            history.sent[number] = dataclasses.replace(sent, server="one", began=at, ended=at)
    listed.reverse()
    only(history, observed, f"order: {key} has {last} before {first}")


# Links.


def test_half_a_link_is_a_violation(history, observed):
    observed.links.append(("fixed0", "primary", "fixed1"))
    only(history, observed, "the link of fixed0 (primary) to fixed1 is half a link")


def test_an_email_address_in_two_links_is_a_violation(history, observed):
    for other in ("fixed1", "fixed2"):
        observed.links.extend([("fixed5", "primary", other), (other, "alias", "fixed5")])
    only(history, observed, "fixed5 is in 2 links")


def test_a_history_that_no_order_explains_is_a_violation(history, observed):
    call = {"process": "test", "kind": "tags", "arguments": ("fixed9",), "invoked_at": 1.0, "returned_at": 2.0}
    history.calls.append(Operation(**call, outcome=("k=1",)))
    only(history, observed, "No order of these calls explains their results")


# The queue and the peers.


def arrived(history, observed):
    _, delivery = accepted(history, observed, status=Status.DELIVERED, kept=False)
    return next(one for one in history.arrivals if one.delivery_id == delivery.id)


def test_a_delivered_copy_that_the_peer_lacks_is_a_violation(history, observed):
    arrival = arrived(history, observed)
    history.arrivals = [one for one in history.arrivals if one.delivery_id != arrival.delivery_id]
    only(history, observed, f"{arrival.delivery_id} counts as delivered, but its peer does not have it")


def again(arrival, **fields):
    given = vars(arrival) | {"began": arrival.at + 1, "at": arrival.at + 2} | fields
    return Arrival(**given)


def test_a_second_copy_at_a_peer_without_a_reason_is_a_violation(history, observed):
    arrival = arrived(history, observed)
    history.arrivals.append(again(arrival))
    only(history, observed, f"the peer got {arrival.delivery_id} at")


@pytest.mark.parametrize(
    ("kind", "is_reason"),
    [("killed", True), ("stopped", True), ("store", True), ("clocks", True), ("too late", False)],
)
def test_a_second_copy_at_a_peer_is_allowed_for_a_documented_reason(history, observed, kind, is_reason):
    arrival = arrived(history, observed)
    history.arrivals.append(again(arrival))
    at = arrival.at + (1 if is_reason else 3)
    excuse = {"kind": kind if is_reason else "killed", "server": "" if kind == "clocks" else arrival.server}
    history.excuses.append(Excuse(**excuse, began=at, ended=at))
    assert bool(violations(history, observed)) is not is_reason


def test_a_second_copy_at_a_peer_is_allowed_after_a_lost_reply_or_a_redrive(history, observed):
    arrival = arrived(history, observed)
    place = history.arrivals.index(arrival)
    history.arrivals.insert(place + 1, again(arrival))
    assert violations(history, observed)
    history.arrivals[place] = dataclasses.replace(arrival, is_reply_lost=True)
    assert not violations(history, observed)
    history.arrivals[place] = arrival
    message_id, _, email_address_id = arrival.delivery_id.partition(".")
    redriven = RedrivenEvent(address=f"{email_address_id}@example.com", because="on request")
    trace = observed.messages[message_id].trace
    change(observed, message_id, trace=(*trace, TraceEvent(trace[-1].at, redriven)))
    assert not violations(history, observed)


def test_other_bytes_at_a_peer_are_a_violation(history, observed):
    _, delivery = accepted(history, observed, kept=True, destination="smtp://peer0.example:25")
    place, arrival = next((i, one) for i, one in enumerate(history.arrivals) if one.delivery_id == delivery.id)
    history.arrivals[place] = dataclasses.replace(arrival, octets=arrival.octets[:-1])
    only(history, observed, "the peer got other bytes")


def test_a_copy_at_a_peer_of_a_message_that_does_not_exist_is_a_violation(history, observed):
    history.arrivals.append(dataclasses.replace(history.arrivals[0], delivery_id="m.x"))
    only(history, observed, "a peer got m.x, which does not exist")


def test_a_second_end_of_a_delivery_is_a_violation(history, observed):
    arrival = arrived(history, observed)
    message_id = arrival.delivery_id.partition(".")[0]
    trace = observed.messages[message_id].trace
    change(observed, message_id, trace=(*trace, trace[-1]))
    only(history, observed, "had an attempt after its end")
    only(history, observed, "was recorded twice")


def test_a_status_that_does_not_fit_the_queue_is_a_violation(history, observed):
    _, delivery = accepted(history, observed, status=Status.DELIVERED)
    change_delivery(observed, delivery, status=Status.QUEUED)
    only(history, observed, "which does not fit the queue")


def test_work_that_is_left_is_a_violation(history, observed):
    observed.left["queue"] = 2
    only(history, observed, "2 rows are left in queue")


# Notices.


def die(observed, sent, delivery):
    """Turn a delivery into a dead letter."""
    dead = DeadEvent(address=delivery.address.text, because="refused")
    trace = observed.messages[sent.message_id].trace
    change(observed, sent.message_id, trace=(*trace, TraceEvent(trace[-1].at, dead)))


def test_a_dead_letter_without_a_notice_is_a_violation(history, observed):
    sent, delivery = accepted(history, observed, status=Status.DELIVERED, kept=True)
    die(observed, sent, delivery)
    only(history, observed, f"has 0 notices of 1 times ('{delivery.address.text}', 'failed')")


def test_a_success_without_the_notice_that_the_sender_asked_for_is_a_violation(history, observed):
    sent, stored = next((key, one) for key, one in observed.messages.items() if one.message.envelope.wishes())
    is_about_success = {"notified", "not notified"}
    change(observed, sent, trace=tuple(one for one in stored.trace if one.detail.kind not in is_about_success))
    only(history, observed, f"{sent} has 0 notices of 1 times")


def test_a_second_notice_of_a_success_is_a_violation(history, observed):
    sent, stored = next((key, one) for key, one in observed.messages.items() if one.message.envelope.wishes())
    again = next(one for one in stored.trace if one.detail.kind in {"notified", "not notified"})
    change(observed, sent, trace=(*stored.trace, again))
    only(history, observed, f"{sent} has 2 notices of 1 times")


def test_a_notice_that_does_not_exist_is_a_violation(history, observed):
    sent, delivery = accepted(history, observed, status=Status.DELIVERED, kept=True)
    die(observed, sent, delivery)
    told = NotifiedEvent(address=delivery.address.text, what="failed", whom="sender", notice="n")
    trace = observed.messages[sent.message_id].trace
    change(observed, sent.message_id, trace=(*trace, TraceEvent(trace[-1].at, told)))
    only(history, observed, "notice n does not exist")


def test_a_notice_that_no_trace_names_is_a_violation(history, observed):
    sent, _ = accepted(history, observed, kept=True)
    stored = observed.messages[sent.message_id]
    message = replace(stored.message, id="n", envelope=replace(stored.message.envelope, sender=""))
    observed.messages["n"] = Stored(message, b"From: waypost\r\n", (), ())
    only(history, observed, "notice n is about nothing")
    only(history, observed, "notice n is not in one inbox")


def test_a_dead_letter_whose_bytes_are_lost_is_a_violation(history, observed):
    sent, delivery = accepted(history, observed, status=Status.DELIVERED, kept=False)
    change_delivery(observed, delivery, status=Status.DEAD)
    change(observed, sent.message_id, raw=b"")
    only(history, observed, f"the bytes of {sent.message_id} are not those that were sent")


def test_a_message_is_accepted_only_by_its_client(history, observed):
    sent, _ = accepted(history, observed)
    other = Sent(**vars(sent) | {"raw": b"Subject: mail other\r\n\r\n", "message_id": "m"})
    history.sent.append(other)
    only(history, observed, "message mail other was accepted as {'m'}, but is lost")
