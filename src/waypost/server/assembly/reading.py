"""The part of a service that reads the content of messages, for pages and for the text index."""

from collections.abc import Callable
from contextlib import AsyncExitStack

from waypost.domain import errors
from waypost.mime.message import CannotRead, MimeMessage, PartContent, SafeHtml
from waypost.mime.reader import Reader


class MailReading:
    """Reads messages. Raises `errors.Conflict`, which every edge can show, for a message that cannot be read."""

    def __init__(self, opened: AsyncExitStack) -> None:
        """When `opened` is closed, it ends the process that reads messages."""
        self._reader = Reader()
        opened.push_async_callback(self._reader.close)

    async def read(self, raw: bytes) -> MimeMessage:
        """Return the headers, the parts and the text of a message."""
        try:
            return await self._reader.read(raw)
        except CannotRead as error:
            raise errors.Conflict(str(error)) from error

    async def part(self, raw: bytes, number: int) -> PartContent:
        """Return the decoded content of one part."""
        try:
            return await self._reader.part(raw, number)
        except CannotRead as error:
            raise errors.Conflict(str(error)) from error

    async def html(self, raw: bytes, number: int, cid_url: Callable[[int], str], *, allow_remote: bool) -> SafeHtml:
        """Return the HTML of one part so that it is safe to show."""
        try:
            return await self._reader.html(raw, number, cid_url, allow_remote)
        except CannotRead as error:
            raise errors.Conflict(str(error)) from error

    async def text_of(self, raw: bytes) -> str:
        """Return the text of a message."""
        try:
            return await self._reader.text_of(raw)
        except CannotRead as error:
            raise errors.Conflict(str(error)) from error
