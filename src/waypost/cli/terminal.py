"""Prints text and bytes from messages so that they cannot harm a terminal."""

import codecs
import sys
from collections.abc import Iterable

from waypost.client.text import plain


def plain_text(text: str) -> str:
    """Return untrusted text of several lines with U+FFFD in place of each character that could harm a terminal."""
    return plain(text, keep="\n\t")


def print_octets(parts: Iterable[bytes]) -> None:
    """Print bytes unchanged or, if the output is a terminal, as text without control characters."""
    if not sys.stdout.isatty():
        for part in parts:
            sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()
        return
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for part in parts:
        sys.stdout.write(plain_text(decoder.decode(part).replace("\r", "")))
    sys.stdout.write(plain_text(decoder.decode(b"", final=True)))
    sys.stdout.flush()
