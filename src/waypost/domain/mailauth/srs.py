"""Rewrite the sender of forwarded mail (SRS), so that SPF passes and bounces come back to this server.

A rewritten sender has one of three forms. The local part of a rewritten sender is never longer than 64 bytes.
Everything after the first separator in the local part is signed, and is opaque to other servers. In all forms, the id
identifies the message that bounced. The signature ignores case, and the encoding is Base32, because some mail systems
change the case of local parts.

    SRS0=<mac><id>=<day>=<domain>=<local part>      an ordinary sender
    SRS1=<mac><id><day>=<domain>=<rest>             a sender that other servers rewrote; bounces go to the first server
    waypost-bounce=<mac><id>=<day>                  a sender that is too long, or that the other forms cannot contain
"""

import hmac
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from msgspec import Struct

from waypost.domain import errors
from waypost.domain.directory import addresses

VALID_DAYS = 30
"""The number of days for which a rewritten sender accepts bounces.

The number must not exceed `PERIOD_DAYS`, so that the secrets of two periods are sufficient to check every signature.
"""

PERIOD_DAYS = 30
"""The number of days for which one secret is used."""

OPAQUE = "waypost-bounce"

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
"""The Base32 alphabet (RFC 4648 section 6)."""
_DIGITS = str.maketrans(_ALPHABET, "0123456789ABCDEFGHIJKLMNOPQRSTUV")

_MAC_CHARACTERS = 8
_MAC_OCTETS = 5
_PREFIX_CHARACTERS = 12
_ID_CHARACTERS = 26
_DAYS = 1024
"""The number of days that two Base32 characters can distinguish."""

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


class Returned(Struct, frozen=True, kw_only=True):
    """The contents of a rewritten sender address to which a bounce was sent."""

    first_id: str
    last_id: str
    """The last id of the range that includes the bounced message's id.

    For the forms SRS0 and SRS1, several ids are possible, because an address in these forms contains only the beginning
    of the id.
    """
    sender: str | None
    """The original sender or, for SRS1, its first rewritten form; None if the address does not contain a sender."""


def rewrite(sender: str, *, domain: str, message_id: str, now: datetime, key_of: Callable[[int], bytes]) -> str:
    """Return the rewritten sender: an address in `domain` that accepts bounces. The null sender is not rewritten.

    `key_of` returns the secret for a period. The number of a period is the number of days since 1970, divided by
    `PERIOD_DAYS` and rounded down.
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
    """Return the signed local part that contains the sender.

    The result is empty for a sender that needs quotes or SMTPUTF8, or that is not an address.
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
    """Return the contents of an address that has the form of a rewritten sender; None for any other address.

    The address may be forged: only `reverse` checks the signature.
    """
    read = _read(local_part)
    if read is None:
        return None
    kind, _, body = read
    return _returned(kind, body)


def find_signer(local_part: str, keys: Iterable[Callable[[int], bytes]], *, now: datetime) -> int | None:
    """Return the index of the key that signed an address; None if no key signed it, or the address has expired.

    Each of the `keys` is a function like `key_of` in `rewrite`, and is called for one period: the current, the previous
    or the next one. The address is parsed only once, even if there are many keys.
    """
    read = _read(local_part)
    if read is None:
        return None
    kind, signed, body = read
    today = _days(now)
    age = (today - _number(body["day"]) + 1) % _DAYS - 1  # if this server's clock is slow, the date can be tomorrow's
    if age > VALID_DAYS:
        return None
    period, octets = (today - age) // PERIOD_DAYS, _signed_octets(kind, signed["body"])
    mac = _number(signed["mac"]).to_bytes(_MAC_OCTETS)
    for index, key_of in enumerate(keys):
        if hmac.compare_digest(mac, _mac(octets, key_of(period))):
            return index
    return None


def _read(local_part: str) -> tuple[str, re.Match[str], re.Match[str]] | None:
    """Return the form of a rewritten sender and its parsed parts; None for any other address."""
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
    mac = int.from_bytes(_mac(_signed_octets(kind, body), key))
    return f"{kind}={_base32(mac, _MAC_CHARACTERS)}{body}"


def _signed_octets(kind: str, body: str) -> bytes:
    return f"srs:{kind}={body}".lower().encode()


def _mac(octets: bytes, key: bytes) -> bytes:
    return hmac.digest(key, octets, "sha256")[:_MAC_OCTETS]


def _days(now: datetime) -> int:
    return (now - datetime(1970, 1, 1, tzinfo=UTC)).days


def _base32(number: int, characters: int) -> str:
    return "".join(_ALPHABET[number >> 5 * place & 31] for place in reversed(range(characters)))


def _number(base32: str) -> int:
    return int(base32.upper().translate(_DIGITS), 32)


def _uuid(number: int) -> str:
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
