"""Remove characters from text that would deceive its reader, or harm the program that shows it."""

import re

OVERRIDES = "\u202d\u202e"
"""The characters that override the direction of the text after them (Unicode Standard Annex 9)."""

_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_DIRECTION = re.compile(r"[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_NOT_IN_NAMES = re.compile(r'[<>:"|?*]')
_NAME_LIMIT = 150
"""The maximum length of a file name, in characters."""
_OCTETS_LIMIT = 240
"""The maximum length of a file name, in bytes of UTF-8. File systems allow 255."""


def text(value: str) -> str:
    """Return text with LF line ends, and without control characters and directional overrides."""
    value = value.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    return _UNSAFE.sub("\N{REPLACEMENT CHARACTER}", without_overrides(value))


def one_line(value: str) -> str:
    """Return the value of a header field, with a space instead of control characters."""
    return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", _CONTROL.sub(" ", without_overrides(value))).strip()


def without_overrides(value: str) -> str:
    """Return text without characters that override its direction, which can make `exe.gpj` look like `jpg.exe`.

    Embeddings and isolates stay, because correct texts in Arabic and Hebrew use them.
    """
    return value.translate({ord(each): None for each in OVERRIDES})


def filename(value: str) -> str | None:
    """Return a file name without folders, leading dots, and characters that are not safe; None if nothing is left."""
    name = _CONTROL.sub(" ", _DIRECTION.sub("", _SURROGATE.sub("", value)))
    name = name.replace("\\", "/").rstrip("/ ").rpartition("/")[2]
    name = _NOT_IN_NAMES.sub("_", " ".join(name.split())).lstrip(". ").rstrip(". ")
    return _shortened(name) or None


def _shortened(name: str) -> str:
    stem, dot, extension = name.rpartition(".")
    if not stem or len(extension) > 20:
        stem, dot, extension = name, "", ""
    ending = dot + extension
    stem = stem[: _NAME_LIMIT - len(ending)].encode()[: _OCTETS_LIMIT - len(ending.encode())].decode("utf-8", "ignore")
    return (stem + ending).rstrip(". ")
