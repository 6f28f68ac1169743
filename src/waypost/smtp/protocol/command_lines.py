"""Splits the client's input into command lines, and refuses lines that must not be parsed."""

from functools import lru_cache
from typing import NamedTuple

from waypost.smtp.protocol import grammar, replies
from waypost.smtp.protocol.replies import Reply

LINES_KNOWN = 1_000
"""The maximum number of command lines whose parsed form is kept, because clients repeat them. Only lines of at most
`grammar.LINE_LIMIT` octets are kept.
"""


class Line(NamedTuple):
    """A complete command line."""

    start: bytes
    """The first octets of the line, in capitals: the verb of an ordinary command, with the character after it."""
    verb: str = ""
    """The verb, in capitals."""
    argument: str = ""
    refusal: Reply | None = None
    """The reply to a line that cannot be parsed; None for all other lines."""


class Input:
    """The input that the session has not parsed yet.

    If a line is too long, only its beginning and its last byte are kept, so that a client that never ends its line
    cannot use up memory.
    """

    __slots__ = ("_is_shortened", "octets")

    def __init__(self) -> None:
        self.octets = bytearray()
        self._is_shortened = False
        """Whether the middle of the line in `octets` was dropped, because the line is too long for any command."""

    def clear(self) -> None:
        """Discard all input that has been received but not yet parsed."""
        self.octets.clear()

    def next_line(self) -> Line | Reply | None:
        """Return the next command line.

        Returns None if no complete line has been received, or a reply if the session must end.
        """
        octets = self.octets
        end = octets.find(b"\n") + 1
        if not end:
            return self._check_unfinished() if octets else None
        line = bytes(octets[:end])
        del octets[:end]
        if end <= grammar.LINE_LIMIT and not self._is_shortened:
            return _read_again(line)
        is_shortened, self._is_shortened = self._is_shortened, False
        return _read(line, is_shortened=is_shortened)

    def _check_unfinished(self) -> Reply | None:
        """Check an incomplete line. Returns a reply if the session must end, otherwise None."""
        octets = self.octets
        if octets.startswith(grammar.TLS_HANDSHAKE):
            return replies.NOT_SMTP
        if b"\r" in octets[:-1]:
            return replies.BARE_LINE_END
        if len(octets) > grammar.LONGEST_LINE:
            if not self._is_shortened and grammar.is_http(octets):
                return replies.NOT_SMTP
            self._is_shortened = True
            # The beginning is kept because the limit depends on the verb. The last byte is kept because it may be the
            # CR of the line end.
            del octets[len("MAIL ") : -1]
        return None


def _read(line: bytes, *, is_shortened: bool = False) -> Line | Reply:
    """Parse a line with its line end, or return the reply with which the session must end.

    `is_shortened` is true if the middle of the line was dropped.
    """
    if line.startswith(grammar.TLS_HANDSHAKE):
        return replies.NOT_SMTP
    if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
        return replies.BARE_LINE_END
    if not is_shortened and grammar.is_http(line):  # a shortened line has been checked already
        return replies.NOT_SMTP
    start, limit = line[: len("MAIL ")].upper(), grammar.line_limit(line)
    if is_shortened or len(line) > limit:
        return Line(start, refusal=replies.LINE_TOO_LONG.about(limit=limit))
    try:
        return Line(start, *grammar.split_command(line[:-2].decode()))
    except UnicodeDecodeError:
        return Line(start, refusal=replies.NOT_UTF8)


_read_again = lru_cache(maxsize=LINES_KNOWN)(_read)
"""The same as `_read`, but with a cache."""
