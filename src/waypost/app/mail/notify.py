"""Notices: messages that the server writes to senders about their mail, and to owners of email addresses about loops.

The transaction that causes a notice also records that the notice is due (`owe`). Therefore, the notice is written even
if the server is killed immediately after that transaction. A later transaction (`write`) writes the notice, or records
in the trace why no notice is written. Therefore, no client has to wait while a notice is written. A notice is a message
like any other: it has an id, a trace and a delivery. If the sender has no email address on this server, the notice is
queued for delivery.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from waypost.app import ports
from waypost.app.deployment import Deployment
from waypost.app.mail import trace
from waypost.app.mail.deliveries import tell
from waypost.app.mail.recipients import find_owner
from waypost.domain import errors
from waypost.domain.directory import addresses
from waypost.domain.directory.email_addresses import EmailAddress
from waypost.domain.dsn import notices, reports, returned_content
from waypost.domain.dsn.notices import Action, Fate, Permission, RecipientOutcome
from waypost.domain.dsn.redact import one_line
from waypost.domain.mail import messages, routes
from waypost.domain.mail.delivery import (
    AttemptResult,
    Delivery,
    Notify,
    Protocol,
    Reason,
    Stage,
    Status,
    Trouble,
)
from waypost.domain.mail.messages import Envelope, Message
from waypost.domain.mail.trace_events import (
    DeliveredEvent,
    NotifiedEvent,
    NotNotifiedEvent,
    QueuedEvent,
    TraceDetail,
    TraceEvent,
)

NewId = Callable[[], str]
"""A function that returns a new id for a message that the server writes."""

ELSEWHERE = "notice"
"""The placeholder that replaces the email address id if a notice goes to a sender without an email address on this
server.
"""

AT_ONCE = 10
"""The maximum number of recipients that one notice reports on. The limit keeps the transaction short. If there are more
recipients, separate notices report on them.
"""

SOON = timedelta(minutes=1)
"""If other deliveries of the same message are due within this time, a notice waits for them, so that it can report on
them, too.
"""

LONGEST_WAIT = timedelta(minutes=2)
"""The maximum time that a notice waits for other deliveries of the same message."""

_ASKED_AS = {Action.FAILED: Notify.FAILURE, Action.DELAYED: Notify.DELAY}
"""For each action, the NOTIFY keyword that requests a notice of it (RFC 3461 section 4.1). Any action that is not
listed here reports a success.
"""

_About = tuple[ports.Owed, Delivery]


# Notices that are due.


def owe(tx: ports.WriteTx, delivery: Delivery, fate: Fate, *, now: datetime) -> None:
    """Record that the sender must be notified about a delivery.

    If the message was addressed to an email address and also to its alias, the sender is notified about both
    recipients. If the sender were notified about only one recipient, the number of recipients in the notice would
    reveal which primary the alias has.
    """
    recipients = [delivery.sent_to]
    if delivery.also_for and fate.action in _ASKED_AS:
        recipients.append(delivery.also_for)
    tx.owe([_owed(delivery, recipient, fate.action.value, _details(fate), now) for recipient in recipients])


def owe_successes(
    tx: ports.WriteTx, deliveries: Sequence[Delivery], message: Message, action: Action, *, now: datetime
) -> bool:
    """Record that the sender must be notified about successful deliveries, if the sender requested such notices.

    Returns whether a notice is due. The successful delivery of a forwarded copy is never reported (RFC 3461 section
    5.2.7.2).
    """
    wishes = message.envelope.wishes()
    if not wishes:  # the common case
        return False
    asked = [
        delivery
        for delivery in deliveries
        if delivery.reason is Reason.DIRECT
        and delivery.sent_to in wishes
        and Notify.SUCCESS in wishes[delivery.sent_to].notify
    ]
    details = _details(Fate(action=action, status="2.0.0"))
    tx.owe([_owed(delivery, delivery.sent_to, action.value, details, now) for delivery in asked])
    return bool(asked)


def owe_owner(tx: ports.WriteTx, delivery: Delivery, *, now: datetime) -> None:
    """Record that the owner of an email address must be notified about a mail loop."""
    if delivery.reason is not Reason.NOTICE:
        tx.owe([_owed(delivery, "", ports.OWNER_OF_LOOP, {}, now)])


def _owed(
    delivery: Delivery, recipient: str, action: str, details: Mapping[str, str | int], now: datetime
) -> ports.Owed:
    return ports.Owed(
        message_id=delivery.message_id,
        action=action,
        recipient=recipient,
        email_address_id=delivery.email_address_id,
        at=now,
        fate=details,
    )


def _details(fate: Fate) -> dict[str, str | int]:
    """Convert the outcome of a delivery to the form in which it is stored until the notice is written."""
    details: dict[str, str | int] = {"status": fate.status}
    if fate.attempted_at:
        details["attempted_at"] = fate.attempted_at.isoformat()
    if fate.retried_until:
        details["retried_until"] = fate.retried_until.isoformat()
    if result := fate.result:
        details |= {"protocol": result.protocol.value, "stage": result.stage.value, "peer": one_line(result.peer)}
        details |= {"enhanced": one_line(result.enhanced), "text": one_line(result.text)}
        details |= {"code": result.code} if result.code is not None else {}
        details |= {"trouble": result.trouble.value} if result.trouble else {}
    return details


def _fate(owed: ports.Owed) -> Fate:
    """Restore the outcome of a delivery from the form that `_details` returned."""
    kept = {name: str(value) for name, value in owed.fate.items()}
    result = None
    if "protocol" in kept:
        result = AttemptResult(
            protocol=Protocol(kept["protocol"]),
            stage=Stage(kept["stage"]),
            peer=kept["peer"],
            code=int(kept["code"]) if "code" in kept else None,
            enhanced=kept["enhanced"],
            trouble=Trouble(kept["trouble"]) if "trouble" in kept else None,
            text=kept["text"],
        )
    return Fate(
        action=Action(owed.action),
        status=kept["status"],
        result=result,
        attempted_at=_moment(kept.get("attempted_at")),
        retried_until=_moment(kept.get("retried_until")),
    )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


# Writing notices.


def next_owed(tx: ports.ReadTx, *, now: datetime) -> ports.Owing | None:
    """Return the next notice that can be written, or None if no notice can be written now."""
    return tx.owed(now=now, soon=now + SOON, owed_before=now - LONGEST_WAIT)


def write(
    tx: ports.WriteTx, deployment: Deployment, owing: ports.Owing, *, new_id: NewId | None, now: datetime
) -> None:
    """Write one notice that is due, or record in the trace why no notice is written.

    If `new_id` is None, no notice is written, and the trace records that an error prevented it. A notice reports on at
    most `AT_ONCE` recipients. The next notice reports on the remaining recipients, if any.
    """
    tells_owner = owing.action == ports.OWNER_OF_LOOP
    owed = tx.take_owed(owing, limit=1 if tells_owner else AT_ONCE)
    message = next(iter(tx.messages_between(owing.message_id, owing.message_id, limit=1)), None)
    if not owed or message is None:  # another server has written the notice, or retention has deleted the message
        return
    about = [(one, found) for one in owed if (found := tx.delivery(one.message_id, one.email_address_id))]
    if new_id is None:
        _record_no_notice(tx, owing, about, "an internal error occurred; the log has the details", now)
    elif tells_owner:
        for _, delivery in about:
            _notify_owner(tx, deployment, delivery, message, new_id=new_id, now=now)
    elif about:
        _notify_sender(tx, deployment, message, about, new_id=new_id, now=now)
    tx.remove_octets_if_spent(message.id)


def drop(tx: ports.WriteTx, owing: ports.Owing) -> None:
    """Delete the record of a due notice that can never be written, because stored data is unreadable.

    If the record stayed in the store, `next_owed` would return the same notice each time, and no other notice would be
    written.
    """
    tx.drop_owed(owing, limit=1 if owing.action == ports.OWNER_OF_LOOP else AT_ONCE)


def _notify_owner(
    tx: ports.WriteTx, deployment: Deployment, delivery: Delivery, message: Message, *, new_id: NewId, now: datetime
) -> None:
    """Put a notice into the inbox of an email address whose mail is looping, but at most once a day."""
    if not tx.first_time(f"loop notice {delivery.email_address_id} {now.date().isoformat()}"):
        return
    notice_id, path = new_id(), trace.path(tx, delivery)
    octets = notices.owner_notice(delivery, message, path, hostname=deployment.hostname, notice_id=notice_id, now=now)
    notice = _message(notice_id, delivery.address.text, octets, deployment, now)
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
    _add(tx, notice, octets, kept, about=message.id, what="a mail loop", now=now)
    notified = NotifiedEvent(address=delivery.address.text, what="a mail loop", whom="owner", notice=notice_id)
    tell(tx, delivery, notified, now=now)


def _notify_sender(
    tx: ports.WriteTx,
    deployment: Deployment,
    message: Message,
    about: Sequence[_About],
    *,
    new_id: NewId,
    now: datetime,
) -> None:
    """Send the sender a notice about some deliveries, or record in the trace why no notice is sent."""
    owing, envelope = ports.Owing(message.id, about[0][0].action), message.envelope
    action = Action(owing.action)
    address, ours = _sender_of(tx, deployment, envelope)

    def permission(one: _About, *, is_report: bool = False) -> Permission:
        return notices.may_bounce(
            sender=envelope.sender,
            reason=one[1].reason,
            what=_ASKED_AS.get(action, Notify.SUCCESS),
            notify=envelope.wishes_for(one[0].recipient).notify,
            mode=deployment.bounces,
            is_authentic=message.is_authentic,
            is_report=is_report,
            is_outside=ours is None,
            confirms_outside=deployment.confirm_outside,
        )

    reported = []
    for one in about:
        given = permission(one)
        if given.granted:
            reported.append(one)
        else:
            _record_no_notice(tx, owing, [one], given.because, now)
    if not reported:
        return
    via = deployment.bounces_via
    if address is None or (ours is None and (via is None or via.is_inbox)):
        because = "no route for notices is set (bounces_via), and the sender has no email address here"
        _record_no_notice(tx, owing, reported, because, now)
        return
    is_whole = notices.gives_whole(message, action, is_outside=ours is None)
    limit = returned_content.WHOLE_LIMIT if is_whole else returned_content.READ
    # Only now are the bytes of the message needed. If they are damaged, the notice has none of them.
    original = trace.beginning_of(tx, message.id, limit)
    header = original[: messages.end_of_header(original)]
    if reports.is_report(header):
        _record_no_notice(tx, owing, reported, permission(reported[0], is_report=True).because, now)
        return
    account = ours.account if ours else reported[0][1].account
    if ours is None:  # the notice will be in the queue of one account, which may see only its own mail
        tx.owe([one for one, delivery in reported if delivery.account != account])
        reported = [one for one in reported if one[1].account == account]
    notice_id = new_id()
    octets = notices.notice(
        _in_order(reported, envelope),
        message,
        original=original if is_whole else header,
        is_whole=is_whole,
        hostname=deployment.hostname,
        notice_id=notice_id,
        now=now,
    )
    goes_to = Delivery(
        message_id=notice_id,
        email_address_id=ours.id if ours else ELSEWHERE,
        account=account,
        address=address,
        reason=Reason.NOTICE,
        sent_to=envelope.sender,
        via=None,
        status=Status.DELIVERED if ours else Status.QUEUED,
        trace_header=b"",
        kept=ours is not None,
        destination=routes.destination(via, address) if via and not ours else "",
    )
    written = _message(notice_id, envelope.sender, octets, deployment, now)
    _add(tx, written, octets, goes_to, about=message.id, what=action.value, now=now)
    for delivery in _deliveries_of(reported):
        notified = NotifiedEvent(address=delivery.address.text, what=action.value, whom="sender", notice=notice_id)
        tell(tx, delivery, notified, now=now)


def _in_order(reported: Sequence[_About], envelope: Envelope) -> list[RecipientOutcome]:
    """Return the notice's entry for each recipient, in the order in which the sender named the recipients.

    If an alias's own copy and its forwarded copy both failed, the notice reports only on the alias's own copy, because
    forwarding is confidential.
    """
    of_recipient: dict[str, RecipientOutcome] = {}
    for owed, delivery in reported:
        is_forwarded = delivery.reason is not Reason.DIRECT or owed.recipient != delivery.sent_to
        if owed.recipient not in of_recipient or not is_forwarded:
            of_recipient[owed.recipient] = RecipientOutcome(
                recipient=owed.recipient,
                fate=_fate(owed),
                is_forwarded=is_forwarded,
                wishes=envelope.wishes_for(owed.recipient),
            )
    place = {recipient: number for number, recipient in enumerate(envelope.recipients)}
    return sorted(of_recipient.values(), key=lambda one: place.get(one.recipient, len(place)))


def _sender_of(
    tx: ports.ReadTx, deployment: Deployment, envelope: Envelope
) -> tuple[addresses.Address | None, EmailAddress | None]:
    """Return the sender's parsed address and the sender's email address on this server. The parsed address is None if
    the sender is not a valid address. The email address is None if the sender has no email address on this server.
    """
    try:
        address = addresses.parse(envelope.sender)
    except errors.Invalid:
        return None, None
    return address, find_owner(tx, deployment, address)


def is_outside(tx: ports.ReadTx, deployment: Deployment, envelope: Envelope) -> bool:
    """Return whether the sender has no email address on this server."""
    return _sender_of(tx, deployment, envelope)[1] is None


def _record_no_notice(
    tx: ports.WriteTx, owing: ports.Owing, about: Sequence[_About], because: str, now: datetime
) -> None:
    for delivery in _deliveries_of(about):
        not_notified = NotNotifiedEvent(address=delivery.address.text, what=owing.action, because=because)
        tell(tx, delivery, not_notified, now=now)


def _deliveries_of(about: Sequence[_About]) -> Iterable[Delivery]:
    """Return the deliveries without duplicates, so that the trace gets only one event for each delivery."""
    return {delivery.id: delivery for _, delivery in about}.values()


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
    tx: ports.WriteTx, notice: Message, octets: bytes, delivery: Delivery, *, about: str, what: str, now: datetime
) -> None:
    address, because = delivery.address.text, f"a notice about message {about}: {what}"
    detail: TraceDetail
    if delivery.kept:
        detail = DeliveredEvent(address=address, because=because)
    else:
        detail = QueuedEvent(address=address, because=because, destination=delivery.destination)
    tx.add_message(notice, octets, [delivery], [TraceEvent(now, detail)])
