"""Bounces to a rewritten sender (SRS): which message they are about, and what happens then.

The inbox of the email address whose copy it is about keeps the bounce, the trace of that message shows it, and that
message's sender gets a notice, as if the delivery had failed here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

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


@dataclass(frozen=True, slots=True)
class Original:
    """The subject of a bounce: the message that was sent on, and one of its deliveries."""

    message: Message
    delivery: Delivery
    address: Address
    """The rewritten sender, to which the bounce came."""

    def delivery_of(self, bounce: Message, hostname: str) -> Delivery:
        """The delivery of the bounce: into the inbox, and never over a route, where it could loop."""
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
    """The message that a rewritten sender stands for; None if the address is not a rewritten sender, has expired, or is
    forged.
    """
    local, _, domain = address.key.rpartition("@")
    if not deployment.srs_domain or domain != deployment.srs_domain:
        return None
    claimed = srs.claims(local)
    if claimed is None:
        return None
    for message in tx.messages_between(claimed.first_id, claimed.last_id, limit=_FEW):
        for delivery in tx.all_deliveries_of(message.id):
            key_of = deployment.srs_key_for(delivery.email_address_id)
            if srs.reverse(local, now=now, key_of=key_of):
                has_room = tx.count_bounces(delivery) < BOUNCES_TAKEN
                return Original(message, delivery, address) if has_room else None
    return None


_FEW = 4
"""The most messages with one short id: two servers would have to begin them in the same millisecond."""

BOUNCES_TAKEN = 20
"""The most bounces that are accepted for one delivery. Anybody who has seen its rewritten sender could send any
number."""


def _why_not_told(report: reports.Report | None, *, is_first: bool) -> str:
    """Why the sender gets no notice of a bounce; empty if they get one."""
    if report is None:
        return "what came back is no report (RFC 3464), so it does not say that the message failed"
    if report.action != "failed":
        return f"it says that the message is {report.action or 'something unknown'}, and not that it failed"
    return "" if is_first else "the sender was told of an earlier bounce"


def find_all(tx: ports.ReadTx, deployment: Deployment, addresses: Sequence[Address], now: datetime) -> list[Original]:
    """As `find`, for several addresses; those that are not rewritten senders are left out."""
    found = [find(tx, deployment, address, now) for address in addresses]
    return [one for one in found if one]


def attach(tx: ports.WriteTx, originals: Sequence[Original], bounce: Message, *, now: datetime) -> None:
    """Record a bounce in the traces of its messages. If it reports a failure, a notice to their senders is due.

    There can be as many messages as the bounce has recipients; the bounce is parsed once.
    """
    if not originals:
        return
    report = reports.read_report(tx.octets(bounce.id, start=0, limit=messages.HEADER_LIMIT))
    says_failed = report is not None and report.action == "failed"
    # First all deliveries, in one order, and then the traces: so two bounces at once do not wait for each other.
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
    why_not = _why_not_told(report, is_first=is_first)
    if report is None or why_not:
        not_notified = NotNotifiedEvent(address=address, what=Action.FAILED.value, because=why_not)
        tell(tx, delivery, not_notified, now=now)
        return
    notify.owe(tx, delivery, Fate(action=Action.FAILED, status=report.status or "5.0.0"), now=now)
