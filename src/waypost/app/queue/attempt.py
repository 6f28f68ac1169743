"""Claim queued deliveries for attempts, and record the results of the attempts. Each claim uses one transaction. The
results of attempts that ended at about the same time are recorded in one transaction.

The transaction that turns a delivery into a dead letter also records that a notice to the sender is due. The module
`notify` writes the notice.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from waypost.app import ports
from waypost.app.deployment import Deployment
from waypost.app.mail import notify, trace
from waypost.app.mail.deliveries import all_delivered, happened, reason_kept, tell
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

STORED_PRECISION = timedelta(milliseconds=1)
"""The precision of the times in a trace."""

AT_ONCE = 20
"""The maximum number of deliveries that one transaction turns into dead letters or marks as delayed; a longer
transaction would delay other writes.
"""


OCTETS_WITH_CLAIM = 16 * 1024
"""The maximum size of a message, in bytes, that is read together with its claim. Larger messages are read during the
attempt, so that claimed deliveries do not fill the memory.
"""


class Ready(Struct, frozen=True):
    """A claimed delivery and its current route."""

    claimed: ports.Claimed
    route: Route
    is_outside: bool = False
    """Whether the sender has no email address on this server. The server determines this only if the message has DSN
    parameters (RFC 3461); otherwise the value is False.
    """


class Taken(Struct, frozen=True):
    """The result of one claim."""

    ready: list[Ready]
    """The deliveries to attempt."""
    rerouted: int
    """The number of deliveries that were moved to another destination, delivered to the inbox, or turned into dead
    letters because the routes have changed.
    """


class Outcome(Struct, frozen=True):
    """An attempt that has ended, and the decision that follows from its result."""

    claimed: ports.Claimed
    result: AttemptResult
    decision: Decision
    at: datetime

    @classmethod
    def of(cls, claimed: ports.Claimed, result: AttemptResult, deployment: Deployment, at: datetime) -> "Outcome":
        """Decide what follows from the result of an attempt that ended at the time `at`."""
        return cls(claimed, result, decide(claimed.queued, result, at, deployment.policy), at)


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
    found = tx.claim(
        destination, claim=claim, now=now, lease_until=now + lease, limit=limit, most_octets=OCTETS_WITH_CLAIM
    )
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


def record(tx: ports.WriteTx, *, outcome: Outcome) -> bool:
    """Record the outcome of an attempt: the delivery's new status, its trace events, and whether a notice is due.

    Returns whether the outcome is recorded: by this call, or by an earlier one that has committed although its caller
    got an error, because the connection to the database was lost. If the lease expired and another worker has claimed
    the delivery, nothing is recorded, because the other worker records its own result.
    """
    claimed, decision, now = outcome.claimed, outcome.decision, outcome.at
    if decision.at:
        is_ours = tx.defer(claimed, due_at=decision.at, because=reason_kept(decision.because))
    else:
        is_ours = tx.finish(claimed)
    if not is_ours:
        return _was_recorded(tx, outcome)
    attempt = _attempt(claimed, outcome.result)
    if decision.at:
        deferred = DeferredEvent(
            address=claimed.delivery.address.text,
            attempt=attempt,
            until=trace.moment(decision.at),
            because=decision.because,
        )
        tell(tx, claimed.delivery, deferred, now=now)
    elif decision.then is Then.DELIVERED:
        tx.lock_messages([claimed.delivery.message_id])
        _record_deliveries(tx, [outcome])
    else:
        _give_up(tx, claimed.delivery, decision, attempt, result=outcome.result, now=now)
    return True


def _was_recorded(tx: ports.ReadTx, outcome: Outcome) -> bool:
    """Return whether the trace has the event of this attempt. It has its time, and its result."""
    delivery, number = outcome.claimed.delivery, outcome.claimed.queued.attempts + 1
    for event in tx.trace(delivery.message_id):
        detail = event.detail
        if (
            isinstance(detail, DeliveredEvent | DeferredEvent | DeadEvent)
            and (detail.address, detail.attempt and detail.attempt.number) == (delivery.address.text, number)
            and abs(event.at - outcome.at) < STORED_PRECISION
        ):
            return True
    return False


def record_all(tx: ports.WriteTx, *, outcomes: Sequence[Outcome]) -> list[bool]:
    """Record the outcomes of several attempts, like `record`. Returns whether each outcome was recorded."""
    delivered = [outcome for outcome in outcomes if outcome.decision.then is Then.DELIVERED]
    finished: Iterator[bool] = iter(())
    if delivered:
        # The messages are locked first and in order, so that two workers with deliveries of the same messages cannot
        # wait for each other.
        tx.lock_messages({outcome.claimed.delivery.message_id for outcome in delivered})
        are_ours = tx.finish_all([outcome.claimed for outcome in delivered])
        _record_deliveries(tx, [outcome for outcome, is_ours in zip(delivered, are_ours, strict=True) if is_ours])
        finished = iter(are_ours)
    return [
        next(finished) if outcome.decision.then is Then.DELIVERED else record(tx, outcome=outcome)
        for outcome in outcomes
    ]


def give_up_expired(tx: ports.WriteTx, deployment: Deployment, *, now: datetime) -> list[ports.Held]:
    """Turn some expired deliveries into dead letters, even if no deliveries to their destination are being attempted.

    Returns these deliveries.
    """
    policy = deployment.policy
    # Wait until a little after the last attempt is due, because that attempt may give a better reason.
    found = tx.lock_overdue(queued_before=now - policy.expire - 5 * policy.pause, now=now, limit=AT_ONCE)
    given_up = []
    for held in found:
        decision = expired(policy, held.because or "its destination could not be reached")
        if tx.finish(held):
            attempt = Attempt(number=held.queued.attempts, destination=held.delivery.destination)
            _give_up(tx, held.delivery, decision, attempt, result=None, now=now)
            given_up.append(held)
    return given_up


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


def _record_deliveries(tx: ports.WriteTx, outcomes: Sequence[Outcome]) -> None:
    """Record successful attempts whose deliveries are not in the queue any more, and whose messages are locked."""
    if not outcomes:
        return
    delivered = []
    for outcome in outcomes:
        delivery = outcome.claimed.delivery
        event = DeliveredEvent(address=delivery.address.text, attempt=_attempt(outcome.claimed, outcome.result))
        delivered.append((delivery, event, outcome.at))
    all_delivered(tx, delivered)
    for outcome in outcomes:
        if not outcome.result.notifies:  # otherwise the peer notifies the sender (RFC 3461)
            action = Action.RELAYED if outcome.result.protocol is Protocol.SMTP else Action.DELIVERED
            notify.owe_successes(tx, [outcome.claimed.delivery], outcome.claimed.message, action, now=outcome.at)
    if spent := {delivery.message_id for delivery, _, _ in delivered if not delivery.kept}:
        tx.remove_spent_octets(spent)


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
