"""Parsers for the operands of condition operators: numbers, dates, networks, booleans and bytes.

Each function returns None if the text does not have the expected type. A policy with an invalid operand is refused, and
an invalid value in a request never matches.
"""

import base64
import ipaddress
import re
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?")
_EPOCH = re.compile(r"-?[0-9]{1,15}")
_DATE = re.compile(
    r"(?P<year>[0-9]{4})-(?P<month>[0-9]{2})(?:-(?P<day>[0-9]{2})"
    r"(?:T(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:\.(?P<fraction>[0-9]{1,9}))?)?"
    r"(?:Z|(?P<sign>[+-])(?P<ahead>[0-9]{2}):(?P<minutes_ahead>[0-9]{2})))?)?"
)
"""The date formats of https://www.w3.org/TR/NOTE-datetime, except a bare year, which is read as a number of seconds."""

_NETWORK = re.compile(r"[0-9A-Fa-f:.]+(?:/[0-9]{1,3})?")
_MAPPED_PREFIX = 96
"""The number of bits before the IPv4 address in an IPv4-mapped IPv6 address (RFC 4291 section 2.5.5.2)."""

_MICROSECOND = timedelta(microseconds=1)
_EPOCH_BEGINS = datetime(1970, 1, 1, tzinfo=UTC)


def number(text: str) -> Decimal | None:
    """Parse an integer or a decimal number, without rounding."""
    return Decimal(text) if _NUMBER.fullmatch(text) else None


def moment(text: str) -> int | None:
    """Parse an ISO 8601 date, or a number of seconds since 1970; return microseconds since 1970."""
    if _EPOCH.fullmatch(text):
        return int(text) * 1_000_000
    found = _DATE.fullmatch(text)
    if not found:
        return None
    part = {name: int(value or 0) for name, value in found.groupdict().items() if name not in {"sign", "fraction"}}
    ahead = timedelta(hours=part["ahead"], minutes=part["minutes_ahead"])
    microsecond = int((found["fraction"] or "0")[:6].ljust(6, "0"))
    try:
        zone = timezone(-ahead if found["sign"] == "-" else ahead)
        date = datetime(
            part["year"],
            part["month"],
            part["day"] or 1,
            part["hour"],
            part["minute"],
            part["second"],
            microsecond,
            zone,
        )
    except ValueError:
        return None
    return (date - _EPOCH_BEGINS) // _MICROSECOND


def network(text: str) -> Network | None:
    """Parse an IPv4 or IPv6 address, or a range in CIDR notation. A single address becomes a range of one address.

    The range `::ffff:192.0.2.0/120` becomes 192.0.2.0/24, because a caller's IPv4 address can appear in either form.
    """
    if not _NETWORK.fullmatch(text):
        return None
    try:
        found = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
    mapped = found.network_address.ipv4_mapped if isinstance(found, ipaddress.IPv6Network) else None
    if mapped is None or found.prefixlen < _MAPPED_PREFIX:
        return found
    return ipaddress.IPv4Network((mapped, found.prefixlen - _MAPPED_PREFIX))


def is_within(text: str, where: Network) -> bool:
    """Return whether the text is an address in the network.

    The IPv4-mapped address `::ffff:192.0.2.1`, which dual-stack sockets report, also matches as 192.0.2.1.
    """
    try:
        address: Address = ipaddress.ip_address(text)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return address in where or (mapped is not None and mapped in where)


def boolean(text: str) -> bool | None:
    """Parse `true` or `false`, in any letter case."""
    return {"true": True, "false": False}.get(text.lower())


def octets(text: str) -> bytes | None:
    """Decode bytes from base64."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return None
