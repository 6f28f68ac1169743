"""Read the author's domains from From fields (RFC 5322 section 3.6.2, RFC 9989 section 5.3.1).

Mail readers disagree about malformed From fields. In a well-formed field (RFC 5322), only the domains of addresses are
used, and text in quoted strings and comments is ignored. In a malformed field, every domain that some mail reader might
show is used.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from enum import StrEnum

import idna
from msgspec import Struct

from waypost.domain.mail import encoded_words

MAX_NAMED = 8
"""The maximum number of domains in From whose policies are looked up for one message.

RFC 9989 section 11.5 leaves the number to the receiver.
"""

MAX_ADDRESSES = 100
"""The maximum number of `@` signs in a message's malformed From fields, counted over all interpretations of the fields.
"""

MAX_FIELDS = 10
"""The maximum number of From fields to examine in one message. RFC 5322 section 3.6 allows only one From field."""

MAX_TEXT = 16 * 1024
"""The maximum total length of the From fields of one message, in characters.

This limit is enough for a hundred long addresses. The length is limited because each From field is parsed in several
ways, and partly character by character.
"""

MAX_FIELD = 10_000
"""The maximum length of a well-formed From field, in characters. A longer field is treated as malformed."""

MAX_CONVERTED = 5 * MAX_NAMED
"""The maximum number of different non-ASCII domains, counted over all interpretations of a message's From fields.

The number is limited because encoding a long domain with IDNA takes half a millisecond, even if the domain is invalid.
"""

MAX_LENGTH = 254
"""The maximum length of a domain with its final dot, in characters (RFC 1035 section 2.3.4)."""

MAX_DOMAIN = 1_000
"""The number of characters after an `@` within which a domain must end, including its comments and white space."""

_TOKEN = re.compile(
    r"(?P<s>[ \t]+|\r\n[ \t]+|\([^()\\\r\n<>]*\))"
    r'|(?P<q>"[^"\\\r\n<>]*")'
    r'|(?P<a>[^\x00-\x20\x7f()<>\[\]:;@\\,"\N{FULLWIDTH COMMERCIAL AT}\N{SMALL COMMERCIAL AT}]+)'
    r"|(?P<x>[<>@,])"
)
"""One token of a From field: white space or a comment, a quoted string, an atom with dots, or a special character.

Nested comments, backslashes, brackets, and line ends in quoted strings do not match, because mail readers disagree
about their meaning.
"""
_MAILBOXES = re.compile(r"s*(?:(?:[aq]s*)*<a@a>|a@a)s*(?:,s*(?:(?:[aq]s*)*<a@a>|a@a)s*)*\Z")
"""A list of mailboxes.

In this pattern, each token is represented by the name of its group in `_TOKEN`, and each special character by itself.
"""

_SIGN = re.compile("[<>@]")
_BEFORE = " \t\r\n[\"'"
_RUN = re.compile(r"[^\x00-\x2c\x2f\x3a-\x40\x5b-\x5e\x60\x7b-\x7f\s]+")
"""A run of characters that domains may contain: ASCII letters, digits, `-`, `.`, `_`, and all non-ASCII characters."""
_ASCII_RUN = re.compile(r"[A-Za-z0-9._-]+")
_END = re.compile(r'[<>@,:;\\"\[\]]')
_LINE_END = re.compile(r"[\r\n]")
_WHITE_SPACE = re.compile(r"[ \t]+")
_INVISIBLE = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\N{SOFT HYPHEN}\u200b-\u200f\u2060-\u2064\ufeff]")
_GLUE = re.compile(r'[\r\n]+ ?|["\\]| ?<[^<>@]*>? ?')
"""Characters that some mail readers remove, so that the text on both sides is joined.

The pattern assumes that each run of white space in the text has been replaced with one space.
"""
_ENCODED_WORD = re.compile(r"=\?[^?\s]{1,60}\?([bq])\?([^?\s]*)\?=", re.IGNORECASE)


class _LookAlikes(dict[int, str | int]):
    """A table for `str.translate` that replaces characters with their ASCII compatibility form (UAX #15), if they have
    one.

    All other characters are kept. Each character is normalized separately, because normalizing a whole string takes
    quadratic time if a letter has many combining marks. For domains, `idna` later combines the letters with their
    marks.
    """

    def __missing__(self, code: int) -> str | int:
        ascii_form = unicodedata.normalize("NFKC", chr(code))
        found: str | int = ascii_form if code >= 0x80 and ascii_form.isascii() else code
        if code < 0x10000 or found != code:  # a cache of all other characters would take a lot of memory
            self[code] = found
        return found


_LOOK_ALIKES = _LookAlikes()
_DOMAIN = re.compile(r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_][a-z0-9_-]{0,62})*\Z")
_PUBLIC = re.compile(r"\.[^.]{2,}\Z")
"""The end of a public domain: a top-level domain of at least two characters."""
_IPV4 = re.compile(r"[0-9.]+\Z")


class Naming(StrEnum):
    """How clearly the From fields of a message name the author's domain."""

    NONE = "none"
    """The From fields name no domain."""
    ONE = "one"
    """There is exactly one From field, in which every mail reader finds the same single domain."""
    UNCLEAR = "unclear"
    """There are several From fields or several domains, or mail readers disagree about the field."""
    TOO_MANY = "too many"
    """There are too many domains, addresses, fields or characters, or an address or the header is too long."""


class Authors(Struct, frozen=True):
    """Up to `MAX_NAMED` domains of the author, as A-labels. Domains in angle brackets come first."""

    naming: Naming
    domains: tuple[str, ...]


_TOO_LONG = ""
"""The placeholder for a domain that does not end within `MAX_DOMAIN` characters."""


def read(values: Iterable[str]) -> Authors:
    """Return the author's domains, given the values of all From fields of a message. Never raises an exception.

    The values must be exactly as received: still folded, and with their encoded words. The running time is linear in
    the length of the values. If the values have more than `MAX_TEXT` characters in total, they are not read.
    """
    fields = list(values)
    if len(fields) > MAX_FIELDS or sum(map(len, fields)) > MAX_TEXT:
        return Authors(Naming.TOO_MANY, ())
    named: dict[str, None] = {}
    unclear: list[str] = []
    for value in fields:
        listed = _well_formed(value.strip(" \t\r\n"))
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
    # Names that cannot be public domains, such as names of local hosts, are used only if there are no public domains.
    domains = tuple(filter(_PUBLIC.search, named)) or tuple(filter(None, named))
    if _TOO_LONG in named or len(domains) > MAX_NAMED:
        return Authors(Naming.TOO_MANY, domains[:MAX_NAMED])
    if not domains:
        return Authors(Naming.NONE, ())
    return Authors(Naming.ONE if len(domains) == len(fields) == 1 else Naming.UNCLEAR, domains)


def _well_formed(value: str) -> list[str] | None:
    """Return the domains in a well-formed list of mailboxes (RFC 5322). The result is None for any other value,
    including a list in an obsolete form.

    The result is also None if a domain is not ASCII, because some mail readers end a domain at a non-ASCII character.
    """
    if len(value) > MAX_FIELD:
        return None
    tokens = list(_TOKEN.finditer(value))
    if sum(len(token[0]) for token in tokens) != len(value):
        return None
    shape = "".join(token[0] if token.lastgroup == "x" else str(token.lastgroup) for token in tokens)
    if not _MAILBOXES.match(shape):
        return None
    domains = [tokens[index + 1][0] for index, letter in enumerate(shape) if letter == "@"]
    if not all(map(str.isascii, domains)):
        return None
    named = [_a_labels(domain) for domain in domains]
    return named if all(named) else None


def _readings(value: str) -> dict[str, None]:
    """Return the different texts that mail readers may see in a field.

    1. the field itself
    2. the field with ASCII in place of look-alikes of ASCII
    3. text 2 without invisible characters
    4. text 3 without line ends, quotes and backslashes
    5. text 3 with its encoded words decoded
    """
    plain = _spaced(value)
    folded = _spaced(plain.translate(_LOOK_ALIKES))
    seen = _spaced(_INVISIBLE.sub("", folded))
    decoded = _ENCODED_WORD.sub(_decoded, seen)
    return dict.fromkeys((plain, folded, seen, _GLUE.sub("", seen), decoded))


def _spaced(text: str) -> str:
    """Replace each run of white space with one space.

    Without this step, the regular expressions would take quadratic time on long runs of white space.
    """
    return _WHITE_SPACE.sub(" ", text)


def _decoded(word: re.Match[str]) -> str:
    """Decode an encoded word (RFC 2047) as UTF-8, and replace characters that look like ASCII characters.

    Text in every charset is decoded as UTF-8, because only `@` and domains matter here.
    """
    octets = encoded_words.content(word[1].encode(), word[2].encode("utf-8", "replace"))
    return word[0] if octets is None else octets.decode("utf-8", "replace").translate(_LOOK_ALIKES)


def _after_signs(text: str) -> Iterator[tuple[bool, str]]:
    """Yield each possible domain after an `@`, spelled as in the text, and whether the domain is in angle brackets."""
    is_bracketed = False
    for sign in _SIGN.finditer(text):
        if sign[0] != "@":
            is_bracketed = sign[0] == "<"
        else:
            for domain in _candidates(text[sign.end() : sign.end() + MAX_DOMAIN + 1]):
                yield is_bracketed, domain


def _candidates(text: str) -> Iterator[str]:
    """Yield the domains that mail readers may find in the text after an `@`, spelled as in the text."""
    uncommented = _without_comments(text)
    if len(text) > MAX_DOMAIN and not _END.search(uncommented):
        yield _TOO_LONG
    # Some mail readers end a domain at the first white space, some at the end of the line, and some join all the text.
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
    """Return the domain as lower-case A-labels (RFC 5890), without a final dot; empty if the text is not a domain."""
    if len(domain) > MAX_LENGTH:
        return ""
    try:
        ascii_domain = domain if domain.isascii() else idna.encode(domain, uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        return ""
    ascii_domain = ascii_domain.rstrip(".").lower()
    return ascii_domain if _DOMAIN.match(ascii_domain) and not _IPV4.match(ascii_domain) else ""
