r"""The client side of an SMTP or LMTP session, without sockets. The dialogue reads replies, produces commands, and ends
with an `AttemptResult`.

The attribute `need` names the input that the dialogue needs next. The result depends only on the replies, not on how
the replies are split into packets.

    opening        GREETING ─▶ HELLO ─▶ [TLS ─▶ HELLO] ─▶ [AUTH] ─▶ NOTHING: ready
    transaction    OCTETS ─▶ [RSET] MAIL ─▶ RCPT ─┬▶ DATA ─▶ BODY ─▶ END ─▶ NOTHING: a result, and ready for the next
                                                  └▶ BDAT …  BDAT LAST ─▶ END ─▶ NOTHING

With PIPELINING (RFC 2920), all commands up to DATA are sent in one group. If the peer offers both PIPELINING and
CHUNKING (RFC 3030), a small message is sent in the same group as these commands. An unsolicited reply ends the
dialogue, because it could be mistaken for the reply to the next command.
"""

from collections.abc import Generator
from enum import Enum, auto

from msgspec import Struct

from waypost.delivery.outgoing import Parcel
from waypost.delivery.smtp_client.protocol import commands
from waypost.delivery.smtp_client.protocol.commands import Part
from waypost.delivery.smtp_client.protocol.replies import NotAReply, Reply, ReplyReader, one_line
from waypost.domain import representation
from waypost.domain.mail.delivery import AttemptResult, Protocol, Stage, Trouble
from waypost.domain.mail.routes import Tls

AT_ONCE = 64 * 1024
"""The maximum size, in bytes, of a message that is sent in one group with MAIL and RCPT, before their replies are
known.
"""


class Need(Enum):
    """The input that the dialogue needs in order to continue."""

    REPLY = auto()
    """A reply from the peer."""
    OCTETS = auto()
    """The next part of the message."""
    TLS = auto()
    """The TLS handshake."""
    NOTHING = auto()
    """No input: the dialogue is ready for a message, or finished."""


class SessionOptions(Struct, frozen=True, kw_only=True):
    """The options of a session with a peer."""

    protocol: Protocol
    hostname: str
    """The server's own name."""
    peer: str = ""
    """The name of the peer, as shown in results."""
    tls: Tls = Tls.OPPORTUNISTIC
    is_tls: bool = False
    """Whether the TLS handshake begins immediately after the connection is established."""
    user: str = ""
    secret: str = ""

    def __repr__(self) -> str:
        """Return the fields without the secrets."""
        return representation.without(self, "secret")


_Steps = Generator[Need, Reply | Part | None, AttemptResult | None]
_Reading = Generator[Need, Reply | Part | None, Reply]


class _Over(Exception):
    """Raised when the connection can no longer be used."""

    def __init__(self, result: AttemptResult) -> None:
        super().__init__(result.text)
        self.result = result


class Dialogue:
    """The dialogue on one connection: the opening, which starts with the greeting, and then one transaction per
    parcel.
    """

    def __init__(self, options: SessionOptions) -> None:
        self._options = options
        self._reader = ReplyReader()
        self._output = bytearray()
        self._capabilities: commands.Capabilities = {}
        self._refused: AttemptResult | None = None
        """The first refusal among the replies to a group of commands.

        Refusals of later commands in the group do not replace this refusal.
        """
        self._all_sent = self._is_answered = False
        self._is_unfinished = False
        """Whether the peer may still have the sender and the recipient of an earlier transaction. A reply to the whole
        message ends the transaction (RFC 5321 section 4.1.1.4).
        """
        self.need = Need.NOTHING
        self.stage = Stage.GREETING
        self.tls = ""
        self.result: AttemptResult | None = None
        """The result of the last parcel, or of the opening if the opening failed."""
        self.is_over = False
        """Whether the connection can no longer be used."""
        self.transactions = 0
        self.heard = 0
        """The number of replies received so far."""
        self._steps = self._opening()
        self._advance(None)

    @property
    def is_stale(self) -> bool:
        """Whether the peer closed the connection while it was idle, before the peer received any part of the last
        message. If so, the message may be sent again over another connection.
        """
        if self.transactions < 2 or not self.is_over or self.result is None or self._is_answered:
            return False
        return self.result.code == 421 or (self.result.trouble is Trouble.DISCONNECTED and not self._all_sent)

    def begin(self, parcel: Parcel) -> None:
        """Begin a transaction that sends the parcel."""
        self._all_sent = self._is_answered = False
        self._refused = self.result = None
        self.transactions += 1
        self._steps = self._transaction(parcel)
        self._advance(None)

    def receive(self, octets: bytes) -> None:
        """Process bytes from the peer."""
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
            self._advance(reply)
        if not self._reader.is_empty:
            self.is_over = True  # the peer ended the session, or sent a reply without a command

    def give(self, part: Part) -> None:
        """Give the dialogue the next part of the message."""
        self._advance(part)

    def tls_started(self, tls: str) -> None:
        """Continue after the TLS handshake. `tls` is the TLS version and the cipher."""
        self.tls = tls
        self._advance(None)

    def fail(self, trouble: Trouble, text: str) -> None:
        """End the dialogue because the connection was lost, a time limit has passed, or this side cannot continue."""
        self._end(self._reader.end(), trouble, text)

    def _end(self, begun: Reply | None, trouble: Trouble, text: str) -> None:
        """End the dialogue. If the peer sent an incomplete reply to the whole message, that reply determines the
        result, because the peer may have accepted the message.
        """
        if begun and self.need is Need.REPLY and self.stage is Stage.END:
            self._advance(begun)
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
        """Return the bytes that must be sent now, and clear the output buffer."""
        octets = bytes(self._output)
        self._output.clear()
        return octets

    def _advance(self, given: Reply | Part | None) -> None:
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
            yield from self._do_handshake()
        yield from self._expect_success(Stage.GREETING)
        yield from self._hello()
        if self._options.tls is not Tls.NONE and not self.tls:
            yield from self._start_tls()
        if self._options.user:
            yield from self._authenticate()
        return None

    def _hello(self) -> _Steps:
        hostname, is_lmtp = self._options.hostname, self._options.protocol is Protocol.LMTP
        self._write(commands.line(f"{'LHLO' if is_lmtp else 'EHLO'} {hostname}"))
        reply = yield from self._read_reply(Stage.HELLO)
        is_extended = reply.code < 500 or is_lmtp
        if not is_extended:
            self._write(commands.line(f"HELO {hostname}"))  # RFC 5321 section 3.2: the peer may be an old server
            reply = yield from self._read_reply(Stage.HELLO)
        self._accept(Stage.HELLO, reply)
        # The name in the peer's reply is not compared with this server's name: another mail server on this machine
        # may have the same name, many machines have a default name, and some proxies return the name that they were
        # given.
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
        reply = yield from self._read_reply(Stage.TLS)
        if reply.code >= 400 and reply.code != 421 and not is_needed:
            return None
        self._accept(Stage.TLS, reply)
        if not self._reader.is_empty:  # an attacker could inject data that would be treated as received over TLS
            raise _Over(self._trouble(Trouble.GARBAGE, _IN_CLEAR))
        yield from self._do_handshake()
        yield from self._hello()  # capabilities that were offered without TLS are discarded (RFC 3207 section 4.2)
        return None

    def _do_handshake(self) -> _Steps:
        self.stage = Stage.TLS
        yield Need.TLS
        return None

    def _authenticate(self) -> _Steps:
        """Authenticate (RFC 4954) with AUTH PLAIN (RFC 4616) or AUTH LOGIN, but only over TLS."""
        self.stage = Stage.AUTH
        user, secret = self._options.user, self._options.secret
        if not self.tls:
            raise _Over(self._trouble(Trouble.NO_AUTH, "a password is not sent without TLS"))
        ways = {way.upper() for way in self._capabilities.get("AUTH", ())}
        if "PLAIN" in ways:
            self._write(b"AUTH PLAIN " + commands.base64(f"\0{user}\0{secret}"))
        elif "LOGIN" in ways:
            for line in (b"AUTH LOGIN\r\n", commands.base64(user)):
                self._write(line)
                self._accept(Stage.AUTH, (yield from self._read_reply(Stage.AUTH)), 3)
            self._write(commands.base64(secret))
        else:
            raise _Over(self._trouble(Trouble.NO_AUTH, "the peer supports neither AUTH PLAIN nor AUTH LOGIN"))
        yield from self._expect_success(Stage.AUTH)
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
        if self._is_unfinished:
            said.insert(0, (Stage.MAIL, _RSET))
        self._is_unfinished = True
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

    def _converse(self, group: list[tuple[Stage, bytes]]) -> _Reading:
        """Send all commands in a group, and then read the reply to each command. Returns the last reply."""
        self._write(b"".join(command for _, command in group))
        self._all_sent = group[-1][0] is Stage.END
        for stage, command in group:
            reply = yield from self._read_reply(stage)
            if command is _RSET:
                if reply.code == 421:
                    raise _Over(self._result_of_reply(stage, reply))
                continue  # any other reply to RSET is ignored, because the reply to MAIL decides
            self._is_answered = reply.code != 421 or stage is not Stage.MAIL
            expected = 3 if stage is Stage.DATA else 2
            if self._refused and reply.code == 354:
                raise _Over(self._refused)  # the peer waits for a message, but it has refused the recipient
            if not self._refused and reply.code // 100 != expected:
                self._refused = self._result_of_reply(stage, reply)
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
        return self._finish((yield from self._read_reply(Stage.END)), parcel)

    def _send_chunks(self, part: Part, parcel: Parcel) -> _Steps:
        while not part.is_last:
            self._write(commands.chunk(part))
            reply = yield from self._read_reply(Stage.BODY)
            if reply.code // 100 != 2:
                return self._refuse(Stage.DATA, reply)
            part = yield from self._next_part()
        self._write(commands.chunk(part))
        self._all_sent = True
        return self._finish((yield from self._read_reply(Stage.END)), parcel)

    def _next_part(self) -> Generator[Need, Reply | Part | None, Part]:
        given = yield Need.OCTETS
        if isinstance(given, Reply):  # a reply without a command: the peer aborts the message, or it is faulty
            raise _Over(self._result_of_reply(self.stage, given))
        assert isinstance(given, Part)
        return given

    def _finish(self, reply: Reply, parcel: Parcel) -> AttemptResult:
        """Return the result that follows from the reply to the whole message."""
        if reply.code // 100 != 2:
            return self._refuse(Stage.END, reply)
        self._is_unfinished = False
        return self._result_of_reply(
            Stage.END, reply, notifies="SUCCESS" in parcel.notify and "DSN" in self._capabilities
        )

    def _refuse(self, stage: Stage, reply: Reply) -> AttemptResult:
        """Return the result of an attempt that the peer refused with this reply. Raises `_Over` if the connection can
        no longer be used.
        """
        result = self._result_of_reply(stage, reply)
        if reply.code == 421 or result.trouble:
            raise _Over(result)
        return result

    # Commands and replies

    def _write(self, octets: bytes) -> None:
        """Send bytes, unless the peer has sent an unsolicited reply."""
        if not self._reader.is_empty:
            raise _Over(self._trouble(Trouble.GARBAGE, "the peer sent a reply without a command"))
        self._output += octets

    def _read_reply(self, stage: Stage) -> _Reading:
        self.stage = stage
        reply = yield Need.REPLY
        assert isinstance(reply, Reply)
        return reply

    def _expect_success(self, stage: Stage) -> _Steps:
        self._accept(stage, (yield from self._read_reply(stage)))
        return None

    def _accept(self, stage: Stage, reply: Reply, expected: int = 2) -> None:
        if reply.code // 100 != expected:
            raise _Over(self._result_of_reply(stage, reply))

    def _result_of_reply(self, stage: Stage, reply: Reply, *, notifies: bool = False) -> AttemptResult:
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
_IN_CLEAR = "the peer sent data without encryption when the TLS handshake should begin"
