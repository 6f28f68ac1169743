"""The syntax of an address, and the rule that decides whether two spellings denote the same address.

An address is `local@domain`. Addresses are compared without regard to case, and domains are compared as IDNA A-labels.
So `Support@Bücher.example` and `support@xn--bcher-kva.example` are the same address. An `Address` contains the original
spelling for display, but comparisons use only its `key`.
"""

import re
from collections.abc import Collection

import idna
from msgspec import Struct

from waypost.domain import errors
from waypost.domain.directory import caseless

MAX_LOCAL_OCTETS = 64
"""The maximum length of a local part (RFC 5321 section 4.5.3.1.1)."""

MAX_DOMAIN_OCTETS = 255
"""The maximum length of a domain (RFC 5321 section 4.5.3.1.2)."""

_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.IGNORECASE | re.ASCII)
"""The syntax of `Domain` in RFC 5321 section 4.1.2, with the maximum label length from RFC 1035."""

_DOT_STRING = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*", re.ASCII)
"""The syntax of `Dot-string` in RFC 5321 section 4.1.2, for an ASCII local part."""


class Address(Struct, frozen=True):
    """A parsed address: its original spelling, and the key that comparisons use."""

    text: str
    key: str

    def __str__(self) -> str:
        return self.text


def parse(text: str) -> Address:
    """Parse an address of the form `local@domain` from an API call, and remove quotes around the local part.

    Raises `errors.Invalid`, with the reason, if no SMTP client could send mail to the address.
    """
    local, at, domain = text.rpartition("@")
    if not at:
        raise errors.Invalid("an address needs an @ between the local part and the domain")
    if len(local) > 1 and local[0] == local[-1] == '"':
        local = unquote(local)
    if not _is_dot_string(local):
        raise errors.Invalid(
            "the part before the @ must be letters, digits and !#$%&'*+/=?^_`{|}~-, with single dots between them"
        )
    return from_parts(local, domain, text=text)


def parse_typed(text: str) -> Address:
    """Parse an address that a person has typed, as `parse` does. The message of `errors.Invalid` is a sentence that
    names the text.
    """
    try:
        return parse(text)
    except errors.Invalid as error:
        raise errors.Invalid(f"{text[:100]!r} is not an email address: {error.message}.") from error


def from_parts(local: str, domain: str, *, text: str) -> Address:
    """Build an address from an unquoted local part and a domain; `text` is the original spelling, for display.

    Raises `errors.Invalid` if the local part or the domain is empty or too long, or if the domain is not a domain name.
    These checks are sufficient for an SMTP recipient. SMTP also allows local parts that need quotes, although they
    cannot match an email address in Waypost.
    """
    if not local or not domain:
        raise errors.Invalid("an address needs text on both sides of the @")
    if len(local.encode()) > MAX_LOCAL_OCTETS:
        raise errors.Invalid(f"the part before the @ is longer than {MAX_LOCAL_OCTETS} octets")
    return Address(text, f"{caseless.fold(local)}@{domain_key(domain)}")


def domain_key(domain: str) -> str:
    """Return the domain as lower-case A-labels (RFC 5890), for comparison.

    Raises `errors.Invalid` if the domain is too long or malformed.
    """
    ascii_domain = domain
    if len(domain) <= MAX_DOMAIN_OCTETS and not domain.isascii():
        try:
            ascii_domain = idna.encode(domain, uts46=True).decode("ascii")
        except idna.IDNAError as error:
            raise errors.Invalid(f"the part after the @ is not a domain name: {error}") from error
    if len(ascii_domain) > MAX_DOMAIN_OCTETS:
        raise errors.Invalid(f"the part after the @ is longer than {MAX_DOMAIN_OCTETS} octets")
    if not _DOMAIN.fullmatch(ascii_domain):
        raise errors.Invalid(
            "the part after the @ is not a domain name: its labels may have letters, digits and inner hyphens only"
        )
    return ascii_domain.lower()


SUBADDRESS_DELIMITER = "+"
"""The delimiter before the subaddress in a local part (RFC 5233 section 1). The delimiter has this meaning only in
domains with subaddressing."""


def owner_keys(address: Address, subaddressed: Collection[str]) -> tuple[str, ...]:
    """Return the keys of the email addresses that may receive mail for an address, in order of precedence.

    `subaddressed` lists the domains with subaddressing, as A-labels. The first key is the address's own key. If the
    address has a subaddress in a domain with subaddressing, the second key is the key without the subaddress. The
    subaddress begins at the first delimiter, so mail to `support+order+7@` can go to `support@`.
    """
    if not subaddressed:
        return (address.key,)
    local, _, domain = address.key.rpartition("@")
    base, delimiter, _ = local.partition(SUBADDRESS_DELIMITER)
    if not base or not delimiter or domain not in subaddressed:
        return (address.key,)
    return (address.key, f"{base}@{domain}")


def with_ascii_domain(text: str) -> str:
    """Return the address with its domain as A-labels (RFC 5891), for protocols that allow only ASCII.

    The address is returned unchanged if its local part is not ASCII, or if its domain cannot be converted to A-labels.
    """
    local, _, domain = text.rpartition("@")
    if text.isascii() or not local.isascii():
        return text
    try:
        return f"{local}@{domain_key(domain)}"
    except errors.Invalid:
        return text


def unquote(quoted: str) -> str:
    """Remove the quotes and backslashes from an RFC 5321 `Quoted-string`, because they are not part of the address."""
    return re.sub(r"\\(.)", r"\1", quoted[1:-1])


def _is_dot_string(local: str) -> bool:
    """Return whether a local part is valid without quotes. A local part may contain any printable non-ASCII character
    (RFC 6531).
    """
    if local.isascii():
        return _DOT_STRING.fullmatch(local) is not None
    ascii_shape = "".join(c if c.isascii() else "x" for c in local)
    return local.isprintable() and _DOT_STRING.fullmatch(ascii_shape) is not None
