"""Reads the content of messages: their parts, their text and their HTML."""

from collections.abc import Callable, Sequence
from typing import Protocol


class MessagePart(Protocol):
    """One part of a message."""

    @property
    def number(self) -> int:
        """The position among all parts of the message. The message itself is part 1."""
        ...

    @property
    def content_type(self) -> str:
        """The media type in lower case, without parameters."""
        ...

    @property
    def charset(self) -> str | None:
        """The charset that Content-Type names."""
        ...

    @property
    def filename(self) -> str | None:
        """A file name that is safe to show and to save under."""
        ...

    @property
    def content_id(self) -> str | None:
        """The value of Content-ID without angle brackets."""
        ...

    @property
    def disposition(self) -> str | None:
        """The value of Content-Disposition, without parameters."""
        ...

    @property
    def size(self) -> int:
        """The number of decoded bytes."""
        ...

    @property
    def depth(self) -> int:
        """How many parts this part is inside of."""
        ...

    @property
    def is_attachment(self) -> bool:
        """Whether a mail program lists the part as a file."""
        ...


class ReadMessage(Protocol):
    """A message that has been read."""

    @property
    def headers(self) -> Sequence[tuple[str, str]]:
        """The name and the decoded value of each header field."""
        ...

    @property
    def parts(self) -> Sequence[MessagePart]:
        """The parts, in order."""
        ...

    @property
    def text(self) -> str:
        """The text for reading."""
        ...

    @property
    def html_part(self) -> int | None:
        """The number of the HTML part to show."""
        ...

    @property
    def problems(self) -> Sequence[str]:
        """A sentence for each thing that is wrong with the message."""
        ...


class PartOctets(Protocol):
    """The decoded content of one part."""

    @property
    def octets(self) -> bytes:
        """The decoded bytes."""
        ...

    @property
    def content_type(self) -> str:
        """The media type in lower case, without parameters."""
        ...

    @property
    def charset(self) -> str | None:
        """The charset that Content-Type names."""
        ...

    @property
    def filename(self) -> str | None:
        """A file name that is safe to show and to save under."""
        ...


class HtmlLink(Protocol):
    """A link in HTML."""

    @property
    def text(self) -> str:
        """The text that a reader sees."""
        ...

    @property
    def target(self) -> str:
        """The address that the link leads to."""
        ...

    @property
    def is_misleading(self) -> bool:
        """Whether the text looks like another address than the target."""
        ...


class CleanHtml(Protocol):
    """HTML that is safe to show."""

    @property
    def html(self) -> str:
        """The HTML."""
        ...

    @property
    def remote(self) -> int:
        """How many references to remote pictures and styles the HTML had."""
        ...

    @property
    def links(self) -> Sequence[HtmlLink]:
        """The links."""
        ...

    @property
    def problems(self) -> Sequence[str]:
        """A sentence for each thing that was left out because of a limit."""
        ...


class MailText(Protocol):
    """Reads the text of messages, for the text index."""

    async def text_of(self, raw: bytes) -> str:
        """Return the readable text of a message. `raw` may be only the beginning of the message."""
        ...


class MailReader(MailText, Protocol):
    """Reads messages. All methods raise `errors.Conflict` if a message or a part cannot be read."""

    async def read(self, raw: bytes) -> ReadMessage:
        """Return the headers, the parts and the text of a message."""
        ...

    async def part(self, raw: bytes, number: int) -> PartOctets:
        """Return the decoded content of one part."""
        ...

    async def html(self, raw: bytes, number: int, cid_url: Callable[[int], str], *, allow_remote: bool) -> CleanHtml:
        """Return the HTML of one part so that it is safe to show. `cid_url` returns the URL of a part, from which
        pictures inside the message are loaded.
        """
        ...
