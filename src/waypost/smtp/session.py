"""The SMTP session without sockets: octets in, replies and events out (RFC 5321).

The caller feeds what it received, then asks for the next event until there is none. Both events are questions
that the session cannot answer; it waits for `answer` before it goes on, so pipelined commands
(RFC 2920) are served in order. The same octets give the same events and replies however they are cut.

    START ──EHLO/HELO──▶ READY ──MAIL──▶ MAIL ──RCPT──▶ RCPT ──DATA──▶ DATA ──▶ READY
                           ▲               │              │
                           └── RSET, EHLO ─┴──────────────┘            any ──QUIT──▶ over
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum, auto

from waypost.domain.addresses import Address
from waypost.domain.messages import Envelope
from waypost.smtp import grammar, replies
from waypost.smtp.data import BareLineEnd, MessageDecoder
from waypost.smtp.replies import Reply

MESSAGE_LIMIT = 40 * 1024 * 1024
"""Octets of a message: what Amazon SES takes for Connect."""

RECIPIENT_LIMIT = 1_000
"""Recipients of a message (RFC 5321 section 4.5.3.1.8 asks for 100 at least)."""


COMMANDS_A_TURN = 50
"""Commands of one client that are carried out before others get a turn; the dearest of them take 0.3 ms."""


class State(Enum):
    """Where in the dialogue a session is."""

    START = auto()
    READY = auto()
    MAIL = auto()
    RCPT = auto()
    DATA = auto()


@dataclass(frozen=True, slots=True)
class RecipientGiven:
    """Question: may mail for this address come in?"""

    address: Address


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """Question: is this message ours now? Yes means that it is on disk."""

    envelope: Envelope
    recipients: tuple[Address, ...]
    raw: bytes


Event = RecipientGiven | MessageReceived


class Session:
    """One client's session, from the greeting to the end."""

    def __init__(
        self,
        *,
        hostname: str,
        peer: str,
        message_limit: int = MESSAGE_LIMIT,
        recipient_limit: int = RECIPIENT_LIMIT,
    ) -> None:
        """`hostname` is who we say we are, `peer` the client's IP address."""
        self._hostname = hostname
        self._peer = peer
        self._message_limit = message_limit
        self._recipient_limit = recipient_limit
        self._state = State.START
        self._farewell: Reply | None = None
        self._input = bytearray()
        self._line_too_long = False
        self._has_more = False
        self._output = bytearray()
        self._question: Event | None = None
        self._client_name = ""
        self._esmtp = False
        self._forget_message()
        self._say(replies.GREETING.about(hostname=hostname))

    @property
    def farewell(self) -> Reply | None:
        """The last reply of a session that is over: send the output, then close the connection."""
        return self._farewell

    @property
    def has_more(self) -> bool:
        """Whether the last turn ended only so that other clients get theirs: ask for the next event again."""
        return self._has_more

    @property
    def waiting_octets(self) -> int:
        """How much was received and not looked at yet."""
        return len(self._input)

    def receive(self, octets: bytes) -> None:
        """Take in what the client sent. It is looked at by `next_event`."""
        self._input += octets

    def next_event(self) -> Event | None:
        """The next question; or None if more octets are needed, the session is over, or this turn is (`has_more`).

        Raises `RuntimeError` if the last question has not been answered: that is the caller's mistake.
        """
        if self._question is not None:
            raise RuntimeError("the last question has not been answered")
        self._has_more = False
        for _ in range(COMMANDS_A_TURN):
            if not self._step():
                return self._question
        self._has_more = True
        return None

    def answer(self, reply: Reply) -> None:
        """Answer the last question; the reply is what the client is told."""
        question, self._question = self._question, None
        if isinstance(question, MessageReceived):
            self._state = State.READY
            self._forget_message()
        elif isinstance(question, RecipientGiven) and reply.accepts:
            self._recipients.append(question.address)
            self._state = State.RCPT
        self._say(reply)

    def output(self) -> bytes:
        """What to send to the client now."""
        octets = bytes(self._output)
        self._output.clear()
        return octets

    def close(self, reply: Reply) -> None:
        """End the session from our side, for a reason that the reply gives."""
        self._say(reply)
        self._farewell = reply

    def _step(self) -> bool:
        """Do one thing with the input. False if that is all for now: a question, the end, or no more input."""
        if self._farewell:
            self._input.clear()
            return False
        if self._state is State.DATA:
            return self._step_data()
        return self._step_command()

    def _step_data(self) -> bool:
        if not self._input:
            return False
        octets = bytes(self._input)
        self._input.clear()
        try:
            rest = self._decoder.feed(octets)
        except BareLineEnd:
            self.close(replies.BARE_LINE_END_IN_DATA)
            return False
        if rest is None:
            return False
        self._input += rest
        if self._decoder.too_big:
            self._say(replies.MESSAGE_TOO_BIG.about(limit=self._message_limit))
            self._state = State.READY
            self._forget_message()
            return True
        self._question = MessageReceived(self._envelope(), tuple(self._recipients), self._decoder.raw)
        return False

    def _step_command(self) -> bool:
        end = self._input.find(b"\n")
        if end < 0:
            if b"\r" in self._input[:-1]:
                self.close(replies.BARE_LINE_END)
            elif len(self._input) > grammar.MAIL_LINE_LIMIT:
                self._line_too_long = True
                # The verb decides on the limit, and the last octet may be the CR of the line's end.
                del self._input[len("MAIL ") : -1]
            return False
        line = bytes(self._input[: end + 1])
        del self._input[: end + 1]
        if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
            self.close(replies.BARE_LINE_END)
            return False
        self._command(line)
        return self._question is None

    def _command(self, line: bytes) -> None:
        limit = grammar.MAIL_LINE_LIMIT if line[:5].upper() == b"MAIL " else grammar.LINE_LIMIT
        too_long, self._line_too_long = self._line_too_long or len(line) > limit, False
        if too_long:
            self._say(replies.LINE_TOO_LONG.about(limit=limit))
            return
        try:
            verb, argument = grammar.split_command(line[:-2].decode())
        except UnicodeDecodeError:
            self._say(replies.NOT_UTF8)
            return
        reply = self._dispatch(verb, argument)
        if reply:
            self._say(reply)

    def _dispatch(self, verb: str, argument: str) -> Reply | None:
        """Carry out a command. Returns the reply, or None if a question was asked or all is said."""
        command = _COMMANDS.get(verb)
        if command is None:
            return replies.UNKNOWN_COMMAND
        if argument and not command.takes_argument:
            return replies.NO_ARGUMENT.about(verb=verb)
        if self._state not in command.states:
            return replies.OUT_OF_ORDER.about(verb=verb, needed=command.needed)
        return command.run(self, argument)

    def _ehlo(self, name: str) -> Reply:
        if not grammar.is_helo_name(name):
            return replies.BAD_HELO.about(verb="EHLO")
        self._greeted(name, esmtp=True)
        return replies.EHLO.about(hostname=self._hostname, size=self._message_limit)

    def _helo(self, name: str) -> Reply:
        if not grammar.is_helo_name(name):
            return replies.BAD_HELO.about(verb="HELO")
        self._greeted(name, esmtp=False)
        return replies.HELO.about(hostname=self._hostname)

    def _greeted(self, name: str, *, esmtp: bool) -> None:
        self._client_name, self._esmtp = name, esmtp
        self._state = State.READY
        self._forget_message()

    def _mail(self, argument: str) -> Reply:
        try:
            path = grammar.parse_path(argument, "FROM")
        except grammar.BadSyntax:
            return replies.BAD_MAIL
        except grammar.BadParameter as error:
            return replies.BAD_PARAMETER.about(name=error.args[0])
        if grammar.has_source_route(path.text):
            return replies.SOURCE_ROUTE
        if not grammar.is_reverse_path(path.text):
            return replies.BAD_MAIL
        refusal = self._refuse_parameters(path)
        if refusal:
            return refusal
        self._smtputf8 = "SMTPUTF8" in path.parameters
        if not path.text.isascii() and not self._smtputf8:
            return replies.NEEDS_SMTPUTF8
        self._sender = path.text
        self._state = State.MAIL
        return replies.SENDER_OK

    def _refuse_parameters(self, path: grammar.Path) -> Reply | None:
        """The refusal for what is wrong with the parameters of MAIL, if anything."""
        for name, value in path.parameters.items():
            match name:
                case "SIZE":
                    if not (value.isascii() and value.isdecimal() and len(value) <= 20):
                        return replies.BAD_PARAMETER.about(name=name)
                    if int(value) > self._message_limit:
                        return replies.MESSAGE_TOO_BIG.about(limit=self._message_limit)
                case "BODY":
                    if value.upper() not in ("7BIT", "8BITMIME"):
                        return replies.BAD_PARAMETER.about(name=name)
                case "SMTPUTF8":
                    if value:
                        return replies.BAD_PARAMETER.about(name=name)
                case _:
                    return replies.UNKNOWN_PARAMETER.about(name=name)
        return None

    def _rcpt(self, argument: str) -> Reply | None:
        try:
            path = grammar.parse_path(argument, "TO")
            if grammar.has_source_route(path.text):
                return replies.SOURCE_ROUTE
            address = grammar.parse_recipient(path.text)
        except grammar.BadSyntax:
            return replies.BAD_RCPT
        except grammar.BadParameter as error:
            return replies.BAD_PARAMETER.about(name=error.args[0])
        if path.parameters:
            return replies.UNKNOWN_PARAMETER.about(name=next(iter(path.parameters)))
        if not path.text.isascii() and not self._smtputf8:
            return replies.NEEDS_SMTPUTF8
        if address is None:
            return replies.NO_SUCH_USER
        if len(self._recipients) >= self._recipient_limit:
            return replies.TOO_MANY_RECIPIENTS.about(limit=self._recipient_limit)
        self._question = RecipientGiven(address)
        return None

    def _data(self, _: str) -> Reply:
        if not self._recipients:
            return replies.NO_RECIPIENTS
        self._state = State.DATA
        return replies.GO_AHEAD

    def _rset(self, _: str) -> Reply:
        if self._state is not State.START:
            self._state = State.READY
        self._forget_message()
        return replies.OK

    def _quit(self, _: str) -> None:
        self.close(replies.BYE)

    def _forget_message(self) -> None:
        self._sender = ""
        self._smtputf8 = False
        self._recipients: list[Address] = []
        self._decoder = MessageDecoder(self._message_limit)

    def _envelope(self) -> Envelope:
        protocol = "UTF8SMTP" if self._smtputf8 else "ESMTP" if self._esmtp else "SMTP"
        return Envelope(
            sender=self._sender,
            recipients=tuple(address.text for address in self._recipients),
            helo=self._client_name,
            peer=self._peer,
            protocol=protocol,
        )

    def _say(self, reply: Reply) -> None:
        self._output += bytes(reply)


def _always(reply: Reply) -> Callable[[Session, str], Reply | None]:
    return lambda _session, _argument: reply


@dataclass(frozen=True, slots=True)
class _Command:
    """How a verb is carried out, when it is in order, and what to say when it is not."""

    run: Callable[[Session, str], Reply | None]
    states: Collection[State] = frozenset(State)
    needed: str = ""
    takes_argument: bool = True


_COMMANDS = {
    "EHLO": _Command(Session._ehlo),
    "HELO": _Command(Session._helo),
    "MAIL": _Command(Session._mail, {State.READY}, "say EHLO first, and one MAIL at a time"),
    "RCPT": _Command(Session._rcpt, {State.MAIL, State.RCPT}, "say MAIL first"),
    "DATA": _Command(Session._data, {State.MAIL, State.RCPT}, "say MAIL and RCPT first", takes_argument=False),
    "RSET": _Command(Session._rset, takes_argument=False),
    "NOOP": _Command(_always(replies.OK)),
    "VRFY": _Command(_always(replies.CANNOT_VERIFY)),
    "HELP": _Command(_always(replies.HELP)),
    "EXPN": _Command(_always(replies.NOT_IMPLEMENTED)),
    "STARTTLS": _Command(_always(replies.NOT_IMPLEMENTED)),
    "AUTH": _Command(_always(replies.NOT_IMPLEMENTED)),
    "QUIT": _Command(Session._quit, takes_argument=False),
}
"""Every verb that is understood."""
