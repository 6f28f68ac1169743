"""The state of one SMTP session, which the command handlers and the session read and change."""

from waypost.domain.mail.messages import Envelope
from waypost.smtp.protocol.capabilities import Capabilities, Gate
from waypost.smtp.protocol.command_lines import Input
from waypost.smtp.protocol.parameters import Transaction
from waypost.smtp.protocol.replies import Reply
from waypost.smtp.protocol.requests import Request
from waypost.smtp.protocol.states import Event, State, after
from waypost.smtp.protocol.transfer import Transfer


class Exchange:
    """The state of one SMTP session: its input and output, its mail transaction, and its counters."""

    __slots__ = (
        "_peer",
        "capabilities",
        "client_name",
        "farewell",
        "gate",
        "input",
        "is_extended",
        "is_trusted",
        "mails",
        "output",
        "request",
        "requested_octets",
        "state",
        "tls",
        "transaction",
        "transfer",
        "transfers",
        "unknown_recipients",
        "was_greeted",
    )

    def __init__(self, capabilities: Capabilities, *, peer: str, gate: Gate, tls: str, is_trusted: bool) -> None:
        """`tls` is the TLS version and cipher, or an empty string if the connection does not use TLS.

        `is_trusted` is true if the client may send any number of unknown recipients.
        """
        self.capabilities = capabilities
        self.gate = gate
        self.tls = tls
        self.is_trusted = is_trusted
        self.input = Input()
        self.output = b""
        self.request: Request | None = None
        """The unanswered request to the server; None if there is none."""
        self.requested_octets = 0
        """The number of message bytes in the unanswered request."""
        self.farewell: Reply | None = None
        """The last reply of the session; None until the session is over."""
        self.client_name = ""
        """The host name that the client sent with EHLO, HELO or LHLO."""
        self.is_extended = False
        """Whether the client sent EHLO or LHLO rather than HELO."""
        self.was_greeted = False
        """Whether the server has ever accepted EHLO, HELO or LHLO in this session, even if that was before a TLS
        handshake."""
        self.mails = 0
        """The number of mail transactions in the session so far."""
        self.unknown_recipients = 0
        self.transaction: Transaction | None = None
        self.transfer: Transfer | None = None
        """The transfer of the message that the client is sending; None if there is none."""
        self.transfers = 0
        """The number of messages whose transfer has begun in this session."""
        self.state = State.START
        """The current state of the session. Only `move` changes it."""
        self._peer = peer

    @property
    def needs_tls(self) -> bool:
        """Whether most commands are refused until the client has completed a TLS handshake."""
        return self.capabilities.needs_tls and not self.tls

    def move(self, event: Event) -> None:
        """Change the state after an event. Raises `UndeclaredTransition` if the event is not allowed in this state."""
        self.state = after(self.state, event)

    def say(self, reply: Reply) -> None:
        """Add a reply to the output for the client."""
        self.output += reply.wire

    def ask(self, request: Request, *, octets: int = 0) -> None:
        """Make a request to the server. The session waits for the answer.

        `octets` is the number of message bytes in the request.
        """
        self.request = request
        self.requested_octets = octets

    def answered(self) -> None:
        """Clear the request, because the server has answered it."""
        self.request = None
        self.requested_octets = 0

    def close(self, reply: Reply, event: Event = Event.CLOSED) -> None:
        """End the session, with this reply as its last reply."""
        self.move(event)
        self.say(reply)
        self.farewell = reply
        self.answered()
        self.input.clear()
        self.forget_transaction()

    def forget_transaction(self) -> None:
        """Clear the mail transaction: its sender, its recipients, and the received part of its message."""
        self.transaction = None
        self.transfer = None

    def envelope(self, body: str) -> Envelope:
        """Return the envelope of the mail transaction. `body` is the message's content type, as a value of MAIL's BODY
        parameter.
        """
        transaction = self.transaction
        assert transaction
        return Envelope(
            sender=transaction.mail.sender,
            recipients=tuple(address.text for address in transaction.recipients),
            helo=self.client_name,
            peer=self._peer,
            protocol=self._protocol(smtputf8=transaction.mail.smtputf8),
            body=body,
            tls=self.tls,
            dsn=transaction.dsn,
        )

    def _protocol(self, *, smtputf8: bool) -> str:
        """Return the name of the protocol for the Received field (RFC 3848, RFC 6531 section 4.3)."""
        name = "LMTP" if self.capabilities.lmtp else "SMTP"
        if smtputf8:
            name = f"UTF8{name}"
        elif self.is_extended and not self.capabilities.lmtp:
            name = f"E{name}"
        return f"{name}S" if self.tls else name
