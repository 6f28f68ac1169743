"""Notices: messages of our own, that tell a sender what became of their mail, and an owner what goes wrong.

Each is written in the transaction that it tells about. A notice is a message as any other: it has an id, a trace, and a
delivery, which waits in the queue if it goes to somebody who is not ours.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from waypost.app import ports, trace
from waypost.app.deliveries import tell
from waypost.app.deployment import Deployment
from waypost.app.recipients import find_owner
from waypost.domain import addresses, errors, messages, notices, reports, routes
from waypost.domain.delivery import Delivery, Event, Notify, Reason, Status
from waypost.domain.messages import Envelope, Message
from waypost.domain.notices import Action, Fate

NewId = Callable[[], str]
"""Gives an id to a message that we write."""

ELSEWHERE = "notice"
"""In place of the id of an email address, for the delivery of a notice to somebody who is not ours."""


_ASKED_AS = {Action.FAILED: Notify.FAILURE, Action.DELAYED: Notify.DELAY}
"""How a sender asks for a notice (RFC 3461 section 4.1); the other actions are successes."""


def success(
    tx: ports.WriteTx,
    deployment: Deployment,
    delivery: Delivery,
    message: Message,
    action: Action,
    *,
    new_id: NewId,
    now: datetime,
) -> None:
    """Tell a sender who has asked for it that a message has arrived, or went where nobody tells them more."""
    if Notify.SUCCESS in message.envelope.wishes_for(delivery.sent_to).notify:
        sender(tx, deployment, delivery, message, Fate(action=action, status="2.0.0"), new_id=new_id, now=now)


def owner_of_loop(
    tx: ports.WriteTx,
    deployment: Deployment,
    delivery: Delivery,
    message: Message,
    path: Sequence[str],
    *,
    new_id: NewId,
    now: datetime,
) -> None:
    """Put one notice a day into the inbox of an email address whose mail goes in a circle."""
    day = now.date().isoformat()
    if delivery.reason is Reason.NOTICE or not tx.first_time(f"loop notice {delivery.email_address_id} {day}"):
        return
    notice_id = new_id()
    octets = notices.owner_notice(delivery, message, path, hostname=deployment.hostname, notice_id=notice_id, now=now)
    told = _message(notice_id, delivery.address.text, octets, deployment, now)
    kept = Delivery(
        message_id=notice_id,
        email_address_id=delivery.email_address_id,
        account=delivery.account,
        address=delivery.address,
        reason=Reason.NOTICE,
        sent_to=delivery.address.text,
        via=None,
        status=Status.DELIVERED,
        trace_header=b"",
    )
    _add(tx, told, octets, kept, about=message.id, what="a mail loop", now=now)
    detail: dict[str, str | int] = {"what": "a mail loop", "whom": "owner", "notice": notice_id}
    tell(tx, delivery, trace.NOTIFIED, detail, now=now)


def sender(
    tx: ports.WriteTx,
    deployment: Deployment,
    delivery: Delivery,
    message: Message,
    fate: Fate,
    *,
    new_id: NewId,
    now: datetime,
) -> None:
    """Send the sender a notice about a delivery, or write into the trace why there is none."""
    envelope = message.envelope
    wishes = envelope.wishes_for(delivery.sent_to)
    may_bounce = partial(
        notices.may_bounce,
        sender=envelope.sender,
        reason=delivery.reason,
        what=_ASKED_AS.get(fate.action, Notify.SUCCESS),
        notify=wishes.notify,
        mode=deployment.bounces,
        is_authentic=message.is_authentic,
    )
    permission, notice_id, original, header = may_bounce(), new_id(), b"", b""
    goes_to = _recipient(tx, deployment, envelope.sender, delivery, notice_id) if permission.granted else None
    if goes_to:  # only now is anything of the message needed
        original = tx.octets(message.id, start=0, limit=notices.RETURNED_LIMIT)
        header = original[: messages.end_of_header(original)]
        permission = may_bounce(is_report=reports.is_report(header))
    if goes_to is None or not permission.granted:
        because = permission.because or "no route for notices is set (bounces_via), and the sender is no address here"
        tell(tx, delivery, trace.NOT_NOTIFIED, {"what": fate.action.value, "because": because}, now=now)
        return
    whole = envelope.dsn.ret == "FULL" and message.size <= notices.RETURNED_LIMIT and fate.action is Action.FAILED
    octets = notices.notice(
        delivery,
        message,
        fate,
        original=original if whole else header,
        hostname=deployment.hostname,
        notice_id=notice_id,
        now=now,
        wishes=wishes,
    )
    told = _message(notice_id, envelope.sender, octets, deployment, now)
    _add(tx, told, octets, goes_to, about=message.id, what=fate.action.value, now=now)
    detail: dict[str, str | int] = {"what": fate.action.value, "whom": "sender", "notice": notice_id}
    tell(tx, delivery, trace.NOTIFIED, detail, now=now)


def _recipient(tx: ports.ReadTx, deployment: Deployment, to: str, about: Delivery, notice_id: str) -> Delivery | None:
    """The delivery of a notice to a sender: into the inbox of one of ours, or over the route for notices."""
    try:
        address = addresses.parse(to)
    except errors.Invalid:
        return None
    ours = find_owner(tx, deployment, address)
    via = deployment.bounces_via
    if ours is None and (via is None or via.is_inbox):
        return None
    return Delivery(
        message_id=notice_id,
        email_address_id=ours.id if ours else ELSEWHERE,
        account=ours.account if ours else about.account,
        address=address,
        reason=Reason.NOTICE,
        sent_to=to,
        via=None,
        status=Status.DELIVERED if ours else Status.QUEUED,
        trace_header=b"",
        kept=ours is not None,
        destination=routes.destination(via, address) if via and not ours else "",
    )


def _message(notice_id: str, to: str, octets: bytes, deployment: Deployment, now: datetime) -> Message:
    facts = messages.read_header(octets)
    is_ascii = octets.isascii()
    envelope = Envelope(
        sender="",
        recipients=(to,),
        helo=deployment.hostname,
        peer="",
        protocol="local" if to.isascii() else "UTF8local",
        body="7BIT" if is_ascii else "8BITMIME",
    )
    return Message(
        id=notice_id,
        envelope=envelope,
        received_at=now,
        size=len(octets),
        subject=facts.subject,
        header_id=facts.header_id,
    )


def _add(
    tx: ports.WriteTx, told: Message, octets: bytes, delivery: Delivery, *, about: str, what: str, now: datetime
) -> None:
    kind = Event.DELIVERED if delivery.kept else Event.QUEUED
    detail: dict[str, str | int] = {
        "address": delivery.address.text,
        "because": f"a notice about message {about}: {what}",
    }
    if delivery.destination:
        detail["destination"] = delivery.destination
    tx.add_message(told, octets, [delivery], [ports.TraceEvent(now, kind, detail)])
