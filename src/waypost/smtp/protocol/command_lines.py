"""Splits the input into command lines, and refuses lines that must not be parsed."""

from waypost.smtp.protocol import grammar, replies
from waypost.smtp.protocol.replies import Reply


class Unreadable(Exception):
    """A command line cannot be parsed; the reply has the reason."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


class Input:
    """The input that is not used yet.

    Of a line that is too long only its beginning and its last octet are kept, so a client that never ends its line
    takes no memory.
    """

    __slots__ = ("_is_shortened", "octets")

    def __init__(self) -> None:
        self.octets = bytearray()
        self._is_shortened = False
        """Whether the middle of the line in `octets` was left out, because it is longer than any line may be."""

    def clear(self) -> None:
        """Forget what has come."""
        self.octets.clear()

    def next_line(self) -> bytes | Reply | None:
        """The next command line with its CRLF, None if none has come whole, or the reply that ends the session."""
        octets = self.octets
        if octets.startswith(grammar.TLS_HANDSHAKE):
            return replies.NOT_SMTP
        end = octets.find(b"\n")
        if end < 0:
            return self._check_unfinished()
        line = bytes(octets[: end + 1])
        del octets[: end + 1]
        if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
            return replies.BARE_LINE_END
        if not self._is_shortened and grammar.is_http(line):  # a line was looked at before it was shortened
            return replies.NOT_SMTP
        return line

    def read(self, line: bytes) -> tuple[str, str]:
        """The verb in capitals and the argument of the line that `next_line` gave. Raises `Unreadable`."""
        if len(line) > grammar.LINE_LIMIT or self._is_shortened:
            limit = grammar.line_limit(line)
            was_shortened, self._is_shortened = self._is_shortened, False
            if was_shortened or len(line) > limit:
                raise Unreadable(replies.LINE_TOO_LONG.about(limit=limit))
        try:
            return grammar.split_command(line[:-2].decode())
        except UnicodeDecodeError:
            raise Unreadable(replies.NOT_UTF8) from None

    def _check_unfinished(self) -> Reply | None:
        """Check an incomplete line. Returns the reply that ends the session, or None."""
        octets = self.octets
        if b"\r" in octets[:-1]:
            return replies.BARE_LINE_END
        if len(octets) > grammar.LONGEST_LINE:
            if not self._is_shortened and grammar.is_http(octets):
                return replies.NOT_SMTP
            self._is_shortened = True
            # The verb decides on the limit, and the last octet may be the CR of the line's end.
            del octets[len("MAIL ") : -1]
        return None
