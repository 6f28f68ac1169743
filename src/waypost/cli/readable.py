"""Extracts the readable text of a message from its text part, or from its HTML part without the markup."""

import re
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message
from html.parser import HTMLParser

from waypost.domain.mail import charsets

_BLOCKS = re.compile("address|blockquote|br|d[dlt]|div|h[1-6]|hr|li|[ou]l|p|pre|section|table|t[dr]")
"""The HTML elements whose start and end tags begin a new line of text."""

_HIDDEN = frozenset(("script", "style", "template", "title"))


def text_of(message: bytes) -> str | None:
    """Return the decoded text of a message, with LF line endings; None if the message has no readable text.

    The text comes from the first text/plain part, or else from the first text/html part. Attachments are ignored.
    A character that cannot be decoded or printed is replaced with U+FFFD.
    """
    try:
        parts = [part for part in message_from_bytes(message).walk() if _is_shown(part)]
    except RecursionError:  # the parts are nested hundreds of levels deep
        return None
    for kind in ("text/plain", "text/html"):
        for part in parts:
            if part.get_content_type() == kind:
                text = _decoded(part)
                return _printable(_without_markup(text) if kind == "text/html" else text)
    return None


def kinds_of(message: bytes) -> list[str]:
    """Return the media types of a message's parts, to show to the user."""
    try:
        return [part.get_content_type() for part in message_from_bytes(message).walk() if not part.is_multipart()]
    except RecursionError:
        return ["multipart/mixed"]


def _is_shown(part: Message) -> bool:
    return not part.is_multipart() and part.get_content_disposition() != "attachment"


def _decoded(part: Message) -> str:
    """Return the decoded text of a message part.

    A part labelled as ASCII, or without a charset, is decoded as UTF-8.
    """
    payload = part.get_payload(decode=True)
    octets = payload if isinstance(payload, bytes) else b""
    label = part.get_content_charset("us-ascii")
    decode = charsets.decoder("utf-8" if label == "us-ascii" else label) or _utf_8
    return decode(octets).replace("\r\n", "\n")


def _utf_8(octets: bytes) -> str:
    return octets.decode("utf-8", "replace")


def _printable(text: str) -> str:
    """Return the text with U+FFFD in place of each character that could harm a terminal."""
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


class _Reader(HTMLParser):
    """An HTML parser that collects the text that a browser would show."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.shown: list[str] = []
        self._hidden = ""

    def handle_starttag(self, tag: str, _: object) -> None:
        if tag in _HIDDEN and not self._hidden:
            self._hidden = tag
        elif _BLOCKS.fullmatch(tag):
            self.shown.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._hidden:
            self._hidden = ""
        elif _BLOCKS.fullmatch(tag):
            self.shown.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.shown.append(re.sub(r"\s+", " ", data))


def _without_markup(html: str) -> str:
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return "\n".join(_lines("".join(reader.shown))) + "\n"


def _lines(text: str) -> Iterator[str]:
    """Yield the lines of a text. Spaces around each line are removed, and consecutive empty lines are merged into
    one.
    """
    is_empty = True
    for line in map(str.strip, text.strip().split("\n")):
        if line or not is_empty:
            yield line
        is_empty = not line
