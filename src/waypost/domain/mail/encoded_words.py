"""The text of a header field: encoded words (RFC 2047, with a language by RFC 2231) among plain octets.

Each word is decoded by itself, and one that cannot be decoded stays as it is written. Plain octets beyond ASCII are
UTF-8 (RFC 6532), or else windows-1252.
"""

import binascii
import re
from collections.abc import Iterator

from waypost.domain.mail import charsets
from waypost.domain.mail.charsets import Decoder

_WORD = re.compile(
    rb"=\?([!-<>@-~]{1,75})\?([bq])\?((?:(?!\?=|=\?[!-<>@-~]{1,75}\?[bq]\?).)*)\?=", re.IGNORECASE | re.DOTALL
)
"""Charset, encoding and text of an encoded word. Its text may hold spaces and question marks, as senders write them.

The text ends where another word begins, so that no octet is searched more than a fixed number of times. The repetition
is not possessive: CPython before 3.11.5 matches a possessive one of a group wrongly (python/cpython#106052).
"""


def decode(octets: bytes) -> str:
    """The text of an unfolded field value. Never fails, and takes linear time.

    Neighbouring words of one charset are decoded together: a character may begin in one and end in the next.
    """
    if b"=?" not in octets:
        return _plain(octets)
    pieces: list[tuple[Decoder, list[bytes]]] = []
    for decoder, piece in _pieces(octets):
        if pieces and pieces[-1][0] is decoder:
            pieces[-1][1].append(piece)
        else:
            pieces.append((decoder, [piece]))
    return "".join(decoder(b"".join(contents)) for decoder, contents in pieces)


def _pieces(octets: bytes) -> Iterator[tuple[Decoder, bytes]]:
    """Words and what is between them. White space between encoded words is not part of the text (RFC 2047 section
    6.2).
    """
    end = 0
    for word in _WORD.finditer(octets):
        label, _, _language = word[1].decode("ascii").partition("*")
        decoder, octets_of_word = charsets.decoder(label), content(word[2], word[3])
        if decoder is None or octets_of_word is None:
            continue
        between = octets[end : word.start()]
        if between.strip(b" \t"):
            yield _plain, between
        yield decoder, octets_of_word
        end = word.end()
    yield _plain, octets[end:]


def content(encoding: bytes, text: bytes) -> bytes | None:
    """The octets of an encoded word, by its encoding (`q` or `b`) and its text; None if they cannot be decoded.

    The padding of base64 may be missing.
    """
    if encoding in b"Qq":
        return binascii.a2b_qp(text, header=True)
    try:
        return binascii.a2b_base64(text + b"==")
    except binascii.Error:
        return None


def _plain(octets: bytes) -> str:
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("cp1252", "replace")
