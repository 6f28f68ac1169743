"""Parses a peer's replies from octets that may be cut anywhere (RFC 5321 section 4.2)."""

import re
from dataclasses import dataclass

REPLY_LINE_LIMIT = 4096
"""Octets of a line of a reply, eight times what RFC 5321 section 4.5.3.1.5 allows."""

REPLY_LIMIT = 100
"""Lines of a reply."""

TEXT_LIMIT = 1000
"""Characters that are kept of a peer's reply."""

_REPLY_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)
_ENHANCED = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?:\s+|$)", re.ASCII)
_BEGUN = re.compile(rb"[2-5][0-9]{2}(?:[ -]|\r?\Z)")
"""The beginning of a line of a reply, from which its code is known."""
_NOT_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class NotAReply(Exception):
    """The octets are not a reply, or the reply is too long."""

    def __init__(self, text: str, begun: "Reply | None" = None) -> None:
        """`begun` is the reply that goes before it, if there is one whose code is known."""
        super().__init__(text)
        self.begun = begun


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply of a peer."""

    code: int
    lines: tuple[str, ...]
    """Its text, without code and enhanced code."""
    enhanced: str = ""

    @property
    def text(self) -> str:
        """Its whole text in one line."""
        return one_line(" ".join(self.lines))


class ReplyReader:
    """Splits received octets into replies (RFC 5321 section 4.2.1)."""

    def __init__(self) -> None:
        self._input = bytearray()
        self._code = 0
        self._enhanced = ""
        self._lines: list[str] = []

    @property
    def is_empty(self) -> bool:
        """Whether all received octets were parsed."""
        return not self._input and not self._lines

    def end(self) -> Reply | None:
        """Nothing more is read. Returns the reply of which only the beginning was received, or None.

        Its code is known, because all lines of a reply have the same one (RFC 5321 section 4.2.1).
        """
        if not self._lines and _BEGUN.match(self._input):
            self._take(bytes(self._input[:REPLY_LINE_LIMIT]).removesuffix(b"\r"))
        return Reply(self._code, tuple(self._lines), self._enhanced) if self._lines else None

    def receive(self, octets: bytes) -> None:
        """Take in what came."""
        self._input += octets

    def next_reply(self) -> Reply | None:
        """The next reply, or None if it is not complete yet. Raises `NotAReply`."""
        while True:
            end = self._input.find(b"\n", 0, REPLY_LINE_LIMIT)
            if end < 0:
                if len(self._input) >= REPLY_LINE_LIMIT:
                    raise NotAReply(f"a line of a reply has more than {REPLY_LINE_LIMIT} octets", self.end())
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
            raise NotAReply(f"no reply: {line[:100].decode('utf-8', 'replace')}", self.end() if self._lines else None)
        code, text = int(match[1]), (match[3] or b"").decode("utf-8", "replace")
        enhanced = _ENHANCED.match(text)
        if not self._lines:
            self._code = code
            self._enhanced = enhanced[1] if enhanced and enhanced[1][0] == str(code)[0] else ""
        elif code != self._code:
            raise NotAReply(f"a reply is {self._code} in one line and {code} in the next")
        if len(self._lines) == REPLY_LIMIT:
            raise NotAReply(f"a reply has more than {REPLY_LIMIT} lines", self.end())
        is_code = enhanced is not None and enhanced[1] == self._enhanced
        self._lines.append(text[enhanced.end() :] if enhanced and is_code else text)
        return match[2] != b"-"


def one_line(text: str) -> str:
    """Text made safe for display: one line of limited length."""
    return " ".join(_NOT_TEXT.sub(" ", text).split())[:TEXT_LIMIT]
