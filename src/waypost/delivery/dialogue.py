r"""SMTP and LMTP as a client, without sockets: replies in, commands out, and at the end an `AttemptResult`.

`need` says what comes next. The same replies give the same result however they are cut.

    opening        GREETING ─▶ HELLO ─▶ [TLS ─▶ HELLO] ─▶ [AUTH] ─▶ NOTHING: ready
    transaction    OCTETS ─▶ [RSET] MAIL ─▶ RCPT ─┬▶ DATA ─▶ BODY ─▶ END ─▶ NOTHING: a result, and ready for the next
                                                  └▶ BDAT …  BDAT LAST ─▶ END ─▶ NOTHING

With PIPELINING (RFC 2920) all up to DATA goes in one group; with CHUNKING (RFC 3030) a small message, too. A peer that
speaks when it was not asked is not understood any more: its next words could be taken for an answer.
"""

import base64
import re
from collections.abc import Generator
from dataclasses import dataclass
from enum import Enum, auto

from waypost.delivery.parcel import Parcel
from waypost.domain import addresses, errors
from waypost.domain.delivery import AttemptResult, Notify, Protocol, Stage, Trouble
from waypost.domain.routes import Tls

REPLY_LINE_LIMIT = 4096
"""Octets of a line of a reply, eight times what RFC 5321 section 4.5.3.1.5 allows."""

REPLY_LIMIT = 100
"""Lines of a reply."""

TEXT_LIMIT = 1000
"""Characters that are kept of what a peer says."""

AT_ONCE = 64 * 1024
"""Octets of a message that go with MAIL and RCPT in one group, before it is known what the peer says to these."""

_REPLY_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)
_ENHANCED = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?:\s+|$)", re.ASCII)
_NOT_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_PATH = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^\s<>"\\])*')
"""What may stand between < and >: brackets and spaces only in quotes, so that no address is a parameter as well."""


class NotAReply(Exception):
    """What came is no reply, or too long a one."""


class Unsayable(Exception):
    """A command would have something in it that would end the line, or is no address."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply of a peer."""

    code: int
    lines: tuple[str, ...]
    """Its words, without code and enhanced code."""
    enhanced: str = ""

    @property
    def text(self) -> str:
        """All its words in one line."""
        return _one_line(" ".join(self.lines))


class ReplyReader:
    """Cuts what comes into replies (RFC 5321 section 4.2.1)."""

    def __init__(self) -> None:
        self._input = bytearray()
        self._code = 0
        self._enhanced = ""
        self._lines: list[str] = []

    @property
    def is_empty(self) -> bool:
        """Whether all that came was read."""
        return not self._input and not self._lines

    def receive(self, octets: bytes) -> None:
        """Take in what came."""
        self._input += octets

    def next_reply(self) -> Reply | None:
        """The next reply, or None if it is not here yet. Raises `NotAReply`."""
        while True:
            end = self._input.find(b"\n", 0, REPLY_LINE_LIMIT)
            if end < 0:
                if len(self._input) >= REPLY_LINE_LIMIT:
                    raise NotAReply(f"a line of a reply has more than {REPLY_LINE_LIMIT} octets")
                return None
            line = bytes(self._input[:end]).removesuffix(b"\r")
            del self._input[: end + 1]
            if self._take(line):
                reply = Reply(self._code, tuple(self._lines), self._enhanced)
                self._lines.clear()
                return reply

    def _take(self, line: bytes) -> bool:
        """Take a line in. Returns whether it is the last of its reply."""
        match = _REPLY_LINE.fullmatch(line)
        if not match:
            raise NotAReply(f"no reply: {line[:100].decode('utf-8', 'replace')}")
        code, text = int(match[1]), (match[3] or b"").decode("utf-8", "replace")
        enhanced = _ENHANCED.match(text)
        if not self._lines:
            self._code = code
            self._enhanced = enhanced[1] if enhanced and enhanced[1][0] == str(code)[0] else ""
        elif code != self._code:
            raise NotAReply(f"a reply is {self._code} in one line and {code} in the next")
        if len(self._lines) == REPLY_LIMIT:
            raise NotAReply(f"a reply has more than {REPLY_LIMIT} lines")
        is_code = enhanced is not None and enhanced[1] == self._enhanced
        self._lines.append(text[enhanced.end() :] if enhanced and is_code else text)
        return match[2] != b"-"


class DotStuffer:
    """Doubles the dots at the beginnings of lines (RFC 5321 section 4.5.2), also where a line begins a new part."""

    def __init__(self) -> None:
        self._last = b"\r\n"
        """The last two octets so far; the first line begins like any other."""

    def feed(self, octets: bytes) -> bytes:
        """The next octets, as they are sent."""
        start = self._last + octets[:2]
        # A line end may be cut by the border: `CR|LF.` or `CRLF|.`; further in, `replace` finds it.
        if octets[:1] == b"." and self._last == b"\r\n":
            stuffed = b"." + octets.replace(b"\r\n.", b"\r\n..")
        elif octets[:2] == b"\n." and self._last.endswith(b"\r"):
            stuffed = b"\n." + octets[1:].replace(b"\r\n.", b"\r\n..")
        else:
            stuffed = octets.replace(b"\r\n.", b"\r\n..")
        self._last = octets[-2:] if len(octets) >= 2 else start[len(octets) :][:2]
        return stuffed

    def end(self) -> bytes:
        """What ends the message: the lone dot, on a line of its own."""
        return b".\r\n" if self._last == b"\r\n" else b"\r\n.\r\n"


class Need(Enum):
    """What the dialogue needs to go on."""

    REPLY = auto()
    """Something from the peer."""
    OCTETS = auto()
    """The next part of the message."""
    TLS = auto()
    """The handshake."""
    NOTHING = auto()
    """It is ready for a message, or over."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of what the peer gets."""

    octets: bytes
    is_last: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """How we speak with a peer."""

    protocol: Protocol
    hostname: str
    """Who we are."""
    peer: str = ""
    """Who the peer is, for the result."""
    tls: Tls = Tls.OPPORTUNISTIC
    is_tls: bool = False
    """Whether TLS is spoken from the beginning."""
    user: str = ""
    secret: str = ""


_Steps = Generator[Need, Reply | Part | None, AttemptResult | None]
_Hearing = Generator[Need, Reply | Part | None, Reply]


class _Over(Exception):
    """No more can be said on this connection."""

    def __init__(self, result: AttemptResult) -> None:
        super().__init__(result.text)
        self.result = result


class Dialogue:
    """What is said on one connection, from the greeting on: the opening first, then one parcel after the other."""

    def __init__(self, manners: Manners) -> None:
        self._manners = manners
        self._reader = ReplyReader()
        self._output = bytearray()
        self._offer: dict[str, list[str]] = {}
        self._refused: AttemptResult | None = None
        """The first refusal in a group; what the peer says to the rest of the group does not matter any more."""
        self._all_sent = self._is_answered = False
        self.need = Need.NOTHING
        self.stage = Stage.GREETING
        self.tls = ""
        self.result: AttemptResult | None = None
        """What came of the last parcel; or of the opening, if it failed."""
        self.is_over = False
        """Whether no more can be said on this connection."""
        self.transactions = 0
        self.heard = 0
        """Replies so far."""
        self._steps = self._opening()
        self._go_on(None)

    @property
    def is_stale(self) -> bool:
        """Whether this connection, which was kept for some time, had ended before the peer heard of the last message.

        Then the message may go over another one as if nothing had been.
        """
        if self.transactions < 2 or not self.is_over or self.result is None or self._is_answered:
            return False
        return self.result.code == 421 or (self.result.trouble is Trouble.DISCONNECTED and not self._all_sent)

    def begin(self, parcel: Parcel) -> None:
        """Begin to hand over this parcel."""
        self._all_sent = self._is_answered = False
        self._refused = self.result = None
        self.transactions += 1
        self._steps = self._transaction(parcel)
        self._go_on(None)

    def receive(self, octets: bytes) -> None:
        """Take in what the peer sent."""
        if self.need is Need.TLS and octets:
            self.fail(Trouble.GARBAGE, _IN_CLEAR)
        self._reader.receive(octets)
        while self.need is Need.REPLY or self.need is Need.OCTETS:
            try:
                reply = self._reader.next_reply()
            except NotAReply as error:
                self.fail(Trouble.GARBAGE, str(error))
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
        """End it: the connection broke, time is over, or we cannot go on ourselves."""
        if self.need is not Need.NOTHING:
            self._steps.close()
            self.need = Need.NOTHING
            self.result = self._trouble(trouble, text)
        self.is_over = True

    def quit(self) -> None:
        """Say goodbye, if there is somebody to hear it."""
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
        except Unsayable as error:
            self.need, self.result, self.is_over = Need.NOTHING, self._trouble(Trouble.FAILED, str(error)), True

    # The opening

    def _opening(self) -> _Steps:
        if self._manners.is_tls:
            yield from self._shake_hands()
        yield from self._be_accepted(Stage.GREETING)
        yield from self._hello()
        if self._manners.tls is not Tls.NONE and not self.tls:
            yield from self._start_tls()
        if self._manners.user:
            yield from self._authenticate()
        return None

    def _hello(self) -> _Steps:
        hostname, is_lmtp = self._manners.hostname, self._manners.protocol is Protocol.LMTP
        self._write(_line(f"{'LHLO' if is_lmtp else 'EHLO'} {hostname}"))
        reply = yield from self._hear(Stage.HELLO)
        is_extended = reply.code < 500 or is_lmtp
        if not is_extended:
            self._write(_line(f"HELO {hostname}"))  # RFC 5321 section 3.2: it may be an old one
            reply = yield from self._hear(Stage.HELLO)
        self._accept(Stage.HELLO, reply)
        # A mail store beside us may well bear the name of the machine; a mail server of our name is a circle.
        if not is_lmtp and reply.lines[0].split(" ", 1)[0].lower() == hostname.lower():
            raise _Over(self._trouble(Trouble.IS_OURSELVES, f"the peer says that it is {hostname}, which we are"))
        self._offer = _read_offer(reply.lines[1:]) if is_extended else {}
        return None

    def _start_tls(self) -> _Steps:
        is_needed = self._manners.tls is not Tls.OPPORTUNISTIC
        self.stage = Stage.TLS
        if "STARTTLS" not in self._offer:
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
        """RFC 4954: PLAIN (RFC 4616) or LOGIN, and never in clear."""
        self.stage = Stage.AUTH
        user, secret = self._manners.user, self._manners.secret
        if not self.tls:
            raise _Over(self._trouble(Trouble.NO_AUTH, "a password is not sent in clear"))
        ways = {way.upper() for way in self._offer.get("AUTH", ())}
        if "PLAIN" in ways:
            self._write(b"AUTH PLAIN " + _base64(f"\0{user}\0{secret}") + b"\r\n")
        elif "LOGIN" in ways:
            for line in (b"AUTH LOGIN", _base64(user)):
                self._write(line + b"\r\n")
                self._accept(Stage.AUTH, (yield from self._hear(Stage.AUTH)), 3)
            self._write(_base64(secret) + b"\r\n")
        else:
            raise _Over(self._trouble(Trouble.NO_AUTH, "the peer takes neither AUTH PLAIN nor AUTH LOGIN"))
        yield from self._be_accepted(Stage.AUTH)
        return None

    # A transaction

    def _transaction(self, parcel: Parcel) -> _Steps:
        self.stage = Stage.MAIL
        unfit = self._why_unfit(parcel)
        if unfit:
            return self._trouble(*unfit)
        mail, rcpt = _line(self._mail(parcel)), _line(self._rcpt(parcel))
        part = yield from self._next_part()
        has_chunks, is_piped = "CHUNKING" in self._offer, "PIPELINING" in self._offer
        commands = [(Stage.MAIL, mail), (Stage.RCPT, rcpt)]
        if self.transactions > 1:
            commands.insert(0, (Stage.MAIL, _RSET))
        if not has_chunks:
            commands.append((Stage.DATA, b"DATA\r\n"))
        elif is_piped and part.is_last and len(part.octets) <= AT_ONCE:
            commands.append((Stage.END, _chunk(part)))
        for group in [commands] if is_piped else [[command] for command in commands]:
            reply = yield from self._converse(group)
            if self._refused:
                return self._refused
        if self._all_sent:
            return self._finish(reply, parcel)
        return (yield from self._send_chunks(part, parcel) if has_chunks else self._send_data(part, parcel))

    def _converse(self, group: list[tuple[Stage, bytes]]) -> _Hearing:
        """Say all of a group, then hear what the peer says to each."""
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
        stuffer = DotStuffer()
        self.stage = Stage.BODY
        while not part.is_last:
            self._write(stuffer.feed(part.octets))
            part = yield from self._next_part()
        self._write(stuffer.feed(part.octets) + stuffer.end())
        self._all_sent = True
        return self._finish((yield from self._hear(Stage.END)), parcel)

    def _send_chunks(self, part: Part, parcel: Parcel) -> _Steps:
        while not part.is_last:
            self._write(_chunk(part))
            reply = yield from self._hear(Stage.BODY)
            if reply.code // 100 != 2:
                return self._refuse(Stage.DATA, reply)
            part = yield from self._next_part()
        self._write(_chunk(part))
        self._all_sent = True
        return self._finish((yield from self._hear(Stage.END)), parcel)

    def _next_part(self) -> Generator[Need, Reply | Part | None, Part]:
        given = yield Need.OCTETS
        if isinstance(given, Reply):  # to nothing: the peer breaks the message off, or is confused
            raise _Over(self._said(self.stage, given))
        assert isinstance(given, Part)
        return given

    def _finish(self, reply: Reply, parcel: Parcel) -> AttemptResult:
        """What the peer says of the whole message."""
        if reply.code // 100 != 2:
            return self._refuse(Stage.END, reply)
        return self._said(Stage.END, reply, notifies=bool(parcel.notify) and "DSN" in self._offer)

    def _refuse(self, stage: Stage, reply: Reply) -> AttemptResult:
        """The message is refused; the connection may go on, unless the peer wants to end it."""
        result = self._said(stage, reply)
        if reply.code == 421 or result.trouble:
            raise _Over(result)
        return result

    # The commands

    def _why_unfit(self, parcel: Parcel) -> tuple[Trouble, str] | None:
        """Why this peer cannot take this parcel, whatever it would say."""
        offer = self._offer
        if parcel.is_binary and not {"BINARYMIME", "CHUNKING"} <= offer.keys():
            return Trouble.NEEDS_BINARY, "the message is binary, and the peer does not take that"
        if _needs_smtputf8(parcel) and "SMTPUTF8" not in offer:
            return Trouble.NEEDS_UTF8, "an address or the header is not ASCII, and the peer does not take that"
        limit = (offer.get("SIZE") or ["0"])[0]
        if limit.isascii() and limit.isdigit() and 0 < int(limit[:20]) < parcel.size:
            return Trouble.TOO_BIG, f"the message has {parcel.size:,} octets, and the peer takes {int(limit[:20]):,}"
        return None

    def _mail(self, parcel: Parcel) -> str:
        offer, is_utf8 = self._offer, _needs_smtputf8(parcel)
        command = f"MAIL FROM:<{_path(parcel.return_path)}>"
        if "SIZE" in offer:
            command += f" SIZE={parcel.size}"
        if parcel.is_binary:
            command += " BODY=BINARYMIME"
        elif "8BITMIME" in offer and (is_utf8 or parcel.message.envelope.body == "8BITMIME"):
            command += " BODY=8BITMIME"
        if is_utf8:
            command += " SMTPUTF8"
        if "DSN" in offer and parcel.ret in {"FULL", "HDRS"}:
            command += f" RET={parcel.ret}"
        if "DSN" in offer and _is_visible(parcel.envid):
            command += f" ENVID={xtext(parcel.envid)}"
        return command

    def _rcpt(self, parcel: Parcel) -> str:
        command = f"RCPT TO:<{_path(parcel.recipient)}>"
        if "DSN" not in self._offer:
            return command
        if parcel.notify and set(parcel.notify) <= set(Notify):
            command += f" NOTIFY={','.join(parcel.notify)}"
        kind, _, original = parcel.orcpt.partition(";")
        if kind.lower() == "utf-8" and original:
            command += f" ORCPT={kind};{unitext(original)}"
        elif re.fullmatch(r"[A-Za-z0-9-]+", kind) and _is_visible(original):
            command += f" ORCPT={kind};{xtext(original)}"
        return command

    # What is said, and what it means

    def _write(self, octets: bytes) -> None:
        """Send something, unless the peer speaks out of turn."""
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
            protocol=self._manners.protocol,
            stage=stage,
            peer=self._manners.peer,
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
            protocol=self._manners.protocol,
            stage=Stage.END if self._all_sent else self.stage,
            peer=self._manners.peer,
            trouble=trouble,
            text=_one_line(text),
            tls=self.tls,
        )


_RSET = b"RSET\r\n"
_IN_CLEAR = "the peer spoke in clear where TLS was to begin"


def xtext(text: str) -> str:
    """RFC 3461 section 4: everything but visible ASCII without `+` and `=` as `+` and two digits."""
    return re.sub(r"[^!-*,-<>-~]", lambda found: "".join(f"+{octet:02X}" for octet in found[0].encode()), text)


def unitext(text: str) -> str:
    r"""RFC 6533 section 3, in ASCII: everything but visible ASCII without `+`, `=` and `\` as `\x{…}`."""
    return re.sub(r"[^!-*,-<>-\[\]-~]", lambda found: f"\\x{{{ord(found[0]):02X}}}", text)


def _is_visible(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable()


def _needs_smtputf8(parcel: Parcel) -> bool:
    """Whether it cannot be said in ASCII. A domain always can, so it is the local parts that count."""
    is_utf8 = parcel.message.envelope.protocol.startswith("UTF8")
    return is_utf8 or not (_in_ascii(parcel.return_path).isascii() and _in_ascii(parcel.recipient).isascii())


def _in_ascii(address: str) -> str:
    """The address with its domain as A-labels, if its local part is ASCII; else, or if it is none, as it is."""
    local, _, domain = address.rpartition("@")
    if address.isascii() or not local.isascii():
        return address
    try:
        return f"{local}@{addresses.from_parts('x', domain, text='').key.rpartition('@')[2]}"
    except errors.Invalid:
        return address


def _path(address: str) -> str:
    if not _PATH.fullmatch(address):
        raise Unsayable(f"{address!a} cannot be said as an address")
    return _in_ascii(address)


def _line(command: str) -> bytes:
    """A command as it is sent. Raises `Unsayable` for what would be two, or has what no command may have."""
    if _CONTROL.search(command):
        raise Unsayable(f"{command!a} cannot be said as a command")
    return f"{command}\r\n".encode()


def _chunk(part: Part) -> bytes:
    return b"BDAT %d%b\r\n%b" % (len(part.octets), b" LAST" if part.is_last else b"", part.octets)


def _read_offer(lines: tuple[str, ...]) -> dict[str, list[str]]:
    """The extensions of a peer, with their parameters; `AUTH=PLAIN` is how some said it before RFC 2554."""
    words = (line.replace("AUTH=", "AUTH ", 1).split() for line in lines)
    return {word[0].upper(): word[1:] for word in words if word}


def _base64(text: str) -> bytes:
    return base64.b64encode(text.encode("utf-8", "surrogateescape"))


def _one_line(text: str) -> str:
    return " ".join(_NOT_TEXT.sub(" ", text).split())[:TEXT_LIMIT]
