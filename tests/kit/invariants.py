"""What holds for every session, whatever a client sends: `make test` checks it with Hypothesis, `fuzz/` with libFuzzer.

A `Client` that sends one thing at a time, and waits for the answer, says where its messages begin and end. It is the
reference: no other way to cut the same octets may give other questions or replies, nor may a message ever come out that
the client did not send as one.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, cycle, takewhile

from tests.kit import smtp_dialogues
from waypost.smtp.protocol import grammar, replies
from waypost.smtp.protocol.capabilities import Capabilities
from waypost.smtp.protocol.requests import MessageReceived, PieceReceived, RecipientGiven, TlsWanted
from waypost.smtp.protocol.session import Session

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""What no line of a header of ours may hold, of all that a client says."""

TLS = "TLSv1.3 TLS_AES_256_GCM_SHA384"

_BDAT = re.compile(rb"BDAT +([0-9]{1,20})( LAST)? *\r\n", re.IGNORECASE)
_REPLIES = re.compile(rb"(?:(?:[2-5][0-9]{2}-[ -~]+\r\n)*[2-5][0-9]{2} [ -~]+\r\n)*")
_LAST_LINE = re.compile(rb"^[2-5][0-9]{2} ", re.MULTILINE)
_REFUSED = re.compile(
    rb"55[24] 5\.(?:3\.4 Message (?:header )?too big: [^\r]*|5\.2 Message contains a bare[^\r]*)|451 4\.3\.0 [^\r]*"
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
"""How other protocols begin. No mail is accepted on a connection on which one of these came in place of a command."""

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
"""What clients say."""

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
"""Lines that have a message refused, or that somebody may take for its end."""

LETTERS = [b"\r", b"\n", b"\r\n", b".", b" ", b"<", b">", b'"', b"\\", b"@", b":", b"=", b"\x00", b"x" * 600, b"\n.\n"]
"""What may come in between."""


def a_chunk(octets: bytes, *, is_last: bool) -> bytes:
    """BDAT, and the octets that it counts."""
    return b"BDAT %d%b\r\n%b" % (len(octets), b" LAST" if is_last else b"", octets)


@dataclass(frozen=True, slots=True)
class Way:
    """How the system answers, apart from what was asked."""

    shakes_hands: bool = True
    """Whether the handshake after STARTTLS is ever made."""
    has_porter: bool = False
    """Whether some messages may not come now."""
    spills: bool = False
    """Whether memory is scarce all the time."""


class Porter:
    """Lets no third message begin, and no fourth one come."""

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


class Play:
    """A session that is fed, its questions answered, and each of its steps looked at."""

    def __init__(self, capabilities: Capabilities, way: Way):
        self.capabilities = capabilities
        self.way = way
        self.session = Session(
            capabilities, peer="192.0.2.7", gate=Porter() if way.has_porter else smtp_dialogues.OpenGate()
        )
        self.asked = []
        """The questions. A message is one of them, with all its octets in it; pieces of none that was refused are."""
        self.told = self.session.output()
        self.messages = []
        """The octets of those messages that came out since this was looked at last."""
        self.handshakes = 0
        self.lost_a_piece = False
        """Whether a piece of a message was not kept."""
        self._kept = b""
        self._is_shaking_hands = False

    def feed(self, octets: bytes) -> bytes:
        """Feed the session, and answer. Returns what the client is told."""
        session, was_over = self.session, self.session.farewell
        asked = len(self.asked)
        session.receive(octets)
        if not self._is_shaking_hands:
            self._answer_all()
        told = session.output()
        self.told += told
        if was_over:
            assert not told
            assert len(self.asked) == asked
            assert session.farewell is was_over
        assert not told or _REPLIES.fullmatch(told), told
        self._check_memory()
        transfer = session._exchange.transfer
        if transfer and len(octets) > 1:
            assert len(transfer.body._octets) == transfer.body.buffered
        return told

    def _answer_all(self) -> None:
        while True:
            if self.way.spills:
                self.session.spill()
            question = self.session.next_request()
            if isinstance(question, TlsWanted):
                self._is_shaking_hands = not self.way.shakes_hands
                if self._is_shaking_hands:
                    break
                self.asked.append(question)
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
        assert isinstance(question, RecipientGiven)
        self.asked.append(question)
        assert not CONTROL.search(question.address.text)
        if question.address.key.startswith("unknown@"):
            return replies.NO_SUCH_USER
        if question.address.key.startswith("broken@"):
            return replies.NOT_AUTHENTIC.about(domain="a.example")
        return replies.RECIPIENT_OK

    def _keep(self, piece: PieceReceived):
        assert piece.octets
        assert len(piece.octets) == self.capabilities.piece or (
            self.way.spills and len(piece.octets) < self.capabilities.piece
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
        said = [envelope.sender, *envelope.recipients, envelope.helo, dsn.envid, *(one.orcpt for one in dsn.recipients)]
        assert not any(CONTROL.search(word) for word in said)
        self.messages.append(raw)
        self.asked.append(replace(question, raw=raw, start=0 if self.way.spills else question.start))
        if b"X-Loop: yes\r\n" in raw:
            return replies.MAIL_LOOP.about(reason="Mail loop")
        return replies.NO_MEMORY if b"X-Broken: yes\r\n" in raw else replies.ACCEPTED.about(id="an-id")

    def _check_memory(self) -> None:
        """No question is open: a line without an end is all that waits, and less than two pieces are kept."""
        session = self.session
        in_body = min(self.capabilities.piece, self.capabilities.message_limit)
        assert session.waiting_octets <= grammar.LONGEST_LINE
        assert session.held_octets <= session.waiting_octets + in_body
        if session.farewell or self._is_shaking_hands:
            assert session.held_octets == 0
            assert not session.is_receiving


class Client(Play):
    """Sends a line, or a message, or a chunk, and waits. It is as simple as it can be."""

    def __init__(self, capabilities: Capabilities, way: Way):
        super().__init__(capabilities, way)
        self._recipients = 0
        self._chunks = b""

    def send(self, octets: bytes) -> list[int]:
        """Send all this, as far as the session goes. Returns where handshakes were made."""
        handshakes, at = [], 0
        while at < len(octets) and not self.session.farewell and not self._is_shaking_hands:
            end = octets.find(b"\n", at) + 1 or len(octets)
            line, rest, before = octets[at:end], octets[end:], self.handshakes
            told = self.feed(line)
            chunk = _BDAT.fullmatch(line)
            if told.startswith(b"354"):
                self._expect([], told)
                rest = self._send_message(rest)
            elif chunk and (not told or not int(chunk[1])):
                rest = self._send_chunk(rest, int(chunk[1]), is_last=bool(chunk[2]), told=told)
            elif line.endswith(b"\n"):
                self._expect([], told)
                self._note(line, told)
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
        told = self.feed(octets[: len(octets) - len(rest)])
        self._expect([message], told, count=self._recipients)
        self._recipients = 0
        return rest

    def _send_chunk(self, octets: bytes, size: int, *, is_last: bool, told: bytes) -> bytes:
        told += self.feed(octets[:size]) if size else b""
        self._chunks += octets[:size]
        if len(octets) >= size:
            self._expect([self._chunks] if is_last else [], told, count=self._recipients if is_last else 1)
            if is_last or not told.startswith(b"2"):
                self._recipients = 0
        return octets[size:]

    def _note(self, line: bytes, told: bytes) -> None:
        """Who is to get the next message, as far as the session took it."""
        if told.startswith(b"250 2.1.5 "):
            self._recipients += 1
        elif told.startswith(b"250 2.1.0 "):
            self._chunks = b""
        elif told.startswith(b"2") and line[:4].upper() in {b"EHLO", b"HELO", b"LHLO", b"RSET", b"STAR"}:
            self._recipients = 0

    def _expect(self, messages: list[bytes], told: bytes, *, count: int = 1) -> None:
        """These messages have come out, or none, and there is one reply; LMTP has one for each recipient."""
        assert self.messages in ([], messages)
        self.messages.clear()
        is_one = not self.capabilities.lmtp or count == 0 or self.session.farewell
        assert len(_LAST_LINE.findall(told)) == (1 if is_one else count)


def check(capabilities: Capabilities, octets: bytes, sizes: Sequence[int], way: Way) -> None:
    """Check all that holds for a session that gets these octets, at once, one by one, or cut to these sizes in turn."""
    client = Client(capabilities, way)
    handshakes = client.send(octets)  # what comes behind STARTTLS in one go with it is forgotten
    for cuts in ([], range(len(octets)), list(_places(sizes, len(octets)))):
        play = Play(capabilities, way)
        for part in smtp_dialogues.cut(octets, {*cuts, *handshakes}):
            play.feed(part)
        _compare(play, client)
    if handshakes:
        forgetful, unforgetting = Play(capabilities, way), Play(capabilities, way)
        forgetful.feed(octets)
        unforgetting.feed(octets[: handshakes[0]])
        _compare(forgetful, unforgetting)
    if not way.spills:
        play = Play(capabilities, replace(way, spills=True))
        for part in smtp_dialogues.cut(octets, {*_places(sizes, len(octets)), *handshakes}):
            play.feed(part)
        # Other pieces may be lost than these; and the header of a binary message is read, and refused, a chunk sooner.
        is_sooner = b"BINARYMIME" in octets and bytes(replies.BARE_LINE_END_IN_DATA) in play.told
        if not (play.lost_a_piece or client.lost_a_piece or is_sooner):
            client.asked = [replace(one, start=0) if isinstance(one, MessageReceived) else one for one in client.asked]
            _compare(play, client)


def _places(sizes: Sequence[int], length: int) -> Iterator[int]:
    return takewhile(lambda place: place < length, accumulate(cycle(sizes or [length + 1])))


def _compare(one: Play, other: Play) -> None:
    assert one.asked == other.asked
    if one.lost_a_piece or other.lost_a_piece:  # which may be told, or what was wrong with the message by then
        assert _REFUSED.sub(b"refused", one.told) == _REFUSED.sub(b"refused", other.told)
    else:
        assert one.told == other.told
    assert (one.session.farewell is None) == (other.session.farewell is None)
