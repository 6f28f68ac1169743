"""Invariants of every SMTP session for any input. `make test` checks them with Hypothesis, and `fuzz/` with libFuzzer.

The reference is a `Client` that sends one command or message at a time and waits for the reply, and therefore knows
where its messages begin and end. If the same bytes are cut in any other way, the session must have the same requests
and replies, and must never accept a message that the client did not send as one message.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate, cycle, takewhile

from msgspec import Struct
from msgspec.structs import replace

from tests.kit import smtp_dialogues
from waypost.smtp.protocol import grammar, replies
from waypost.smtp.protocol.capabilities import Capabilities
from waypost.smtp.protocol.requests import (
    ContentOffered,
    MessageReceived,
    PieceReceived,
    RecipientGiven,
    SenderGiven,
    TlsWanted,
)
from waypost.smtp.protocol.session import Session

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""Characters from a client that must not get into a header field that the server writes."""

TLS = "TLSv1.3 TLS_AES_256_GCM_SHA384"

_BDAT = re.compile(rb"BDAT +([0-9]{1,20})( LAST)? *\r\n", re.IGNORECASE)
_REPLIES = re.compile(rb"(?:(?:[2-5][0-9]{2}-[ -~]+\r\n)*[2-5][0-9]{2} [ -~]+\r\n)*")
_LAST_LINE = re.compile(rb"^[2-5][0-9]{2} ", re.MULTILINE)
_REFUSED = re.compile(
    rb"(?:55[24] 5\.(?:3\.4 Message (?:header )?too big|5\.2 Message contains a bare)|451 4\.3\.0 )[^\r]*"
)

GREETINGS = [b"EHLO client.example\r\n", b"HELO client.example\r\n", b"LHLO client.example\r\n"]

MAILS = [
    b"MAIL FROM:<a@client.example>\r\n",
    b"MAIL FROM:<> SIZE=5 BODY=8BITMIME SMTPUTF8\r\n",
    b"MAIL FROM:<a@client.example> BODY=BINARYMIME RET=FULL ENVID=x+2B\r\n",
    "MAIL FROM:<bücher@bücher.example> SMTPUTF8\r\n".encode(),
]

RECIPIENTS = [
    b"RCPT TO:<support@example.com>\r\n",
    b"RCPT TO:<sales@example.com> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+2Bb@c.example\r\n",
    b"RCPT TO:<sales@example.com> NOTIFY=NEVER ORCPT=utf-8;b\\x{FC}cher@c.example\r\n",
    b"RCPT TO:<unknown@example.com>\r\n",
    b"RCPT TO:<broken@example.com>\r\n",
    b"RCPT TO:<Postmaster>\r\n",
    b"RCPT TO:<@a.example:b@example.com>\r\n",
    b'RCPT TO:<"a\\"> b"@[IPv6:2001:db8::1]>\r\n',
    "RCPT TO:<bücher@bücher.example>\r\n".encode(),
]

FOREIGN = [
    b"GET / HTTP/1.1\r\n",
    b"post /mail HTTP/1.0\r\n",
    b"MAIL / HTTP/1.1\r\n",
    b"OPTIONS * HTTP/1.1\r\n",
    b"CONNECT mail.example:25 HTTP/1.1\r\n",
    b"PRI * HTTP/2.0\r\n",
    b"GET /" + b"x" * 1_200 + b" HTTP/1.1\r\n",
    b"Host: 127.0.0.1:1025\r\n",
    b"sec-ch-ua-mobile: ?0\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
]
"""The beginnings of other protocols. After such a line in place of a command, the connection accepts no mail."""

COMMANDS = [
    *GREETINGS,
    *MAILS,
    *RECIPIENTS,
    b"STARTTLS\r\n",
    b"DATA\r\n",
    b"BDAT 6\r\n",
    b"BDAT 50 LAST\r\n",
    b"BDAT 0 LAST\r\n",
    b"BDAT x\r\n",
    b"RSET\r\n",
    b"NOOP\r\n",
    b"VRFY a\r\n",
    b"HELP\r\n",
    b"AUTH PLAIN\r\n",
    b"QUIT\r\n",
    *FOREIGN,
]
"""Commands that clients send."""

TEXT = [
    b"Subject: hello\r\n",
    b"Received: from a\r\n\tby b\r\n",
    b"\r\n",
    b"Hello\r\n",
    b"..\r\n",
    b".Hello\r\n",
    b"\xff\x00\r\n",
    b"x" * 60 + b"\r\n",
]
"""Lines of messages."""

TRICKS = [
    b"X-Broken: yes\r\n",
    b"X-Loop: yes\r\n",
    b"X-Full: yes\r\n",
    b".\r\n",
    b"Hi\r\n.\n",
    b"Hi\n.\r\n",
    b"Hi\r.\r\n",
    b"Hi\r\n.\r",
]
"""Lines that cause the refusal of a message, or that a server might read as its end."""

LETTERS = [b"\r", b"\n", b"\r\n", b".", b" ", b"<", b">", b'"', b"\\", b"@", b":", b"=", b"\x00", b"x" * 600, b"\n.\n"]
"""Bytes that may be inserted anywhere."""


def a_chunk(octets: bytes, *, is_last: bool) -> bytes:
    """Return a BDAT command with its chunk."""
    return b"BDAT %d%b\r\n%b" % (len(octets), b" LAST" if is_last else b"", octets)


class Behaviour(Struct, frozen=True):
    """The behaviour of the system, independent of the requests."""

    makes_handshakes: bool = True
    """Whether the client makes the TLS handshake after STARTTLS."""
    has_limits: bool = False
    """Whether some messages are refused because of limits."""
    spills: bool = False
    """Whether the server is always short of memory."""
    injects_faults: bool = False
    """Whether the server may inject faults. It injects none."""


class RefusingGate:
    """A gate that refuses every third MAIL, and every fourth DATA."""

    injects_faults = False

    def __init__(self):
        self._mails = self._datas = 0

    def at_mail(self):
        self._mails += 1
        return None if self._mails % 3 else replies.TOO_MANY_MESSAGES

    def refused(self, reply):
        assert not reply.accepts

    def at_data(self):
        self._datas += 1
        return None if self._datas % 4 else replies.NO_MEMORY

    def knows(self, address):
        return False


class Play:
    """A session that gets input, whose requests are answered, and whose invariants are checked after each step."""

    def __init__(self, capabilities: Capabilities, behaviour: Behaviour):
        self.capabilities = capabilities
        self.behaviour = behaviour
        gate = RefusingGate() if behaviour.has_limits else smtp_dialogues.OpenGate()
        gate.injects_faults = behaviour.injects_faults
        self.session = Session(capabilities, peer="192.0.2.7", gate=gate)
        self.requests = []
        """The requests of the session. A message is one request with all its bytes; pieces of messages are left out."""
        self.output = self.session.output()
        self.messages = []
        """The bytes of the messages that the session has passed on since this list was last cleared."""
        self.handshakes = 0
        self.lost_a_piece = False
        """Whether the system failed to store a piece of a message."""
        self._kept = b""
        self._is_in_handshake = False

    def feed(self, octets: bytes) -> bytes:
        """Feed bytes to the session and answer its requests. Return the replies to the client."""
        session, was_over = self.session, self.session.farewell
        requests = len(self.requests)
        session.receive(octets)
        if not self._is_in_handshake:
            self._answer_all()
        output = session.output()
        self.output += output
        if was_over:
            assert not output
            assert len(self.requests) == requests
            assert session.farewell is was_over
        assert not output or _REPLIES.fullmatch(output), output
        self._check_memory()
        transfer = session._exchange.transfer
        if transfer and len(octets) > 1:
            assert len(transfer.body._octets) == transfer.body.buffered
        return output

    def _answer_all(self) -> None:
        while True:
            if self.behaviour.spills:
                self.session.spill()
            question = self.session.next_request()
            if isinstance(question, TlsWanted):
                self._is_in_handshake = not self.behaviour.makes_handshakes
                if self._is_in_handshake:
                    break
                self.requests.append(question)
                self.handshakes += 1
                self.session.tls_started(TLS)
            elif question is not None:
                self.session.answer(self._answer(question))
            elif not self.session.has_more:
                break

    def _answer(self, question):
        if isinstance(question, PieceReceived):
            return self._keep(question)
        if isinstance(question, MessageReceived):
            return self._take(question)
        if isinstance(question, SenderGiven | ContentOffered):
            assert self.behaviour.injects_faults
            return replies.OK
        assert isinstance(question, RecipientGiven)
        self.requests.append(question)
        assert not CONTROL.search(question.address.text)
        if question.address.key.startswith("unknown@"):
            return replies.NO_SUCH_USER
        if question.address.key.startswith("broken@"):
            return replies.NOT_AUTHENTIC.about(domain="a.example")
        return replies.RECIPIENT_OK

    def _keep(self, piece: PieceReceived):
        assert piece.octets
        assert len(piece.octets) == self.capabilities.piece or (
            self.behaviour.spills and len(piece.octets) < self.capabilities.piece
        )
        assert self.session.held_octets >= len(piece.octets)
        self._kept = self._kept[: piece.start] + piece.octets
        assert len(self._kept) == piece.start + len(piece.octets) <= self.capabilities.message_limit
        if b"X-Full: yes\r\n" in self._kept:
            self.lost_a_piece = True
            return replies.TRY_AGAIN.about(id="an-id")
        return replies.OK

    def _take(self, question: MessageReceived):
        raw = self._kept[: question.start] + question.raw
        assert len(raw) == question.start + len(question.raw) <= self.capabilities.message_limit
        assert len(question.raw) <= self.capabilities.piece
        assert raw.startswith(question.header)
        envelope = question.envelope
        assert 1 <= len(question.recipients) <= self.capabilities.recipient_limit
        assert envelope.recipients == tuple(address.text for address in question.recipients)
        assert envelope.tls == (TLS if self.handshakes else "")
        assert self.handshakes or not self.capabilities.needs_tls
        if envelope.body != "BINARYMIME":
            assert raw.count(b"\r\n") == raw.count(b"\r") == raw.count(b"\n")
        dsn = envelope.dsn
        texts = [
            envelope.sender,
            *envelope.recipients,
            envelope.helo,
            dsn.envid,
            *(one.orcpt for one in dsn.recipients),
        ]
        assert not any(CONTROL.search(word) for word in texts)
        self.messages.append(raw)
        self.requests.append(replace(question, raw=raw, start=0 if self.behaviour.spills else question.start))
        if b"X-Loop: yes\r\n" in raw:
            return replies.MAIL_LOOP.about(reason="Mail loop")
        return replies.NO_MEMORY if b"X-Broken: yes\r\n" in raw else replies.ACCEPTED.about(id="an-id")

    def _check_memory(self) -> None:
        """Check the memory of a session without an open request.

        Only an incomplete line may be waiting, and the session may hold less than two pieces.
        """
        session = self.session
        in_body = min(self.capabilities.piece, self.capabilities.message_limit)
        assert session.waiting_octets <= grammar.LONGEST_LINE
        assert session.held_octets <= session.waiting_octets + in_body
        if session.farewell or self._is_in_handshake:
            assert session.held_octets == 0
            assert not session.is_receiving


class Client(Play):
    """The reference client, which sends a line, a message or a chunk, and waits for the reply."""

    def __init__(self, capabilities: Capabilities, behaviour: Behaviour):
        super().__init__(capabilities, behaviour)
        self._recipients = 0
        self._chunks = b""

    def send(self, octets: bytes) -> list[int]:
        """Send all bytes, or as many as the session accepts. Return the positions at which handshakes were made."""
        handshakes, at = [], 0
        while at < len(octets) and not self.session.farewell and not self._is_in_handshake:
            end = octets.find(b"\n", at) + 1 or len(octets)
            line, rest, before = octets[at:end], octets[end:], self.handshakes
            output = self.feed(line)
            chunk = _BDAT.fullmatch(line)
            if output.startswith(b"354"):
                self._expect([], output)
                rest = self._send_message(rest)
            elif chunk and (not output or not int(chunk[1])):
                rest = self._send_chunk(rest, int(chunk[1]), is_last=bool(chunk[2]), output=output)
            elif line.endswith(b"\n"):
                self._expect([], output)
                self._note(line, output)
            at = len(octets) - len(rest)
            handshakes += [at] * (self.handshakes - before)
        assert not self.messages
        return handshakes

    def _send_message(self, octets: bytes) -> bytes:
        end = (b"\r\n" + octets).find(b"\r\n.\r\n")
        if end < 0:
            self.feed(octets)
            return b""
        message = b"\r\n".join(line.removeprefix(b".") for line in octets[:end].split(b"\r\n"))
        rest = octets[end + len(b".\r\n") :]
        output = self.feed(octets[: len(octets) - len(rest)])
        self._expect([message], output, count=self._recipients)
        self._recipients = 0
        return rest

    def _send_chunk(self, octets: bytes, size: int, *, is_last: bool, output: bytes) -> bytes:
        output += self.feed(octets[:size]) if size else b""
        self._chunks += octets[:size]
        if len(octets) >= size:
            self._expect([self._chunks] if is_last else [], output, count=self._recipients if is_last else 1)
            if is_last or not output.startswith(b"2"):
                self._recipients = 0
        return octets[size:]

    def _note(self, line: bytes, output: bytes) -> None:
        """Update the number of accepted recipients after a command and its reply."""
        if output.startswith(b"250 2.1.5 "):
            self._recipients += 1
        elif output.startswith(b"250 2.1.0 "):
            self._chunks = b""
        elif output.startswith(b"2") and line[:4].upper() in {b"EHLO", b"HELO", b"LHLO", b"RSET", b"STAR"}:
            self._recipients = 0

    def _expect(self, messages: list[bytes], output: bytes, *, count: int = 1) -> None:
        """Check that these messages were passed on, or none, and the number of replies.

        There is one reply, or, in LMTP, one reply for each recipient.
        """
        assert self.messages in ([], messages)
        self.messages.clear()
        is_one = not self.capabilities.lmtp or count == 0 or self.session.farewell
        assert len(_LAST_LINE.findall(output)) == (1 if is_one else count)


def check(capabilities: Capabilities, octets: bytes, sizes: Sequence[int], behaviour: Behaviour) -> None:
    """Check the invariants of a session that gets these bytes in one piece, one by one, or in pieces of these sizes."""
    client = Client(capabilities, behaviour)
    handshakes = client.send(octets)  # the session discards bytes that arrive together with STARTTLS
    for cuts in ([], range(len(octets)), list(_places(sizes, len(octets)))):
        play = Play(capabilities, behaviour)
        for part in smtp_dialogues.cut(octets, {*cuts, *handshakes}):
            play.feed(part)
        _compare(play, client)
    if handshakes:
        forgetful, unforgetting = Play(capabilities, behaviour), Play(capabilities, behaviour)
        forgetful.feed(octets)
        unforgetting.feed(octets[: handshakes[0]])
        _compare(forgetful, unforgetting)
    if not behaviour.spills:
        play = Play(capabilities, replace(behaviour, spills=True))
        for part in smtp_dialogues.cut(octets, {*_places(sizes, len(octets)), *handshakes}):
            play.feed(part)
        # Other pieces may be lost, and the header of a binary message may be read and refused one chunk earlier.
        is_sooner = b"BINARYMIME" in octets and bytes(replies.BARE_LINE_END_IN_DATA) in play.output
        if not (play.lost_a_piece or client.lost_a_piece or is_sooner):
            client.requests = [
                replace(one, start=0) if isinstance(one, MessageReceived) else one for one in client.requests
            ]
            _compare(play, client)


def _places(sizes: Sequence[int], length: int) -> Iterator[int]:
    return takewhile(lambda place: place < length, accumulate(cycle(sizes or [length + 1])))


def _compare(one: Play, other: Play) -> None:
    assert one.requests == other.requests
    if (
        one.lost_a_piece or other.lost_a_piece
    ):  # the replies may differ: either piece may be lost, or the message refused first
        assert _REFUSED.sub(b"refused", one.output) == _REFUSED.sub(b"refused", other.output)
    else:
        assert one.output == other.output
    assert (one.session.farewell is None) == (other.session.farewell is None)
