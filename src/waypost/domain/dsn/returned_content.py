"""The part of a message that a notice returns to the message's sender (RFC 3461 section 4.3, RFC 6522).

The content of the message is untrusted. So the functions in this module examine only a limited number of bytes, and
their running time is linear in this number.
"""

import re

from waypost.domain.mail.messages import Message, end_of_header

EXAMINED = 32 * 1024
"""The maximum number of bytes to examine in a header."""

READ = EXAMINED + 2
"""The number of bytes that the function `header` needs from the beginning of a message.

The last two bytes show whether the header is longer than `EXAMINED`.
"""

HEADER_LIMIT = 4 * 1024
"""The maximum number of header bytes that one notice returns. A longer header is cut at the end of a line."""

HEADERS_LIMIT = 64 * 1024
"""The maximum number of header bytes that all notices about one message return in total."""

WHOLE_LIMIT = 256 * 1024
"""The maximum number of bytes that all notices about one message return in total if they include the whole message."""

CUT = b"X-Waypost-Cut: The header of the message is longer. The rest of it is not returned.\r\n"
"""The field that shows where a header was cut."""

LINE_LIMIT = 998
"""The maximum length of a line, in bytes (RFC 5322 section 2.1.1)."""

_OF_SERVERS = re.compile(
    rb"^(?:received|return-path|delivered-to|authentication-results|received-spf|(?:envelope|apparently)-to|arc-[a-z-]+"
    rb"|x-(?:waypost|forwarded|original|envelope|delivered|apparently|real|rcpt|received)(?:-[a-z-]+)?)[ \t]*:"
    rb"[^\n]*\n(?:[ \t][^\n]*\n)*",
    re.IGNORECASE | re.MULTILINE,
)
"""A header field that servers add, with its continuation lines."""
_EMPTY_LINES = re.compile(rb"^\n+", re.MULTILINE)


def may_be_whole(message: Message) -> bool:
    """Return whether a message is small enough for a notice to return all of it.

    Each recipient can cause a separate notice, so the limit applies to the size times the number of recipients.
    """
    return message.size * max(1, len(message.envelope.recipients)) <= WHOLE_LIMIT


def header(original: bytes, *, recipients: int = 1) -> bytes:
    """Return the header of a message as its author wrote it.

    If part of the header is omitted, the result ends with `CUT`.

    The more recipients a message has, the less of its header is returned, because each recipient can cause a separate
    notice. `original` must contain the whole message, or at least its first `READ` bytes.
    """
    raw_header = original[: end_of_header(original)]
    is_cut = len(raw_header) > EXAMINED
    if is_cut:
        raw_header = _whole_lines(raw_header[:EXAMINED])
    written = of_author(raw_header)
    limit = min(HEADER_LIMIT, HEADERS_LIMIT // max(1, recipients))
    if len(written) > limit:
        end = written.rfind(b"\r\n", 0, limit)
        written = written[: end + 2] if end >= 0 else written[:limit] + b"\r\n"
        is_cut = True
    return written + CUT if is_cut else written


def _whole_lines(beginning: bytes) -> bytes:
    """Return the beginning of a header without its incomplete last line.

    If the incomplete line is the only line, it is kept.
    """
    return beginning[: max(beginning.rfind(b"\r"), beginning.rfind(b"\n")) + 1] or beginning


def whole(original: bytes) -> bytes:
    """Return a whole message, with the header as its author wrote it.

    The result is empty if the message cannot be returned as a whole. A part of a notice that contains a whole message
    must not be encoded (RFC 2046 section 5.2.1), so a notice can return a whole message only if `is_lines` is true for
    the message.
    """
    raw_header = original[: end_of_header(original)]
    returned = of_author(raw_header) + original[len(raw_header) :]
    return returned if is_lines(returned) else b""


def of_author(raw_header: bytes) -> bytes:
    """Return a header without the fields that servers added.

    If the message has already passed through this server, the added fields can reveal the primary of an alias.
    """
    lines = raw_header.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if lines and not lines.endswith(b"\n"):
        lines += b"\n"
    return _OF_SERVERS.sub(b"", _EMPTY_LINES.sub(b"", lines)).replace(b"\n", b"\r\n")


def is_lines(octets: bytes) -> bool:
    """Return whether all lines end in CRLF, are short enough and contain no NUL, as SMTP without BINARYMIME requires.

    RFC 2045 section 2 defines these rules for lines.
    """
    line_ends = octets.count(b"\r\n")
    if b"\0" in octets or octets.count(b"\r") != line_ends or octets.count(b"\n") != line_ends:
        return False
    return max(map(len, octets.split(b"\r\n"))) <= LINE_LIMIT
