"""The interface of transports: the parcel that a transport sends, and the result that it returns."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import datetime
from typing import Protocol, assert_never

from msgspec import Struct

from waypost.app.deployment import Deployment
from waypost.app.queue.attempt import Ready
from waypost.domain.mail.delivery import AttemptResult, Delivery, Notify, Reason
from waypost.domain.mail.delivery import Protocol as Spoken
from waypost.domain.mail.messages import Message, without_return_path
from waypost.domain.mail.routes import Route
from waypost.domain.mailauth import forecasts, srs

Octets = Callable[[], AsyncGenerator[bytes, None]]
"""A function that yields the bytes of the author's message, part by part. Each call starts from the beginning of the
message.
"""


class Parcel(Struct, frozen=True, kw_only=True):
    """One delivery, prepared for its route. A parcel has only one recipient, so every reply from a peer applies to that
    recipient.
    """

    delivery: Delivery
    message: Message
    return_path: str
    """The sender's address as the peer sees it, possibly rewritten (SRS); empty for the null sender."""
    header: bytes
    """The trace header that is sent before the author's message."""
    octets: Octets
    whole: bytes | None = None
    """The bytes of the author's message; None if only `octets` provides them."""
    notify: tuple[str, ...] = ()
    ret: str = ""
    envid: str = ""
    orcpt: str = ""
    """The DSN parameters (RFC 3461), which are sent only to peers that offer DSN."""
    traceparent: str = ""
    """The context of the attempt for a peer that uses W3C Trace Context; empty if the server makes no spans."""

    @property
    def recipient(self) -> str:
        """The address of the recipient."""
        return self.delivery.address.text

    @property
    def size(self) -> int:
        """The number of bytes that the peer gets."""
        return len(self.header) + self.message.size

    def reading(self) -> aclosing[AsyncGenerator[bytes, None]]:
        """Return a context manager that provides the bytes of the author's message part by part, and stops reading on
        exit.
        """
        return aclosing(self.octets())

    @property
    def is_binary(self) -> bool:
        """Whether the message is binary, so that it must not be sent as lines (RFC 3030)."""
        return self.message.envelope.body == "BINARYMIME"


def make(ready: Ready, deployment: Deployment, now: datetime, octets: Octets, *, traceparent: str = "") -> Parcel:
    """Prepare a delivery for its route."""
    delivery, message, route = ready.claimed.delivery, ready.claimed.message, ready.route
    ends_here = route.target.protocol is Spoken.MAILDIR
    return_path = _return_path(ready, deployment, now)
    dsn = message.envelope.dsn
    tells_success = deployment.confirm_outside or not ready.is_outside
    is_rewritten = return_path != message.envelope.sender
    notify, orcpt = _wishes(delivery, message, is_rewritten=is_rewritten, tells_success=tells_success)
    return Parcel(
        delivery=delivery,
        message=message,
        return_path=return_path,
        header=delivery.trace_header if ends_here else without_return_path(delivery.trace_header),
        octets=octets,
        whole=ready.claimed.octets,
        notify=notify,
        ret="HDRS" if ready.is_outside and dsn.ret == "FULL" else dsn.ret,
        envid=dsn.envid,
        orcpt=orcpt,
        traceparent=traceparent,
    )


def _return_path(ready: Ready, deployment: Deployment, now: datetime) -> str:
    """The sender, rewritten (SRS) if the next server would check SPF for the sender's domain."""
    message = ready.claimed.message
    sender = message.envelope.sender
    rewritten = forecasts.rewriting(
        sender, ready.route, srs_domain=deployment.srs_domain, own_domains=deployment.own_domains
    )
    if not rewritten.domain:
        return sender
    key_of = deployment.srs_key_for(ready.claimed.delivery.email_address_id)
    return srs.rewrite(sender, domain=rewritten.domain, message_id=message.id, now=now, key_of=key_of)


def _wishes(
    delivery: Delivery, message: Message, *, is_rewritten: bool, tells_success: bool
) -> tuple[tuple[str, ...], str]:
    """The DSN parameters for the next server. The parameters never request a notice that this server itself would not
    send.

    The successful delivery of a forwarded copy is never reported. The alias and the primary each get a copy, so the
    rules for multiple-recipient aliases apply (RFC 3461 section 5.2.7.2). If the sender is rewritten, notices from the
    next server come back to this server. Therefore, for a rewritten sender, this server sends any success notice
    itself, and does not request one from the next server. If a forwarded copy keeps the original sender, the next
    server must not send a notice, because the notice would reveal the primary to the sender.
    """
    if delivery.reason is Reason.NOTICE or (delivery.reason is Reason.FORWARDED and not is_rewritten):
        return (Notify.NEVER,), ""
    wishes = message.envelope.wishes_for(delivery.sent_to)
    notify = wishes.notify
    if (is_rewritten or not tells_success) and Notify.SUCCESS in notify:
        notify = tuple(one for one in notify if one != Notify.SUCCESS) or (Notify.NEVER.value,)
    return notify, wishes.orcpt


class Transport(Protocol):
    """Sends parcels to one kind of destination."""

    async def attempt(self, parcel: Parcel, route: Route) -> AttemptResult:
        """Attempt a delivery once. This method raises no exceptions, because the result describes any failure."""
        ...

    async def close(self) -> None:
        """Close the connections that are kept open for later parcels."""
        ...


class Transports(Struct, frozen=True, kw_only=True):
    """The transport for each kind of route. The type check fails if a kind of route has no transport in this class."""

    smtp: Transport
    maildir: Transport
    webhook: Transport

    def by_protocol(self) -> dict[Spoken, Transport]:
        """The transport that is used for each protocol."""
        return {protocol: self._of(protocol) for protocol in Spoken}

    def _of(self, protocol: Spoken) -> Transport:
        match protocol:
            case Spoken.SMTP | Spoken.LMTP:
                return self.smtp
            case Spoken.MAILDIR:
                return self.maildir
            case Spoken.WEBHOOK:
                return self.webhook
            case never:
                assert_never(never)
