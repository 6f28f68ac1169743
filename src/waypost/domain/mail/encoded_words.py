"""Decode the value of a header field, which can be a mixture of plain text and encoded words.

Encoded words are defined in RFC 2047, and may name a language (RFC 2231). An encoded word that cannot be decoded is
left unchanged. Non-ASCII bytes outside encoded words are read as UTF-8 (RFC 6532) or, if that fails, as windows-1252.
"""

import binascii
import re
from collections.abc import Iterator

from waypost.domain.mail import charsets
from waypost.domain.mail.charsets import Decoder

_WORD = re.compile(
    rb"=\?([!-<>@-~]{1,75})\?([bq])\?((?:(?!\?=|=\?[!-<>@-~]{1,75}\?[bq]\?).)*)\?=", re.IGNORECASE | re.DOTALL
)
"""The charset, encoding and text of an encoded word.

Some senders write spaces and question marks in the text of an encoded word, although RFC 2047 does not allow them. The
text cannot extend beyond the beginning of another encoded word, so that no byte is examined more than a fixed number of
times. The repetition in this regular expression is not possessive, because CPython before 3.11.5 matches possessive
repetitions of groups incorrectly (python/cpython#106052).
"""


def decode(octets: bytes) -> str:
    """Return the text of an unfolded field value. The function takes linear time, and never raises an exception.

    Adjacent encoded words with the same charset are decoded together, because a character may be split between them.
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
    """Yield the encoded words and the plain text between them, each with its decoder.

    White space between encoded words is not part of the text (RFC 2047 section 6.2).
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
    """Decode an encoded word's text, which is in the encoding `q` or `b`, to bytes. Return None if decoding fails.

    Base64 padding may be missing.
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
