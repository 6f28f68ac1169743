r"""SMTP and LMTP as a client, without sockets: replies in, commands out, and at the end an `AttemptResult`.

`need` says what comes next. The same replies give the same result however they are cut.

    opening        GREETING ─▶ HELLO ─▶ [TLS ─▶ HELLO] ─▶ [AUTH] ─▶ NOTHING: ready
    transaction    OCTETS ─▶ [RSET] MAIL ─▶ RCPT ─┬▶ DATA ─▶ BODY ─▶ END ─▶ NOTHING: a result, and ready for the next
                                                  └▶ BDAT …  BDAT LAST ─▶ END ─▶ NOTHING

With PIPELINING (RFC 2920) all up to DATA goes in one group; with CHUNKING (RFC 3030) a small message, too. A reply that
was not asked for ends the dialogue: it could be taken for the reply to the next command.
"""

from collections.abc import Generator
from dataclasses import dataclass
from enum import Enum, auto

from waypost.delivery.outgoing import Parcel
from waypost.delivery.smtp_client.protocol import commands
from waypost.delivery.smtp_client.protocol.commands import Part
from waypost.delivery.smtp_client.protocol.replies import NotAReply, Reply, ReplyReader, one_line
from waypost.domain.mail.delivery import AttemptResult, Protocol, Stage, Trouble
from waypost.domain.mail.routes import Tls

AT_ONCE = 64 * 1024
"""Octets of a message that are sent with MAIL and RCPT in one group, before the replies to these are known."""


class Need(Enum):
    """What the dialogue needs to go on."""

    REPLY = auto()
    """Something from the peer."""
    OCTETS = auto()
    """The next part of the message."""
    TLS = auto()
    """The handshake."""
    NOTHING = auto()
    """It is ready for a message, or finished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """The options of a session with a peer."""

    protocol: Protocol
    hostname: str
    """The server's own name."""
    peer: str = ""
    """The name of the peer in results."""
    tls: Tls = Tls.OPPORTUNISTIC
    is_tls: bool = False
    """Whether TLS begins with the connection."""
    user: str = ""
    secret: str = ""


_Steps = Generator[Need, Reply | Part | None, AttemptResult | None]
_Hearing = Generator[Need, Reply | Part | None, Reply]


class _Over(Exception):
    """This connection cannot be used any more."""

    def __init__(self, result: AttemptResult) -> None:
        super().__init__(result.text)
        self.result = result


class Dialogue:
    """The dialogue on one connection, from the greeting on: the opening first, then one parcel after the other."""

    def __init__(self, options: SessionOptions) -> None:
        self._options = options
        self._reader = ReplyReader()
        self._output = bytearray()
        self._capabilities: commands.Capabilities = {}
        self._refused: AttemptResult | None = None
        """The first refusal in a group; the replies to the rest of the group do not matter any more."""
        self._all_sent = self._is_answered = False
        self.need = Need.NOTHING
        self.stage = Stage.GREETING
        self.tls = ""
        self.result: AttemptResult | None = None
        """The result of the last parcel; or of the opening, if it failed."""
        self.is_over = False
        """Whether this connection cannot be used any more."""
        self.transactions = 0
        self.heard = 0
        """Replies so far."""
        self._steps = self._opening()
        self._go_on(None)

    @property
    def is_stale(self) -> bool:
        """Whether this kept connection had ended before the peer saw anything of the last message.

        Then the message may be sent over another connection.
        """
        if self.transactions < 2 or not self.is_over or self.result is None or self._is_answered:
            return False
        return self.result.code == 421 or (self.result.trouble is Trouble.DISCONNECTED and not self._all_sent)

    def begin(self, parcel: Parcel) -> None:
        """Begin to send this parcel."""
        self._all_sent = self._is_answered = False
        self._refused = self.result = None
        self.transactions += 1
        self._steps = self._transaction(parcel)
        self._go_on(None)

    def receive(self, octets: bytes) -> None:
        """Receive octets of the peer."""
        if self.need is Need.TLS and octets:
            self.fail(Trouble.GARBAGE, _IN_CLEAR)
        self._reader.receive(octets)
        while self.need is Need.REPLY or self.need is Need.OCTETS:
            try:
                reply = self._reader.next_reply()
            except NotAReply as error:
                self._end(error.begun, Trouble.GARBAGE, str(error))
                return
            if reply is None:
                return
            self.heard += 1
            self._go_on(reply)
        if not self._reader.is_empty:
            self.is_over = True  # it says goodbye, or what nobody asked for

    def give(self, part: Part) -> None:
        """The next part of the message."""
        self._go_on(part)

    def tls_started(self, tls: str) -> None:
        """The handshake was made; `tls` is version and cipher."""
        self.tls = tls
        self._go_on(None)

    def fail(self, trouble: Trouble, text: str) -> None:
        """End the dialogue: the connection broke, the time is over, or this side cannot continue."""
        self._end(self._reader.end(), trouble, text)

    def _end(self, begun: Reply | None, trouble: Trouble, text: str) -> None:
        """End it. A reply to the whole message that has begun counts: the peer may have accepted the message."""
        if begun and self.need is Need.REPLY and self.stage is Stage.END:
            self._go_on(begun)
        elif self.need is not Need.NOTHING:
            self._steps.close()
            self.need = Need.NOTHING
            self.result = self._trouble(trouble, text)
        self.is_over = True

    def quit(self) -> None:
        """Send QUIT, if the connection is still usable."""
        if not self.is_over:
            self._output += b"QUIT\r\n"
            self.is_over = True

    def output(self) -> bytes:
        """What to send now."""
        octets = bytes(self._output)
        self._output.clear()
        return octets

    def _go_on(self, given: Reply | Part | None) -> None:
        try:
            self.need = self._steps.send(given)
        except StopIteration as end:
            self.need, self.result = Need.NOTHING, end.value
        except _Over as over:
            self.need, self.result, self.is_over = Need.NOTHING, over.result, True
        except commands.Unsayable as error:
            self.need, self.result, self.is_over = Need.NOTHING, self._trouble(Trouble.FAILED, str(error)), True

    # The opening

    def _opening(self) -> _Steps:
        if self._options.is_tls:
            yield from self._shake_hands()
        yield from self._be_accepted(Stage.GREETING)
        yield from self._hello()
        if self._options.tls is not Tls.NONE and not self.tls:
            yield from self._start_tls()
        if self._options.user:
            yield from self._authenticate()
        return None

    def _hello(self) -> _Steps:
        hostname, is_lmtp = self._options.hostname, self._options.protocol is Protocol.LMTP
        self._write(commands.line(f"{'LHLO' if is_lmtp else 'EHLO'} {hostname}"))
        reply = yield from self._hear(Stage.HELLO)
        is_extended = reply.code < 500 or is_lmtp
        if not is_extended:
            self._write(commands.line(f"HELO {hostname}"))  # RFC 5321 section 3.2: it may be an old one
            reply = yield from self._hear(Stage.HELLO)
        self._accept(Stage.HELLO, reply)
        # What the peer calls itself is not compared with our name: another mail server on this machine has the same,
        # many machines have a default one, and some proxies say back what they were told.
        self._capabilities = commands.read_capabilities(reply.lines[1:]) if is_extended else {}
        return None

    def _start_tls(self) -> _Steps:
        is_needed = self._options.tls is not Tls.OPPORTUNISTIC
        self.stage = Stage.TLS
        if "STARTTLS" not in self._capabilities:
            if is_needed:
                raise _Over(self._trouble(Trouble.NO_TLS, "the peer does not offer STARTTLS"))
            return None
        self._write(b"STARTTLS\r\n")
        reply = yield from self._hear(Stage.TLS)
        if reply.code >= 400 and reply.code != 421 and not is_needed:
            return None
        self._accept(Stage.TLS, reply)
        if not self._reader.is_empty:  # somebody in between would have us take it for what was said in TLS
            raise _Over(self._trouble(Trouble.GARBAGE, _IN_CLEAR))
        yield from self._shake_hands()
        yield from self._hello()  # what was offered in clear is forgotten (RFC 3207 section 4.2)
        return None

    def _shake_hands(self) -> _Steps:
        self.stage = Stage.TLS
        yield Need.TLS
        return None

    def _authenticate(self) -> _Steps:
        """RFC 4954: PLAIN (RFC 4616) or LOGIN, and never without TLS."""
        self.stage = Stage.AUTH
        user, secret = self._options.user, self._options.secret
        if not self.tls:
            raise _Over(self._trouble(Trouble.NO_AUTH, "a password is not sent in clear"))
        ways = {way.upper() for way in self._capabilities.get("AUTH", ())}
        if "PLAIN" in ways:
            self._write(b"AUTH PLAIN " + commands.base64(f"\0{user}\0{secret}"))
        elif "LOGIN" in ways:
            for line in (b"AUTH LOGIN\r\n", commands.base64(user)):
                self._write(line)
                self._accept(Stage.AUTH, (yield from self._hear(Stage.AUTH)), 3)
            self._write(commands.base64(secret))
        else:
            raise _Over(self._trouble(Trouble.NO_AUTH, "the peer takes neither AUTH PLAIN nor AUTH LOGIN"))
        yield from self._be_accepted(Stage.AUTH)
        return None

    # A transaction

    def _transaction(self, parcel: Parcel) -> _Steps:
        self.stage = Stage.MAIL
        part = yield from self._next_part()
        is_utf8 = commands.needs_smtputf8(parcel, part)
        unfit = commands.why_unfit(parcel, self._capabilities, is_utf8=is_utf8)
        if unfit:
            return self._trouble(*unfit)
        mail, rcpt = (
            commands.mail(parcel, self._capabilities, is_utf8=is_utf8),
            commands.rcpt(parcel, self._capabilities),
        )
        has_chunks, is_piped = "CHUNKING" in self._capabilities, "PIPELINING" in self._capabilities
        said = [(Stage.MAIL, mail), (Stage.RCPT, rcpt)]
        if self.transactions > 1:
            said.insert(0, (Stage.MAIL, _RSET))
        if not has_chunks:
            said.append((Stage.DATA, b"DATA\r\n"))
        elif is_piped and part.is_last and len(part.octets) <= AT_ONCE:
            said.append((Stage.END, commands.chunk(part)))
        for group in [said] if is_piped else [[each] for each in said]:
            reply = yield from self._converse(group)
            if self._refused:
                return self._refused
        if self._all_sent:
            return self._finish(reply, parcel)
        return (yield from self._send_chunks(part, parcel) if has_chunks else self._send_data(part, parcel))

    def _converse(self, group: list[tuple[Stage, bytes]]) -> _Hearing:
        """Send all commands of a group, then read the reply to each."""
        self._write(b"".join(command for _, command in group))
        self._all_sent = group[-1][0] is Stage.END
        for stage, command in group:
            reply = yield from self._hear(stage)
            if command is _RSET:
                if reply.code == 421:
                    raise _Over(self._said(stage, reply))
                continue  # whatever else it says: what counts is what it says to MAIL
            self._is_answered = reply.code != 421 or stage is not Stage.MAIL
            expected = 3 if stage is Stage.DATA else 2
            if self._refused and reply.code == 354:
                raise _Over(self._refused)  # it waits for a message without a recipient
            if not self._refused and reply.code // 100 != expected:
                self._refused = self._said(stage, reply)
            if self._refused and (reply.code == 421 or self._refused.trouble):
                raise _Over(self._refused)
        return reply

    def _send_data(self, part: Part, parcel: Parcel) -> _Steps:
        stuffer = commands.DotStuffer()
        self.stage = Stage.BODY
        while not part.is_last:
            self._write(stuffer.feed(part.octets))
            part = yield from self._next_part()
        self._write(stuffer.feed(part.octets) + stuffer.end())
        self._all_sent = True
        return self._finish((yield from self._hear(Stage.END)), parcel)

    def _send_chunks(self, part: Part, parcel: Parcel) -> _Steps:
        while not part.is_last:
            self._write(commands.chunk(part))
            reply = yield from self._hear(Stage.BODY)
            if reply.code // 100 != 2:
                return self._refuse(Stage.DATA, reply)
            part = yield from self._next_part()
        self._write(commands.chunk(part))
        self._all_sent = True
        return self._finish((yield from self._hear(Stage.END)), parcel)

    def _next_part(self) -> Generator[Need, Reply | Part | None, Part]:
        given = yield Need.OCTETS
        if isinstance(given, Reply):  # to nothing: the peer breaks the message off, or is confused
            raise _Over(self._said(self.stage, given))
        assert isinstance(given, Part)
        return given

    def _finish(self, reply: Reply, parcel: Parcel) -> AttemptResult:
        """The reply to the whole message."""
        if reply.code // 100 != 2:
            return self._refuse(Stage.END, reply)
        return self._said(Stage.END, reply, notifies="SUCCESS" in parcel.notify and "DSN" in self._capabilities)

    def _refuse(self, stage: Stage, reply: Reply) -> AttemptResult:
        """The message is refused; the connection stays usable, unless the peer ends it."""
        result = self._said(stage, reply)
        if reply.code == 421 or result.trouble:
            raise _Over(result)
        return result

    # What is said, and what it means

    def _write(self, octets: bytes) -> None:
        """Send octets, unless the peer has sent a reply that was not asked for."""
        if not self._reader.is_empty:
            raise _Over(self._trouble(Trouble.GARBAGE, "the peer says more than it was asked"))
        self._output += octets

    def _hear(self, stage: Stage) -> _Hearing:
        self.stage = stage
        reply = yield Need.REPLY
        assert isinstance(reply, Reply)
        return reply

    def _be_accepted(self, stage: Stage) -> _Steps:
        self._accept(stage, (yield from self._hear(stage)))
        return None

    def _accept(self, stage: Stage, reply: Reply, expected: int = 2) -> None:
        if reply.code // 100 != expected:
            raise _Over(self._said(stage, reply))

    def _said(self, stage: Stage, reply: Reply, *, notifies: bool = False) -> AttemptResult:
        is_good = reply.code // 100 == 2 and stage is Stage.END
        return AttemptResult(
            protocol=self._options.protocol,
            stage=stage,
            peer=self._options.peer,
            code=reply.code,
            enhanced=reply.enhanced,
            trouble=None if is_good or reply.code >= 400 else Trouble.GARBAGE,
            text=reply.text,
            tls=self.tls,
            notifies=notifies,
        )

    def _trouble(self, trouble: Trouble, text: str) -> AttemptResult:
        if self._refused:
            return self._refused
        return AttemptResult(
            protocol=self._options.protocol,
            stage=Stage.END if self._all_sent else self.stage,
            peer=self._options.peer,
            trouble=trouble,
            text=one_line(text),
            tls=self.tls,
        )


_RSET = b"RSET\r\n"
_IN_CLEAR = "the peer spoke in clear where TLS was to begin"
