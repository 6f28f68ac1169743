"""What a notice gives back of the message that it is about (RFC 3461 section 4.3, RFC 6522).

All of it is written by others. The work is linear in what is looked at, and that is bounded.
"""

import re

from waypost.domain.mail.messages import Message, end_of_header

LOOKED_AT = 32 * 1024
"""Octets of a header that are looked at."""

READ = LOOKED_AT + 2
"""Octets of a message that must be read for `header`, which sees by the last two whether the header is longer."""

HEADER_LIMIT = 4 * 1024
"""Octets of a header that go back. What is longer is cut at the end of a line."""

HEADERS_LIMIT = 64 * 1024
"""Octets of headers that go back: of the header of a message, for all its recipients together."""

WHOLE_LIMIT = 256 * 1024
"""Octets of whole messages that go back: of a message with its body, for all its recipients together."""

CUT = b"X-Waypost-Cut: The header of the message is longer. The rest of it is not returned.\r\n"
"""Stands where a header was cut."""

LINE_LIMIT = 998
"""Octets of a line (RFC 5322 section 2.1.1)."""

_OF_SERVERS = re.compile(
    rb"^(?:received|return-path|delivered-to|authentication-results|received-spf|(?:envelope|apparently)-to|arc-[a-z-]+"
    rb"|x-(?:waypost|forwarded|original|envelope|delivered|apparently|real|rcpt|received)(?:-[a-z-]+)?)[ \t]*:"
    rb"[^\n]*\n(?:[ \t][^\n]*\n)*",
    re.IGNORECASE | re.MULTILINE,
)
"""A field that servers write, with the lines on which it goes on."""
_EMPTY_LINES = re.compile(rb"^\n+", re.MULTILINE)


def may_be_whole(message: Message) -> bool:
    """Whether a message is small enough that all of it may go back.

    Each recipient can cause a notice of its own, so what counts is the size for all of them together.
    """
    return message.size * max(1, len(message.envelope.recipients)) <= WHOLE_LIMIT


def header(original: bytes, *, recipients: int = 1) -> bytes:
    """The header of a message as its author wrote it. If some of it is left out, `CUT` is its last line.

    The more recipients the message has, the less goes back: each of them can cause a notice of its own. `original` has
    `READ` octets of the message at least, or all of it.
    """
    raw_header = original[: end_of_header(original)]
    is_cut = len(raw_header) > LOOKED_AT
    if is_cut:
        raw_header = _whole_lines(raw_header[:LOOKED_AT])
    written = of_author(raw_header)
    limit = min(HEADER_LIMIT, HEADERS_LIMIT // max(1, recipients))
    if len(written) > limit:
        end = written.rfind(b"\r\n", 0, limit)
        written = written[: end + 2] if end >= 0 else written[:limit] + b"\r\n"
        is_cut = True
    return written + CUT if is_cut else written


def _whole_lines(beginning: bytes) -> bytes:
    """The beginning of a header without the line that it ends in; all of it if it has no other line."""
    return beginning[: max(beginning.rfind(b"\r"), beginning.rfind(b"\n")) + 1] or beginning


def whole(original: bytes) -> bytes:
    """All of a message, with the header as its author wrote it; empty if it cannot go back as it is.

    Of a type that has a whole message in it nothing may be encoded (RFC 2046 section 5.2.1), so it has to be lines.
    """
    raw_header = original[: end_of_header(original)]
    given = of_author(raw_header) + original[len(raw_header) :]
    return given if is_lines(given) else b""


def of_author(raw_header: bytes) -> bytes:
    """A header without what servers on the way wrote: of mail that comes by again, it tells who is behind an alias."""
    lines = raw_header.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if lines and not lines.endswith(b"\n"):
        lines += b"\n"
    return _OF_SERVERS.sub(b"", _EMPTY_LINES.sub(b"", lines)).replace(b"\n", b"\r\n")


def is_lines(octets: bytes) -> bool:
    """Whether octets are lines as mail may have them without BINARYMIME (RFC 2045 section 2)."""
    line_ends = octets.count(b"\r\n")
    if b"\0" in octets or octets.count(b"\r") != line_ends or octets.count(b"\n") != line_ends:
        return False
    return max(map(len, octets.split(b"\r\n"))) <= LINE_LIMIT
