"""The messages of the self-probe: how they are written and recognised, and when one has arrived.

The server sends such a message to an alias by SMTP, as any client does, and follows it to the alias and to the primary.
"""

import hashlib
import hmac
import re
from collections.abc import Sequence
from datetime import datetime
from email.utils import format_datetime
from enum import StrEnum

from msgspec import Struct

from waypost.domain.mail.delivery import Delivery, Reason, Status
from waypost.domain.mail.messages import Message

ACCEPTED_WITHIN = 60
"""The maximum number of seconds between the time at which a probe is sent and the time at which it is received. The
server waits 30 seconds for the reply, and both times are of the same clock."""

_BEGINNING = "waypost-probe"

_HEADER_ID = re.compile(
    rf"{_BEGINNING}\.(?P<nonce>[0-9a-z]{{1,64}})\.(?P<sent_at>[0-9]{{1,12}})\.(?P<mac>[0-9a-f]{{32}})@", re.ASCII
)


class Result(StrEnum):
    """How a probe has ended."""

    OK = "ok"
    NOT_AN_ALIAS = "not_an_alias"
    """The address in the settings is not an alias, so no message was sent."""
    REFUSED = "refused"
    """The server has refused the message."""
    UNREACHABLE = "unreachable"
    """The server's own SMTP port did not answer."""
    LATE = "late"
    """The message was accepted, but not delivered in time."""
    DEAD = "dead"
    """A delivery of the message has become a dead letter."""
    ERROR = "error"
    """The store failed, or there was an internal error."""


class Target(Struct, frozen=True):
    """The alias that gets the probes, and its primary."""

    account: str
    alias_key: str
    alias_id: str
    primary_id: str


def header_id(nonce: str, alias_key: str, now: datetime, *, hostname: str, key: bytes) -> str:
    """Return the Message-ID of a probe, without the angle brackets. `nonce` is different for each probe, and `key` is a
    secret of the deployment, so that nobody else can write a message that the server takes for a probe.

    The signature covers the alias and the time. A program that has received a probe can therefore repeat it only for a
    moment, and only at the same alias.
    """
    sent_at = int(now.timestamp())
    return f"{_BEGINNING}.{nonce}.{sent_at}.{_mac(nonce, alias_key, sent_at, key)}@{hostname}"


def is_probe(message: Message, alias_key: str, key: bytes) -> bool:
    """Return whether a message at an alias is a probe that a server of this deployment has written for the alias.

    A message that was received much later than the probe was sent is not a probe, but a copy that another program has
    sent.
    """
    found = _HEADER_ID.match(message.header_id)
    if not found or message.envelope.sender:
        return False
    sent_at = int(found["sent_at"])
    is_genuine = hmac.compare_digest(found["mac"], _mac(found["nonce"], alias_key, sent_at, key))
    return is_genuine and abs(message.received_at.timestamp() - sent_at) <= ACCEPTED_WITHIN


def _mac(nonce: str, alias_key: str, sent_at: int, key: bytes) -> str:
    covered = f"{nonce}.{sent_at}.{alias_key}"  # neither a nonce nor a time contains a dot
    return hmac.digest(key, covered.encode(), hashlib.sha256).hex()[:32]


def text(alias: str, header_id: str, now: datetime) -> bytes:
    """Return the message of a probe. No other program can send mail from its author's domain, which is reserved (RFC
    2606), and which has no DMARC policy.
    """
    lines = [
        "From: Waypost <probe@waypost.invalid>",
        f"To: <{alias}>",
        f"Date: {format_datetime(now)}",
        f"Message-ID: <{header_id}>",
        "Subject: Probe of this server",
        "Auto-Submitted: auto-generated",
        "X-Waypost-Probe: yes",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        "",
        "The server has sent this message to itself, to test that mail to an alias arrives (--probe-alias).",
        "It deletes the message afterwards.",
        "",
    ]
    return "\r\n".join(lines).encode()


def result_of(deliveries: Sequence[Delivery], target: Target) -> Result | None:
    """Return how a probe has ended, from the deliveries of its message; None if it has not ended yet.

    It has succeeded if the delivery for the alias and the delivery for the primary are complete: each is in the inbox,
    or the destination of the route has accepted it.
    """
    if any(delivery.status is Status.DEAD for delivery in deliveries):
        return Result.DEAD
    complete = {
        (delivery.reason, delivery.email_address_id) for delivery in deliveries if delivery.status is Status.DELIVERED
    }
    wanted = {(Reason.DIRECT, target.alias_id), (Reason.FORWARDED, target.primary_id)}
    return Result.OK if wanted <= complete else None
