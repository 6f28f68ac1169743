r"""Reads the SMTP dialogues in `dialogues/*.smtp`, and plays them to a session, cut as you like.

    # a remark
    O: message_limit=100          one of the session's capabilities
    C: NOOP                       the client sends a line, with its CRLF
    C< NOOP\n                     the client sends exactly this
    E: recipient a@b.example -> 250     the session asks; the system answers with this code
    E: message <a@b.example> to c@d.example by ESMTP from client.example -> 250
    M: a line of that message, as it reaches the system
    E: tls                        the session asks for the handshake, which is made
    E: closed                     the session is over
    S: 250 2.0.0 * accepted       the client is told this line; `*` stands for anything

Everywhere `\r`, `\n`, `\\` and `\xFF` are what they are in Python, and `\(5*ab)` is `ab` five times.
"""

import re
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from waypost.smtp.protocol import replies
from waypost.smtp.protocol.capabilities import Capabilities
from waypost.smtp.protocol.requests import MessageReceived, PieceReceived, TlsWanted
from waypost.smtp.protocol.session import Session

_ESCAPE = re.compile(r"\\(?:(?P<letter>[rn\\])|x(?P<hex>[0-9A-Fa-f]{2})|\((?P<count>\d+)\*(?P<what>[^)]+)\))")
_LETTERS = {"r": b"\r", "n": b"\n", "\\": b"\\"}


class OpenGate:
    """Lets every message in."""

    def at_mail(self):
        return None

    at_data = at_mail

    def refused(self, reply):
        pass


@dataclass
class Turn:
    """What the client sends at once, what the system is asked for it, and what the client is told."""

    sent: bytes = b""
    events: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)


@dataclass(repr=False)
class Dialogue:
    """A dialogue as it was written."""

    name: str
    options: dict[str, int] = field(default_factory=dict)
    turns: list[Turn] = field(default_factory=lambda: [Turn()])

    def __repr__(self) -> str:
        return self.name

    @property
    def sent(self) -> bytes:
        return b"".join(turn.sent for turn in self.turns)

    @property
    def told(self) -> list[str]:
        return [line for turn in self.turns for line in turn.told]

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
    """Answers a session's questions: knows everybody but `unknown`, and is broken for `broken`."""

    def __init__(self):
        self.events = []
        """What was asked and answered, as a dialogue has it."""
        self.pieces = b""
        """What is kept of a message that is coming in."""

    def serve(self, session: Session) -> bytes:
        """Answer until there is no question left; returns what the client is told."""
        while (event := session.next_request()) or session.has_more:
            if isinstance(event, TlsWanted):
                self.events.append("tls")
                session.tls_started("TLSv1.3 TLS_AES_256_GCM_SHA384")
            elif isinstance(event, PieceReceived):
                self._keep(event)
                session.answer(replies.OK)
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
                if turn.told or turn.events:
                    turn = Turn()
                    dialogue.turns.append(turn)
                turn.sent += _octets(text) + (b"\r\n" if kind == "C:" else b"")
            case "S:":
                turn.told.append(text)
            case "E:":
                turn.events.append(text)
            case "M:":
                line_of_message = _octets(text) + b"\r\n"
                turn.events.append(f"M {line_of_message!r}")
            case _:
                raise ValueError(f"{path.name}: what is {line!r}?")
    return dialogue


def play(session: Session, pieces: list[bytes]) -> tuple[list[str], bytes]:
    """Feed a session these pieces; returns what the system was asked and what the client was told."""
    system = System()
    told = system.serve(session)
    for piece in pieces:
        session.receive(piece)
        told += system.serve(session)
    return system.events, told


def is_told(told: bytes, lines: list[str]) -> bool:
    """Whether the client was told exactly these lines."""
    pattern = "".join(re.escape(line).replace(r"\*", r"[^\r\n]+") + "\r\n" for line in lines)
    return re.fullmatch(pattern, told.decode()) is not None


def cut(octets: bytes, places: set[int]) -> list[bytes]:
    """Cut octets at these places, as far as they are inside."""
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
