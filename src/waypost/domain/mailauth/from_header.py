"""The domains that From fields name: the author's domain, or several (RFC 5322 section 3.6.2, RFC 9989 section 5.3.1).

Mail readers disagree about malformed From fields. In a field that RFC 5322 allows, only addresses count, and not what
stands in quoted strings and comments. In any other field, each domain that some reader may show counts.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

import idna

from waypost.domain.mail import encoded_words

MAX_NAMED = 8
"""Domains of one message whose policies are looked up (RFC 9989 section 11.5 leaves the number to the receiver)."""

MAX_ADDRESSES = 100
"""`@` signs in the From fields of one message that are looked at, in each way in which the fields may be read."""

MAX_FIELDS = 10
"""From fields of one message that are looked at; RFC 5322 section 3.6 allows one."""

MAX_TEXT = 16 * 1024
"""Characters of all From fields of one message together: each is read in several ways, some character by character. A
hundred addresses with long names fit."""

MAX_FIELD = 10_000
"""Characters of a field that may be a list of mailboxes as RFC 5322 wants it."""

MAX_CONVERTED = 5 * MAX_NAMED
"""Different domains that are not ASCII, in all ways in which the fields may be read. IDNA takes half a millisecond for
a long one, even if it is invalid in the end."""

MAX_LENGTH = 254
"""Characters of a domain, with a final dot (RFC 1035 section 2.3.4)."""

MAX_DOMAIN = 1_000
"""Characters after an `@` in which a domain must end, with the comments and white space in it."""

_TOKEN = re.compile(
    r"(?P<s>[ \t]+|\r\n[ \t]+|\([^()\\\r\n<>]*\))"
    r'|(?P<q>"[^"\\\r\n<>]*")'
    r'|(?P<a>[^\x00-\x20\x7f()<>\[\]:;@\\,"\N{FULLWIDTH COMMERCIAL AT}\N{SMALL COMMERCIAL AT}]+)'
    r"|(?P<x>[<>@,])"
)
"""White space or a comment, a quoted string, an atom with dots, or a special character.

Constructs that mail readers disagree about match none of these: nested comments, backslashes, brackets and line ends in
quoted strings.
"""
_MAILBOXES = re.compile(r"s*(?:(?:[aq]s*)*<a@a>|a@a)s*(?:,s*(?:(?:[aq]s*)*<a@a>|a@a)s*)*\Z")
"""A list of mailboxes, each token by its letter above, or by itself if it is special."""

_SIGN = re.compile("[<>@]")
_BEFORE = " \t\r\n[\"'"
_RUN = re.compile(r"[^\x00-\x2c\x2f\x3a-\x40\x5b-\x5e\x60\x7b-\x7f\s]+")
"""Characters that a domain may have: ASCII letters, digits, `-`, `.`, `_`, and any other letters."""
_ASCII_RUN = re.compile(r"[A-Za-z0-9._-]+")
_END = re.compile(r'[<>@,:;\\"\[\]]')
_LINE_END = re.compile(r"[\r\n]")
_WHITE_SPACE = re.compile(r"[ \t]+")
_INVISIBLE = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\N{SOFT HYPHEN}\u200b-\u200f\u2060-\u2064\ufeff]")
_GLUE = re.compile(r'[\r\n]+ ?|["\\]| ?<[^<>@]*>? ?')
"""Characters that some readers remove, joining the text on both sides, where each run of white space is one space."""
_ENCODED_WORD = re.compile(r"=\?[^?\s]{1,60}\?([bq])\?([^?\s]*)\?=", re.IGNORECASE)


class _LookAlikes(dict[int, str | int]):
    """For `str.translate`: characters that are ASCII in compatibility form (UAX #15), as ASCII; all others as they are.

    Each by itself: to normalise a text takes quadratic time where a letter has many combining marks. What IDNA joins in
    a domain, `idna` joins.
    """

    def __missing__(self, code: int) -> str | int:
        ascii_form = unicodedata.normalize("NFKC", chr(code))
        found: str | int = ascii_form if code >= 0x80 and ascii_form.isascii() else code
        if code < 0x10000 or found != code:  # all others together would take a lot of memory
            self[code] = found
        return found


_LOOK_ALIKES = _LookAlikes()
_DOMAIN = re.compile(r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_][a-z0-9_-]{0,62})*\Z")
_PUBLIC = re.compile(r"\.[^.]{2,}\Z")
"""The end of a public domain: top-level domains have two letters at least."""
_IPV4 = re.compile(r"[0-9.]+\Z")


class Naming(StrEnum):
    """How From fields name the author's domain."""

    NONE = "none"
    """They name no domain."""
    ONE = "one"
    """There is one field, and every reader finds one domain in it."""
    UNCLEAR = "unclear"
    """There are several fields, several domains, or a field that readers may understand in several ways."""
    TOO_MANY = "too many"
    """More domains, addresses, fields or characters than are looked at, or an address or header that does not end."""


@dataclass(frozen=True, slots=True)
class Authors:
    """The domains of the author, as A-labels, those in angle brackets first; `MAX_NAMED` at most."""

    naming: Naming
    domains: tuple[str, ...]


_TOO_LONG = ""
"""Stands for a domain that does not end in `MAX_DOMAIN` characters."""


def read(values: Iterable[str]) -> Authors:
    """The domains that a message names as its author's, of the values of all its From fields. Never fails.

    The values are as received: folded, and with encoded words. The time grows with their length, and no faster; of
    values with more than `MAX_TEXT` characters nothing is read.
    """
    fields = list(values)
    if len(fields) > MAX_FIELDS or sum(map(len, fields)) > MAX_TEXT:
        return Authors(Naming.TOO_MANY, ())
    named: dict[str, None] = {}
    unclear: list[str] = []
    for value in fields:
        listed = _by_the_rules(value.strip(" \t\r\n"))
        if listed is None:
            unclear += _readings(value)
        else:
            named |= dict.fromkeys(listed)
    if sum(reading.count("@") for reading in unclear) > MAX_ADDRESSES:
        return Authors(Naming.TOO_MANY, ())
    candidates = dict.fromkeys(candidate for reading in unclear for candidate in _after_signs(reading))
    spelled = dict.fromkeys(
        domain for is_first in (True, False) for is_bracketed, domain in candidates if is_bracketed is is_first
    )
    if sum(not domain.isascii() for domain in spelled) > MAX_CONVERTED:
        return Authors(Naming.TOO_MANY, ())
    named |= dict.fromkeys(domain for domain in map(_a_labels, filter(None, spelled)) if domain)
    if _TOO_LONG in spelled:
        named[_TOO_LONG] = None
    # Names that no public domain has, as of hosts at home, count where there are no others.
    domains = tuple(filter(_PUBLIC.search, named)) or tuple(filter(None, named))
    if _TOO_LONG in named or len(domains) > MAX_NAMED:
        return Authors(Naming.TOO_MANY, domains[:MAX_NAMED])
    if not domains:
        return Authors(Naming.NONE, ())
    return Authors(Naming.ONE if len(domains) == len(fields) == 1 else Naming.UNCLEAR, domains)


def _by_the_rules(value: str) -> list[str] | None:
    """The domains of a list of mailboxes as RFC 5322 wants it; None if it is none, or one of an obsolete form.

    Nor may a domain have other letters than ASCII, where some readers end it.
    """
    if len(value) > MAX_FIELD:
        return None
    tokens = list(_TOKEN.finditer(value))
    if sum(len(token[0]) for token in tokens) != len(value):
        return None
    shape = "".join(token[0] if token.lastgroup == "x" else str(token.lastgroup) for token in tokens)
    if not _MAILBOXES.match(shape):
        return None
    domains = [tokens[place + 1][0] for place, letter in enumerate(shape) if letter == "@"]
    if not all(map(str.isascii, domains)):
        return None
    named = [_a_labels(domain) for domain in domains]
    return named if all(named) else None


def _readings(value: str) -> dict[str, None]:
    """A field as readers may see it.

    As it is; with look-alikes of ASCII as ASCII; without what is invisible; without line ends, quotes and backslashes;
    with encoded words decoded.
    """
    plain = _spaced(value)
    folded = _spaced(plain.translate(_LOOK_ALIKES))
    seen = _spaced(_INVISIBLE.sub("", folded))
    decoded = _ENCODED_WORD.sub(_decoded, seen)
    return dict.fromkeys((plain, folded, seen, _GLUE.sub("", seen), decoded))


def _spaced(text: str) -> str:
    """Each run of spaces as one space; on long runs, the expressions here would take quadratic time."""
    return _WHITE_SPACE.sub(" ", text)


def _decoded(word: re.Match[str]) -> str:
    """What an encoded word (RFC 2047) says, as far as it is ASCII or looks so: domains and `@` are."""
    octets = encoded_words.content(word[1].encode(), word[2].encode("utf-8", "replace"))
    return word[0] if octets is None else octets.decode("utf-8", "replace").translate(_LOOK_ALIKES)


def _after_signs(text: str) -> Iterator[tuple[bool, str]]:
    """Each domain that may be meant after an `@`, as it is spelled, and whether that is in angle brackets."""
    is_bracketed = False
    for sign in _SIGN.finditer(text):
        if sign[0] != "@":
            is_bracketed = sign[0] == "<"
        else:
            for domain in _candidates(text[sign.end() : sign.end() + MAX_DOMAIN + 1]):
                yield is_bracketed, domain


def _candidates(text: str) -> Iterator[str]:
    """The domains that readers may find at the beginning of a text that follows an `@`, as they are spelled."""
    uncommented = _without_comments(text)
    if len(text) > MAX_DOMAIN and not _END.search(uncommented):
        yield _TOO_LONG
    # Some readers end a domain at the first white space, some at the end of the line, and some join all that follows.
    joined = _END.split(uncommented, maxsplit=1)[0]
    line = _LINE_END.split(joined, maxsplit=1)[0]
    for reading in dict.fromkeys((text.lstrip(_BEFORE), "".join(joined.split()), "".join(line.split()))):
        for run in (_RUN, _ASCII_RUN):
            if found := run.match(reading):
                yield found[0]


def _without_comments(text: str) -> str:
    kept: list[str] = []
    depth, characters = 0, iter(text)
    for character in characters:
        if depth and character == "\\":
            next(characters, "")
        elif depth or character == "(":
            depth += {"(": 1, ")": -1}.get(character, 0)
        else:
            kept.append(character)
    return "".join(kept)


def _a_labels(domain: str) -> str:
    """The domain in lower case, as A-labels (RFC 5890), without a final dot; empty if it is none."""
    if len(domain) > MAX_LENGTH:
        return ""
    try:
        ascii_domain = domain if domain.isascii() else idna.encode(domain, uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        return ""
    ascii_domain = ascii_domain.rstrip(".").lower()
    return ascii_domain if _DOMAIN.match(ascii_domain) and not _IPV4.match(ascii_domain) else ""
