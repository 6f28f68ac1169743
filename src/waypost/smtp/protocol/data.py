"""Reads the octets of a message: after DATA until the line with a single dot, or in the counted chunks of BDAT.

The results do not depend on how the octets are cut. After DATA only `<CR><LF>.<CR><LF>` ends a message (RFC 5321
section 4.1.1.4). A bare CR or LF anywhere in it is refused, because it lets a sender smuggle a second message; only a
message that was declared binary (RFC 3030) may have them in its body.
"""

import re

from waypost.domain.mail.messages import HEADER_LIMIT, end_of_header
from waypost.smtp.protocol import replies
from waypost.smtp.protocol.replies import Reply

END = b"\r\n.\r\n"

PIECE = HEADER_LIMIT
"""Octets of a large message that are handed on at once. The header must fit into the first piece."""

HEADER_LINE_LIMIT = 5_000
"""Lines of a header. A header with a thousand recipients in To and a hundred hops fits."""

SCARCE_HEADER = 8 * 1024
"""Octets of an incomplete header that are held even when memory is scarce. Until it ends it is held."""

_HEADER_TOO_BIG = replies.HEADER_TOO_BIG.about(octets="{octets}", lines=f"{HEADER_LINE_LIMIT:,}")

_NO_FIELD = re.compile(rb"\r\n(?![!-9;-~]+[ \t]*:|[ \t])")
"""A line end before a line that is neither a header field nor a continuation: the header ends there too."""

_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")


class BareLineEnd(Exception):
    """The message has a CR without LF, or a LF without CR."""


class Body:
    """The received octets of one message. A large message is passed on in pieces of one size; only its end is held.

    Whether and why it is refused depends only on the octets, not on how they are cut.
    """

    def __init__(self, limit: int, *, piece: int = PIECE) -> None:
        """`limit` is the most octets that are kept; of a larger message only the size is known."""
        self._limit = limit
        self._piece = piece
        self._octets = bytearray()
        self._is_header_known = False
        self._spill = False
        self.size = 0
        """Octets of the message so far."""
        self.handed_on = 0
        """Octets of it that `next_piece` has given."""
        self.is_binary = False
        """Whether it is binary: with a bare CR or LF, or a NUL (RFC 2045 section 2.9)."""
        self._is_ascii = True
        self.header = b""
        """Its header; known as soon as a piece was passed on, or the message has ended."""
        self.refusal: Reply | None = None
        """The reply that refuses the message; its further octets are dropped."""

    @property
    def is_endless(self) -> bool:
        """Whether so many octets of a refused message were received that the session does not wait for its end."""
        return self.refusal is not None and self.size > 2 * self._limit

    @property
    def kind(self) -> str:
        """The kind of its octets, as the BODY parameter of MAIL names it, whatever the client declared."""
        if self.is_binary:
            return "BINARYMIME"
        return "7BIT" if self._is_ascii else "8BITMIME"

    @property
    def buffered(self) -> int:
        """Octets that are held here."""
        return len(self._octets)

    def take(self, octets: bytes) -> None:
        """The next octets of the message."""
        room = self._piece - self.size
        if len(octets) > room and not self._is_header_known and self.refusal is None:
            self._keep(octets[:room])
            self._end_header_of_a_large_message()
            octets = octets[room:]
        self._keep(octets)

    def refuse(self, reply: Reply) -> None:
        """Refuse the message; the first reason counts."""
        self.refusal = self.refusal or reply
        self._octets.clear()

    def spill(self) -> None:
        """Pass on the octets held so far as soon as possible, even if they are less than a piece."""
        self._spill = bool(self._octets)

    def next_piece(self) -> bytes | None:
        """The next piece to pass on, or None if there is none yet."""
        if len(self._octets) <= self._piece and not self._spill:
            return None
        self._spill = False
        if not (self._is_header_known or self._is_header_here()):
            return None
        piece = bytes(self._octets[: self._piece])
        del self._octets[: self._piece]
        self.handed_on += len(piece)
        return piece

    def finish(self) -> bytes:
        """End the message; returns the octets that were not passed on. `refusal` says whether it is refused."""
        octets = bytes(self._octets)
        if not self._is_header_known:
            end = end_of_header(octets)
            self._end_header(octets[: _first_no_field(octets) if end is None else end])
        self._octets.clear()
        return octets

    def _keep(self, octets: bytes) -> None:
        self.size += len(octets)
        if self.size > self._limit:
            self.refuse(replies.MESSAGE_TOO_BIG.about(limit=self._limit))
        if self.refusal is None:
            self._octets += octets
            self._is_ascii = self._is_ascii and octets.isascii()

    def _is_header_here(self) -> bool:
        """Whether the header has ended, so that less than a piece may be passed on."""
        end = end_of_header(self._octets)
        if end is None:
            if len(self._octets) > SCARCE_HEADER:
                self.refuse(replies.NO_MEMORY)
            return False
        self._end_header(bytes(self._octets[:end]))
        return self.refusal is None

    def _end_header_of_a_large_message(self) -> None:
        """Find the end of the header in the first piece: an empty line, or a line that is not a field."""
        first = bytes(self._octets)
        end = end_of_header(first)
        if end is None:
            last_line = first.rfind(b"\r\n")
            end = _first_no_field(first if last_line < 0 else first[:last_line])
        if end is None:
            self.refuse(_HEADER_TOO_BIG.about(octets=f"{self._piece:,}"))
        else:
            self._end_header(first[:end])

    def _end_header(self, header: bytes) -> None:
        self.header = header
        self._is_header_known = True
        if header.count(b"\r\n") > HEADER_LINE_LIMIT:
            self.refuse(_HEADER_TOO_BIG.about(octets=f"{self._piece:,}"))
        elif not header.count(b"\r\n") == header.count(b"\r") == header.count(b"\n"):
            # A binary message has a header of lines too; with other ends, others would find other fields in it.
            self.refuse(replies.BARE_LINE_END_IN_DATA)


class MessageDecoder:
    """Finds the end of a message after DATA, and removes the stuffed dots. Feed it until it returns the rest."""

    def __init__(self, body: Body) -> None:
        self._body = body
        # DATA's own line end counts as the one before the first line, which may start with a dot too.
        self._held = b"\r\n"
        self._is_first = True

    def feed(self, octets: bytes) -> bytes | None:
        """Take in more. Returns the octets after the end of the message, or None if it has not ended.

        Raises `BareLineEnd` after the octets before it were taken; nothing can be fed after that.
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
    """Counts the octets of one chunk after BDAT, and looks for bare line ends.

    They are refused, or make the message binary if the client declared it so.
    """

    def __init__(self, body: Body, *, may_be_binary: bool) -> None:
        self._body = body
        self._may_be_binary = may_be_binary
        self._ends_with_cr = False
        self.left = 0
        """Octets of the current chunk that are still missing."""

    def feed(self, octets: bytes) -> bytes:
        """Take in more. Returns the octets after the chunk; the chunk has ended when `left` is zero."""
        chunk, rest = octets[: self.left], octets[self.left :]
        self.left -= len(chunk)
        if self._body.is_binary:
            self._body.take(chunk)
            return rest
        bare = self._bare_line_end(chunk)
        if self._may_be_binary:
            self._body.is_binary = bare is not None or b"\0" in chunk
            self._body.take(chunk)
        elif bare is None:
            self._body.take(chunk)
        else:
            self._body.take(chunk[:bare])  # which may have a reason of its own
            self._body.refuse(replies.BARE_LINE_END_IN_DATA)
        return rest

    def end(self) -> None:
        """The last chunk has ended."""
        if not self._ends_with_cr:
            return
        if self._may_be_binary:
            self._body.is_binary = True
        else:
            self._body.refuse(replies.BARE_LINE_END_IN_DATA)

    def _bare_line_end(self, chunk: bytes) -> int | None:
        """The place of a bare CR or LF in these octets, given those before. The last octet may be half of a CRLF."""
        if not chunk:
            return None
        before = b"\r" if self._ends_with_cr else b""
        self._ends_with_cr = chunk.endswith(b"\r")
        whole = before + (chunk[:-1] if self._ends_with_cr else chunk)
        if whole.count(b"\r\n") == whole.count(b"\r") == whole.count(b"\n"):
            return None
        bare = _BARE.search(whole)
        return max(0, bare.start() - len(before)) if bare else None


def _first_no_field(octets: bytes) -> int | None:
    """The end of a header without an empty line after it: before the first line that is not a field."""
    lines = b"\r\n" + octets
    found = _NO_FIELD.search(lines)
    return found.start() if found and found.end() < len(lines) else None


def _possible_end(octets: bytes) -> int:
    """How many octets at the end may be the beginning of `END`."""
    for length in range(min(len(END) - 1, len(octets)), 0, -1):
        if octets.endswith(END[:length]):
            return length
    return 0
