"""Decode bytes in a named charset in the same way as browsers and mail programs.

Charset labels have the meanings that the WHATWG Encoding Standard defines
(https://encoding.spec.whatwg.org/#names-and-labels), because senders use the labels with these meanings. For example,
`gb2312` means GBK, `shift_jis` means code page 932, and `iso-8859-1` means windows-1252. The module also knows a few
labels that occur in mail but not on the web. A message cannot select any other Python codec. Otherwise, hostile mail
could select codecs that take quadratic time, or fill the cache in which Python keeps every unknown codec name that it
looks up.
"""

import re
from collections.abc import Callable
from functools import cache, lru_cache

import webencodings

Decoder = Callable[[bytes], str]
"""A function that decodes bytes to text. Bytes that are invalid in the charset become U+FFFD.

A decoder takes linear time, and never raises an exception.
"""

_UNREADABLE = "\N{REPLACEMENT CHARACTER}"


@lru_cache(maxsize=512)
def decoder(label: str) -> Decoder | None:
    """Return the decoder for a charset label, which is not case-sensitive; None if the label is unknown.

    Labels of the same charset have the same decoder.
    """
    label = label.lower()
    codec = _OF_MAIL.get(label)
    if codec is None:
        encoding = webencodings.lookup(label)
        codec = _CODECS.get(encoding.name, encoding.codec_info.name) if encoding else ""
    return _decoder(codec) if codec else None


@cache
def _decoder(codec: str) -> Decoder:
    return _OURS.get(codec) or (lambda octets: octets.decode(codec, "replace"))


_CODECS = {
    "big5": "big5hkscs",
    "euc-jp": "euc-jp",
    "euc-kr": "cp949",
    "gbk": "gb18030",
    "iso-2022-jp": "iso-2022-jp",
    "replacement": "",
    "shift_jis": "cp932",
    "utf-8": "utf-8-sig",
    "x-user-defined": "",
}
"""The codecs to use instead of the Python codecs that `webencodings` chooses, because those lack some characters.

The keys are the names of encodings in the WHATWG standard. The codec is empty for an encoding that browsers refuse to
decode, or that is not for text.
"""

_OF_MAIL = {
    "cp437": "cp437",
    "cp50220": "iso-2022-jp",
    "cp50221": "iso-2022-jp",
    "cp50222": "iso-2022-jp",
    "cp850": "cp850",
    "cp852": "cp852",
    "cp858": "cp858",
    "cp932": "cp932",
    "cp936": "gb18030",
    "cp949": "cp949",
    "cp950": "big5hkscs",
    "csiso2022kr": "iso2022_kr",
    "euc-cn": "gb18030",
    "hz-gb-2312": "hz",
    "ibm437": "cp437",
    "ibm850": "cp850",
    "ibm852": "cp852",
    "iso-2022-jp-1": "iso-2022-jp",
    "iso-2022-jp-2": "iso2022_jp_2",
    "iso-2022-jp-ms": "iso-2022-jp",
    "iso-2022-kr": "iso2022_kr",
    "latin-1": "cp1252",
    "ms936": "gb18030",
    "ms949": "cp949",
    "unicode-1-1-utf-7": "utf-7",
    "utf-7": "utf-7",
}
"""The codecs for charset labels that the WHATWG standard lacks, or refuses for reasons that apply only to browsers."""


def _iso_2022_jp(octets: bytes) -> str:
    """Decode ISO-2022-JP (RFC 1468) with common extensions: single-byte katakana, JIS X 0212, and the NEC rows."""
    first, *rest = _ESCAPE.split(octets)
    runs = [_ascii(first)]
    runs += [_SETS[escape](run) for escape, run in zip(rest[::2], rest[1::2], strict=True)]
    return "".join(runs)


_ESCAPE = re.compile(rb"(\x1b(?:\([BIJ]|\$[@B]|\$\(D))")
"""The escape sequences of ISO-2022-JP that select a character set."""


def _euc_jp(octets: bytes) -> str:
    """Decode EUC-JP, including the two-byte characters in the NEC rows, which Python's codec lacks."""
    text, at = [], 0
    while at < len(octets):
        first, second, third = octets[at : at + 3].ljust(3, b"\0")
        if first < 0x80:
            text.append(chr(first))
            at += 1
        elif first == 0x8E and 0xA1 <= second <= 0xDF:
            text.append(_katakana_of(second - 0xA1))
            at += 2
        elif first == 0x8F and 0xA1 <= second <= 0xFE and 0xA1 <= third <= 0xFE:
            text.append(_more_kanji_of(second - 0xA1, third - 0xA1))
            at += 3
        elif 0xA1 <= first <= 0xFE and 0xA1 <= second <= 0xFE:
            text.append(_kanji_of(first - 0xA1, second - 0xA1))
            at += 2
        else:
            text.append(_UNREADABLE)
            at += 1
    return "".join(text)


def _ascii(octets: bytes) -> str:
    return octets.decode("ascii", "replace")


def _roman(octets: bytes) -> str:
    """Decode the left half of JIS X 0201, which is ASCII except for two characters."""
    return _ascii(octets).replace("\\", "¥").replace("~", "\N{OVERLINE}")


def _katakana(octets: bytes) -> str:
    """Decode the right half of JIS X 0201 in its 7-bit form."""
    return "".join(_katakana_of(octet - 0x21) if 0x21 <= octet <= 0x5F else _UNREADABLE for octet in octets)


def _kanji(octets: bytes) -> str:
    """Decode JIS X 0208 in its 7-bit form."""
    return _of_pairs(octets, _kanji_of)


def _more_kanji(octets: bytes) -> str:
    """Decode JIS X 0212 in its 7-bit form."""
    return _of_pairs(octets, _more_kanji_of)


def _of_pairs(octets: bytes, character: Callable[[int, int], str]) -> str:
    """Decode characters of two bytes each.

    The bytes are the row and the cell in a table of 94 by 94 characters, with 0x21 added to each.
    """
    text = [
        character(first - 0x21, second - 0x21) if 0x21 <= first <= 0x7E and 0x21 <= second <= 0x7E else _UNREADABLE
        for first, second in zip(octets[::2], octets[1::2], strict=False)
    ]
    return "".join(text) + _UNREADABLE * (len(octets) % 2)


def _katakana_of(index: int) -> str:
    return chr(0xFF61 + index)  # the block begins with HALFWIDTH IDEOGRAPHIC FULL STOP


@cache
def _kanji_of(row: int, cell: int) -> str:
    """Return a character of JIS X 0208, including NEC's row 13 and the rows in which NEC encodes IBM's characters.

    The character is looked up in code page 932, which has the same table, but combines two rows under each lead byte.
    """
    lead = row // 2 + (0x81 if row < 62 else 0xC1)
    trail = cell + 0x9F if row % 2 else cell + (0x40 if cell < 63 else 0x41)
    try:
        return bytes((lead, trail)).decode("cp932")
    except UnicodeDecodeError:
        return _UNREADABLE


@cache
def _more_kanji_of(row: int, cell: int) -> str:
    """Return a character of JIS X 0212."""
    try:
        return bytes((0x8F, row + 0xA1, cell + 0xA1)).decode("euc_jp")
    except UnicodeDecodeError:
        return _UNREADABLE


_SETS: dict[bytes, Decoder] = {
    b"\x1b(B": _ascii,
    b"\x1b(I": _katakana,
    b"\x1b(J": _roman,
    b"\x1b$@": _kanji,
    b"\x1b$B": _kanji,
    b"\x1b$(D": _more_kanji,
}

_OURS: dict[str, Decoder] = {"euc-jp": _euc_jp, "iso-2022-jp": _iso_2022_jp}
"""Decoders that replace the Python codecs of the same names, because those codecs lack some characters."""
