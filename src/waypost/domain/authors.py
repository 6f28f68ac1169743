"""The domains in From: of whom a message says that they have written it.

Hostile mail is read, so nothing fails, and what others may read in another way counts as another domain.
"""

import re
from collections.abc import Iterable, Iterator

import idna

_SEGMENT = re.compile(r"(?:<[^>]*>?|[^,;<])+")
_OLD_SPACE = re.compile(r"\s*([.@])\s*")
_ANGLE = re.compile(r"<([^<>]*)")
_DOMAIN = re.compile(r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_][a-z0-9_-]{0,62})*\Z")


def domains(values: Iterable[str]) -> tuple[str, ...]:
    """The domains of the addresses in From fields, as A-labels; each once, but once for each field.

    A mailbox without a domain that could be one counts as another domain, the empty one, unless there is nothing else.
    """
    found: list[str] = []
    for value in values:
        found += dict.fromkeys(_domains(value))
    return tuple(found) if any(found) else ()


def _domains(value: str) -> Iterator[str]:
    for segment in _SEGMENT.findall(_without_quotes(value)):
        angles = _ANGLE.findall(segment)
        # What is no list of addresses may be read by others as they like, so another domain may be meant.
        outside = _ANGLE.sub("", segment) if angles else _one_word(segment).replace("@", "", 1)
        if "@" in outside or "\\" in segment or (not angles and " " in outside):
            yield ""
        for address in angles or [segment]:
            if "@" in address:
                yield _a_labels("".join(address.rpartition("@")[2].split()))
            elif address.strip():
                yield ""


def _one_word(address: str) -> str:
    """An address without the name of a group before it, and without the spaces that an old address may have."""
    return _OLD_SPACE.sub(r"\1", address.rpartition(":")[2]).strip()


def _without_quotes(value: str) -> str:
    """An address list without its comments, and with nothing in its quoted strings."""
    kept: list[str] = []
    depth, quoted, characters = 0, False, iter(value)
    for character in characters:
        if character == "\\" and (depth or quoted):
            next(characters, "")
        elif depth:
            depth += {"(": 1, ")": -1}.get(character, 0)
        elif character == '"':
            quoted = not quoted
            kept.append("_")
        elif character == "(" and not quoted:
            depth = 1
        elif not quoted:
            kept.append(character)
    return "".join(kept)


def _a_labels(domain: str) -> str:
    try:
        ascii_domain = domain if domain.isascii() else idna.encode(domain[:253], uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        return ""
    ascii_domain = ascii_domain.rstrip(".").lower()
    return ascii_domain if _DOMAIN.match(ascii_domain) else ""
