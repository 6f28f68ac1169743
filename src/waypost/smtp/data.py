"""The octets of a message as they come in: after DATA until the lone dot, or in the counted chunks of BDAT.

Bytes in, bytes out, however they are cut. After DATA only `<CR><LF>.<CR><LF>` ends a message (RFC 5321 section
4.1.1.4). A bare CR or LF anywhere in it is refused, because that is how one message is smuggled to look like two;
only a message that says it is binary (RFC 3030) may have them.
"""

import re

from waypost.domain.messages import end_of_header
from waypost.smtp import replies
from waypost.smtp.replies import Reply

END = b"\r\n.\r\n"

PIECE = 256 * 1024
"""Octets of a large message that are handed on at once. The header has to fit into the first piece."""

HEADER_LINE_LIMIT = 5_000
"""Lines of a header. A thousand recipients in To, a line each, and a hundred hops fit well."""

_NO_FIELD = re.compile(rb"\r\n(?![!-9;-~]+[ \t]*:|[ \t])")
"""The end of a line, before one that can be no header field, nor go on with one: there a header ends too."""

_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")


class BareLineEnd(Exception):
    """The message has a CR without LF, or a LF without CR."""


class Body:
    """What has come of one message. Of a large one all but the end is handed on in pieces, always of the same size."""

    def __init__(self, limit: int, *, piece: int = PIECE) -> None:
        """`limit` is the most octets that are kept; of a larger message only the size is known."""
        self._limit = limit
        self._piece = piece
        self._parts: list[bytes] = []
        self._buffered = 0
        self._spill = False
        self.size = 0
        """Octets of the message so far."""
        self.handed_on = 0
        """Octets of it that `next_piece` has given."""
        self.header = b""
        """Its header; known as soon as a piece has been handed on, or the message has ended."""
        self.refusal: Reply | None = None
        """Why the message is not taken; what still comes of it is not kept."""

    @property
    def buffered(self) -> int:
        """Octets that are held here."""
        return self._buffered

    def take(self, octets: bytes) -> None:
        """The next octets of the message."""
        self.size += len(octets)
        if self.size > self._limit:
            self.refuse(replies.MESSAGE_TOO_BIG.about(limit=self._limit))
        if self.refusal is None:
            self._parts.append(octets)
            self._buffered += len(octets)

    def refuse(self, reply: Reply) -> None:
        """This message will not be taken; the first reason is the one that is told."""
        self.refusal = self.refusal or reply
        self._parts.clear()
        self._buffered = 0

    def spill(self) -> None:
        """Hand on what is there, at the next occasion, though it is no whole piece."""
        self._spill = self._buffered > 0

    def next_piece(self) -> bytes | None:
        """The next piece to hand on, or None if there is none yet."""
        if not (self._spill or self._buffered > self._piece):
            return None
        self._spill = False
        octets = b"".join(self._parts)
        self._parts = [octets]
        if not self.handed_on and not self._is_header_known(octets):
            return None
        piece, rest = octets[: self._piece], octets[self._piece :]
        self._parts = [rest]
        self._buffered = len(rest)
        self.handed_on += len(piece)
        return piece

    def finish(self) -> bytes:
        """The message has ended: what was not handed on of it. `refusal` says whether it is to be taken."""
        octets = b"".join(self._parts)
        if not self.handed_on:
            end = end_of_header(octets)
            self._keep_header(octets if end is None else octets[:end])
        self._parts.clear()
        self._buffered = 0
        return octets

    def _is_header_known(self, octets: bytes) -> bool:
        """Whether the header ends in the first octets of the message, as it has to within the first piece."""
        end = end_of_header(octets[: self._piece])
        if end is not None:
            self._keep_header(octets[:end])
        elif len(octets) > self._piece:
            whole_lines = octets[: octets.rfind(b"\r\n", 0, self._piece)]
            first = _NO_FIELD.search(b"\r\n" + whole_lines)
            self._keep_header(octets[: first.start()] if first else octets)
        else:
            return False
        return self.refusal is None

    def _keep_header(self, header: bytes) -> None:
        self.header = header
        if len(header) > self._piece or header.count(b"\r\n") > HEADER_LINE_LIMIT:
            self.refuse(replies.HEADER_TOO_BIG.about(octets=f"{self._piece:,}", lines=f"{HEADER_LINE_LIMIT:,}"))


class MessageDecoder:
    """Finds the end of a message after DATA, and takes off the dots. Feed it until it gives back the rest."""

    def __init__(self, body: Body) -> None:
        self._body = body
        # DATA's own line end counts as the one before the first line, which may start with a dot too.
        self._held = b"\r\n"
        self._is_first = True

    def feed(self, octets: bytes) -> bytes | None:
        """Take in more. Returns what follows the end of the message, or None while it has not ended.

        Raises `BareLineEnd` when all before it has been taken; nothing can be fed after that.
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
        bare = None
        if not lines.count(b"\r\n") == lines.count(b"\r") == lines.count(b"\n"):
            bare = _BARE.search(lines)
            lines = lines[: bare.start()] if bare else lines
        decoded = lines.replace(b"\r\n.", b"\r\n")
        if self._is_first:
            decoded, self._is_first = decoded[2:], False
        self._body.take(decoded)
        if bare:
            raise BareLineEnd


class ChunkDecoder:
    """Counts the octets of one chunk after BDAT, and keeps an eye on line ends where the message is text."""

    def __init__(self, body: Body, *, is_binary: bool) -> None:
        self._body = body
        self._is_binary = is_binary
        self._ends_with_cr = False
        self.left = 0
        """Octets of the current chunk that are still to come."""

    def feed(self, octets: bytes) -> bytes:
        """Take in more. Returns what follows the chunk; the chunk has ended when `left` is zero."""
        chunk, rest = octets[: self.left], octets[self.left :]
        self.left -= len(chunk)
        if not self._is_binary and self._has_bare_line_end(chunk):
            self._body.refuse(replies.BARE_LINE_END_IN_DATA)
        self._body.take(chunk)
        return rest

    def end(self) -> None:
        """The last chunk has ended."""
        if self._ends_with_cr:
            self._body.refuse(replies.BARE_LINE_END_IN_DATA)

    def _has_bare_line_end(self, chunk: bytes) -> bool:
        """Whether these octets, after those before, have a CR or LF alone. The last one may be half of a pair."""
        if not chunk:
            return False
        chunk = b"\r" + chunk if self._ends_with_cr else chunk
        self._ends_with_cr = chunk.endswith(b"\r")
        whole = chunk[:-1] if self._ends_with_cr else chunk
        return not whole.count(b"\r\n") == whole.count(b"\r") == whole.count(b"\n")


def _possible_end(octets: bytes) -> int:
    """How many octets at the end may be the beginning of `END`."""
    for length in range(min(len(END) - 1, len(octets)), 0, -1):
        if octets.endswith(END[:length]):
            return length
    return 0
