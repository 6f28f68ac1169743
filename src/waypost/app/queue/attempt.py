"""Claim queued deliveries for attempts, and record the results of the attempts. Each claim uses one transaction, and
each result is recorded in one transaction.

The transaction that turns a delivery into a dead letter also records that a notice to the sender is due. The module
`notify` writes the notice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from waypost.app import ports
from waypost.app.deployment import Deployment
from waypost.app.mail import notify, trace
from waypost.app.mail.deliveries import happened, reason_kept, tell
from waypost.domain.dsn.notices import Action, Fate
from waypost.domain.mail import routes
from waypost.domain.mail.delivery import (
    AttemptResult,
    Decision,
    Delivery,
    Protocol,
    Reason,
    Then,
    decide,
    expired,
    latest_due,
)
from waypost.domain.mail.messages import NO_DSN
from waypost.domain.mail.routes import Route
from waypost.domain.mail.trace_events import (
    Attempt,
    DeadEvent,
    DeferredEvent,
    DelayedEvent,
    DeliveredEvent,
    MovedEvent,
)

CLOCKS_DIFFER = timedelta(hours=1)
"""The maximum difference that is allowed between the clocks of two servers. If two clocks differ by more than this
maximum, one server shortens the other server's leases.
"""

CORRECTED_AT_ONCE = 500
"""The maximum number of deliveries whose times one transaction corrects."""

AT_ONCE = 20
"""The maximum number of deliveries that one transaction turns into dead letters or marks as delayed; a longer
transaction would delay other writes.
"""


@dataclass(frozen=True, slots=True)
class Ready:
    """A claimed delivery and its current route."""

    claimed: ports.Claimed
    route: Route
    is_outside: bool = False
    """Whether the sender has no email address on this server. The server determines this only if the message has DSN
    parameters (RFC 3461); otherwise the value is False.
    """


@dataclass(frozen=True, slots=True)
class Taken:
    """The result of one claim."""

    ready: list[Ready]
    """The deliveries to attempt."""
    rerouted: int
    """The number of deliveries that were moved to another destination, delivered to the inbox, or turned into dead
    letters because the routes have changed.
    """


@dataclass(frozen=True, slots=True)
class Outcome:
    """The decision that follows from an attempt's result, and whether the result was recorded."""

    decision: Decision
    is_recorded: bool
    """Whether the result was recorded; False if the lease expired and another worker has claimed the delivery."""


def claim(
    tx: ports.WriteTx,
    deployment: Deployment,
    *,
    destination: str,
    claim: str,
    now: datetime,
    lease: timedelta,
    limit: int,
) -> Taken:
    """Claim up to `limit` due deliveries to a destination.

    If the current routes give a delivery another destination, the delivery is moved, delivered to the inbox, or turned
    into a dead letter.
    """
    found = tx.claim(destination, claim=claim, now=now, lease_until=now + lease, limit=limit)
    in_force = deployment.routes_in_force(tx, tx.routes_revision()) if found else ()
    ready = []
    for claimed in found:
        route = _route_of(tx, claimed.delivery, deployment, in_force)
        leads_to = routes.destination(route, claimed.delivery.address)
        if leads_to == destination:
            envelope = claimed.message.envelope
            has_wishes = envelope.dsn != NO_DSN
            ready.append(Ready(claimed, route, has_wishes and notify.is_outside(tx, deployment, envelope)))
        elif route.is_inbox and claimed.delivery.reason is Reason.NOTICE:
            _give_up_notice(tx, claimed, now)
        elif route.is_inbox:
            _keep(tx, claimed, now)
        elif tx.move(claimed, destination=leads_to, due_at=now):
            moved = MovedEvent(
                address=claimed.delivery.address.text, destination=leads_to, because="the routes have changed"
            )
            happened(tx, claimed.delivery, moved, now=now, destination=leads_to)
    return Taken(ready, len(found) - len(ready))


def release(tx: ports.WriteTx, *, claim: str, now: datetime) -> None:
    """Release all deliveries that are still under this claim, because this worker will not attempt them now."""
    tx.release(claim, due_at=now)


def give_back(tx: ports.WriteTx, *, ready: Sequence[Ready], now: datetime) -> None:
    """Put claimed deliveries back into the queue, because they were not attempted."""
    for one in ready:
        tx.move(one.claimed, destination=one.claimed.delivery.destination, due_at=now)


def renew(tx: ports.WriteTx, *, claim: str, now: datetime, lease: timedelta) -> set[str]:
    """Extend the leases of running attempts. Returns the ids of the deliveries that are still under the claim."""
    return tx.renew(claim, lease_until=now + lease)


def record(
    tx: ports.WriteTx,
    deployment: Deployment,
    *,
    claimed: ports.Claimed,
    result: AttemptResult,
    now: datetime,
) -> Outcome:
    """Record an attempt's result: the delivery's new status, its trace events, and whether a notice is due.

    If the lease expired and another worker has claimed the delivery, nothing is recorded, because the other worker
    records its own result.
    """
    decision = decide(claimed.queued, result, now, deployment.policy)
    attempt = _attempt(claimed, result)
    if decision.at:
        is_ours = tx.defer(claimed, due_at=decision.at, because=reason_kept(decision.because))
    else:
        is_ours = tx.finish(claimed)
    if not is_ours:
        return Outcome(decision, is_recorded=False)
    if decision.at:
        deferred = DeferredEvent(
            address=claimed.delivery.address.text,
            attempt=attempt,
            until=trace.moment(decision.at),
            because=decision.because,
        )
        tell(tx, claimed.delivery, deferred, now=now)
    elif decision.then is Then.DELIVERED:
        _delivered(tx, claimed, attempt, result=result, now=now)
    else:
        _give_up(tx, claimed.delivery, decision, attempt, result=result, now=now)
    return Outcome(decision, is_recorded=True)


def give_up_expired(tx: ports.WriteTx, deployment: Deployment, *, now: datetime) -> int:
    """Turn some expired deliveries into dead letters, even if no deliveries to their destination are being attempted.

    Returns the number of expired deliveries that were found.
    """
    policy = deployment.policy
    # Wait until a little after the last attempt is due, because that attempt may give a better reason.
    found = tx.lock_overdue(queued_before=now - policy.expire - 5 * policy.pause, now=now, limit=AT_ONCE)
    for held in found:
        decision = expired(policy, held.because or "its destination could not be reached")
        if tx.finish(held):
            attempt = Attempt(number=held.queued.attempts, destination=held.delivery.destination)
            _give_up(tx, held.delivery, decision, attempt, result=None, now=now)
    return len(found)


def correct_times(tx: ports.WriteTx, deployment: Deployment, *, now: datetime, lease: timedelta) -> int:
    """Correct some times in the queue that were written while the clock was ahead. Returns the number of corrected
    times.

    If a delivery's queue time is in the future, the queue time becomes `now`, and the time of the delivery's next
    attempt moves back by the same amount. After the correction, no delivery is due later than now plus the longest
    pause between attempts, and no lease ends more than `CLOCKS_DIFFER` later than a lease that begins now.
    """
    return tx.correct_queue(
        now=now,
        due_by=latest_due(now, deployment.policy),
        leased_by=now + lease + CLOCKS_DIFFER,
        lease_until=now + lease,
        limit=CORRECTED_AT_ONCE,
    )


def warn_of_delays(tx: ports.WriteTx, deployment: Deployment, *, now: datetime) -> int:
    """Record that delay notices to some senders are due. Returns the number of delayed deliveries."""
    found = tx.take_late(now=now, limit=AT_ONCE)
    for held in found:
        because = held.because or "its destination has not been reached yet"
        tell(tx, held.delivery, DelayedEvent(address=held.delivery.address.text, because=because), now=now)
        until = held.queued.queued_at + deployment.policy.expire
        notify.owe(tx, held.delivery, Fate(action=Action.DELAYED, status="4.4.7", retried_until=until), now=now)
    return len(found)


def _route_of(tx: ports.ReadTx, delivery: Delivery, deployment: Deployment, in_force: Sequence[Route]) -> Route:
    """Find the current route of a delivery, even if its email address has been deleted."""
    if delivery.reason is Reason.NOTICE:
        return deployment.bounces_via or routes.INBOX_ROUTE
    instance_id = None
    if any(route.match.startswith("instance:") for route in in_force):
        email_address = tx.email_address_by_id(delivery.email_address_id)
        instance_id = email_address.instance_id if email_address else None
    return routes.find(in_force, delivery.address, instance_id)


def _keep(tx: ports.WriteTx, claimed: ports.Claimed, now: datetime) -> None:
    """Move a claimed delivery to the inbox, because the delivery's current route is now the inbox."""
    if tx.finish(claimed):
        because = "the routes have changed, and the inbox now gets this mail"
        delivered = DeliveredEvent(address=claimed.delivery.address.text, because=because)
        happened(tx, claimed.delivery, delivered, now=now, kept=True, destination="")


def _give_up_notice(tx: ports.WriteTx, claimed: ports.Claimed, now: datetime) -> None:
    """Turn the delivery of a notice into a dead letter, because the deployment no longer has a route for notices, and
    the recipient has no inbox here.
    """
    if tx.finish(claimed):
        dead = DeadEvent(address=claimed.delivery.address.text, because="bounces_via is not set any more")
        happened(tx, claimed.delivery, dead, now=now)


def _delivered(
    tx: ports.WriteTx, claimed: ports.Claimed, attempt: Attempt, *, result: AttemptResult, now: datetime
) -> None:
    delivery = claimed.delivery
    happened(tx, delivery, DeliveredEvent(address=delivery.address.text, attempt=attempt), now=now)
    if not result.notifies:  # otherwise the peer notifies the sender (RFC 3461)
        action = Action.RELAYED if result.protocol is Protocol.SMTP else Action.DELIVERED
        notify.owe_successes(tx, [delivery], claimed.message, action, now=now)
    if not delivery.kept:
        tx.remove_octets_if_spent(delivery.message_id)


def _give_up(
    tx: ports.WriteTx,
    delivery: Delivery,
    decision: Decision,
    attempt: Attempt,
    *,
    result: AttemptResult | None,
    now: datetime,
) -> None:
    dead = DeadEvent(
        address=delivery.address.text,
        attempt=attempt,
        status=decision.status,
        because=decision.because,
        path=" → ".join(trace.path(tx, delivery)) if decision.is_loop else "",
    )
    happened(tx, delivery, dead, now=now)
    if decision.is_loop:
        notify.owe_owner(tx, delivery, now=now)
    fate = Fate(action=Action.FAILED, status=decision.status, result=result, attempted_at=now if result else None)
    notify.owe(tx, delivery, fate, now=now)


def _attempt(claimed: ports.Claimed, result: AttemptResult) -> Attempt:
    """Return the trace record for an attempt."""
    return Attempt(
        number=claimed.queued.attempts + 1,
        destination=claimed.delivery.destination,
        peer=result.peer,
        stage=result.stage.value,
        reply=" ".join(str(part) for part in (result.code, result.enhanced, result.text) if part),
        trouble=result.trouble.value if result.trouble else "",
        tls=result.tls,
        fault=f"{result.fault} (injected)" if result.fault else "",
    )
