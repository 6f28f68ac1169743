"""Rewrites the sender of mail that is sent on, so that SPF passes and bounces come back to this server (SRS).

Three forms of the local part, all of ours, none longer than 64 octets:

    SRS0=<mac><id>=<day>=<domain>=<local part>      a sender as such
    SRS1=<mac><id><day>=<domain>=<rest>             a sender that others have rewritten; bounces go back to the first
    waypost-bounce=<mac><id>=<day>                  a sender that does not fit, or is none that could be quoted here

What follows the first separator is signed, and opaque to others. The id maps a bounce to its message, in each of the
forms. Base32 and lower case before signing, because there are mail systems that change the case of local parts.
"""

import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from waypost.domain import errors
from waypost.domain.directory import addresses

VALID_DAYS = 30
"""How long a bounce may come back. No longer than a period, so that the secrets of two periods are enough."""

PERIOD_DAYS = 30
"""How many days one secret is used."""

OPAQUE = "waypost-bounce"

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
"""RFC 4648 section 6."""
_DIGITS = str.maketrans(_ALPHABET, "0123456789ABCDEFGHIJKLMNOPQRSTUV")

_MAC_CHARACTERS = 8
_PREFIX_CHARACTERS = 12
_ID_CHARACTERS = 26
_DAYS = 1024
"""The number of days that two characters can distinguish."""

_ID_PREFIX = "(?P<id>[a-z2-7]{12})"
_DAY = "(?P<day>[a-z2-7]{2})"
_BEHIND = "=(?P<domain>[^=]+)=(?P<rest>.+)"
_SIGNED = re.compile(r"(?P<kind>srs[01](?=[=+-])|waypost-bounce(?==)).(?P<mac>[a-z2-7]{8})(?P<body>.+)", re.IGNORECASE)
_BODIES = {
    "SRS0": re.compile(f"{_ID_PREFIX}={_DAY}{_BEHIND}", re.IGNORECASE),
    "SRS1": re.compile(f"{_ID_PREFIX}{_DAY}{_BEHIND}", re.IGNORECASE),
    OPAQUE: re.compile(f"(?P<id>[a-z2-7]{{{_ID_CHARACTERS}}})={_DAY}", re.IGNORECASE),
}
_FOREIGN_SRS0 = re.compile(r"srs0(?P<rest>[=+-].+)", re.IGNORECASE)
_FOREIGN_SRS1 = re.compile(r"srs1[=+-][^=]*=(?P<domain>[a-z0-9-]+(?:\.[a-z0-9-]+)*)=(?P<rest>[=+-].+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """The contents of a rewritten address to which a message came back."""

    first_id: str
    last_id: str
    """The message is one from here to there; but for the opaque form, the end of its id is not known."""
    sender: str | None
    """The sender, or the server that rewrote it first; None if the address does not contain it."""


def rewrite(sender: str, *, domain: str, message_id: str, now: datetime, key_of: Callable[[int], bytes]) -> str:
    """The rewritten sender: an address in `domain` that takes bounces. The null sender stays null.

    `key_of` gives the secret of a period, which is a number of days since 1970, divided by `PERIOD_DAYS`.
    """
    if not sender:
        return ""
    today = _days(now)
    key = key_of(today // PERIOD_DAYS)
    day = _base32(today % _DAYS, 2)
    number = int(message_id.replace("-", ""), 16)
    prefix = _base32(number >> 80 << 12 | number >> 64 & 0xFFF, _PREFIX_CHARACTERS)
    local_part = _readable(sender, prefix, day, key)
    if not local_part or len(local_part) > addresses.MAX_LOCAL_OCTETS:
        local_part = _sign(OPAQUE, f"{_base32(number, _ID_CHARACTERS)}={day}", key)
    return f"{local_part}@{domain}"


def _readable(sender: str, prefix: str, day: str, key: bytes) -> str:
    """The local part that contains the sender; empty for a sender that needs quotes or SMTPUTF8, or is not an
    address.
    """
    try:
        addresses.parse(sender)
    except errors.Invalid:
        return ""
    if not sender.isascii():
        return ""
    local_part, _, domain = sender.rpartition("@")
    if local_part.startswith('"'):
        local_part = addresses.unquote(local_part)
    if srs0 := _FOREIGN_SRS0.fullmatch(local_part):
        return _sign("SRS1", f"{prefix}{day}={domain}={srs0['rest']}", key)
    if srs1 := _FOREIGN_SRS1.fullmatch(local_part):
        return _sign("SRS1", f"{prefix}{day}={srs1['domain']}={srs1['rest']}", key)
    return _sign("SRS0", f"{prefix}={day}={domain}={local_part}", key)


def claims(local_part: str) -> Returned | None:
    """The contents of an address of this form, whoever made it; None if it has another form. Only `reverse` knows
    whether it is true.
    """
    read = _read(local_part)
    if read is None:
        return None
    kind, _, body = read
    return _returned(kind, body)


def reverse(local_part: str, *, now: datetime, key_of: Callable[[int], bytes]) -> Returned | None:
    """The contents of an address that `rewrite` made with these keys; None if it did not, or made it too long ago.

    `key_of` is asked for the period of today, or one beside it.
    """
    read = _read(local_part)
    if read is None:
        return None
    kind, signed, body = read
    today = _days(now)
    age = (today - _number(body["day"]) + 1) % _DAYS - 1  # a clock that is late meets a stamp of tomorrow
    if age > VALID_DAYS:
        return None
    expected = _mac(kind, signed["body"], key_of((today - age) // PERIOD_DAYS))
    return _returned(kind, body) if hmac.compare_digest(signed["mac"].upper(), expected) else None


def _read(local_part: str) -> tuple[str, re.Match[str], re.Match[str]] | None:
    """The form of an address, and its parts."""
    signed = _SIGNED.fullmatch(local_part)
    if signed is None or not local_part.isascii():
        return None
    kind = OPAQUE if signed["kind"].lower() == OPAQUE else signed["kind"].upper()
    body = _BODIES[kind].fullmatch(signed["body"])
    return (kind, signed, body) if body else None


def _returned(kind: str, body: re.Match[str]) -> Returned:
    number = _number(body["id"])
    if kind == OPAQUE:
        return Returned(first_id=_uuid(number), last_id=_uuid(number), sender=None)
    first = number >> 12 << 80 | 0x7 << 76 | (number & 0xFFF) << 64 | 0b10 << 62  # as in `messages.new_id`
    sender = f"{body['rest']}@{body['domain']}"
    return Returned(
        first_id=_uuid(first),
        last_id=_uuid(first | (1 << 62) - 1),
        sender=f"SRS0{sender}" if kind == "SRS1" else sender,
    )


def _sign(kind: str, body: str, key: bytes) -> str:
    return f"{kind}={_mac(kind, body, key)}{body}"


def _mac(kind: str, body: str, key: bytes) -> str:
    digest = hmac.digest(key, f"srs:{kind}={body}".lower().encode(), hashlib.sha256)
    return _base32(int.from_bytes(digest[:5]), _MAC_CHARACTERS)


def _days(now: datetime) -> int:
    return (now - datetime(1970, 1, 1, tzinfo=UTC)).days


def _base32(number: int, characters: int) -> str:
    return "".join(_ALPHABET[number >> 5 * place & 31] for place in reversed(range(characters)))


def _number(base32: str) -> int:
    return int(base32.upper().translate(_DIGITS), 32)


def _uuid(number: int) -> str:
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
