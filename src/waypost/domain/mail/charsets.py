"""Text of octets in a named charset, as browsers and mail programs read it.

A label means what the Encoding Standard of the WHATWG says (https://encoding.spec.whatwg.org/#names-and-labels),
because that is what senders mean by it: `gb2312` is written for GBK, `shift_jis` for code page 932 and `iso-8859-1` for
windows-1252. A few labels that mail has and the web does not are added. No other codec of Python can be named: some of
them take quadratic time, and Python remembers every unknown name that it is asked for.
"""

import re
from collections.abc import Callable
from functools import cache, lru_cache

import webencodings

Decoder = Callable[[bytes], str]
"""Makes text of octets. Octets that are invalid in the charset become U+FFFD. Takes linear time and never fails."""

_UNREADABLE = "\N{REPLACEMENT CHARACTER}"


@lru_cache(maxsize=512)
def decoder(label: str) -> Decoder | None:
    """The decoder for a charset label, in any case; None for an unknown label.

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
"""By the standard's names: the codec that has all of its characters, where Python's of that name lacks some.

Empty for what the web refuses to decode, and for octets that are no text.
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
"""Labels that the standard lacks, or refuses for reasons that only browsers have."""


def _iso_2022_jp(octets: bytes) -> str:
    """ISO-2022-JP (RFC 1468) with what senders put in it: katakana of one octet, JIS X 0212, and the rows of NEC."""
    first, *rest = _ESCAPE.split(octets)
    runs = [_ascii(first)]
    runs += [_SETS[escape](run) for escape, run in zip(rest[::2], rest[1::2], strict=True)]
    return "".join(runs)


_ESCAPE = re.compile(rb"(\x1b(?:\([BIJ]|\$[@B]|\$\(D))")
"""The sequences of ISO-2022-JP that change the character set."""


def _euc_jp(octets: bytes) -> str:
    """EUC-JP, of whose two-octet characters Python's codec lacks the rows of NEC."""
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
    """JIS X 0201, left half: ASCII with two other characters."""
    return _ascii(octets).replace("\\", "¥").replace("~", "\N{OVERLINE}")


def _katakana(octets: bytes) -> str:
    """JIS X 0201, right half, in seven bits."""
    return "".join(_katakana_of(octet - 0x21) if 0x21 <= octet <= 0x5F else _UNREADABLE for octet in octets)


def _kanji(octets: bytes) -> str:
    """JIS X 0208 in seven bits."""
    return _of_pairs(octets, _kanji_of)


def _more_kanji(octets: bytes) -> str:
    """JIS X 0212 in seven bits."""
    return _of_pairs(octets, _more_kanji_of)


def _of_pairs(octets: bytes, character: Callable[[int, int], str]) -> str:
    """Text of two octets a character, from 0x21 to 0x7E each: its row and its cell in a table of 94 by 94."""
    text = [
        character(first - 0x21, second - 0x21) if 0x21 <= first <= 0x7E and 0x21 <= second <= 0x7E else _UNREADABLE
        for first, second in zip(octets[::2], octets[1::2], strict=False)
    ]
    return "".join(text) + _UNREADABLE * (len(octets) % 2)


def _katakana_of(place: int) -> str:
    return chr(0xFF61 + place)  # HALFWIDTH IDEOGRAPHIC FULL STOP, with which they begin


@cache
def _kanji_of(row: int, cell: int) -> str:
    """A character of JIS X 0208, with NEC's row 13 and the rows in which NEC has IBM's characters.

    Code page 932 has the same table, and packs two rows behind one octet.
    """
    lead = row // 2 + (0x81 if row < 62 else 0xC1)
    trail = cell + 0x9F if row % 2 else cell + (0x40 if cell < 63 else 0x41)
    try:
        return bytes((lead, trail)).decode("cp932")
    except UnicodeDecodeError:
        return _UNREADABLE


@cache
def _more_kanji_of(row: int, cell: int) -> str:
    """A character of JIS X 0212."""
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
"""What Python's codecs of these names lack."""
