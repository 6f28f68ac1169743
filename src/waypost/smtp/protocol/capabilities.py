"""The extensions that a session offers, and its limits."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from waypost.smtp.protocol import replies
from waypost.smtp.protocol.data import PIECE
from waypost.smtp.protocol.replies import Reply

MESSAGE_LIMIT = 40 * 1024 * 1024
"""Octets of a message: what Amazon SES takes for Connect."""

RECIPIENT_LIMIT = 100
"""Recipients of a message (RFC 5321 section 4.5.3.1.8 asks for 100 at least)."""

BOUNCE_RECIPIENT_LIMIT = 4
"""Recipients of a message from the null sender. A bounce has one; each may need a costly look-up."""

MAIL_LIMIT = 10_000
"""Messages that a session may begin (RFC 9422)."""

COMMAND_LIMIT = 10_000
"""Commands in a row without an accepted message."""

ERROR_LIMIT = 20
"""Refused commands that a session may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """The server's name, the extensions it offers, and how much of each a session may use."""

    hostname: str
    lmtp: bool = False
    """Whether this is LMTP (RFC 2033): LHLO in place of EHLO, and a reply for each recipient."""
    offers_tls: bool = False
    needs_tls: bool = False
    message_limit: int = MESSAGE_LIMIT
    recipient_limit: int = RECIPIENT_LIMIT
    bounce_recipient_limit: int = BOUNCE_RECIPIENT_LIMIT
    mail_limit: int = MAIL_LIMIT
    command_limit: int = COMMAND_LIMIT
    error_limit: int = ERROR_LIMIT
    unknown_recipient_limit: int = ERROR_LIMIT
    """Recipients that may be unknown. LMTP has no such limit, because its clients are trusted."""
    piece: int = PIECE
    """The size of a piece of a large message, in octets."""


class Gate(Protocol):
    """Decides whether a message may begin now: a refusal, or None."""

    def at_mail(self) -> Reply | None:
        """Called when a message begins."""
        ...

    def at_data(self) -> Reply | None:
        """Called before the client sends its octets."""
        ...

    def refused(self, reply: Reply) -> None:
        """Called when a session refuses a message by itself."""
        ...


@lru_cache(maxsize=64)
def greeting(capabilities: Capabilities) -> Reply:
    """The first reply of a session."""
    protocol = "LMTP" if capabilities.lmtp else "ESMTP"
    return replies.GREETING.about(hostname=capabilities.hostname, protocol=protocol)


@lru_cache(maxsize=64)
def ehlo_reply(capabilities: Capabilities, *, is_tls: bool) -> Reply:
    """The reply to EHLO or LHLO, with the extensions. `is_tls`: whether the connection has TLS already."""
    extensions = [
        "PIPELINING",
        f"SIZE {capabilities.message_limit}",
        "8BITMIME",
        "SMTPUTF8",
        "CHUNKING",
        "BINARYMIME",
        "DSN",
        "ENHANCEDSTATUSCODES",
        f"LIMITS MAILMAX={capabilities.mail_limit} RCPTMAX={capabilities.recipient_limit}",
        *(["STARTTLS"] if capabilities.offers_tls and not is_tls else []),
        "HELP",
    ]
    return replies.EHLO.about(hostname=capabilities.hostname, extensions="\n".join(extensions))
