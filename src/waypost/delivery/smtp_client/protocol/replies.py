"""Parse a peer's replies from bytes that may be split anywhere (RFC 5321 section 4.2)."""

import re
from functools import lru_cache

from msgspec import Struct

REPLY_LINE_LIMIT = 4096
"""The maximum length of a reply line in bytes: eight times the limit in RFC 5321 section 4.5.3.1.5."""

REPLY_LIMIT = 100
"""The maximum number of lines in a reply."""

TEXT_LIMIT = 1000
"""The maximum number of characters of a peer's reply that are stored or shown."""

CACHED = 200
"""The maximum length of a cached reply, in bytes or characters, so that long replies do not fill the memory."""

_REPLY_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)
_ENHANCED = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?:\s+|$)", re.ASCII)
_BEGUN = re.compile(rb"[2-5][0-9]{2}(?:[ -]|\r?\Z)")
"""Matches the beginning of a reply line if it is long enough to contain the whole reply code."""
_NOT_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class NotAReply(Exception):
    """Raised if the received bytes are not a reply, or the reply is too long."""

    def __init__(self, text: str, begun: "Reply | None" = None) -> None:
        """`begun` is the incomplete reply before the invalid bytes, if there is one and its reply code is known."""
        super().__init__(text)
        self.begun = begun


class Reply(Struct, frozen=True):
    """One reply from a peer."""

    code: int
    lines: tuple[str, ...]
    """The lines of the reply's text, without the reply code and the enhanced status code."""
    enhanced: str = ""

    @property
    def text(self) -> str:
        """The whole text of the reply, as one line."""
        return one_line(" ".join(self.lines))


class ReplyReader:
    """Splits received bytes into replies (RFC 5321 section 4.2.1)."""

    def __init__(self) -> None:
        self._input = bytearray()
        self._code = 0
        self._enhanced = ""
        self._lines: list[str] = []

    @property
    def is_empty(self) -> bool:
        """Whether all received bytes were parsed."""
        return not self._input and not self._lines

    def end(self) -> Reply | None:
        """End the input. Returns the incomplete reply at the end of the input, or None.

        Even an incomplete reply has a known reply code, because all lines of a reply have the same code (RFC 5321
        section 4.2.1).
        """
        if not self._lines and _BEGUN.match(self._input):
            self._take(bytes(self._input[:REPLY_LINE_LIMIT]).removesuffix(b"\r"))
        return Reply(self._code, tuple(self._lines), self._enhanced) if self._lines else None

    def receive(self, octets: bytes) -> None:
        """Add received bytes to the input."""
        self._input += octets

    def next_reply(self) -> Reply | None:
        """Return the next reply, or None if the next reply is not complete yet. Raises `NotAReply`."""
        while True:
            end = self._input.find(b"\n", 0, REPLY_LINE_LIMIT)
            if end < 0:
                if len(self._input) >= REPLY_LINE_LIMIT:
                    raise NotAReply(f"a line of the reply has more than {REPLY_LINE_LIMIT} bytes", self.end())
                return None
            line = bytes(self._input[:end]).removesuffix(b"\r")
            del self._input[: end + 1]
            if not self._lines and line[3:4] == b" " and len(line) <= CACHED:
                return _only_line(line)
            if self._take(line):
                reply = Reply(self._code, tuple(self._lines), self._enhanced)
                self._lines.clear()
                return reply

    def _take(self, line: bytes) -> bool:
        """Parse a line of a reply. Returns whether the line is the last line of the reply. Raises `NotAReply`."""
        match = _REPLY_LINE.fullmatch(line)
        if not match:
            raise NotAReply(
                f"not an SMTP reply: {line[:100].decode('utf-8', 'replace')}", self.end() if self._lines else None
            )
        code, text = int(match[1]), (match[3] or b"").decode("utf-8", "replace")
        enhanced = _ENHANCED.match(text)
        if not self._lines:
            self._code = code
            self._enhanced = enhanced[1] if enhanced and enhanced[1][0] == str(code)[0] else ""
        elif code != self._code:
            raise NotAReply(f"one line of the reply has the code {self._code}, and the next line has {code}")
        if len(self._lines) == REPLY_LIMIT:
            raise NotAReply(f"the reply has more than {REPLY_LIMIT} lines", self.end())
        is_code = enhanced is not None and enhanced[1] == self._enhanced
        self._lines.append(text[enhanced.end() :] if enhanced and is_code else text)
        return match[2] != b"-"


@lru_cache(maxsize=256)
def _only_line(line: bytes) -> Reply:
    """Return a reply that has only this line. Raises `NotAReply`.

    The replies are cached, because a peer replies to most commands with the same line each time.
    """
    reader = ReplyReader()
    reader._take(line)  # noqa: SLF001 - of the same class
    return Reply(reader._code, tuple(reader._lines), reader._enhanced)  # noqa: SLF001


def one_line(text: str) -> str:
    """Make text safe for display, as one line of limited length."""
    return _short_line(text) if len(text) <= CACHED else _line(text)


def _line(text: str) -> str:
    return " ".join(_NOT_TEXT.sub(" ", text).split())[:TEXT_LIMIT]


_short_line = lru_cache(maxsize=256)(_line)
