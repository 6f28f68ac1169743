"""The words of others, as people may read them: kept to a line, and without who is behind an alias.

Who that is, is not for senders to know. So what the server of a primary said is given to them only if it names neither
the primary nor its domain.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

import idna

from waypost.domain import addresses, caseless
from waypost.domain.delivery import Delivery, Reason

_TEXT_LIMIT = 500
"""Characters of what others say, as we give them."""
_SAID_LIMIT = 4_000
"""Characters of what a peer said that are looked at."""

_NOT_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\xad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
"""Controls, what cannot be seen, and what turns the direction of the text behind it."""

_WITHHELD = "(the reason is withheld, because it names an address that is not for senders to know)"

_BEFORE, _AFTER = r"(?<![^\s<>\"'(),:;\[])", r"(?![\w-]|\.\w)"
"""Where an address begins and ends in a text."""

_OCTETS = tuple(re.compile(sign + rb"([0-9a-f]{2})", re.IGNORECASE) for sign in (b"%", rb"\+", b"="))
"""Octets as in a URL, in xtext (RFC 3461 section 4), and in quoted-printable."""
_CHARACTER = re.compile(rb"\\x\{([0-9a-f]{2,5})\}", re.IGNORECASE)
"""A character as in RFC 6533 section 3."""
_QUOTES = re.compile(rb'[\\"]')


def one_line(text: str, limit: int = _TEXT_LIMIT) -> str:
    """What others wrote, as one line that does no harm."""
    return " ".join(_NOT_TEXT.sub(" ", text).split())[:limit]


def discreet(text: str, delivery: Delivery) -> str:
    """What a peer said, as the sender may know it: in one line, and not too long."""
    return _of_alias(one_line(text, _SAID_LIMIT), delivery)[:_TEXT_LIMIT]


def _of_alias(text: str, delivery: Delivery) -> str:
    """A text with the alias in place of the primary. Withheld if it tells more of the primary than that."""
    if delivery.reason is Reason.DIRECT:
        return text
    text = _spelled(delivery.address.text, delivery.address.key).sub(lambda _: delivery.sent_to, text)
    rest = _spelled(delivery.sent_to).sub(" ", text)
    return _WITHHELD if _names(rest, delivery.address, delivery.sent_to) else text


def _spelled(*texts: str) -> re.Pattern[str]:
    return re.compile(_BEFORE + "(?:" + "|".join(re.escape(text) for text in texts) + ")" + _AFTER, re.IGNORECASE)


def _names(text: str, primary: addresses.Address, alias: str) -> bool:
    """Whether a text has the primary in any spelling, or a part of it that does not belong to the alias as well."""
    spellings = {primary.key, caseless.fold(primary.text)}
    with suppress(idna.IDNAError):
        spellings.add(_local(primary.key) + "@" + idna.decode(_domain(primary.key)))
    hidden = [word for spelling in spellings for word in _hidden_words(spelling, caseless.fold(alias))]
    for reading in _readings(text):
        folded = caseless.fold(reading)
        squashed = _squashed(folded)
        for spelling in spellings:
            local, domain = _squashed(_local(spelling)), _squashed(_domain(spelling))
            if local + domain in squashed or f"{local}at{domain}" in squashed:
                return True
        if any(re.search(rf"(?<![^\W_]){re.escape(word)}(?![^\W_])", folded) for word in hidden):
            return True
    return False


def _hidden_words(primary: str, alias: str) -> Iterator[str]:
    """Of either side, the shortest part that the alias does not have: `bob` of `bob+x`, `b.test` of `a.b.test`."""
    local = _local(primary)
    base = local.partition("+")[0]
    if base and base != _local(alias).partition("+")[0]:
        yield base
    elif local != _local(alias):
        yield local
    labels = _domain(primary).split(".")
    ends = (".".join(labels[-count:]) for count in range(min(2, len(labels)), len(labels) + 1))
    yield from islice((end for end in ends if not f".{_domain(alias)}".endswith(f".{end}")), 1)


def _readings(text: str) -> set[str]:
    """A text as it is, and as it reads for who undoes one or two ways of escaping."""
    readings = {text.encode("utf-8", "replace")}
    for _ in range(2):
        for reading in tuple(readings):
            readings.update(octet.sub(lambda found: bytes([int(found[1], 16)]), reading) for octet in _OCTETS)
            readings.add(_CHARACTER.sub(lambda found: chr(int(found[1], 16)).encode("utf-8", "replace"), reading))
            readings.add(_QUOTES.sub(b"", reading))
    return {reading.decode(charset, "replace") for reading in readings for charset in ("utf-8", "latin-1")}


def _squashed(text: str) -> str:
    """Letters and digits alone, so that it does not matter what stands between them."""
    return re.sub(r"[\W_]+", "", text)


def _local(address: str) -> str:
    return address.rpartition("@")[0]


def _domain(address: str) -> str:
    return address.rpartition("@")[2]
