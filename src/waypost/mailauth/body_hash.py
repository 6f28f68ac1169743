"""Compute the DKIM hash of a message's body (RFC 6376 section 3.4) piece by piece.

The DKIM library's own body hash is not used, because the library would copy the body several times. The library is also
slow on long runs of white space, which a hostile sender may send. This implementation takes linear time and constant
memory.
"""

import hashlib
from collections.abc import Iterable, Iterator

_PIECE = 64 * 1024


def body_hash(pieces: Iterable[memoryview], *, relaxed: bool, length: int | None) -> tuple[bytes, int]:
    """Return the SHA-256 digest of the first `length` bytes of the canonical body, and the size of the canonical body.

    If `length` is None, the whole body is hashed.
    """
    digest = hashlib.sha256()
    size = 0
    for piece in _canonical(pieces, relaxed=relaxed):
        wanted = piece if length is None else piece[: max(0, length - size)]
        digest.update(wanted)
        size += len(piece)
    return digest.digest(), size


def _canonical(pieces: Iterable[memoryview], *, relaxed: bool) -> Iterator[bytes]:
    """Yield the body in canonical form, without empty lines at its end.

    The relaxed form also replaces each run of white space in a line with one space.
    """
    ends = 0  # the number of line ends that are hashed only if more text follows
    held = b""  # one or two bytes whose meaning depends on the bytes after them
    empty = True
    for piece in _small(pieces):
        text = held + piece
        if relaxed:
            text = _compressed(text)
        held = text[len(text.removesuffix(b"\r").removesuffix(b" ")) if relaxed else len(text.removesuffix(b"\r")) :]
        text = text[: len(text) - len(held)]
        content = _without_line_ends(text)
        if content:
            yield from _line_ends(ends)
            yield content
            ends, empty = 0, False
        ends += (len(text) - len(content)) // 2
    last = held.removesuffix(b" ") if relaxed else held
    if last:
        yield from _line_ends(ends)
        yield last
        empty = False
    if not (empty and relaxed):
        yield b"\r\n"


def _small(pieces: Iterable[memoryview]) -> Iterator[bytes]:
    for piece in pieces:
        for start in range(0, len(piece), _PIECE):
            yield bytes(piece[start : start + _PIECE])


def _compressed(text: bytes) -> bytes:
    text = text.replace(b"\t", b" ")
    while b"  " in text:  # each pass halves the longest run
        text = text.replace(b"  ", b" ")
    return text.replace(b" \r\n", b"\r\n")


def _without_line_ends(text: bytes) -> bytes:
    content = text.rstrip(b"\r\n")
    ends = text[len(content) :]
    if ends == b"\r\n" * (len(ends) // 2):
        return content
    keep = len(ends)
    while ends.endswith(b"\r\n", 0, keep):
        keep -= 2
    return text[: len(content) + keep]


def _line_ends(count: int) -> Iterator[bytes]:
    block = b"\r\n" * min(count, _PIECE // 2)
    while count:
        yield block[: 2 * count]
        count -= min(count, _PIECE // 2)
