"""What a message contains, for people who read it."""

from msgspec import Struct

PARTS_LIMIT = 500
"""The maximum number of parts that are listed."""

PICTURES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp", "image/avif"})
"""The media types of pictures that cannot contain scripts or references, so that a browser may show them."""


class Part(Struct, frozen=True):
    """One part of a message: a multipart that contains other parts, an embedded message, or a part with content."""

    number: int
    """The position among all parts of the message, in order of appearance. The message itself is part 1."""
    content_type: str
    """The media type in lower case and without parameters, such as `text/plain`."""
    charset: str | None
    """The charset that Content-Type names, in lower case; None if it names none."""
    filename: str | None
    """A file name that is safe to show and to save under; None if the part has no name."""
    content_id: str | None
    """The value of Content-ID without angle brackets, to which `cid:` URLs refer."""
    disposition: str | None
    """The value of Content-Disposition in lower case and without parameters: usually `inline` or `attachment`."""
    size: int
    """The number of bytes after the transfer encoding is decoded."""
    depth: int
    """How many parts this part is inside of; 0 for the message itself."""
    is_attachment: bool
    """Whether a mail program lists the part as a file, and does not show it as a piece of the message."""


class MimeMessage(Struct, frozen=True):
    """A message that has been read."""

    headers: tuple[tuple[str, str], ...]
    """The name and the decoded value of each header field, in order. A value contains no line end and no other control
    character, and no character that overrides the direction of text.
    """
    parts: tuple[Part, ...]
    text: str
    """The text for reading, with LF line ends: from the text/plain parts or, where there are none, from HTML."""
    html_part: int | None
    """The number of the HTML part to show; None if there is none."""
    problems: tuple[str, ...]
    """A sentence for each thing that is wrong with the message, or that was left out because of a limit."""


class PartContent(Struct, frozen=True):
    """The content of one part, with the transfer encoding decoded."""

    octets: bytes
    content_type: str
    charset: str | None
    filename: str | None


class Link(Struct, frozen=True):
    """A link in HTML."""

    text: str
    """The text that a reader sees."""
    target: str
    """The address that the link leads to. A host name with characters outside ASCII is followed by its A-labels."""
    is_misleading: bool
    """Whether the text looks like an address on another host than the target, or hides what it is."""


class SafeHtml(Struct, frozen=True):
    """HTML that is safe to show."""

    html: str
    remote: int
    """How many references to remote pictures and styles the HTML had."""
    links: tuple[Link, ...]
    problems: tuple[str, ...] = ()
    """A sentence for each thing that was left out because of a limit."""


class CannotRead(Exception):
    """Raised if a message or a part cannot be read. The error message is a sentence for people."""


class NoSuchPart(LookupError):
    """Raised if a message has no part with the given number."""
