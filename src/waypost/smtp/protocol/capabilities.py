"""The extensions that a session offers, and the limits of a session."""

from functools import lru_cache
from typing import Protocol

from msgspec import Struct

from waypost.domain.directory.addresses import Address
from waypost.smtp.protocol import replies
from waypost.smtp.protocol.data import PIECE
from waypost.smtp.protocol.replies import Reply

MESSAGE_LIMIT = 40 * 1024 * 1024
"""The maximum size of a message, in bytes. Amazon SES has the same limit for messages to Amazon Connect."""

RECIPIENT_LIMIT = 100
"""The maximum number of recipients of a message. RFC 5321 section 4.5.3.1.8 requires a limit of at least 100
recipients.
"""

BOUNCE_RECIPIENT_LIMIT = 4
"""The maximum number of recipients of a message from the null sender.

A bounce has only one recipient, so a low limit is sufficient. A low limit is also necessary, because each recipient may
need a costly lookup.
"""

MAIL_LIMIT = 10_000
"""The maximum number of messages that a client may begin in one session (RFC 9422)."""

COMMAND_LIMIT = 10_000
"""The maximum number of commands that a client may send in a row without having a message accepted."""

ERROR_LIMIT = 20
"""The number of refused commands after which the server ends a session."""


class Capabilities(Struct, frozen=True, kw_only=True, eq=False):
    """The server's host name, the extensions that it offers, and the limits of a session.

    Instances are compared by identity, so that the cached replies to each new client are found in little time.
    """

    hostname: str
    lmtp: bool = False
    """Whether the protocol is LMTP (RFC 2033), which uses LHLO instead of EHLO, and sends a reply for each recipient.
    """
    offers_tls: bool = False
    needs_tls: bool = False
    message_limit: int = MESSAGE_LIMIT
    recipient_limit: int = RECIPIENT_LIMIT
    bounce_recipient_limit: int = BOUNCE_RECIPIENT_LIMIT
    mail_limit: int = MAIL_LIMIT
    command_limit: int = COMMAND_LIMIT
    error_limit: int = ERROR_LIMIT
    unknown_recipient_limit: int = ERROR_LIMIT
    """The number of unknown recipients after which the server ends a session.

    LMTP has no limit on unknown recipients, because its clients are trusted."""
    piece: int = PIECE
    """The size of a piece of a large message, in bytes."""


class Gate(Protocol):
    """Decides whether a client may begin a message now."""

    @property
    def injects_faults(self) -> bool:
        """Whether the session must make a request after MAIL, and before it receives the content of a message, so that
        the server can inject faults.
        """
        ...

    def at_mail(self) -> Reply | None:
        """Return a reply that refuses a new message, or None if the message may begin. The session calls this method
        after MAIL.
        """
        ...

    def knows(self, address: Address) -> bool:
        """Return whether the server accepts mail for an address, as far as it can answer without a delay or a query.

        The session calls this method for each valid RCPT, and makes a request if the result is false.
        """
        ...

    def at_data(self) -> Reply | None:
        """Return a reply that refuses the content of a message, or None if the client may send the content.

        The session calls this method before it receives the content.
        """
        ...

    def refused(self, reply: Reply) -> None:
        """Record a refusal. The session calls this method when it refuses a message without asking the server."""
        ...


@lru_cache(maxsize=64)
def greeting(capabilities: Capabilities) -> Reply:
    """Return the greeting, which the server sends after a client has connected."""
    protocol = "LMTP" if capabilities.lmtp else "ESMTP"
    return replies.GREETING.about(hostname=capabilities.hostname, protocol=protocol)


@lru_cache(maxsize=64)
def ehlo_reply(capabilities: Capabilities, *, is_tls: bool) -> Reply:
    """Return the reply to EHLO or LHLO, with the extensions. `is_tls` is true if the connection already uses TLS."""
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
