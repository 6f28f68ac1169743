"""The SMTP session without sockets: octets in, replies and questions out (RFC 5321, RFC 2033).

The caller feeds what it received, then asks for the next question until there is none. The session waits
for `answer` before it goes on, so pipelined commands (RFC 2920) are served in order. The same octets give the same
questions and replies however they are cut.

A session ends at the first line that is HTTP or TLS, and at the first error before EHLO, HELO or LHLO. A web page can
make a browser send any commands to any port in the body of a request, but it cannot choose how the request begins.

    START ──EHLO/HELO──▶ READY ──MAIL──▶ MAIL ──RCPT──▶ RCPT ──DATA──▶ DATA ────▶ READY
      ▲                    ▲               │              │ └──BDAT──▶ BDAT ─LAST─▶ READY
      └── STARTTLS         └── RSET, EHLO ─┴──────────────┘            any ──QUIT──▶ over
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache, partial

from waypost.domain.mail.messages import Envelope
from waypost.smtp.protocol import grammar, parameters, replies
from waypost.smtp.protocol.capabilities import Gate, Offer
from waypost.smtp.protocol.data import BareLineEnd, Body, ChunkDecoder, MessageDecoder
from waypost.smtp.protocol.parameters import NOTHING_SAID, Refused, Transaction
from waypost.smtp.protocol.replies import Reply
from waypost.smtp.protocol.requests import MessageReceived, PieceReceived, Question, RecipientGiven, TlsWanted

CLOSING = 421
"""The code of a reply after which the session is over (RFC 5321 section 3.8)."""

COMMANDS_A_TURN = 20
"""Commands of one client that are carried out before others get a turn; the dearest of them take 0.3 ms."""


class State(Enum):
    """Where in the dialogue a session is."""

    START = auto()
    READY = auto()
    MAIL = auto()
    RCPT = auto()
    DATA = auto()
    """The message is coming, up to a lone dot."""
    BDAT = auto()
    """Some chunks of the message have come, and not the last."""
    CHUNK = auto()
    """A chunk is coming."""
    TLS = auto()
    """The handshake is going on."""
    OVER = auto()


class Session:
    """One client's session, from the greeting to the end."""

    def __init__(self, offer: Offer, *, peer: str, gate: Gate, tls: str = "", is_trusted: bool = False) -> None:
        """`peer` is the client's IP address, `tls` the version and cipher if TLS was there from the beginning.

        A client that `is_trusted` may name any number of unknown recipients.
        """
        self._offer = offer
        self._peer = peer
        self._gate = gate
        self._tls = tls
        self._may_guess = is_trusted or offer.lmtp
        self._state = State.START
        self._farewell: Reply | None = None
        self._input = bytearray()
        self._line_too_long = False
        self._has_more = False
        self._output = bytearray()
        self._question: Question | None = None
        self._asked = 0
        """Octets of a message in the question."""
        self._client_name = ""
        self._extended = False
        self._was_greeted = False
        """Whether the client has said EHLO, HELO or LHLO, also if that was before the TLS handshake."""
        self._mails = self._commands = self._errors = self._unknown_recipients = 0
        self._notification = NOTHING_SAID
        self._chunk_size = 0
        self._chunk: ChunkDecoder | None = None
        self._then: Callable[[], None] | None = None
        """What is to be done when all pieces have been handed on."""
        self._transaction: Transaction | None = None
        self._body: Body | None = None
        self._forget_message()
        self.last_error: Reply | None = None
        """The last refusal that counts towards the end of the session."""
        self.progress = 0
        """Grows with each command that has come in whole."""
        self.transfers = 0
        """Messages of which octets have been asked for."""
        self._say(_greeting(offer))

    @property
    def farewell(self) -> Reply | None:
        """The last reply of a session that is over: send the output, then close the connection."""
        return self._farewell

    @property
    def has_more(self) -> bool:
        """Whether the last turn ended only so that other clients get theirs: ask for the next question again."""
        return self._has_more

    @property
    def waiting_octets(self) -> int:
        """How much was received and not looked at yet."""
        return len(self._input)

    @property
    def is_receiving(self) -> bool:
        """Whether a message is coming in."""
        return self._body is not None

    @property
    def held_octets(self) -> int:
        """Memory that this client's input and message take now."""
        return len(self._input) + self._asked + (self._body.buffered if self._body else 0)

    def receive(self, octets: bytes) -> None:
        """Take in what the client sent. It is looked at by `next_question`."""
        # What was sent in clear before the handshake is forgotten (RFC 3207).
        if self._state is not State.TLS and self._state is not State.OVER:
            self._input += octets

    def spill(self) -> None:
        """Hand on what is here of a message as soon as possible, because memory is scarce."""
        if self._body:
            self._body.spill()

    def next_question(self, commands: int = COMMANDS_A_TURN) -> Question | None:
        """The next question; or None if more octets are needed, the session is over, or this turn is (`has_more`).

        A turn has so many `commands` at most.

        Raises `RuntimeError` if the last question has not been answered: that is the caller's mistake.
        """
        if self._question is not None:
            raise RuntimeError("the last question has not been answered")
        self._has_more = False
        for _ in range(commands):
            if not self._step():
                return self._question
        self._has_more = True
        return None

    def answer(self, reply: Reply) -> None:
        """Answer the last question; the reply is what the client is told, in LMTP for each recipient.

        Raises `RuntimeError` if there is none: that is the caller's mistake.
        """
        if self._question is None:
            raise RuntimeError("no question has been asked")
        question, self._question, self._asked = self._question, None, 0
        if isinstance(question, RecipientGiven):
            if reply.accepts:
                self._recipient_accepted(question, reply)
            else:
                self._recipient_refused(reply)
        elif isinstance(question, MessageReceived):
            if reply.accepts:
                self._commands = 0
            self._end_message(self._for_each(reply))
        elif not reply.accepts and self._body:
            self._body.refuse(reply)

    def tls_started(self, tls: str) -> None:
        """The handshake was made: the session begins anew (RFC 3207 section 4.2). `tls` is version and cipher."""
        self._question = None
        self._tls = tls
        self._state = State.START
        self._input.clear()
        self._client_name = ""
        self._forget_message()

    def output(self) -> bytes:
        """What to send to the client now."""
        octets = bytes(self._output)
        self._output.clear()
        return octets

    def close(self, reply: Reply) -> None:
        """End the session from our side, for a reason that the reply gives."""
        self._say(reply)
        self._farewell = reply
        self._question = None
        self._asked = 0
        self._state = State.OVER
        self._input.clear()
        self._forget_message()

    def _step(self) -> bool:
        """Do one thing with the input. False if that is all for now: a question, the end, or no more input."""
        if self._body and self._hand_on_piece(self._body):
            return False
        if self._then:
            then, self._then = self._then, None
            then()
            return self._question is None
        if self._state is State.DATA or self._state is State.CHUNK:
            return self._step_message()
        return self._state is not State.OVER and self._state is not State.TLS and self._step_command()

    def _hand_on_piece(self, body: Body) -> bool:
        start = body.handed_on
        piece = body.next_piece()
        if piece is None:
            return False
        self._question = PieceReceived(piece, start)
        self._asked = len(piece)
        return True

    def _step_message(self) -> bool:
        """Take more of the message from the input. What follows its end is done after the last piece is handed on."""
        if not self._input:
            return False
        if self._chunk:
            # No more than the chunk: thousands of chunks of an octet may wait here, behind one another.
            octets = bytes(self._input[: self._chunk.left])
            del self._input[: len(octets)]
            self._chunk.feed(octets)
            if not self._chunk.left:
                self._then = self._chunk_ended
            return True
        octets = bytes(self._input)
        self._input.clear()
        try:
            rest = self._decoder.feed(octets)
            if rest is not None:
                self._input += rest
                self._then = self._message_ended
        except BareLineEnd:
            self._then = partial(self._break_off, replies.BARE_LINE_END_IN_DATA)
        if self._body and self._body.refusal and self._body.is_endless:  # then its end does not count, if it has come
            self._then = partial(self._break_off, self._body.refusal)
        return True

    def _break_off(self, reply: Reply) -> None:
        """End the session in the midst of a message, or behind one that is not worth going on after."""
        self._gate.refused(reply)
        self.close(reply)

    def _chunk_ended(self) -> None:
        assert self._body
        assert self._chunk
        self.progress += 1
        if self._is_last_chunk:
            self._chunk.end()
            self._message_ended()
        elif self._body.refusal:
            self._gate.refused(self._body.refusal)
            self._end_message([self._body.refusal])
        else:
            self._say(replies.CHUNK_OK.about(size=self._chunk_size))
            self._state = State.BDAT

    def _message_ended(self) -> None:
        assert self._body
        self.progress += 1
        body, self._body = self._body, None
        raw = body.finish()
        if body.refusal:
            self._gate.refused(body.refusal)
            self._end_message(self._for_each(body.refusal))
            return
        assert self._transaction
        recipients = tuple(self._transaction.recipients)
        self._question = MessageReceived(self._envelope(body.kind), recipients, raw, body.handed_on, body.header)
        self._asked = len(raw)

    def _end_message(self, told: Sequence[Reply]) -> None:
        for reply in told:
            self._say(reply)
        after = self._after_message
        self._forget_message()
        self._state = after

    def _for_each(self, reply: Reply) -> Sequence[Reply]:
        """What is told of a message: LMTP has a reply for each recipient (RFC 2033 section 4.2)."""
        recipients = self._transaction.recipients if self._offer.lmtp and self._transaction else ()
        return [reply] * (len(recipients) or 1)

    def _step_command(self) -> bool:
        if self._input.startswith(grammar.TLS_HANDSHAKE):
            self.close(replies.NOT_SMTP)
            return False
        end = self._input.find(b"\n")
        if end < 0:
            if b"\r" in self._input[:-1]:
                self.close(replies.BARE_LINE_END)
            elif len(self._input) > grammar.LONGEST_LINE:
                if not self._line_too_long and grammar.is_http(self._input):
                    self.close(replies.NOT_SMTP)
                    return False
                self._line_too_long = True
                # The verb decides on the limit, and the last octet may be the CR of the line's end.
                del self._input[len("MAIL ") : -1]
            return False
        line = bytes(self._input[: end + 1])
        del self._input[: end + 1]
        if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
            self.close(replies.BARE_LINE_END)
            return False
        self.progress += 1
        self._commands += 1
        if self._commands > self._offer.command_limit:
            self.close(replies.TOO_MANY_COMMANDS)
            return False
        self._command(line)
        return self._question is None

    def _command(self, line: bytes) -> None:
        if not self._line_too_long and grammar.is_http(line):
            self.close(replies.NOT_SMTP)
            return
        try:
            reply = self._refuse_too_long(line)
            if reply is None and not self._farewell:
                reply = self._dispatch(*grammar.split_command(line[:-2].decode()))
        except UnicodeDecodeError:
            reply = self._unread(line, replies.NOT_UTF8)
        except Refused as refused:
            reply = refused.reply
        if reply is None:
            return
        if reply.code >= 400 and line[: len("MAIL ")].upper() == b"MAIL ":
            self._gate.refused(reply)
        if reply.code >= 500:
            self.last_error = reply
            self._errors += 1
            if not self._was_greeted and line[:4].upper() not in _GREETINGS:
                self.close(reply)
                return
            if self._errors >= self._offer.error_limit:
                self.close(replies.TOO_MANY_ERRORS)
                return
        self._say(reply)

    def _refuse_too_long(self, line: bytes) -> Reply | None:
        if len(line) <= grammar.LINE_LIMIT and not self._line_too_long:
            return None
        limit = grammar.line_limit(line)
        too_long, self._line_too_long = self._line_too_long or len(line) > limit, False
        if too_long:
            return self._unread(line, replies.LINE_TOO_LONG.about(limit=limit))
        return None

    def _unread(self, line: bytes, reply: Reply) -> Reply | None:
        """The reply for a command that was not even read; after BDAT nobody knows where the next command begins."""
        if line[: len("BDAT ")].upper() != b"BDAT ":
            return reply
        self.close(replies.BAD_BDAT)
        return None

    def _dispatch(self, verb: str, argument: str) -> Reply | None:
        """Carry out a command. Returns the reply, or None if a question was asked or all is said."""
        command = _COMMANDS.get(verb)
        if command is None or command.lmtp not in (None, self._offer.lmtp):
            return replies.UNKNOWN_COMMAND
        if self._is_in_clear_where_tls_is_needed and not command.goes_in_clear:
            return replies.NEEDS_TLS
        if argument and not command.takes_argument:
            return replies.NO_ARGUMENT.about(verb=verb)
        if self._state not in command.states:
            return replies.OUT_OF_ORDER.about(verb=verb, needed=command.needed)
        return command.run(self, argument)

    @property
    def _is_in_clear_where_tls_is_needed(self) -> bool:
        return self._offer.needs_tls and not self._tls

    def _ehlo(self, name: str) -> Reply:
        if not grammar.is_helo_name(name):
            return replies.BAD_HELO.about(verb="LHLO" if self._offer.lmtp else "EHLO")
        self._greeted(name, extended=True)
        return _welcome(self._offer, bool(self._tls))

    def _helo(self, name: str) -> Reply:
        if not grammar.is_helo_name(name):
            return replies.BAD_HELO.about(verb="HELO")
        self._greeted(name, extended=False)
        return replies.HELO.about(hostname=self._offer.hostname)

    def _greeted(self, name: str, *, extended: bool) -> None:
        self._client_name, self._extended = name, extended
        self._was_greeted = True
        self._state = State.READY
        self._forget_message()

    def _starttls(self, _: str) -> Reply | None:
        if not self._offer.offers_tls:
            return replies.NOT_IMPLEMENTED
        if self._tls:
            return replies.OUT_OF_ORDER.about(verb="STARTTLS", needed="this is TLS already")
        self._forget_message()
        self._input.clear()  # whatever came behind it in clear; a man in the middle could have put it there
        self._state = State.TLS
        self._question = TlsWanted()
        return replies.READY_FOR_TLS

    def _mail(self, argument: str) -> Reply | None:
        if self._mails >= self._offer.mail_limit:
            self.close(replies.TOO_MANY_COMMANDS)
            return None
        transaction = parameters.read_mail(argument, message_limit=self._offer.message_limit)
        refusal = self._gate.at_mail()
        if refusal:
            return refusal
        self._mails += 1
        self._transaction = transaction
        self._state = State.MAIL
        return replies.SENDER_OK

    def _rcpt(self, argument: str) -> Reply | None:
        assert self._transaction
        address, self._notification = parameters.read_rcpt(
            argument, smtputf8=self._transaction.smtputf8, hostname=self._offer.hostname
        )
        if address is None:
            self._recipient_refused(replies.NO_SUCH_USER)
        elif len(self._transaction.recipients) >= self._recipient_limit:
            return replies.TOO_MANY_RECIPIENTS.about(limit=self._recipient_limit)
        else:
            self._question = RecipientGiven(address, self._transaction.sender, self._client_name)
        return None

    @property
    def _recipient_limit(self) -> int:
        """Recipients that this message may have."""
        offer, is_bounce = self._offer, self._transaction is not None and not self._transaction.sender
        return min(offer.recipient_limit, offer.bounce_recipient_limit) if is_bounce else offer.recipient_limit

    def _recipient_accepted(self, question: RecipientGiven, reply: Reply) -> None:
        assert self._transaction
        self._transaction.recipients.append(question.address)
        self._transaction.notifications.append(self._notification)
        self._state = State.RCPT
        self._say(reply)

    def _recipient_refused(self, reply: Reply) -> None:
        self._unknown_recipients += reply.code >= 500
        if self._unknown_recipients >= self._offer.unknown_recipient_limit and not self._may_guess:
            reply = replies.TOO_MANY_UNKNOWN
        if reply.code == CLOSING:
            self.close(reply)
        else:
            self._say(reply)

    def _data(self, _: str) -> Reply:
        assert self._transaction
        if not self._transaction.recipients:
            return replies.NO_RECIPIENTS
        if self._transaction.body == "BINARYMIME":
            return replies.OUT_OF_ORDER.about(verb="DATA", needed="BODY=BINARYMIME needs BDAT")
        refusal = self._gate.at_data()
        if refusal:
            return refusal
        self._decoder = MessageDecoder(self._begin_body())
        self._state = State.DATA
        return replies.GO_AHEAD

    def _bdat(self, argument: str) -> None:
        try:
            size, is_last = grammar.parse_chunk(argument)
        except grammar.BadSyntax:
            self.close(replies.BAD_BDAT)
            return
        if not self._was_greeted:
            self.close(replies.OUT_OF_ORDER.about(verb="BDAT", needed="say MAIL and RCPT first"))
            return
        if size > 2 * self._offer.message_limit:
            self.close(replies.MESSAGE_TOO_BIG.about(limit=self._offer.message_limit))
            return
        if self._state is not State.BDAT:
            refusal = self._refuse_chunk()  # its octets come in any case
            self._after_message = State.START if self._state is State.START else State.READY
            self._begin_chunks(refusal)
        assert self._chunk
        self._chunk.left = self._chunk_size = size
        self._is_last_chunk = is_last
        self._state = State.CHUNK
        if not size:
            self._then = self._chunk_ended

    def _refuse_chunk(self) -> Reply | None:
        if self._is_in_clear_where_tls_is_needed:
            return replies.NEEDS_TLS
        if self._transaction is None:
            return replies.OUT_OF_ORDER.about(verb="BDAT", needed="say MAIL and RCPT first")
        if not self._transaction.recipients:
            return replies.NO_RECIPIENTS
        return self._gate.at_data()

    def _begin_body(self) -> Body:
        self.transfers += 1
        self._body = Body(self._offer.message_limit, piece=self._offer.piece)
        return self._body

    def _begin_chunks(self, refusal: Reply | None) -> None:
        body = self._begin_body()
        if refusal:
            body.refuse(refusal)
        may_be_binary = self._transaction is not None and self._transaction.body == "BINARYMIME"
        self._chunk = ChunkDecoder(body, may_be_binary=may_be_binary)

    def _rset(self, _: str) -> Reply:
        if self._state is not State.START:
            self._state = State.READY
        self._forget_message()
        return replies.OK

    def _help(self, _: str) -> Reply:
        offered = [
            verb
            for verb, command in _COMMANDS.items()
            if command.is_offered and command.lmtp in {None, self._offer.lmtp}
        ]
        if not self._offer.offers_tls or self._tls:
            offered.remove("STARTTLS")
        return replies.HELP.about(commands=" ".join(offered))

    def _quit(self, _: str) -> None:
        self.close(replies.BYE)

    def _forget_message(self) -> None:
        self._transaction = None
        self._body = None
        self._chunk = None
        self._then = None
        self._is_last_chunk = True
        self._after_message = State.READY

    def _envelope(self, body: str) -> Envelope:
        transaction = self._transaction
        assert transaction
        return Envelope(
            sender=transaction.sender,
            recipients=tuple(address.text for address in transaction.recipients),
            helo=self._client_name,
            peer=self._peer,
            protocol=self._protocol(smtputf8=transaction.smtputf8),
            body=body,
            tls=self._tls,
            dsn=transaction.dsn,
        )

    def _protocol(self, *, smtputf8: bool) -> str:
        """The name in the Received line (RFC 3848, RFC 6531 section 4.3)."""
        name = "LMTP" if self._offer.lmtp else "SMTP"
        if smtputf8:
            name = f"UTF8{name}"
        elif self._extended and not self._offer.lmtp:
            name = f"E{name}"
        return f"{name}S" if self._tls else name

    def _say(self, reply: Reply) -> None:
        self._output += bytes(reply)


@lru_cache(maxsize=64)
def _greeting(offer: Offer) -> Reply:
    return replies.GREETING.about(hostname=offer.hostname, protocol="LMTP" if offer.lmtp else "ESMTP")


@lru_cache(maxsize=64)
def _welcome(offer: Offer, is_tls: bool) -> Reply:
    """The answer to EHLO: what we can."""
    extensions = [
        "PIPELINING",
        f"SIZE {offer.message_limit}",
        "8BITMIME",
        "SMTPUTF8",
        "CHUNKING",
        "BINARYMIME",
        "DSN",
        "ENHANCEDSTATUSCODES",
        f"LIMITS MAILMAX={offer.mail_limit} RCPTMAX={offer.recipient_limit}",
        *(["STARTTLS"] if offer.offers_tls and not is_tls else []),
        "HELP",
    ]
    return replies.EHLO.about(hostname=offer.hostname, extensions="\n".join(extensions))


_GREETINGS = frozenset({b"EHLO", b"HELO", b"LHLO"})
"""A client whose EHLO was refused says HELO in the same session (RFC 5321 section 3.2)."""


def _always(reply: Reply) -> Callable[[Session, str], Reply | None]:
    return lambda _session, _argument: reply


@dataclass(frozen=True, slots=True)
class _Command:
    """How a verb is carried out, when it is in order, and what to say when it is not."""

    run: Callable[[Session, str], Reply | None]
    states: Collection[State] = frozenset(State)
    needed: str = ""
    takes_argument: bool = True
    goes_in_clear: bool = False
    """Also where the operator wants TLS."""
    lmtp: bool | None = None
    """Whether it is there in LMTP alone, or in SMTP alone."""
    is_offered: bool = True
    """Whether HELP lists it: not a command that is always refused."""


_COMMANDS = {
    "LHLO": _Command(Session._ehlo, goes_in_clear=True, lmtp=True),
    "EHLO": _Command(Session._ehlo, goes_in_clear=True, lmtp=False),
    "HELO": _Command(Session._helo, goes_in_clear=True, lmtp=False),
    "STARTTLS": _Command(Session._starttls, takes_argument=False, goes_in_clear=True),
    "MAIL": _Command(Session._mail, {State.READY}, "say EHLO first, and one MAIL at a time"),
    "RCPT": _Command(Session._rcpt, {State.MAIL, State.RCPT}, "say MAIL first"),
    "DATA": _Command(Session._data, {State.MAIL, State.RCPT}, "say MAIL and RCPT first", takes_argument=False),
    "BDAT": _Command(Session._bdat, goes_in_clear=True),  # where its octets are read, and it is refused
    "RSET": _Command(Session._rset, takes_argument=False),
    "NOOP": _Command(_always(replies.OK), goes_in_clear=True),
    "VRFY": _Command(_always(replies.CANNOT_VERIFY)),
    "HELP": _Command(Session._help, goes_in_clear=True),
    "QUIT": _Command(Session._quit, takes_argument=False, goes_in_clear=True),
    "EXPN": _Command(_always(replies.NOT_IMPLEMENTED), is_offered=False),
    "AUTH": _Command(_always(replies.NOT_IMPLEMENTED), is_offered=False),
}
"""Every verb that is understood."""
