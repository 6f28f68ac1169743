"""The data of one session. Commands and messages change it; the session decides which one runs."""

from waypost.domain.mail.messages import Envelope
from waypost.smtp.protocol.capabilities import Capabilities, Gate
from waypost.smtp.protocol.command_lines import Input
from waypost.smtp.protocol.parameters import Transaction
from waypost.smtp.protocol.replies import Reply
from waypost.smtp.protocol.requests import Request
from waypost.smtp.protocol.states import Event, State, after
from waypost.smtp.protocol.transfer import Transfer


class Exchange:
    """The state of one session, and all that belongs to it."""

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
        """`tls` is the version and cipher, empty without TLS. `is_trusted`: unknown recipients are not counted."""
        self.capabilities = capabilities
        self.gate = gate
        self.tls = tls
        self.is_trusted = is_trusted
        self.input = Input()
        self.output = bytearray()
        self.request: Request | None = None
        """The open request to the server."""
        self.requested_octets = 0
        """Octets of a message in the request."""
        self.farewell: Reply | None = None
        """The last reply of a session that is over."""
        self.client_name = ""
        """The name that the client gave with EHLO, HELO or LHLO."""
        self.is_extended = False
        """Whether it said EHLO or LHLO."""
        self.was_greeted = False
        """Whether the client has sent EHLO, HELO or LHLO, also before the TLS handshake."""
        self.mails = 0
        """Mail transactions so far."""
        self.unknown_recipients = 0
        self.transaction: Transaction | None = None
        self.transfer: Transfer | None = None
        """The message that is being received."""
        self.transfers = 0
        """Messages whose octets the client was asked for."""
        self.state = State.START
        """Where the session is. `move` alone changes it."""
        self._peer = peer

    @property
    def needs_tls(self) -> bool:
        """Whether most commands have to wait for the TLS handshake."""
        return self.capabilities.needs_tls and not self.tls

    def move(self, event: Event) -> None:
        """This has happened. Raises `UndeclaredTransition` if it cannot in this state."""
        self.state = after(self.state, event)

    def say(self, reply: Reply) -> None:
        """Tell the client."""
        self.output += bytes(reply)

    def ask(self, request: Request, *, octets: int = 0) -> None:
        """Make a request to the server; the session waits for the answer. `octets` of a message are in the request."""
        self.request = request
        self.requested_octets = octets

    def answered(self) -> None:
        """The server has answered the request."""
        self.request = None
        self.requested_octets = 0

    def close(self, reply: Reply, event: Event = Event.CLOSED) -> None:
        """End the session with this reply."""
        self.move(event)
        self.say(reply)
        self.farewell = reply
        self.answered()
        self.input.clear()
        self.forget_transaction()

    def forget_transaction(self) -> None:
        """Clear the mail transaction: its sender, its recipients, and the octets of its message."""
        self.transaction = None
        self.transfer = None

    def envelope(self, body: str) -> Envelope:
        """The envelope of the mail transaction, whose message is of this kind, a value of BODY."""
        transaction = self.transaction
        assert transaction
        return Envelope(
            sender=transaction.sender,
            recipients=tuple(address.text for address in transaction.recipients),
            helo=self.client_name,
            peer=self._peer,
            protocol=self._protocol(smtputf8=transaction.smtputf8),
            body=body,
            tls=self.tls,
            dsn=transaction.dsn,
        )

    def _protocol(self, *, smtputf8: bool) -> str:
        """The name in the Received line (RFC 3848, RFC 6531 section 4.3)."""
        name = "LMTP" if self.capabilities.lmtp else "SMTP"
        if smtputf8:
            name = f"UTF8{name}"
        elif self.is_extended and not self.capabilities.lmtp:
            name = f"E{name}"
        return f"{name}S" if self.tls else name
