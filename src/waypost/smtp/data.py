"""The message after DATA: finds its end, takes off the dots, and accepts no line end but CRLF.

Bytes in, bytes out, however they are cut. Only `<CR><LF>.<CR><LF>` ends a message (RFC 5321 section 4.1.1.4);
a bare CR or LF anywhere in it is refused, because that is how one message is smuggled to look like two.
"""

END = b"\r\n.\r\n"


class BareLineEnd(Exception):
    """The message has a CR without LF, or a LF without CR."""


class MessageDecoder:
    """Decodes one message. Feed it until it gives back the rest."""

    def __init__(self, limit: int) -> None:
        """`limit` is the most octets of a message that are kept; of a larger one only the size is known."""
        self._limit = limit
        self._parts: list[bytes] = []
        # DATA's own line end counts as the one before the first line, which may start with a dot too.
        self._held = b"\r\n"
        self._size = -len(self._held)

    @property
    def too_big(self) -> bool:
        """Whether the message so far is larger than the limit."""
        return self._size > self._limit

    @property
    def raw(self) -> bytes:
        """The message as it was before dots were added, complete when `feed` has returned a rest."""
        return b"".join(self._parts)

    def feed(self, octets: bytes) -> bytes | None:
        """Take in more. Returns what follows the end of the message, or None while it has not ended.

        Raises `BareLineEnd`; nothing can be fed after that.
        """
        octets = self._held + octets
        end = octets.find(END)
        if end >= 0:
            self._take(octets[: end + 2])
            return octets[end + len(END) :]
        undecided = len(octets) - _possible_end(octets)
        self._held = octets[undecided:]
        self._take(octets[:undecided])
        return None

    def _take(self, lines: bytes) -> None:
        if not lines:
            return
        if not lines.count(b"\r\n") == lines.count(b"\r") == lines.count(b"\n"):
            raise BareLineEnd
        lines = lines.replace(b"\r\n.", b"\r\n")
        self._parts.append(lines[2:] if self._size < 0 else lines)
        self._size += len(lines)
        if self.too_big:
            self._parts.clear()


def _possible_end(octets: bytes) -> int:
    """How many octets at the end may be the beginning of `END`."""
    for length in range(min(len(END) - 1, len(octets)), 0, -1):
        if octets.endswith(END[:length]):
            return length
    return 0
