"""Bounces to a rewritten sender (SRS): find the message that a bounce is about, and process the bounce.

The bounce is delivered to the inbox of the email address whose forwarded copy failed, and the original message's trace
shows the bounce. The original sender gets a notice, as if the delivery had failed on this server.
"""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from waypost.app import ports
from waypost.app.deployment import Deployment
from waypost.app.mail import notify
from waypost.app.mail.deliveries import tell
from waypost.domain.directory.addresses import Address
from waypost.domain.dsn import reports
from waypost.domain.dsn.notices import Action, Fate
from waypost.domain.mail import messages
from waypost.domain.mail.delivery import Delivery, Reason, Status
from waypost.domain.mail.messages import Message
from waypost.domain.mail.trace_events import LateBounceEvent, NotNotifiedEvent
from waypost.domain.mailauth import srs


class Original(Struct, frozen=True):
    """The forwarded message and the delivery that a bounce is about."""

    message: Message
    delivery: Delivery
    address: Address
    """The rewritten sender to which the bounce was addressed."""

    def delivery_of(self, bounce: Message, hostname: str) -> Delivery:
        """Return a delivery that puts the bounce into the inbox of the email address whose forwarded copy failed. A
        bounce is always delivered to the inbox, because over any other route it could loop.
        """
        header = messages.trace_header(
            bounce, hostname=hostname, delivered_to=self.delivery.address.text, sent_to=self.address.text
        )
        return Delivery(
            message_id=bounce.id,
            email_address_id=self.delivery.email_address_id,
            account=self.delivery.account,
            address=self.delivery.address,
            reason=Reason.RETURNED,
            sent_to=self.address.text,
            via=None,
            status=Status.DELIVERED,
            trace_header=header,
        )


def find(tx: ports.ReadTx, deployment: Deployment, address: Address, now: datetime) -> Original | None:
    """Return the message and the delivery that a rewritten sender identifies.

    Return None if the address is not a rewritten sender, has expired, or is forged. Also return None if the delivery
    already has `BOUNCES_TAKEN` bounces.
    """
    if not is_rewritten(deployment, address):
        return None
    local = address.key.rpartition("@")[0]
    claimed = srs.claims(local)
    if claimed is None:
        return None
    for message in tx.messages_between(claimed.first_id, claimed.last_id, limit=_FEW):
        recipients = tx.recipients_of(message.id)
        signer = deployment.find_signer(local, recipients, now=now)
        delivery = None if signer is None else tx.delivery(message.id, signer)
        if delivery:
            return Original(message, delivery, address) if _has_room(tx, delivery) else None
    return None


def is_open(tx: ports.ReadTx, original: Original) -> bool:
    """Return whether another bounce may be accepted for the delivery: the delivery must still exist, and must have
    fewer than `BOUNCES_TAKEN` bounces.
    """
    delivery = tx.delivery(original.message.id, original.delivery.email_address_id)
    return delivery is not None and _has_room(tx, delivery)


def _has_room(tx: ports.ReadTx, delivery: Delivery) -> bool:
    return tx.count_bounces(delivery) < BOUNCES_TAKEN


_FEW = 4
"""The maximum number of messages that are examined for the short message id in a rewritten sender. Several messages
have the same short id only if several servers begin a message in the same millisecond.
"""

BOUNCES_TAKEN = 20
"""The maximum number of bounces that are accepted for one delivery. Without a limit, anyone who has seen the delivery's
rewritten sender could send any number of bounces.
"""


def _why_no_notice(report: reports.Report | None, *, is_first: bool) -> str:
    """Return the reason why the sender gets no notice of a bounce, or an empty string if the sender gets a notice."""
    if report is None:
        return "the bounce is not a delivery report (RFC 3464), so it does not say that the message failed"
    if report.action != "failed":
        return f"the bounce reports the action {report.action or 'unknown'}, not a failure"
    return "" if is_first else "the sender already got a notice of an earlier bounce"


def is_rewritten(deployment: Deployment, address: Address) -> bool:
    """Return whether an address is in the domain of rewritten senders."""
    return bool(deployment.srs_domain) and address.key.endswith(f"@{deployment.srs_domain}")


def attach(
    tx: ports.WriteTx,
    originals: Sequence[Original],
    bounce: Message,
    report: reports.Report | None,
    *,
    now: datetime,
) -> None:
    """Record a bounce in the traces of the messages that it is about. If the bounce reports a failure, also record that
    the senders of the original messages must be notified.

    A bounce can be about several messages, because it can have several rewritten senders as recipients. `report` is the
    delivery report in the bounce, or None if the bounce contains no delivery report.
    """
    if not originals:
        return
    says_failed = report is not None and report.action == "failed"
    # Update the deliveries first, in sorted order, and then the traces, so that two simultaneous bounces cannot
    # deadlock.
    in_order = sorted(originals, key=lambda original: original.delivery.id)
    failures = [tx.add_bounce(original.delivery, says_failed=says_failed) for original in in_order]
    for original, count in zip(in_order, failures, strict=True):
        _attach(tx, original, bounce.id, report, is_first=count == 1, now=now)


def _attach(
    tx: ports.WriteTx,
    original: Original,
    bounce_id: str,
    report: reports.Report | None,
    *,
    is_first: bool,
    now: datetime,
) -> None:
    delivery = original.delivery
    address = delivery.address.text
    came_back = LateBounceEvent(address=address, bounce=bounce_id)
    if report:
        came_back = replace(came_back, action=report.action, status=report.status, reply=report.diagnostic)
    tell(tx, delivery, came_back, now=now)
    why_not = _why_no_notice(report, is_first=is_first)
    if report is None or why_not:
        not_notified = NotNotifiedEvent(address=address, what=Action.FAILED.value, because=why_not)
        tell(tx, delivery, not_notified, now=now)
        return
    notify.owe(tx, delivery, Fate(action=Action.FAILED, status=report.status or "5.0.0"), now=now)
