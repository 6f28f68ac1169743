"""Splits the client's input into command lines, and refuses lines that must not be parsed."""

from waypost.smtp.protocol import grammar, replies
from waypost.smtp.protocol.replies import Reply


class Unreadable(Exception):
    """Raised if a command line cannot be parsed. `reply` contains the reason."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


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

    def next_line(self) -> bytes | Reply | None:
        """Return the next command line with its CRLF.

        Returns None if no complete line has been received, or a reply if the session must end.
        """
        octets = self.octets
        if not octets:
            return None
        if octets.startswith(grammar.TLS_HANDSHAKE):
            return replies.NOT_SMTP
        end = octets.find(b"\n")
        if end < 0:
            return self._check_unfinished()
        line = bytes(octets[: end + 1])
        del octets[: end + 1]
        if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
            return replies.BARE_LINE_END
        if not self._is_shortened and grammar.is_http(line):  # a shortened line has been checked already
            return replies.NOT_SMTP
        return line

    def read(self, line: bytes) -> tuple[str, str]:
        """Split the line from `next_line` into the verb, in capitals, and the argument. Raises `Unreadable`."""
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
        """Check an incomplete line. Returns a reply if the session must end, otherwise None."""
        octets = self.octets
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
