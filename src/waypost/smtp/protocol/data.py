"""Reads the content of a message: after DATA, up to the line that contains only a dot; after BDAT, chunk by chunk.

The result does not depend on how the network splits the bytes of the message. After DATA, only `<CR><LF>.<CR><LF>` ends
a message (RFC 5321 section 4.1.1.4). A message with a bare CR or LF is refused, because a sender could use it to
smuggle a second message. Only a message that the client declared as binary (RFC 3030) may have bare CRs or LFs in its
body.
"""

import re

from waypost.domain.mail.messages import HEADER_LIMIT, end_of_header
from waypost.smtp.protocol import replies
from waypost.smtp.protocol.replies import Reply

END = b"\r\n.\r\n"

PIECE = HEADER_LIMIT
"""The size, in bytes, of the pieces of a large message. The message's header must fit into the first piece."""

HEADER_LINE_LIMIT = 5_000
"""The maximum number of lines in a message header: enough for a thousand recipients in To and a hundred hops."""

SCARCE_HEADER = 8 * 1024
"""The maximum size, in bytes, of an incomplete header when memory is scarce.

A header stays in memory until it is complete, so the server refuses longer headers while memory is scarce."""

_HEADER_TOO_BIG = replies.HEADER_TOO_BIG.about(octets="{octets}", lines=f"{HEADER_LINE_LIMIT:,}")

_NO_FIELD = re.compile(rb"\r\n(?![!-9;-~]+[ \t]*:|[ \t])")
"""Matches the end of a header that is not followed by an empty line: the line end before the first line that is not
part of a header field.
"""

_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_BARE_CR = re.compile(rb"\r(?!\n)")


class BareLineEnd(Exception):
    """Raised if a message has a CR without LF, or an LF without CR."""


class Body:
    """The received bytes of one message.

    A large message is divided into pieces. The caller takes each piece from `next_piece` and has it stored, so only the
    rest of the message is kept in memory. Whether and why a message is refused depends only on its bytes, not on how
    the network splits them.
    """

    def __init__(self, limit: int, *, piece: int = PIECE) -> None:
        """`limit` is the largest accepted message, in bytes. The bytes of a larger message are counted and dropped."""
        self._limit = limit
        self._piece = piece
        self._octets = bytearray()
        self._is_header_known = False
        self._spill = False
        self.size = 0
        """The number of bytes of the message that have been received so far."""
        self.handed_on = 0
        """The number of bytes of the message that `next_piece` has returned."""
        self.is_binary = False
        """Whether the message is binary: it has a bare CR or LF, or a NUL (RFC 2045 section 2.9)."""
        self._is_ascii = True
        self.header = b""
        """The message's header. The header is known once the first piece has been returned or the message has ended."""
        self.refusal: Reply | None = None
        """The reply that refuses the message; None if the message has not been refused. All further bytes of a refused
        message are dropped."""

    @property
    def is_endless(self) -> bool:
        """Whether the message has been refused and is so large that the session does not wait for its end."""
        return self.refusal is not None and self.size > 2 * self._limit

    @property
    def kind(self) -> str:
        """The message's content type, expressed as a value of MAIL's BODY parameter.

        The type is determined from the bytes, not from the value that the client declared.
        """
        if self.is_binary:
            return "BINARYMIME"
        return "7BIT" if self._is_ascii else "8BITMIME"

    @property
    def buffered(self) -> int:
        """The number of bytes of the message that are in memory now."""
        return len(self._octets)

    def take(self, octets: bytes) -> None:
        """Process the next bytes of the message."""
        room = self._piece - self.size
        if len(octets) > room and not self._is_header_known and self.refusal is None:
            self._keep(octets[:room])
            self._end_header_of_a_large_message()
            octets = octets[room:]
        self._keep(octets)

    def refuse(self, reply: Reply) -> None:
        """Refuse the message with this reply, unless the message was already refused for another reason."""
        self.refusal = self.refusal or reply
        self._octets.clear()

    def spill(self) -> None:
        """Make `next_piece` return the bytes in memory as soon as possible, even if they do not fill a piece."""
        self._spill = bool(self._octets)

    def next_piece(self) -> bytes | None:
        """Return the next piece of the message, or None if no piece is ready."""
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
        """End the message, and return the remaining bytes, which `next_piece` has not returned.

        Afterwards, `refusal` is set if the message must be refused.
        """
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
        """Whether the header is complete. If so, `next_piece` may return less than a full piece."""
        end = end_of_header(self._octets)
        if end is None:
            if len(self._octets) > SCARCE_HEADER:
                self.refuse(replies.NO_MEMORY)
            return False
        self._end_header(bytes(self._octets[:end]))
        return self.refusal is None

    def _end_header_of_a_large_message(self) -> None:
        """Find the end of the header in the first piece, at an empty line or before a line that is not a header field.

        Refuse the message if the header does not end within the first piece.
        """
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
        elif _has_bare(header):
            # Even in a binary message, the header's lines must end in CRLF. If it had bare CRs or LFs, other programs
            # could find different fields in it.
            self.refuse(replies.BARE_LINE_END_IN_DATA)


class MessageDecoder:
    """Finds the end of a message after DATA, and removes stuffed dots.

    Call `feed` with received bytes until it returns the bytes that follow the message.
    """

    def __init__(self, body: Body) -> None:
        self._body = body
        # The line end of the DATA command serves as the line end before the first line, which may also begin with a
        # dot.
        self._held = b"\r\n"
        self._is_first = True

    def feed(self, octets: bytes) -> bytes | None:
        """Take in more bytes. Returns the bytes after the end of the message, or None if the message has not ended.

        Raises `BareLineEnd` at the first bare CR or LF, after processing the bytes before it. After this exception,
        `feed` must not be called again.
        """
        octets = self._held + octets
        dot = octets.find(b"\r\n.")  # in most messages, the only line that begins with a dot is the end
        end = octets.find(END, dot) if dot >= 0 else -1
        if end >= 0:
            self._take(octets[: end + 2], has_dots=dot < end)
            return octets[end + len(END) :]
        undecided = len(octets) - _possible_end(octets)
        self._held = octets[undecided:]
        self._take(octets[:undecided], has_dots=dot >= 0)
        return None

    def _take(self, lines: bytes, *, has_dots: bool) -> None:
        """Pass on these bytes. `has_dots` is true if lines may begin with a stuffed dot."""
        if not lines:
            return
        bare = _BARE.search(lines) if _has_bare(lines) else None
        lines = lines[: bare.start()] if bare else lines
        decoded = lines.replace(b"\r\n.", b"\r\n") if has_dots else lines
        if self._is_first:
            decoded, self._is_first = decoded[2:], False
        self._body.take(decoded)
        if bare:
            raise BareLineEnd


class ChunkDecoder:
    """Reads the bytes of each chunk after BDAT, and searches the message for bare CRs and LFs.

    If the client declared BODY=BINARYMIME, a bare CR or LF makes the message binary. If the client did not declare
    BODY=BINARYMIME, a message with a bare CR or LF is refused.
    """

    def __init__(self, body: Body, *, may_be_binary: bool) -> None:
        self._body = body
        self._may_be_binary = may_be_binary
        self._ends_with_cr = False
        self.left = 0
        """The number of bytes of the current chunk that have not been received yet."""

    def feed(self, octets: bytes) -> bytes:
        """Process more bytes, and return the bytes after the chunk. The chunk is complete when `left` is zero."""
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
            self._body.take(chunk[:bare])  # these bytes may be refused for another reason
            self._body.refuse(replies.BARE_LINE_END_IN_DATA)
        return rest

    def end(self) -> None:
        """End the message after its last chunk. A CR at the end of the last chunk is a bare CR."""
        if not self._ends_with_cr:
            return
        if self._may_be_binary:
            self._body.is_binary = True
        else:
            self._body.refuse(replies.BARE_LINE_END_IN_DATA)

    def _bare_line_end(self, chunk: bytes) -> int | None:
        """Return the index of the first bare CR or LF in this chunk, or None if there is none.

        The chunk may begin with the second half of a CRLF, or end with the first half.
        """
        if not chunk:
            return None
        before = b"\r" if self._ends_with_cr else b""
        self._ends_with_cr = chunk.endswith(b"\r")
        whole = before + (chunk[:-1] if self._ends_with_cr else chunk)
        bare = _BARE.search(whole) if _has_bare(whole) else None
        return max(0, bare.start() - len(before)) if bare else None


def _has_bare(octets: bytes) -> bool:
    """Return whether there is a CR without LF, or an LF without CR. This is much faster than a search for both."""
    return _BARE_CR.search(octets) is not None or octets.count(b"\r") != octets.count(b"\n")


def _first_no_field(octets: bytes) -> int | None:
    """Return the index of the end of a header that is not followed by an empty line. Return None if all lines are part
    of header fields.

    Such a header ends before the first line that is not part of a header field.
    """
    lines = b"\r\n" + octets
    found = _NO_FIELD.search(lines)
    return found.start() if found and found.end() < len(lines) else None


def _possible_end(octets: bytes) -> int:
    """Return the number of bytes at the end of `octets` that may be the beginning of `END`."""
    for length in range(min(len(END) - 1, len(octets)), 0, -1):
        if octets.endswith(END[:length]):
            return length
    return 0
