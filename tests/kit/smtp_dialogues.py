r"""Reads the SMTP dialogues in `dialogues/*.smtp`, and plays them to a session, cut at any positions.

    # a comment
    O: message_limit=100          one of the session's capabilities
    C: NOOP                       the client sends a line, with its CRLF
    C< NOOP\n                     the client sends exactly this
    E: recipient a@b.example -> 250     the session makes a request; the system answers with this code
    E: message <a@b.example> to c@d.example by ESMTP from client.example -> 250
    M: a line of that message, as the system receives it
    E: tls                        the session requests the TLS handshake, which succeeds
    E: closed                     the session has ended
    S: 250 2.0.0 * accepted       the session replies with this line; `*` matches any text

The escape sequences `\r`, `\n`, `\\` and `\xFF` have the same meaning as in Python, and `\(5*ab)` is `ab` five times.
"""

import re
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from waypost.smtp.protocol import replies
from waypost.smtp.protocol.capabilities import Capabilities
from waypost.smtp.protocol.requests import ContentOffered, MessageReceived, PieceReceived, SenderGiven, TlsWanted
from waypost.smtp.protocol.session import Session

_ESCAPE = re.compile(r"\\(?:(?P<letter>[rn\\])|x(?P<hex>[0-9A-Fa-f]{2})|\((?P<count>\d+)\*(?P<what>[^)]+)\))")
_LETTERS = {"r": b"\r", "n": b"\n", "\\": b"\\"}


class OpenGate:
    """A gate that admits every message."""

    injects_faults = False

    def at_mail(self):
        return None

    at_data = at_mail

    def knows(self, address):
        return False

    def refused(self, reply):
        pass


@dataclass
class Turn:
    """The bytes that the client sends in one piece, and the resulting requests and replies."""

    sent: bytes = b""
    events: list[str] = field(default_factory=list)
    replies: list[str] = field(default_factory=list)


@dataclass(repr=False)
class Dialogue:
    """A dialogue, as a file defines it."""

    name: str
    options: dict[str, int] = field(default_factory=dict)
    turns: list[Turn] = field(default_factory=lambda: [Turn()])

    def __repr__(self) -> str:
        return self.name

    @property
    def sent(self) -> bytes:
        return b"".join(turn.sent for turn in self.turns)

    @property
    def replies(self) -> list[str]:
        return [line for turn in self.turns for line in turn.replies]

    @property
    def events(self) -> list[str]:
        return [event for turn in self.turns for event in turn.events]

    def session(self) -> Session:
        return a_session(**{"error_limit": 1000, "unknown_recipient_limit": 1000} | self.options)


def a_session(*, gate=None, tls="", **capabilities) -> Session:
    return Session(
        Capabilities(hostname="mail.example", **capabilities), peer="192.0.2.7", gate=gate or OpenGate(), tls=tls
    )


class System:
    """Answers the requests of a session.

    It accepts every recipient except those with the local parts `unknown` and `broken`, which are refused or fail.
    """

    def __init__(self):
        self.events = []
        """The requests and answers, in the format of dialogue files."""
        self.refused = None
        """The kind of requests at which a fault refuses the client, or None."""
        self.pieces = b""
        """The stored pieces of the message that is being received."""

    def serve(self, session: Session) -> bytes:
        """Answer all requests of a session, and return its replies to the client."""
        while (event := session.next_request()) or session.has_more:
            if isinstance(event, TlsWanted):
                self.events.append("tls")
                session.tls_started("TLSv1.3 TLS_AES_256_GCM_SHA384")
            elif isinstance(event, PieceReceived):
                self._keep(event)
                session.answer(replies.OK)
            elif isinstance(event, SenderGiven | ContentOffered):
                is_refused = self.refused and isinstance(event, self.refused)
                session.answer(replies.TRY_AGAIN.about(id="an-id") if is_refused else replies.OK)
            elif event is not None:
                session.answer(self._message(event) if isinstance(event, MessageReceived) else self._recipient(event))
        output = session.output()
        if session.farewell and "closed" not in self.events:
            self.events.append("closed")
        return output

    def _recipient(self, event):
        reply = replies.RECIPIENT_OK
        if event.address.key.startswith("unknown@"):
            reply = replies.NO_SUCH_USER
        elif event.address.key.startswith("broken@"):
            reply = replies.TRY_AGAIN.about(id="an-id")
        self.events.append(f"recipient {event.address.key} -> {reply.code}")
        return reply

    def _keep(self, event):
        self.pieces = self.pieces[: event.start] + event.octets
        assert len(self.pieces) == event.start + len(event.octets)

    def _message(self, event):
        reply = replies.ACCEPTED.about(id="an-id")
        raw = self.pieces[: event.start] + event.raw
        assert raw.startswith(event.header)
        if b"X-Loop: yes\r\n" in raw:
            reply = replies.MAIL_LOOP.about(reason="Mail loop")
        elif b"X-Broken: yes\r\n" in raw:
            reply = replies.TRY_AGAIN.about(id="an-id")
        envelope = event.envelope
        assert [address.text for address in event.recipients] == list(envelope.recipients)
        self.events.append(
            f"message <{envelope.sender}> to {' '.join(envelope.recipients)} by {envelope.protocol}"
            f" from {envelope.helo} -> {reply.code}"
        )
        self.events.extend(f"M {line!r}" for line in raw.splitlines(keepends=True))
        return reply


def read(path: Path) -> Dialogue:
    """Read a dialogue file."""
    dialogue = Dialogue(path.stem)
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        kind, text = line[:2], line[3:]
        turn = dialogue.turns[-1]
        match kind:
            case "O:":
                name, _, value = text.partition("=")
                dialogue.options[name] = int(value)
            case "C:" | "C<":
                if turn.replies or turn.events:
                    turn = Turn()
                    dialogue.turns.append(turn)
                turn.sent += _octets(text) + (b"\r\n" if kind == "C:" else b"")
            case "S:":
                turn.replies.append(text)
            case "E:":
                turn.events.append(text)
            case "M:":
                line_of_message = _octets(text) + b"\r\n"
                turn.events.append(f"M {line_of_message!r}")
            case _:
                raise ValueError(f"{path.name}: the line {line!r} is unknown")
    return dialogue


def play(session: Session, pieces: list[bytes]) -> tuple[list[str], bytes]:
    """Feed these pieces to a session; return the requests to the system and the replies to the client."""
    system = System()
    output = system.serve(session)
    for piece in pieces:
        session.receive(piece)
        output += system.serve(session)
    return system.events, output


def matches_replies(output: bytes, lines: list[str]) -> bool:
    """Return whether the replies match exactly these lines."""
    pattern = "".join(re.escape(line).replace(r"\*", r"[^\r\n]+") + "\r\n" for line in lines)
    return re.fullmatch(pattern, output.decode()) is not None


def cut(octets: bytes, places: set[int]) -> list[bytes]:
    """Cut bytes at these positions, ignoring positions outside."""
    edges = [0, *sorted(place for place in places if 0 < place < len(octets)), len(octets)]
    return [octets[start:end] for start, end in pairwise(edges)]


def _octets(text: str) -> bytes:
    octets, at = b"", 0
    for match in _ESCAPE.finditer(text):
        octets += text[at : match.start()].encode()
        if match["letter"]:
            octets += _LETTERS[match["letter"]]
        elif match["hex"]:
            octets += bytes.fromhex(match["hex"])
        else:
            octets += int(match["count"]) * match["what"].encode()
        at = match.end()
    return octets + text[at:].encode()
