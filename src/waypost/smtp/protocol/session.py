"""The SMTP session (RFC 5321, RFC 2033) without sockets: it parses bytes, and produces replies and requests.

The caller passes received bytes to `receive`, then calls `next_request` until it returns None. After each request, the
session waits for `answer`, so pipelined commands (RFC 2920) are carried out in order. The requests and replies do not
depend on how the network splits the bytes.

A session ends at the first line that looks like HTTP or TLS, and at the first error before EHLO, HELO or LHLO has been
accepted. This protects the server from malicious web pages. Such a page can make a browser send SMTP commands to any
port in the body of a request, but it cannot choose how the request begins.

`states.py` defines the states and transitions of a session, and `commands.py` defines the handlers of the commands.
"""

from collections.abc import Sequence

from waypost.smtp.protocol import replies
from waypost.smtp.protocol.capabilities import Capabilities, Gate, greeting
from waypost.smtp.protocol.command_lines import Line
from waypost.smtp.protocol.commands import (
    carry_out,
    content_wanted,
    recipient_accepted,
    recipient_refused,
    sender_accepted,
)
from waypost.smtp.protocol.exchange import Exchange
from waypost.smtp.protocol.parameters import Refused
from waypost.smtp.protocol.replies import Reply
from waypost.smtp.protocol.requests import (
    ContentOffered,
    MessageReceived,
    PieceReceived,
    RecipientGiven,
    Request,
    SenderGiven,
)
from waypost.smtp.protocol.states import Event, State
from waypost.smtp.protocol.transfer import Ended, Transfer

COMMANDS_A_TURN = 20
"""The maximum number of commands that are carried out for one client before other clients are served.

The slowest commands take 0.3 ms each, so 20 of them take 6 ms.
"""

_GREETINGS = frozenset({b"EHLO", b"HELO", b"LHLO"})
"""The commands with which a client introduces itself. Until one of them has been accepted, an error in any other
command ends the session, but an error in one of these commands does not.

A client whose EHLO was refused may send HELO in the same session (RFC 5321 section 3.2)."""


class Session:
    """One client's SMTP session, from the greeting to the last reply."""

    def __init__(
        self, capabilities: Capabilities, *, peer: str, gate: Gate, tls: str = "", is_trusted: bool = False
    ) -> None:
        """`peer` is the client's IP address. `tls` is the TLS version and cipher if the connection began with TLS.

        `is_trusted` is true if the client may send any number of unknown recipients.
        """
        self._capabilities = capabilities
        self._gate = gate
        self._exchange = Exchange(
            capabilities, peer=peer, gate=gate, tls=tls, is_trusted=is_trusted or capabilities.lmtp
        )
        self.has_more = False
        """Whether `next_request` must be called again, because the last call returned only so that other clients could
        be served.
        """
        self._commands = 0
        """The number of commands since the last accepted message."""
        self._errors = 0
        """The number of commands that were refused."""
        self.last_error: Reply | None = None
        """The last refusal that counts towards the session's error limit."""
        self.progress = 0
        """A counter that increases with each complete command, and at the end of each chunk or message."""
        self._exchange.say(greeting(capabilities))

    @property
    def farewell(self) -> Reply | None:
        """The last reply of a session that is over; otherwise None.

        When the session is over, the caller sends the output and closes the connection.
        """
        return self._exchange.farewell

    @property
    def transfers(self) -> int:
        """The number of messages whose transfer has begun in this session."""
        return self._exchange.transfers

    @property
    def waiting_octets(self) -> int:
        """The number of bytes that have been received but not yet parsed."""
        return len(self._exchange.input.octets)

    @property
    def state(self) -> State:
        """The state of the session."""
        return self._exchange.state

    @property
    def is_receiving(self) -> bool:
        """Whether the client is sending a message."""
        return self._exchange.transfer is not None

    @property
    def held_octets(self) -> int:
        """The memory, in bytes, that this client's input and message use now."""
        exchange = self._exchange
        buffered = exchange.transfer.body.buffered if exchange.transfer else 0
        return len(exchange.input.octets) + exchange.requested_octets + buffered

    def receive(self, octets: bytes) -> None:
        """Add bytes from the client to the input. `next_request` parses them."""
        state = self._exchange.state
        # Cleartext that arrives after STARTTLS and before the handshake is discarded (RFC 3207).
        if state is not State.TLS and state is not State.OVER:
            self._exchange.input.octets += octets

    def spill(self) -> None:
        """Request as soon as possible that the received bytes of a message be stored, because memory is scarce."""
        if self._exchange.transfer:
            self._exchange.transfer.body.spill()

    def next_request(self, commands: int = COMMANDS_A_TURN) -> Request | None:
        """Carry out received commands up to the next request, and return the request.

        Returns None if more input is needed, if the session is over, or if `commands` commands have been carried out
        and `has_more` is true. Raises `RuntimeError` if the last request has not been answered, which is a bug in the
        caller.
        """
        exchange = self._exchange
        if exchange.request is not None:
            raise RuntimeError("the last request has not been answered")
        self.has_more = False
        for _ in range(commands):
            transfer = exchange.transfer
            goes_on = self._step_transfer(exchange, transfer) if transfer else self._step_command(exchange)
            if not goes_on:
                return exchange.request
        self.has_more = True
        return None

    def answer(self, reply: Reply) -> None:
        """Answer the last request with the reply that the client will get. In LMTP, the reply to a message is sent once
        for each recipient.

        Raises `RuntimeError` if there is no request to answer, which is a bug in the caller.
        """
        exchange = self._exchange
        request = exchange.request
        if request is None:
            raise RuntimeError("there is no request to answer")
        exchange.answered()
        if isinstance(request, RecipientGiven):
            if reply.accepts:
                recipient_accepted(exchange, request.address)
                exchange.say(reply)
            else:
                recipient_refused(exchange, reply)
        elif isinstance(request, SenderGiven):
            exchange.say(sender_accepted(exchange, request.mail) if reply.accepts else reply)
        elif isinstance(request, ContentOffered) and exchange.transfer is None:  # after DATA; BDAT begins the transfer
            exchange.say(content_wanted(exchange) if reply.accepts else reply)
        elif isinstance(request, MessageReceived):
            if reply.accepts:
                self._commands = 0
            self._end_message(self._for_each_recipient(reply))
        elif not reply.accepts and exchange.transfer:
            exchange.transfer.body.refuse(reply)

    def tls_started(self, tls: str) -> None:
        """Reset the session after a successful TLS handshake (RFC 3207 section 4.2).

        `tls` is the TLS version and cipher.
        """
        exchange = self._exchange
        exchange.move(Event.TLS_STARTED)
        exchange.answered()
        exchange.tls = tls
        exchange.client_name = ""

    def output(self) -> bytes:
        """Return the bytes to send to the client now, and clear the output buffer."""
        octets, self._exchange.output = self._exchange.output, b""
        return octets

    def close(self, reply: Reply) -> None:
        """End the session at the server's initiative, with a reply that gives the reason. Does nothing if the session
        is over.
        """
        if not self._exchange.farewell:
            self._exchange.close(reply)

    # Messages

    def _step_transfer(self, exchange: Exchange, transfer: Transfer) -> bool:
        """Process one step of the input during the transfer of a message. Returns the same as `_step_command`."""
        if self._hand_on_piece(transfer):
            return False
        if transfer.ended is not None:
            self._end(transfer, transfer.ended)
            return exchange.request is None
        if exchange.state is State.BETWEEN_CHUNKS:
            return self._step_command(exchange)
        if not exchange.input.octets:
            return False
        transfer.take(exchange.input.octets)
        return True

    def _hand_on_piece(self, transfer: Transfer) -> bool:
        start = transfer.body.handed_on
        piece = transfer.body.next_piece()
        if piece is None:
            return False
        self._exchange.ask(PieceReceived(piece, start), octets=len(piece))
        return True

    def _end(self, transfer: Transfer, ended: Ended | Reply) -> None:
        """Handle the end of a chunk or message, or end the session with the reply in `ended`."""
        exchange = self._exchange
        self.progress += 1
        transfer.ended = None
        if isinstance(ended, Reply):
            self._gate.refused(ended)
            exchange.close(ended)
        elif ended is Ended.MESSAGE:
            self._message_ended(transfer)
        elif transfer.body.refusal:
            self._gate.refused(transfer.body.refusal)
            self._end_message([transfer.body.refusal])
        else:
            exchange.say(replies.CHUNK_OK.about(size=transfer.chunk_size))
            exchange.move(Event.CHUNK_ENDED)

    def _message_ended(self, transfer: Transfer) -> None:
        exchange, body = self._exchange, transfer.body
        raw = transfer.finish()
        if body.refusal:
            self._gate.refused(body.refusal)
            self._end_message(self._for_each_recipient(body.refusal))
            return
        assert exchange.transaction
        exchange.transfer = None
        recipients = tuple(exchange.transaction.recipients)
        envelope = exchange.envelope(body.kind)
        exchange.ask(MessageReceived(envelope, recipients, raw, body.handed_on, body.header), octets=len(raw))

    def _end_message(self, final_replies: Sequence[Reply]) -> None:
        for reply in final_replies:
            self._exchange.say(reply)
        self._exchange.forget_transaction()
        self._exchange.move(Event.MESSAGE_ENDED)

    def _for_each_recipient(self, reply: Reply) -> Sequence[Reply]:
        """Return the replies to a message. LMTP has a reply for each recipient (RFC 2033 section 4.2)."""
        transaction = self._exchange.transaction
        recipients = transaction.recipients if self._capabilities.lmtp and transaction else ()
        return [reply] * (len(recipients) or 1)

    # Commands

    def _step_command(self, exchange: Exchange) -> bool:
        """Process the next command of the input.

        Returns False if there is a new request, if the session is over, or if there is no more input.
        """
        line = exchange.input.next_line()
        if line is None:
            return False
        if isinstance(line, Reply):
            exchange.close(line)
            return False
        self.progress += 1
        self._commands += 1
        if self._commands > self._capabilities.command_limit:
            exchange.close(replies.TOO_MANY_COMMANDS)
            return False
        try:
            reply = line.refusal or carry_out(exchange, line.verb, line.argument)
        except Refused as refused:
            reply = refused.reply
        if reply is not None:
            if reply.code >= 400:
                self._refuse(exchange, line, reply)
            else:
                exchange.say(reply)
        has_input = bool(exchange.input.octets) or exchange.transfer is not None
        return has_input and exchange.request is None

    def _refuse(self, exchange: Exchange, line: Line, reply: Reply) -> None:
        """Refuse a command with this reply, or end the session."""
        if line.refusal and line.start == b"BDAT ":  # without its size, the end of the chunk is unknown
            exchange.close(replies.BAD_BDAT)
            return
        if line.start == b"MAIL ":
            self._gate.refused(reply)
        if reply.code >= 500:
            self.last_error = reply
            self._errors += 1
            if not exchange.was_greeted and line.start[:4] not in _GREETINGS:
                exchange.close(reply)
                return
            if self._errors >= self._capabilities.error_limit:
                exchange.close(replies.TOO_MANY_ERRORS)
                return
        exchange.say(reply)
