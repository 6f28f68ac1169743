"""Plays dialogues to servers, and records their replies and the messages that they stored."""

import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

from tests.differential.dialogues import Dialogue
from tests.differential.peers import Accepted
from tests.kit.patience import PATIENCE

GIVEN_UP = 0
"""The code that is used instead of a reply that did not arrive in time."""

NOT_OFFERED = -2
"""The code that is used if a step was skipped, because the server does not offer the extension."""


REST = -1
"""The step number that is used for the rest of a dialogue."""


@dataclass
class Outcome:
    """The outcome of a dialogue with one server."""

    codes: list[list[int]] = field(default_factory=list)
    """The replies to each step; empty if the step was skipped, or the server had closed the connection."""
    rest: list[int] = field(default_factory=list)
    """The replies to the rest."""
    texts: list[bytes] = field(default_factory=list)
    """The text of all replies, for the analysis of failures."""
    ids: list[tuple[int, str]] = field(default_factory=list)
    """The id of each accepted message, with the number of its step."""
    messages: list[tuple[int, Accepted]] = field(default_factory=list)


class _Client:
    """A connection to a server, and its outcome."""

    def __init__(self, peer):
        self._peer = peer
        self.socket = socket.create_connection(peer.address, timeout=PATIENCE)
        self._received = b""
        self.outcome = Outcome()
        self._last, self._offered = 0, b""

    def take(self, number, step) -> list[int]:
        """Play a step, unless the state of the session forbids it, and return the codes of the replies."""
        if step.needs not in self._offered:
            return [NOT_OFFERED]
        if step.is_content and self._last != 354:
            return []
        self._send(step.octets)
        codes = []
        while len(codes) < step.replies and (reply := self.reply()) is not None:
            codes.append(self._noted(reply, number))
            if step.octets.upper().startswith(b"EHLO"):
                self._offered = reply
        self._last = codes[-1] if codes else 0
        return codes

    def end(self, rest) -> list[int]:
        """Send the rest, and return the codes of all replies until the server closes the connection."""
        self._send(rest)
        if self._peer.may_be_half_closed:
            self._end_our_side()
        codes = []
        while 221 not in codes:
            try:
                reply = self.reply()
            except TimeoutError:
                return [*codes, GIVEN_UP]
            if reply is None:
                break
            codes.append(self._noted(reply, REST))
            if codes[-1] == 220:  # the server waits for a TLS handshake, which the client does not make
                self._end_our_side()
        return codes

    def reply(self) -> bytes | None:
        """Return the next reply with all of its lines; None if the server has closed the connection."""
        lines = b""
        while True:
            line = self._line()
            if line is None:
                return None
            lines += line
            if line[3:4] != b"-":
                return lines

    def _send(self, octets):
        with suppress(ConnectionError):
            self.socket.sendall(octets)

    def _end_our_side(self):
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def _line(self):
        while b"\n" not in self._received:
            try:
                octets = self.socket.recv(65536)
            except ConnectionError:
                octets = b""
            if not octets:
                return None
            self._received += octets
        line, _, self._received = self._received.partition(b"\n")
        return line + b"\n"

    def _noted(self, reply, number) -> int:
        self.outcome.texts.append(reply)
        found = self._peer.told_id.search(reply)
        if found and reply.startswith(b"250"):
            self.outcome.ids.append((number, found[1].decode()))
        return int(reply[:3])


def play(dialogue: Dialogue, peer) -> Outcome:
    """Play a dialogue to a server."""
    client = _Client(peer)
    with client.socket:
        greeting = client.reply()
        assert greeting
        assert greeting.startswith(b"220")
        client.outcome.codes = [client.take(number, step) for number, step in enumerate(dialogue.steps)]
        client.outcome.rest = client.end(dialogue.rest)
    return client.outcome


def play_all(dialogues: list[Dialogue], peer, at_once=8) -> list[Outcome]:
    """Play all dialogues to a server, with several connections at the same time."""
    with ThreadPoolExecutor(at_once) as threads:
        outcomes = list(threads.map(lambda dialogue: play(dialogue, peer), dialogues))
        peer.settle([message_id for outcome in outcomes for _, message_id in outcome.ids])
        kept = threads.map(lambda outcome: [(number, peer.message(each)) for number, each in outcome.ids], outcomes)
        for outcome, messages in zip(outcomes, kept, strict=True):
            outcome.messages = messages
    return outcomes
