"""Accept mail: check that recipients exist on this server, and record a message in one transaction."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache, partial
from typing import NamedTuple

from msgspec import Struct

from waypost.app import ports
from waypost.app.deployment import Deployment
from waypost.app.mail import bounces, notify, trace
from waypost.app.mail.recipients import Found, assign, find_owner, find_owners, find_recipients
from waypost.app.steps import repeat_step
from waypost.domain import errors
from waypost.domain.directory.addresses import Address
from waypost.domain.dsn import reports
from waypost.domain.dsn.notices import Action
from waypost.domain.dsn.reports import Report
from waypost.domain.mail import messages, routes, routing
from waypost.domain.mail.delivery import Delivery, Status, delivery_id
from waypost.domain.mail.messages import Envelope, HeaderFacts, Message
from waypost.domain.mail.planned import PlannedDelivery, PlannedPart
from waypost.domain.mail.trace_events import TraceDetail, TraceEvent
from waypost.domain.mailauth.enforcement import SWITCHED_OFF, Findings
from waypost.domain.mailauth.verdicts import Verdicts, authentication_results, count_forged, no_results
from waypost.domain.mailauth.vouching import vouches_for

LONGEST_TRANSFER = timedelta(days=1)
"""The age at which an unfinished transfer counts as abandoned, so that its bytes may be deleted. A running server ends
every transfer long before the transfer reaches this age.
"""

LISTED_AT_ONCE = 100
"""The maximum number of message ids that `unfinished` or `planned` returns in one call."""

STORED_AT_ONCE = 20
"""The maximum number of deliveries that one transaction stores. With this limit, the transaction takes less than 5 ms,
however many recipients the message has (docs/decisions/0036-deliveries-in-parts.md).
"""

DECISIONS_FOR = 4
"""The maximum number of recipients of a message for which the decision about its deliveries is cached. Decisions about
more recipients would take too much memory.
"""

FORGOTTEN_AT_ONCE = 8
"""The maximum number of pieces of a message that one transaction deletes."""


class Accepted(Struct, frozen=True):
    """An accepted message, and whether it added work to the queue, such as a delivery or a notice."""

    message: Message
    has_work: bool
    is_complete: bool = True
    """Whether all deliveries of the message are stored. If `is_complete` is false, call `store_planned` until it
    returns 0.
    """


def check_recipient(tx: ports.ReadTx, deployment: Deployment, address: Address, *, sender: str, now: datetime) -> None:
    """Raise `errors.UnknownRecipient` if this server does not accept mail from `sender` for `address`."""
    if find_owner(tx, deployment, address) is None and not (
        sender == "" and bounces.find(tx, deployment, address, now)
    ):
        raise errors.UnknownRecipient(f"There is no email address {address} on this server.")


def accounts_of(tx: ports.ReadTx, deployment: Deployment, recipients: Sequence[Address]) -> dict[str, str]:
    """Return a mapping from the address key of each recipient to the account that owns the recipient. Recipients
    without an owner are omitted.
    """
    found = find_recipients(tx, deployment, recipients)
    return {recipient.sent_to.key: recipient.email_address.account for recipient in found.present}


class Content(Struct, frozen=True):
    """The result of `examine`: the facts about a message's content that `accept_message` needs."""

    facts: HeaderFacts
    results: tuple[str, ...]
    """The lines of the `Authentication-Results` field that the server adds to each copy."""
    found: Findings = SWITCHED_OFF
    """The results of the sender checks."""
    forged: int = 0
    """The number of forged `Authentication-Results` fields: fields in the received message that carry this server's
    name.
    """
    authserv_id: str = ""
    is_authentic: bool = False
    """Whether the sender's address is authentic. A notice to an authentic address reaches the person who sent the
    message.
    """
    report: Report | None = None
    """The delivery report in the message, if the message is a bounce; otherwise None."""
    faults: str = ""
    """The fault rules that delayed or cut off the session of the message, for its trace; empty outside of tests."""


def examine(
    header: bytes,
    *,
    hostname: str,
    sender: str,
    bounce: bytes = b"",
    authserv_id: str = "",
    found: Findings = SWITCHED_OFF,
    is_trusted: bool = False,
    faults: str = "",
) -> Content:
    """Examine the header of a message. If the message is a bounce, also examine its first `messages.HEADER_LIMIT`
    bytes, which the caller passes as `bounce`.

    Call this function before the transaction, because a malicious header can take milliseconds to parse. `authserv_id`
    is this server's name in `Authentication-Results`, or an empty string if a trusted mail server sends the message.
    `found` contains the results of the sender checks. `is_trusted` is true if the settings list the client's network as
    trusted. The senders that a trusted client names are treated as authentic. `faults` names the fault rules that the
    session met.
    """
    results: Sequence[str] = ()
    if isinstance(found, Verdicts):
        results = authentication_results(found, hostname)
    elif authserv_id and not is_trusted:
        results = no_results(authserv_id, str(found))
    return Content(
        facts=messages.read_header(header),
        results=tuple(results),
        found=found,
        forged=count_forged(header, authserv_id),
        authserv_id=authserv_id,
        is_authentic=is_trusted or (isinstance(found, Verdicts) and vouches_for(found, sender, header)),
        report=reports.read_report(bounce) if bounce else None,
        faults=faults,
    )


def accept_message(
    tx: ports.WriteTx,
    deployment: Deployment,
    *,
    message_id: str,
    envelope: Envelope,
    recipients: Sequence[Address],
    content: Content,
    originals: Sequence[bounces.Original] = (),
    raw: bytes,
    kept: int = 0,
    now: datetime,
) -> Accepted:
    """Record a message with its deliveries and the first events of its trace.

    A message for an alias is also forwarded to the alias's primary. Forwarding is not recursive. `content` is the
    result of `examine`. `originals` are the results of `bounces.find` for recipients that are rewritten senders. `raw`
    contains the bytes that follow the first `kept` bytes, which `keep_octets` has already stored.

    When the transaction commits, this server becomes responsible for the mail, and the destinations of all deliveries
    have been decided. If there are more than `STORED_AT_ONCE` deliveries, this transaction stores only a plan for them,
    because a longer transaction would delay other writes. If the deliveries were only planned, call `store_all_planned`
    next.

    Raises `errors.MailLoop` if the message is in a mail loop. Raises `errors.RecipientsChanged` if a recipient's
    address was deleted after RCPT; the client should then try again.
    """
    owners = find_owners(tx, deployment.subaddressed, recipients)
    routes_in_force = deployment.routes_in_force(tx, owners.routes_revision)
    decide = _decide_again if len(recipients) <= DECISIONS_FOR else _decide
    decision = decide(tuple(recipients), owners, deployment.subaddressed, routes_in_force)
    known = decision.known
    originals = [original for original in originals if bounces.is_open(tx, original)]
    if {address.key for address in known.unknown} - {original.address.key for original in originals}:
        raise errors.RecipientsChanged("A recipient was deleted during the transfer of the message; please try again")
    plan = without_loops(content.facts, known.present, decision.plan, deployment)
    if plan is not decision.plan:
        decision = _Decision.of(known, plan)
    message = Message(
        id=message_id,
        envelope=envelope,
        received_at=now,
        size=kept + len(raw),
        subject=content.facts.subject,
        header_id=content.facts.header_id,
        is_authentic=content.is_authentic,
        authserv_id=content.authserv_id,
    )
    planned = decision.planned
    now_stored, later = (planned, ()) if len(planned) <= STORED_AT_ONCE else ((), planned)
    deliveries = [delivery_of(message, one, deployment, content.results) for one in now_stored]
    returned = {one.delivery.email_address_id: one for one in reversed(originals)}
    for one in planned:
        returned.pop(one.email_address_id, None)
    deliveries += [original.delivery_of(message, deployment.hostname) for original in returned.values()]
    events = trace.of_acceptance(
        message,
        () if later else decision.beginnings,
        plan.spared,
        routes=deployment.revision(known.routes_revision),
        found=content.found,
        forged=content.forged,
        faults=content.faults,
    )
    tx.add_message(message, raw, deliveries, events, warn_at=_warn_at(message, deployment))
    if later:
        parts = [later[start : start + STORED_AT_ONCE] for start in range(0, len(later), STORED_AT_ONCE)]
        tx.add_planned(message.id, [PlannedPart(part, content.results) for part in parts])
    owes = _owe_successes(tx, message, deliveries, now=now) or bool(originals)
    bounces.attach(tx, originals, message, content.report, now=now)
    waits = any(delivery.status is Status.QUEUED for delivery in deliveries)
    return Accepted(message, has_work=waits or owes, is_complete=not later)


class _Decision(NamedTuple):
    """The decision about the deliveries of a message, which does not depend on its content."""

    known: Found
    plan: routing.Plan
    planned: tuple[PlannedDelivery, ...]
    beginnings: tuple[TraceDetail, ...]
    """The first trace event of each planned delivery."""

    @classmethod
    def of(cls, known: Found, plan: routing.Plan) -> "_Decision":
        also_for = {one.email_address.id: one.alias.text for one in reversed(plan.spared) if one.alias}
        planned = tuple(planned_delivery(one, also_for.get(one.email_address.id, "")) for one in plan.destinations)
        return cls(known, plan, planned, tuple(map(trace.beginning, planned)))


def _decide(
    recipients: tuple[Address, ...],
    owners: ports.Owners,
    subaddressed: frozenset[str],
    routes_in_force: tuple[routes.Route, ...],
) -> _Decision:
    """Decide the deliveries of a message to these recipients."""
    known = assign(recipients, owners, subaddressed)
    return _Decision.of(known, routing.plan(known.present, routes_in_force))


_decide_again = lru_cache(maxsize=500)(_decide)
"""The same as `_decide`, but with a cache. Mail for the same recipients is decided in the same way until their email
addresses, their links or the routes change.
"""


def store_planned(tx: ports.WriteTx, deployment: Deployment, *, message_id: str, now: datetime) -> int:
    """Store some planned deliveries of an accepted message, with their trace events.

    Return the number of stored deliveries, or 0 if no planned delivery is left.
    """
    part = tx.take_planned(message_id)
    if part is None:
        return 0
    (message,) = tx.messages_between(message_id, message_id, limit=1)
    present = set(tx.recipients_of(message_id))  # the recipients cannot change, because the message is locked
    planned = [one for one in part.deliveries if one.email_address_id not in present]
    deliveries = [delivery_of(message, one, deployment, part.results) for one in planned]
    tx.add_deliveries(deliveries, queued_at=now, warn_at=_warn_at(message, deployment))
    tx.add_events(message_id, [TraceEvent(now, trace.beginning(one)) for one in planned])
    _owe_successes(tx, message, deliveries, now=now)
    return len(part.deliveries)


async def store_all_planned(store: ports.Store, deployment: Deployment, *, message_id: str, now: datetime) -> None:
    """Store all planned deliveries of an accepted message, in several transactions if necessary.

    If this function raises an exception, the rest of the plan stays in the store, so that a later call can store the
    remaining deliveries.
    """
    await repeat_step(store.write, partial(store_planned, deployment=deployment, message_id=message_id, now=now))


def _owe_successes(tx: ports.WriteTx, message: Message, deliveries: Sequence[Delivery], *, now: datetime) -> bool:
    """Record the success notices that are due for deliveries to inboxes. Return whether any notice is due."""
    arrived = [delivery for delivery in deliveries if delivery.status is Status.DELIVERED]
    return notify.owe_successes(tx, arrived, message, Action.DELIVERED, now=now)


def _warn_at(message: Message, deployment: Deployment) -> datetime | None:
    """Return the time at which the sender gets a warning if the message is still waiting for delivery, or None if the
    server sends no such warnings.
    """
    return message.received_at + deployment.delay_warning if deployment.delay_warning else None


def without_loops(
    facts: HeaderFacts, present: Sequence[routing.Recipient], plan: routing.Plan, deployment: Deployment
) -> routing.Plan:
    """Return the plan, changed so that forwarded copies that would loop stay in the primary's inbox.

    Raise `errors.MailLoop` if the message itself is in a loop.
    """
    if not facts.loop_tokens:  # the common case
        messages.refuse_loop(facts, ids=[], keys=[])
        return plan
    aliases = {recipient.email_address.id for recipient in present if recipient.primary}
    routed = {one.email_address.id for one in plan.destinations if one.alias is None and not one.route.is_inbox}
    messages.refuse_loop(facts, ids=sorted(aliases | routed), keys=deployment.loop_keys)
    return routing.without_loops(
        plan, lambda primary: bool(messages.loop_tokens(deployment.loop_keys, [primary.id]) & {*facts.loop_tokens})
    )


def keep_octets(tx: ports.WriteTx, message_id: str, octets: bytes, *, start: int, now: datetime) -> None:
    """Store a piece of a message during its transfer, so that the server does not keep the whole message in memory."""
    tx.add_octets(message_id, octets, start=start, now=now)


def kept_octets(tx: ports.ReadTx, message_id: str, *, start: int, limit: int) -> bytes:
    """Return up to `limit` stored bytes of a message, starting at the offset `start`. The transfer of the message may
    still be in progress.
    """
    return tx.octets(message_id, start=start, limit=limit)


def forget_octets(tx: ports.WriteTx, message_id: str) -> bool:
    """Delete some of the stored pieces of a message that was never completed, was refused after its last byte, or has
    been deleted.

    Return whether there may be more pieces to delete. One call deletes at most `FORGOTTEN_AT_ONCE` pieces, because a
    longer transaction would delay other writes.
    """
    if tx.trim_octets(message_id, limit=FORGOTTEN_AT_ONCE) == FORGOTTEN_AT_ONCE:
        return True
    tx.remove_octets(message_id)
    return False


def unfinished(tx: ports.ReadTx, *, begun_before: datetime) -> list[str]:
    """Return up to `LISTED_AT_ONCE` ids of incomplete messages that a stopped server left behind. The caller passes
    these ids to `forget_octets`.
    """
    return tx.messages_begun(before=begun_before, limit=LISTED_AT_ONCE)


def planned(tx: ports.ReadTx, *, now: datetime, age: timedelta, after: str = "") -> list[str]:
    """Return up to `LISTED_AT_ONCE` ids of messages that have planned deliveries. The caller passes these ids to
    `store_planned`. Only ids that sort after the id `after` are included.

    Messages that were accepted within the last `age` are left out, because the server that accepted them is still
    storing their deliveries. After the clock has been set back, some messages may seem to have been accepted in the
    future. Such messages are included, because otherwise their deliveries would have to wait until the clock reaches
    that time.
    """
    return tx.messages_planned(after=after, since=now - age, until=now, limit=LISTED_AT_ONCE)


def planned_delivery(destination: routing.Destination, also_for: str = "") -> PlannedDelivery:
    """Return the planned delivery for a destination. `also_for` has the same meaning as in `Delivery`."""
    email_address, alias, route = destination.email_address, destination.alias, destination.route
    return PlannedDelivery(
        email_address_id=email_address.id,
        account=email_address.account,
        address=email_address.address,
        reason=destination.reason,
        sent_to=destination.sent_to.text,
        alias_id=alias.id if alias else "",
        alias=alias.address.text if alias else "",
        destination=routes.destination(route, email_address.address),
        route="" if route.is_inbox else route.match,
        kept=route.keep,
        because=trace.because(destination),
        also_for=also_for,
    )


def delivery_of(
    message: Message, planned: PlannedDelivery, deployment: Deployment, results: Sequence[str] = ()
) -> Delivery:
    """Build a delivery from its plan, including its trace header. `results` are the lines of the
    `Authentication-Results` field.
    """
    is_inbox = not planned.destination
    forwarders = [planned.alias_id] if planned.alias_id else []
    if not is_inbox:
        forwarders.append(planned.email_address_id)
    header = messages.trace_header(
        message,
        hostname=deployment.hostname,
        delivered_to=planned.address.text,
        sent_to=planned.sent_to,
        results=results,
        tokens=[messages.loop_token(deployment.loop_key, forwarder) for forwarder in forwarders],
        delivery_id="" if is_inbox else delivery_id(message.id, planned.email_address_id),
    )
    return Delivery(
        message_id=message.id,
        email_address_id=planned.email_address_id,
        account=planned.account,
        address=planned.address,
        reason=planned.reason,
        sent_to=planned.sent_to,
        via=planned.alias or None,
        status=Status.DELIVERED if is_inbox else Status.QUEUED,
        trace_header=header,
        kept=planned.kept,
        destination=planned.destination,
        also_for=planned.also_for,
    )
